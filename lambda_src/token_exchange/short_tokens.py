"""Makes short tokens, and reads the key that signs them from Secrets Manager.

A token is base64url(JSON) + "." + base64url(HMAC-SHA256 of the first part), without padding.
"""

import hashlib
import hmac
import json
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any, NamedTuple

import boto3
from aws_lambda_powertools.utilities.parameters import SecretsProvider
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError, TransformParameterError
from botocore.config import Config

from token_exchange.errors import NO_SIGNING_KEY, SIGNING_KEY_UNAVAILABLE, TOO_MANY_REPOSITORIES, ExchangeError
from token_exchange.rules import Grant

LONGEST_TOKEN = 2048
"""The longest short token, in characters."""

SECRET_SECONDS = 60
"""How long the secret is cached. After a rotation, the former key stays valid for much longer."""

_ID = re.compile(r"[0-9a-f]{8}")
_KEY = re.compile(r"[A-Za-z0-9_-]{43}=?")  # 32 bytes


class SigningKey(NamedTuple):
    """A key by its id."""

    id: str
    key: bytes


class SigningKeys:
    """Reads the signing key.

    Args:
        secret: ARN or name of the secret.
        client: boto3's client of Secrets Manager.
    """

    def __init__(self, secret: str, client: Any) -> None:
        self._secret = secret
        self._provider = SecretsProvider(boto3_client=client)

    def current(self) -> SigningKey:
        """Return the first key, which signs.

        Raises:
            ExchangeError: If there is no key yet, or the secret can't be read.
        """
        try:
            document: Any = self._provider.get(self._secret, max_age=SECRET_SECONDS, transform="json")
        except (GetParameterError, TransformParameterError) as error:
            raise ExchangeError(SIGNING_KEY_UNAVAILABLE) from error
        if document == {"keys": []}:
            raise ExchangeError(NO_SIGNING_KEY)
        try:
            first = document["keys"][0]
            key_id, text = _ID.fullmatch(first["id"]), _KEY.fullmatch(first["key"])
        except (LookupError, TypeError) as error:
            raise ExchangeError(SIGNING_KEY_UNAVAILABLE) from error
        if key_id is None or text is None:
            raise ExchangeError(SIGNING_KEY_UNAVAILABLE)
        return SigningKey(key_id[0], urlsafe_b64decode(text[0].rstrip("=") + "="))


def create_client() -> Any:
    """Return boto3's client of Secrets Manager, which answers or fails within seconds."""
    retries: Any = {"mode": "standard", "total_max_attempts": 2}
    return boto3.client("secretsmanager", config=Config(connect_timeout=1, read_timeout=2, retries=retries))


class ShortToken(NamedTuple):
    """A signed token."""

    id: str
    text: str


def sign(key: SigningKey, granted: Grant, subject: str, issued: int) -> ShortToken:
    """Return a signed token.

    Args:
        key: The key.
        granted: Its rule and repositories.
        subject: Whom it is for.
        issued: When, in seconds since 1970.

    Raises:
        ExchangeError: If it would be too long.
    """
    token_id = secrets.token_hex(8)
    payload: Mapping[str, Any] = {
        "kid": key.id,
        "iat": issued,
        "exp": issued + granted.rule.seconds,
        "id": token_id,
        "rule": granted.rule.name,
        "sub": subject,
        "repositories": granted.repositories,
    }
    signed = _base64url(json.dumps(payload, separators=(",", ":")).encode())
    signature = _base64url(hmac.digest(key.key, signed.encode(), hashlib.sha256))
    text = f"{signed}.{signature}"
    if len(text) > LONGEST_TOKEN:
        raise ExchangeError(TOO_MANY_REPOSITORIES)
    return ShortToken(token_id, text)


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
