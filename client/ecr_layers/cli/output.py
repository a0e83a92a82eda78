"""The standard output of a command: what can't be written there is one line of error, whenever Python notices it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ecr_layers.errors import TargetError


def write(data: bytes) -> None:
    """Write bytes as they are.

    Raises:
        BrokenPipeError: If nobody reads them.
        TargetError: If they can't be written for another reason.
    """
    with _errors():
        sys.stdout.buffer.write(data)


def write_rest() -> None:
    """Write what Python has kept of the output.

    Raises:
        BrokenPipeError: If nobody reads it.
        TargetError: If it can't be written for another reason.
    """
    with _errors():
        sys.stdout.flush()


def forget_rest() -> None:
    """Let go of what Python has kept of the output; it would try to write it at its end, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        forget_rest()
        if isinstance(error, BrokenPipeError):
            raise
        raise TargetError(f"The output can't be written: {error.strerror}.") from None
