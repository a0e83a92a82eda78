"""Login without a stored secret: finds a job's OIDC ID token, and exchanges it for a token of the service."""
