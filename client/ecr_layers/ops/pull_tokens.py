"""Pull tokens, and the repositories that they may be for.

A token is a name and a password. A CloudFront KeyValueStore has the password's SHA-256 under the token's name, and the
function at the edge reads it (`infra/edge/viewer_request.js`).
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
        repositories: Its scope: names of repositories, prefixes (`team/*`) or `*`; each may begin with an account
            (`123456789012/team/*`). Empty if the store's entry has none.
        not_after: When it expires; None if the store's entry has no date that can be read here.
        created: When it was created; None if the store's entry doesn't say.
    """

    name: str
    repositories: tuple[str, ...] = ()
    not_after: datetime | None = None
    created: datetime | None = None

    @classmethod
    def read(cls, name: str, value: str) -> Self:
        """Parse an entry of the store. Malformed members are left out, because the edge ignores some of them.

        Args:
            name: The entry's key.
            value: The entry's value.
        """
        try:
            parsed = json.loads(value)
        except (ValueError, RecursionError):
            parsed = None
        entry: dict[str, Any] = parsed if isinstance(parsed, dict) else {}
        listed = entry.get("repositories")
        repositories = tuple(map(str, listed)) if isinstance(listed, list) else ()
        return cls(name, repositories, _moment(entry.get("notAfter")), _moment(entry.get("created")))

    def value(self, password: str) -> str:
        """Return the store's entry of this token.

        Raises:
            UsageError: If the entry is too large for the store.
        """
        entry = {
            "sha256": hashlib.sha256(password.encode()).hexdigest(),
            "repositories": self.repositories,
            **self.times(),
        }
        value = json.dumps(entry, separators=(",", ":"))
        if len(value) > _LONGEST_VALUE:
            raise UsageError(
                f"The scope is too long; about {_LONGEST_VALUE - 200} characters are possible. Use prefixes such as "
                "team/*, or several tokens."
            )
        return value

    def times(self) -> dict[str, str | None]:
        """Return when the token expires and when it was created, as the store has it (RFC 3339, UTC)."""
        return {"notAfter": _text(self.not_after), "created": _text(self.created)}

    def has_expired(self, now: datetime) -> bool:
        """Tell whether it has expired, as far as its date can be read here."""
        return self.not_after is not None and now >= self.not_after


def new_password() -> str:
    """Return a password of 256 random bits, which needs no quoting in a shell."""
    return secrets.token_hex(_PASSWORD_BYTES)


def check_name(name: str) -> None:
    """Check the name of a token.

    Raises:
        UsageError: If it isn't valid.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} isn't a valid token name. Use 1 to 64 letters, digits, '.', '-' and '_', such as ci-frankfurt."
        )


def check_scope(scope: Iterable[str], repositories: Iterable[str], registries: Iterable[str]) -> None:
    """Check that a token's scope is well-formed and no wider than the deployment.

    Args:
        scope: Names of repositories, prefixes or `*`, with or without an account in front.
        repositories: What the deployment serves, in the same form, without accounts.
        registries: The accounts that the deployment serves besides its own.

    Raises:
        UsageError: If it isn't.
    """
    served, accounts = tuple(repositories), frozenset(registries)
    for each in scope:
        account, rest = _split(each)
        if not _REPOSITORY.fullmatch(rest) or len(each) > _LONGEST_REPOSITORY:
            raise UsageError(f"{each!r} isn't a scope; expected a repository name, a prefix such as 'team/*', or '*'.")
        if account and account not in accounts:
            raise UsageError(
                f"The deployment doesn't serve the registry {account} of {each!r}. "
                f"Its setting registries has {_listed(accounts)}."
            )
        if not any(_covers(wide, rest) for wide in served):
            raise UsageError(f"The scope {each!r} exceeds the deployment's repositories, {_listed(served)}.")


def _split(scope: str) -> tuple[str | None, str]:
    match = _ACCOUNT.fullmatch(scope)
    return (match["account"], match["rest"]) if match else (None, scope)


def _covers(wide: str, narrow: str) -> bool:
    """Tell whether `wide` includes everything in `narrow`."""
    if not wide.endswith("*"):
        return wide == narrow
    return narrow.startswith(wide.removesuffix("*"))


def _listed(values: Iterable[str]) -> str:
    return ", ".join(sorted(values)) or "none"


def _moment(text: object) -> datetime | None:
    """Parse a date as the edge's JavaScript does: a year, a month, a day, or a time; None for any other form."""
    if not isinstance(text, str):
        return None
    is_short = re.fullmatch(r"[0-9]{4}(-[0-9]{2})?", text)
    try:
        moment = datetime.fromisoformat(f"{text}-01-01"[:10] if is_short else text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _text(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None
