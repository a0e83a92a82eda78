"""The client of the ECR Layer Resolver: what a user or an operator of a deployed service runs."""
