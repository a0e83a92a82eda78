"""The keys that sign the service's short tokens, and the trust rules whose tokens are revoked.

The function at the edge reads both in the token store, under `_signing`. The exchange function reads the keys in a
secret of Secrets Manager. The first key signs, further ones only verify.
"""

import base64
import json
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from ecr_layers.errors import UsageError
from ecr_layers.ops import aws
from ecr_layers.ops.token_store import TokenStore

ENTRY = "_signing"
"""The store's key for both."""

OLD_KEY_SECONDS = 3900
"""How long an old key verifies: as long as a token is valid, and the exchange function keeps the secret's value."""

REVOKED = 253_402_300_799
"""The last second of the year 9999: no token of a revoked rule is newer."""

LONGEST_TOKEN_SECONDS = 3600
# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/kvs-with-functions-create-s3-kvp.html
_LONGEST_VALUE = 1024
_RULE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key.

    Attributes:
        id: Its id, 8 hexadecimal digits.
        key: 32 bytes in base64url.
        not_after: Until when it verifies, in seconds since 1970; None without an end.
    """

    id: str
    key: str = field(repr=False)
    not_after: int | None = None

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Read a key as the store and the secret have it.

        Raises:
            ValueError, KeyError, TypeError: If it is malformed.
        """
        end = document["notAfter"]
        return cls(str(document["id"]), str(document["key"]), None if end is None else int(end))

    @classmethod
    def new(cls) -> Self:
        """Return a random key."""
        return cls(secrets.token_hex(4), base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("="))


@dataclass(frozen=True, slots=True)
class Signing:
    """The store's entry.

    Attributes:
        keys: The keys; the first one signs.
        not_before: For rules, the second since 1970 after which their tokens count.
    """

    keys: tuple[SigningKey, ...] = ()
    not_before: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, value: str | None, place: str) -> Self:
        """Read the store's entry, or the secret's value.

        Args:
            value: The text; None if there is none.
            place: What has it, at the start of a sentence.

        Raises:
            UsageError: If it is malformed.
        """
        try:
            entry = json.loads(value or '{"keys": []}')
            keys = tuple(SigningKey.read(each) for each in entry["keys"])
            not_before = {str(rule): int(moment) for rule, moment in entry.get("notBefore", {}).items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise UsageError(
                f"{place} is malformed, so nothing was changed. Restore it, or remove its value."
            ) from None
        return cls(keys, not_before)

    def current(self, now: int) -> Self:
        """Return it without keys that have ended, and without moments that no valid token is older than."""
        keys = tuple(key for key in self.keys if key.not_after is None or key.not_after > now)
        recent = {rule: each for rule, each in self.not_before.items() if each >= now - LONGEST_TOKEN_SECONDS}
        return replace(self, keys=keys, not_before=recent)

    def rotated(self, issuing: Sequence[SigningKey], fresh: SigningKey, now: int) -> Self:
        """Return it with another first key: a fresh one, or the store's if an earlier rotation was left unfinished.

        Args:
            issuing: The keys in the secret, whose first one signs tokens for jobs.
            fresh: A fresh key.
            now: The time, in seconds since 1970.
        """
        is_unfinished = bool(self.keys) and self.keys[0].id not in [key.id for key in issuing[:1]]
        first = self.keys[0] if is_unfinished else fresh
        signing = {key.id for key in (*issuing[:1], *self.keys[:1])}
        old = {key.id: key for key in (*issuing, *self.keys) if key.id != first.id}.values()
        end = now + OLD_KEY_SECONDS
        verifying = (replace(key, not_after=end) if key.id in signing or not key.not_after else key for key in old)
        return replace(self, keys=(first, *verifying)).current(now)

    def value(self) -> str:
        """Return the store's entry.

        Raises:
            UsageError: If it is too large for the store.
        """
        value = json.dumps({"keys": _documents(self.keys), "notBefore": dict(self.not_before)}, separators=(",", ":"))
        if len(value) > _LONGEST_VALUE:
            raise UsageError(
                "The token store has no room for more keys and revoked rules. Resume rules, or wait an hour until old "
                "keys have ended."
            )
        return value


class SigningSecret:
    """The secret from which the exchange function reads the keys.

    Args:
        arn: Its ARN.
        client: botocore's client of the service `secretsmanager`.
    """

    def __init__(self, arn: str, client: Any) -> None:
        self._arn = arn
        self._client = client

    def keys(self) -> tuple[SigningKey, ...]:
        """Return the keys.

        Raises:
            UsageError: If the secret is malformed, or Secrets Manager refuses.
        """
        with aws.one_line_errors("Secrets Manager"):
            value = aws.call(self._client, "GetSecretValue", SecretId=self._arn).get("SecretString")
        return Signing.read(value, "The signing keys' secret").keys

    def put(self, keys: Sequence[SigningKey]) -> None:
        """Replace the keys.

        Raises:
            UsageError: If Secrets Manager refuses.
        """
        value = json.dumps({"keys": _documents(keys)})
        with aws.one_line_errors("Secrets Manager"):
            aws.call(self._client, "PutSecretValue", SecretId=self._arn, SecretString=value)


def read_signing(store: TokenStore) -> Signing:
    """Return the store's entry.

    Raises:
        UsageError: If it is malformed, or the store refuses.
    """
    return _read(store.entry(ENTRY)).current(int(time.time()))


def rotate(store: TokenStore, secret: SigningSecret, *, revokes_old: bool = False) -> SigningKey:
    """Make a new key, and return it. The edge gets it first, so that it accepts whatever the exchange function signs.

    Args:
        store: The token store.
        secret: The secret.
        revokes_old: Whether old keys end at once.

    Raises:
        UsageError: If the store or Secrets Manager refuses.
    """
    fresh, issuing, now = SigningKey.new(), secret.keys(), int(time.time())
    keys: tuple[SigningKey, ...] = ()

    def rotated(value: str | None) -> str:
        nonlocal keys
        found = _read(value).current(now)
        changed = replace(found, keys=(fresh,)) if revokes_old else found.rotated(issuing, fresh, now)
        keys = changed.keys
        return changed.value()

    store.replace_entry(ENTRY, rotated)
    try:
        secret.put(keys)
    except UsageError as error:
        raise UsageError(
            f"The token store has the new key {keys[0].id}, but the secret doesn't: {error} Run the command again "
            "within an hour, before logins fail.",
            code="rotation-unfinished",
        ) from None
    return keys[0]


def set_rule(store: TokenStore, rule: str, moment: int) -> None:
    """Let tokens of a rule count only if they are from after a moment, in seconds since 1970.

    Raises:
        UsageError: If it isn't a rule's name, or the store refuses.
    """
    if not _RULE.fullmatch(rule):
        raise UsageError(f"{rule!r} isn't a trust rule's name: 1 to 32 small letters, digits and '-'.")

    def changed(value: str | None) -> str:
        found = _read(value).current(int(time.time()))
        return replace(found, not_before={**found.not_before, rule: moment}).value()

    store.replace_entry(ENTRY, changed)


def _read(value: str | None) -> Signing:
    return Signing.read(value, f"The token store's entry {ENTRY}")


def _documents(keys: Sequence[SigningKey]) -> list[dict[str, Any]]:
    return [{"id": key.id, "key": key.key, "notAfter": key.not_after} for key in keys]
