"""Writes tar archives whose bytes depend on their content only."""

import tarfile
from typing import BinaryIO, Protocol, cast

_CHUNK = 1024 * 1024


class Readable(Protocol):
    """The content of a file."""

    def read(self, count: int, /) -> bytes:
        """Read so many bytes, or fewer at the end."""


class _Sink:
    """A file that need not be seekable, as tarfile writes it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._position = 0

    def write(self, data: bytes) -> int:
        self._file.write(data)
        self._position += len(data)
        return len(data)

    def tell(self) -> int:
        return self._position


def tar(file: BinaryIO) -> tarfile.TarFile:
    """Return a new archive.

    Args:
        file: Where it is written, such as a pipe.
    """
    sink = cast("BinaryIO", _Sink(file))
    return tarfile.TarFile(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT, copybufsize=_CHUNK)


def add(archive: tarfile.TarFile, name: str, content: Readable, size: int) -> None:
    """Add a file.

    Raises:
        OSError: If it can't be written, or the content is shorter.
    """
    member = tarfile.TarInfo(name)
    member.mode = 0o644
    member.size = size
    archive.addfile(member, cast("BinaryIO", content))
