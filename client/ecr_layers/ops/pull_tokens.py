"""Pull tokens: what one is, and which repositories it may be for.

A token is a name and a password. The service keeps the password's SHA-256 only, under the token's name, in a CloudFront
KeyValueStore, where the function at the edge reads it (`infra/edge/viewer_request.js`).
"""

import hashlib
import json
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from ecr_layers.errors import UsageError

# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/kvs-with-functions-create-s3-kvp.html
_LONGEST_VALUE = 1024
_PASSWORD_BYTES = 32

# The name is the user name of Basic authentication, a header's value at the origin, and a field of the log.
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"\*|(?=..)(?:(?:{_PART}/)*{_PART}|[a-z0-9][a-z0-9._/-]*\*)")
# https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_CreateRepository.html
_LONGEST_REPOSITORY = 256
_ACCOUNT = re.compile(r"(?P<account>[0-9]{12})/(?P<rest>.+)")


@dataclass(frozen=True, slots=True)
class PullToken:
    """A pull token without its password.

    Attributes:
        name: Its name.
        repositories: What it is for: names of repositories, prefixes (`team/*`) or `*`; each may begin with an account
            (`123456789012/team/*`). Empty if the store's entry can't be read.
        not_after: When it expires; None if the store's entry can't be read.
        created: When it was created; None if the store's entry can't be read.
    """

    name: str
    repositories: tuple[str, ...] = ()
    not_after: datetime | None = None
    created: datetime | None = None

    @classmethod
    def read(cls, name: str, value: str) -> Self:
        """Return the token that an entry of the store is; a malformed entry has nothing but its name.

        Args:
            name: The entry's key.
            value: The entry's value.
        """
        try:
            entry: dict[str, Any] = json.loads(value)
            repositories = tuple(map(str, entry["repositories"]))
            return cls(name, repositories, _moment(entry["notAfter"]), _moment(entry["created"]))
        except (ValueError, KeyError, TypeError):
            return cls(name)

    def value(self, password: str) -> str:
        """Return the store's entry of this token.

        Raises:
            UsageError: If the entry is larger than the store takes.
        """
        entry = {
            "sha256": hashlib.sha256(password.encode()).hexdigest(),
            "repositories": self.repositories,
            **self.times(),
        }
        value = json.dumps(entry, separators=(",", ":"))
        if len(value) > _LONGEST_VALUE:
            raise UsageError(
                f"The scope of a token has room for about {_LONGEST_VALUE - 200} characters, and this one has more. "
                "Use prefixes such as team/*, or several tokens."
            )
        return value

    def times(self) -> dict[str, str | None]:
        """Return when the token expires and when it was created, as the store and `--json` have it (RFC 3339, UTC)."""
        return {"notAfter": _text(self.not_after), "created": _text(self.created)}

    def has_expired(self, now: datetime) -> bool:
        """Tell whether it has expired; what can't be read lets nobody in either."""
        return self.not_after is None or now >= self.not_after


def new_password() -> str:
    """Return a password of 256 random bits, which needs no quotation anywhere and is no option of a command line."""
    return secrets.token_hex(_PASSWORD_BYTES)


def check_name(name: str) -> None:
    """Check the name of a token.

    Raises:
        UsageError: If it can't be one.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} can't be a token's name. Use 1 to 64 letters, digits, '.', '-' and '_', such as ci-frankfurt."
        )


def check_scope(scope: Iterable[str], repositories: Iterable[str], registries: Iterable[str]) -> None:
    """Check that a token's scope is well-formed and no wider than the deployment.

    Args:
        scope: Names of repositories, prefixes or `*`, each with an account in front of it or not.
        repositories: What the deployment serves, in the same form, without accounts.
        registries: The accounts that the deployment serves beside its own.

    Raises:
        UsageError: If it is not.
    """
    served, accounts = tuple(repositories), frozenset(registries)
    for each in scope:
        account, rest = _split(each)
        if not _REPOSITORY.fullmatch(rest) or len(each) > _LONGEST_REPOSITORY:
            raise UsageError(f"{each!r} is no repository name, no prefix such as 'team/*', and not '*'.")
        if account and account not in accounts:
            raise UsageError(
                f"The deployment does not serve the registry {account} of {each!r}. "
                f"Its setting registries has {_listed(accounts)}."
            )
        if not any(_covers(wide, rest) for wide in served):
            raise UsageError(
                f"The scope {each!r} is outside of the deployment's repositories, which are {_listed(served)}."
            )


def _split(scope: str) -> tuple[str | None, str]:
    match = _ACCOUNT.fullmatch(scope)
    return (match["account"], match["rest"]) if match else (None, scope)


def _covers(wide: str, narrow: str) -> bool:
    """Tell whether everything that `narrow` means is among what `wide` means."""
    if not wide.endswith("*"):
        return wide == narrow
    return narrow.startswith(wide.removesuffix("*"))


def _listed(values: Iterable[str]) -> str:
    return ", ".join(sorted(values)) or "none"


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _text(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None
