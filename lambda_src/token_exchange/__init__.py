"""Exchanges OIDC tokens for short tokens that the edge verifies by itself."""
