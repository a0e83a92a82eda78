"""The service: its API, and credentials for it."""
