"""Errors that a caller can act on. Each has a code and the values that its message was built from."""

import re
from typing import Any, ClassVar

LONGEST_MESSAGE = 600
"""Longest message from another program that is shown, in characters."""

# Anything behind the host of a URL may be a secret.
_URL = re.compile(r"(?P<scheme>https?)://[^\s\"'<>]*", re.IGNORECASE)


class ClientError(Exception):
    """Base of all errors; the message is one line with cause and remedy.

    Attributes:
        code: Identifies the kind of error, for programs.
        fields: The values that the message was built from; never a secret.
    """

    default_code: ClassVar[str] = "failed"

    def __init__(self, message: str, *, code: str | None = None, **fields: Any) -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.fields = fields


class UsageError(ClientError):
    """An invalid argument or setting, or a missing credential."""

    default_code = "invalid-request"


class MissingPackageError(UsageError):
    """An optional package isn't installed.

    Args:
        purpose: What needs it, at the start of a sentence.
        extra: The extra of `ecr-layers` that installs it.
    """

    default_code = "missing-package"

    def __init__(self, purpose: str, extra: str) -> None:
        super().__init__(f"{purpose} another package: pip install 'ecr-layers[{extra}]'", extra=extra)


class ServiceError(ClientError):
    """The service refused a request, or couldn't be reached.

    Attributes:
        code: The code in the service's table of errors, such as `LayersNotFoundException`, or one of the client's own.
        status: The HTTP status; None for one layer of a batch, or without an answer.
        is_retryable: Whether the same request can succeed later.
        retry_after: Seconds that the service asks to wait; None if it doesn't say.
    """

    default_code = "unexpected-answer"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status: int | None = None,
        is_retryable: bool = False,
        retry_after: float | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(message, code=code, **fields)
        self.status = status
        self.is_retryable = is_retryable
        self.retry_after = retry_after


class TransferError(ClientError):
    """A blob couldn't be downloaded, despite retries."""

    default_code = "download-failed"


class IntegrityError(ClientError):
    """Downloaded bytes don't have the expected digest or size."""

    default_code = "digest-mismatch"


class TargetError(ClientError):
    """The target can't be written."""

    default_code = "target-not-writable"


def one_line(text: str) -> str:
    """Return untrusted text as one short printable line, with URLs cut down to their schemes."""
    line = printable(_URL.sub(r"\g<scheme>://…", " ".join(text.split())))
    return line if len(line) <= LONGEST_MESSAGE else f"{line[:LONGEST_MESSAGE]}…"


def printable(line: str) -> str:
    """Replace the characters of a line that could control a terminal."""
    return "".join(character if character.isprintable() else "?" for character in line)


def escaped(name: str) -> str:
    """Return a file's name, or other text, with backslash escapes for bytes that could control a terminal."""
    return "".join(each if each.isprintable() and each != "\\" else _escape(each) for each in name)


def _escape(character: str) -> str:
    # A byte that isn't UTF-8 is one of these surrogates; others come from JSON.
    errors = "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass"
    return character.encode(errors=errors).decode("latin-1").encode("unicode_escape").decode()
