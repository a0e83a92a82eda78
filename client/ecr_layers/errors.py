"""What goes wrong in a way that a user can mend. Each kind of error has the exit status of a command that it ends."""

import re
from typing import ClassVar

LONGEST_MESSAGE = 600
"""How many characters of another's message are shown."""

# Whatever follows the host of a URL may be a secret.
_URL = re.compile(r"(?P<scheme>https?)://[^\s\"'<>]*", re.IGNORECASE)


class ClientError(Exception):
    """A command can't do what it was asked for; the message is one line that says what to do."""

    exit_status: ClassVar[int] = 1


class UsageError(ClientError):
    """What was asked for can't be asked for: an argument, a setting or a missing credential."""

    exit_status = 2


class ServiceError(ClientError):
    """The service does not give what was asked for.

    Attributes:
        code: The code of the error in the service's table, such as `LayersNotFoundException`; None if the answer is not
            the service's own.
        status: The HTTP status, None if the error is that of one layer of many, or if nothing answered.
        is_retryable: Whether the same request can succeed later.
    """

    def __init__(
        self, message: str, *, code: str | None = None, status: int | None = None, is_retryable: bool = False
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.is_retryable = is_retryable


class TransferError(ClientError):
    """A blob could not be loaded, though it was tried again."""


class IntegrityError(ClientError):
    """What was loaded is not what its digest or size says."""

    exit_status = 3


class TargetError(ClientError):
    """The target can't be written: no space, no permission, or another run has it."""

    exit_status = 4


def one_line(text: str) -> str:
    """Return another's text as it may be shown: one line, not too long, and of each URL the scheme alone."""
    shown = _URL.sub(r"\g<scheme>://…", " ".join(text.split()))
    line = printable(shown)
    return line if len(line) <= LONGEST_MESSAGE else f"{line[:LONGEST_MESSAGE]}…"


def printable(line: str) -> str:
    """Return a line with nothing in it that a terminal would obey."""
    return "".join(character if character.isprintable() else "?" for character in line)
