"""What tables of the files in a layer have in common, whatever their form."""

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from ecr_layers.errors import ClientError
from ecr_layers.files.archives import Kind, Member
from ecr_layers.files.compression import Allowance

LARGEST_TABLE = 64 * 1024 * 1024
"""Largest table, and largest part of a layer that has a digest of its own, in bytes; both are held in memory."""

KINDS = {
    "reg": Kind.FILE,
    "dir": Kind.DIRECTORY,
    "symlink": Kind.SYMBOLIC_LINK,
    "hardlink": Kind.HARD_LINK,
    "char": Kind.CHARACTER_DEVICE,
    "block": Kind.BLOCK_DEVICE,
    "fifo": Kind.PIPE,
}
"""The types of members by their names in all tables."""

OpenLayer = Callable[[], io.BufferedReader]
"""Opens a layer, of which any range can be read."""


class MalformedTableError(ClientError):
    """A table can't be used. The whole layer can, because it has a digest of its own."""

    default_code = "malformed-table"

    def __init__(self) -> None:
        super().__init__("The table of a layer's files is malformed. Read the whole layer.")


class Content(Protocol):
    """The contents of a layer's files."""

    def skip_to(self, position: int) -> None:
        """Go to the content of a member, by its offset."""

    def chunks(self, count: int) -> Iterator[bytes]:
        """Yield its content, which has so many bytes."""


class Table(Protocol):
    """The table of the files in a layer."""

    @property
    def members(self) -> Iterable[Member]:
        """The layer's members; their offsets identify their contents."""

    def contents(self, allowance: Allowance) -> AbstractContextManager[Content]:
        """Open the contents of the layer's files. Every byte that is returned has been verified."""


def check(is_right: bool) -> None:
    """Check something about a table.

    Raises:
        MalformedTableError: If it isn't right.
    """
    if not is_right:
        raise MalformedTableError


def read_range(file: io.BufferedReader, offset: int, length: int) -> bytes:
    """Read a range of a layer.

    Raises:
        MalformedTableError: If the layer ends before.
        ClientError: If it can't be loaded.
    """
    file.seek(offset)
    content = file.read(length)
    check(len(content) == length)
    return content
