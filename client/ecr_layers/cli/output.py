"""The standard output: what can't be written there is an error of one line, whenever Python notices it."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from rich.cells import cell_len

from ecr_layers.errors import TargetError, escaped


class ReaderGoneError(Exception):
    """The reader of the output has gone. It isn't an OSError, which click handles in its own way."""


def write(data: bytes) -> None:
    """Write bytes.

    Raises:
        ReaderGoneError: If the reader has gone.
        TargetError: If they can't be written for another reason.
    """
    with errors():
        stream().write(data)


def write_line(line: str) -> None:
    """Write a line at once.

    Raises:
        ReaderGoneError: If the reader has gone.
        TargetError: If it can't be written for another reason.
    """
    with errors():
        stream().write(f"{line}\n".encode(errors="backslashreplace"))
        stream().flush()


def write_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write aligned columns: no cell is cut or wrapped, and control characters are escaped.

    Raises:
        ReaderGoneError: If the reader has gone.
        TargetError: If it can't be written for another reason.
    """
    cells = [list(heads), *([escaped(cell) for cell in row] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        write_line("  ".join(padded).rstrip())


def write_rest() -> None:
    """Write what is buffered.

    Raises:
        ReaderGoneError: If the reader has gone.
        TargetError: If it can't be written for another reason.
    """
    if sys.stdout is not None:
        with errors():
            sys.stdout.flush()


def forget_rest() -> None:
    """Drop what is buffered. Python would write it at exit, and complain."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def stream() -> BinaryIO:
    """Return the standard output.

    Raises:
        TargetError: If it is closed.
    """
    if sys.stdout is None:
        raise TargetError("The output can't be written: standard output is closed.")
    return sys.stdout.buffer


@contextmanager
def errors() -> Iterator[None]:
    """Replace an OSError by an error of one line.

    Raises:
        ReaderGoneError: If the reader has gone.
        TargetError: If the output can't be written for another reason.
    """
    try:
        yield
    except OSError as error:
        forget_rest()
        if isinstance(error, BrokenPipeError):
            raise ReaderGoneError from None
        raise TargetError(f"The output can't be written: {error.strerror}.") from None


def occupy_closed_descriptors() -> None:
    """Open /dev/null as standard input, output or error if they are closed, so that no file gets their numbers."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 (open for as long as the process)
