"""Pull tokens, and the repositories that they may be for.

A token is a name and a password. A CloudFront KeyValueStore has the password's SHA-256 under the token's name, and the
function at the edge reads it (`infra/edge/viewer_request.js`).
"""

import hashlib
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn, Self

from ecr_layers.errors import UsageError
from ecr_layers.ops.token_scope import check_scope

# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/kvs-with-functions-create-s3-kvp.html
_LONGEST_VALUE = 1024
# A new token's entry leaves room for what `pause` and `rotate` add to it.
_LONGEST_NEW_VALUE = _LONGEST_VALUE - 140
_PASSWORD_BYTES = 32

# The name is the user name of Basic authentication, a header's value at the origin, and a field of the log.
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# A date or a time of RFC 3339, as the edge has it (`infra/edge/tokens.js`); other forms depend on the engine.
_DATE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:Z|[+-][0-9]{2}:[0-9]{2}))?"
)
_MEMBERS = frozenset({"sha256", "repositories", "notAfter", "created", "notBefore", "paused", "previous", "note"})


@dataclass(frozen=True, slots=True)
class PullToken:
    """A pull token without its password.

    Attributes:
        name: Its name.
        repositories: Its scope: names of repositories, prefixes (`team/*`) or `*`; each may begin with an account
            (`123456789012/team/*`). Empty if the store's entry has none.
        not_after: When it expires; None if the store's entry has no date.
        created: When it was created; None if the store's entry doesn't say.
        not_before: When it becomes valid; None if it always was.
        note: For people; empty without one.
        old_until: Until when the password before the last rotation is valid; None without one.
        is_paused: Whether the edge refuses it until it is resumed.
        has_password: Whether the store's entry has the hash of its password.
        is_broken: Whether the edge refuses it forever, because the entry is malformed.
    """

    name: str
    repositories: tuple[str, ...] = ()
    not_after: datetime | None = None
    created: datetime | None = None
    not_before: datetime | None = None
    note: str = ""
    old_until: datetime | None = None
    is_paused: bool = False
    has_password: bool = True
    is_broken: bool = False

    @classmethod
    def read(cls, name: str, value: str) -> Self:
        """Read an entry of the store as the edge does. A malformed one is a broken token.

        Args:
            name: The entry's key.
            value: The entry's value.
        """
        entry = entry_of(value) or {}
        listed, previous = entry.get("repositories"), entry.get("previous")
        old = previous if isinstance(previous, dict) else {}
        not_after, not_before = _moment(entry.get("notAfter")), _moment(entry.get("notBefore"))
        old_until = _moment(old.get("notAfter")) if _is_hash(old.get("sha256")) else None
        return cls(
            name,
            tuple(map(_text_of, listed)) if isinstance(listed, list) else (),
            not_after,
            _moment(entry.get("created")),
            not_before,
            _text_of(entry.get("note", "")),
            min(old_until, not_after) if old_until and not_after else None,
            is_paused=_is_true(entry.get("paused")),
            has_password=_is_hash(entry.get("sha256")),
            is_broken=not (_NAME.fullmatch(name) and not_after) or ("notBefore" in entry and not_before is None),
        )

    def value(self, password: str) -> str:
        """Return the store's entry of this token.

        Raises:
            UsageError: If the entry is too large for the store.
        """
        times = self.times()
        entry = {
            "sha256": _hash_of(password),
            "repositories": self.repositories,
            "notAfter": times["notAfter"],
            "created": times["created"],
            **({"notBefore": times["notBefore"]} if self.not_before else {}),
            **({"note": self.note} if self.note else {}),
        }
        return _value_of(entry, _LONGEST_NEW_VALUE)

    def times(self) -> dict[str, str | None]:
        """Return when it expires, was created and becomes valid, as the store has it (RFC 3339, UTC)."""
        return {
            "notAfter": time_text(self.not_after),
            "created": time_text(self.created),
            "notBefore": time_text(self.not_before),
        }

    def state(self, now: datetime) -> str:
        """Return what the edge makes of it: `valid`, `paused`, `not yet valid`, `expired` or `broken`."""
        if self.is_broken or not (self.has_password or self.has_old_password(now)):
            return "broken"
        if self.is_paused:
            return "paused"
        if self.not_after is not None and now >= self.not_after:
            return "expired"
        return "not yet valid" if self.not_before is not None and now < self.not_before else "valid"

    def has_old_password(self, now: datetime) -> bool:
        """Tell whether the edge also accepts the password before the last rotation, as long as the token is valid."""
        return self.old_until is not None and now < self.old_until


def entry_of(value: str) -> dict[str, Any] | None:
    """Parse an entry of the store; None if it isn't a JSON object."""
    try:
        parsed = json.loads(value, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def with_pause(value: str, *, is_paused: bool) -> str:
    """Return a token's entry with the token paused, or resumed.

    Raises:
        UsageError: If it is malformed, or too large for the store.
    """
    entry = entry_of(value)
    if entry is None:
        raise _broken()
    kept = {member: each for member, each in entry.items() if member != "paused"}
    return _value_of({**kept, "paused": True} if is_paused else kept)


def with_password(
    value: str, password: str, *, now: datetime, keep_old: timedelta, not_after: datetime | None = None
) -> str:
    """Return a token's entry with a new password.

    Args:
        value: The entry.
        password: The new password.
        now: The time.
        keep_old: How long the old password stays valid; at most until it would have expired.
        not_after: When the token expires; None if that stays.

    Raises:
        UsageError: If the entry is malformed, the token has expired, or the result is too large for the store.
    """
    entry, token = entry_of(value) or {}, PullToken.read("any", value)
    expires = not_after or token.not_after
    if token.is_broken or not token.has_password or expires is None or token.not_after is None:
        raise _broken()
    if expires <= now:
        raise UsageError("The token has expired. Give it a new date with --days or --not-after.")
    changed = {**entry, "sha256": _hash_of(password), "notAfter": time_text(expires)}
    changed.pop("previous", None)
    old_until = now + keep_old if keep_old < token.not_after - now else token.not_after
    if old_until > now:
        changed["previous"] = {"sha256": entry["sha256"], "notAfter": time_text(old_until)}
    return _value_of(changed, remedy="Rotate it with --keep-old 0.")


def checked_value(name: str, entry: Any, repositories: Iterable[str], registries: Iterable[str]) -> str:
    """Return an exported token's entry for the store of a deployment.

    Args:
        name: The token's name.
        entry: The parsed entry.
        repositories: What the deployment serves.
        registries: The accounts that the deployment serves besides its own.

    Raises:
        UsageError: If the name, a member or the scope isn't valid.
    """
    check_name(name)
    value = _value_of(entry) if isinstance(entry, dict) and entry.keys() <= _MEMBERS else ""
    token = PullToken.read(name, value)
    if token.is_broken or not token.has_password or not token.repositories:
        raise UsageError(f"The entry of {name} isn't one that `ecr-layers token export` writes.")
    check_scope(token.repositories, repositories, registries)
    check_note(token.note)
    return value


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


def is_key(key: str) -> bool:
    """Tell whether a key of the store is a token's; keys that begin with `_` are something else's."""
    return not key.startswith("_")


def check_key(name: str) -> None:
    """Check that a key of the store can be a token's, if perhaps a broken one's.

    Raises:
        UsageError: If it can't.
    """
    if not name or not is_key(name):
        raise UsageError(f"{name!r} isn't a pull token.", code="no-token")


def check_note(note: str) -> None:
    """Check a note.

    Raises:
        UsageError: If it has control characters.
    """
    if not note.isprintable():
        raise UsageError("The note has control characters. Use one line of text.")


def time_text(moment: datetime | None) -> str | None:
    """Return a time as the store has it: RFC 3339 in UTC, to the second."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z") if moment else None


def _broken() -> UsageError:
    return UsageError("The token's entry in the store is broken. Revoke the token, and create it again.")


def _value_of(
    entry: Mapping[str, Any],
    longest: int = _LONGEST_VALUE,
    remedy: str = "About 650 characters are possible. Use prefixes such as team/*, or several tokens.",
) -> str:
    value = json.dumps(entry, separators=(",", ":"), ensure_ascii=False)
    if len(value.encode(errors="surrogatepass")) > longest:
        raise UsageError(f"The scope is too long, or the scope and the note together. {remedy}")
    return value


def _hash_of(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()


def _is_hash(value: Any) -> bool:
    return _SHA256.fullmatch(_text_of(value)) is not None


def _is_true(value: Any) -> bool:
    """Tell whether JavaScript takes a value for true."""
    return isinstance(value, list | dict) or bool(value)


def _text_of(value: Any) -> str:
    """Return a value as JavaScript's String() does, but for some numbers."""
    match value:
        case bool():
            return "true" if value else "false"
        case None:
            return "null"
        case dict():
            return "[object Object]"
        case list():
            return ",".join("" if each is None else _text_of(each) for each in value)
        case _:
            return str(value)


def _moment(value: Any) -> datetime | None:
    """Parse a date as the edge does; None for other forms."""
    text = _text_of(value)
    if not _DATE.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        # In the first or last hours that Python has.
        return moment.replace(tzinfo=UTC)


def _refuse_constant(name: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python reads and JavaScript doesn't."""
    raise ValueError(name)
