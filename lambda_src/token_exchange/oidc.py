"""Verifies OIDC tokens with Powertools' JWTVerifier.

JWTVerifier finds an issuer's keys by OIDC discovery, over HTTPS only, within one deadline for all of it, without
redirects, from answers of at most 1 MB; it caches them, asks again for an unknown key once in a while, and waits longer
after each failure. PyJWT's own PyJWKClient has no discovery, no bound on an answer's size, and a time-out per read.
JWTVerifier is an alpha feature, so this is the only module that imports it, and the lock pins its version. Both use
PyJWT and cryptography, and weigh the same. Source: https://docs.aws.amazon.com/powertools/python/latest/utilities/auth/

An issuer's `jwks_uri` may be on any host, as Google's is: the issuer that the operator trusts names it, over HTTPS.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import jwt
from aws_lambda_powertools.utilities.auth_alpha import AuthFailureReason, JWTVerifier
from aws_lambda_powertools.utilities.auth_alpha.jwt.exceptions import AuthError

from token_exchange.errors import (
    INVALID_CLAIMS,
    ISSUER_UNAVAILABLE,
    MALFORMED_TOKEN,
    TOKEN_EXPIRED,
    TOKEN_TOO_LONG,
    UNTRUSTED_ISSUER,
    UNVERIFIED_TOKEN,
    ExchangeError,
)

LONGEST_TOKEN = 8192
"""The longest OIDC token, in characters."""

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
"""Accepted algorithms. A token's must also fit its key: type, curve, and `alg` if the key has one."""

FETCH_SECONDS = 3.0
"""The longest time to read an issuer's discovery document and keys."""

UNKNOWN_KEY_SECONDS = 10.0
"""How long an unknown key isn't asked for after keys were read, so that made-up key ids don't cause requests."""

_KEYS_SECONDS = 300.0
_LEEWAY_SECONDS = 30.0
_ISSUERS_AND_HOSTS = 64

_KINDS = {
    AuthFailureReason.TOKEN_EXPIRED: TOKEN_EXPIRED,
    AuthFailureReason.INVALID_CLAIMS: INVALID_CLAIMS,
    AuthFailureReason.JWKS_UNAVAILABLE: ISSUER_UNAVAILABLE,
}


class OidcVerifier:
    """Verifies tokens of some issuers.

    Args:
        issuers: The issuers, exactly as tokens have them. Nothing else is ever asked for keys.
        unknown_key_seconds: See `UNKNOWN_KEY_SECONDS`.

    Raises:
        ValueError: If an issuer isn't an HTTPS URL.
    """

    def __init__(self, issuers: Iterable[str], unknown_key_seconds: float = UNKNOWN_KEY_SECONDS) -> None:
        self._issuers = frozenset(issuers)
        self._unknown_key_seconds = unknown_key_seconds
        # An issuer's keys are shared by its verifiers for all hosts, as long as one of them exists.
        self._verifier = lru_cache(maxsize=_ISSUERS_AND_HOSTS)(self._create_verifier)
        for issuer in self._issuers:
            self._verifier(issuer, "unused")

    def issuer_of(self, token: str) -> str:
        """Return the issuer that an unverified token names, if it is one of the trusted ones.

        Raises:
            ExchangeError: If the token is too long or malformed, or its issuer isn't trusted.
        """
        if len(token) > LONGEST_TOKEN:
            raise ExchangeError(TOKEN_TOO_LONG)
        try:
            issuer = jwt.decode(token, options={"verify_signature": False}).get("iss")
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise ExchangeError(MALFORMED_TOKEN) from None
        if not isinstance(issuer, str) or issuer not in self._issuers:
            raise ExchangeError(UNTRUSTED_ISSUER)
        return issuer

    def verify(self, token: str, issuer: str, host: str) -> Mapping[str, Any]:
        """Return a token's claims after all checks.

        Args:
            token: The token.
            issuer: What `issuer_of` returns for it.
            host: The only audience that it may have.

        Raises:
            ExchangeError: If it isn't valid here and now, or the issuer's keys can't be read.
        """
        try:
            claims = self._verifier(issuer, host).verify(token)
        except AuthError as error:
            raise ExchangeError(_KINDS.get(error.reason, UNVERIFIED_TOKEN)) from None
        except RecursionError:  # keys that are nested too deeply
            raise ExchangeError(ISSUER_UNAVAILABLE) from None
        # A list of audiences could also be for someone else, who could present the token here.
        if claims["aud"] not in (host, [host]):
            raise ExchangeError(INVALID_CLAIMS)
        return claims

    def _create_verifier(self, issuer: str, host: str) -> JWTVerifier:
        return JWTVerifier(
            issuer=issuer,
            audience=host,
            algorithms=list(ALGORITHMS),
            required_claims=["iat", "sub"],
            clock_skew_seconds=_LEEWAY_SECONDS,
            timeout_seconds=FETCH_SECONDS,
            jwks_max_age_seconds=_KEYS_SECONDS,
            unknown_kid_cooldown_seconds=self._unknown_key_seconds,
        )
