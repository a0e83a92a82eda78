"""Decompresses layers of any origin, within a bound."""

import gzip
import io
import sys
from collections.abc import Iterator
from enum import Enum
from importlib import import_module
from typing import Any, BinaryIO

from ecr_layers.errors import ClientError

LARGEST_WINDOW_LOG = 27
"""Largest memory that Zstandard may use, as a power of two: 128 MiB, the default limit of the zstd command."""

_CHUNK = 256 * 1024
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
# Frames that a decoder skips; the last four bits of the first byte are arbitrary. RFC 8878, section 3.1.2.
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"
_OTHER_COMPRESSIONS = {b"BZh": "bzip2", b"\xfd7zXZ": "xz"}


class ArchiveError(ClientError):
    """A layer isn't a readable archive."""

    default_code = "unreadable-layer"


class Compression(Enum):
    """The compression of an archive."""

    NONE = "tar"
    GZIP = "tar+gzip"
    ZSTD = "tar+zstd"


class Allowance:
    """The number of bytes that may be decompressed.

    Args:
        size: The number.
    """

    def __init__(self, size: int) -> None:
        self._size = self._left = size

    def use(self, count: int) -> None:
        """Count bytes.

        Raises:
            ArchiveError: If there are too many.
        """
        self._left -= count
        if self._left < 0:
            raise ArchiveError(
                f"The layers have more than {self._size} bytes after decompression.",
                code="layers-too-large",
                limit=self._size,
            )


def compression_of(file: io.BufferedReader, name: str) -> Compression:
    """Return the compression of an archive, by its first bytes; media types can be wrong.

    Args:
        file: The archive, at its beginning; it stays there.
        name: Its name for messages.

    Raises:
        ArchiveError: If the compression isn't supported.
    """
    start = file.peek(8)[:8]
    for magic, other in _OTHER_COMPRESSIONS.items():
        if start.startswith(magic):
            raise ArchiveError(
                f"{name} is compressed with {other}, which isn't supported. Supported are tar, gzip and zstd."
            )
    if start.startswith(_GZIP):
        return Compression.GZIP
    is_skippable = start[1:4] == _ZSTD_SKIPPABLE and start[0] & 0xF0 == 0x50
    return Compression.ZSTD if start.startswith(_ZSTD) or is_skippable else Compression.NONE


class Decompressed:
    """The decompressed bytes of an archive, in order.

    Args:
        file: The archive, at its beginning.
        name: Its name for messages.
        allowance: How many bytes may be decompressed.

    Attributes:
        position: How many bytes have been read.

    Raises:
        ArchiveError: If the compression isn't supported.
    """

    def __init__(self, file: io.BufferedReader, name: str, allowance: Allowance) -> None:
        self.position = 0
        self._name = name
        self._allowance = allowance
        self._file, self._errors = _decompressing(file, compression_of(file, name))

    def read(self, count: int) -> bytes:
        """Read so many bytes into memory, or fewer at the end.

        Raises:
            ArchiveError: If they are damaged, or more than allowed.
        """
        try:
            data = self._file.read(count)
        except self._errors as error:
            raise ArchiveError(f"{self._name} is damaged: {error}.") from None
        self._allowance.use(len(data))
        self.position += len(data)
        return data

    def read_whole(self, count: int) -> bytes:
        """Read exactly so many bytes.

        Raises:
            ArchiveError: If there are fewer, or as `read`.
        """
        data = self.read(count)
        if len(data) < count:
            raise self.damaged("it ends in the middle of a member")
        return data

    def chunks(self, count: int) -> Iterator[bytes]:
        """Yield the next bytes in chunks.

        Raises:
            ArchiveError: If there are fewer, or as `read`.
        """
        while count:
            yield (chunk := self.read_whole(min(count, _CHUNK)))
            count -= len(chunk)

    def skip_to(self, position: int) -> None:
        """Skip to an offset.

        Raises:
            ArchiveError: As `read_whole`.
        """
        for _ in self.chunks(position - self.position):
            pass

    def damaged(self, reason: str) -> ArchiveError:
        """Return the error of a malformed archive."""
        return ArchiveError(f"{self._name} isn't a readable tar archive: {reason}.")


def drain(file: BinaryIO) -> None:
    """Read a file to its end, where its digest is verified."""
    while file.read(_CHUNK):
        pass


def _decompressing(file: io.BufferedReader, compression: Compression) -> tuple[BinaryIO, tuple[type[Exception], ...]]:
    """Return the decompressed file, and the errors that it raises for damage."""
    if compression is Compression.GZIP:
        # It takes half of the standard library's time.
        gzip_ng, zlib_ng = import_module("zlib_ng.gzip_ng"), import_module("zlib_ng.zlib_ng")
        return gzip_ng.GzipNGFile(fileobj=file, mode="rb"), (EOFError, zlib_ng.error, gzip.BadGzipFile)
    if compression is Compression.ZSTD:
        zstd = zstd_module()
        options = {zstd.DecompressionParameter.window_log_max: LARGEST_WINDOW_LOG}
        return zstd.ZstdFile(file, options=options), (EOFError, zstd.ZstdError)
    return file, ()


def zstd_module() -> Any:
    """Return the module for Zstandard: the standard library's from Python 3.14 on, otherwise a package like it."""
    return import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
