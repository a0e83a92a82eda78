"""Reads tar archives that anybody may have made, compressed or not, from their beginning to their end.

The standard library's `tarfile` reads headers of any size into memory, keeps every member, and follows extension
headers by recursion, so that a small layer can fill memory. Here it parses single headers of 512 bytes; what goes
beyond them is read here, and has a bound.

Sources: https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html,
https://www.gnu.org/software/tar/manual/html_node/Standard.html
"""

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from importlib import import_module
from typing import Any, BinaryIO, cast

from ecr_layers.errors import ClientError, UsageError

LARGEST_EXTENSION = 1024 * 1024
"""How many bytes an extension header may have: a long name, or a member's attributes."""

LARGEST_WINDOW_LOG = 27
"""How much memory Zstandard may ask for, as a power of two: 128 MiB, which is the zstd command's own limit."""

_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 256 * 1024
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
# Frames that a decoder skips: the last four bits of the first byte are anything. RFC 8878, section 3.1.2.
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"
_OTHER_COMPRESSIONS = {b"BZh": "bzip2", b"\xfd7zXZ": "xz"}


class ArchiveError(ClientError):
    """A layer is no archive that can be read; the message is one line."""


class Compression(Enum):
    """How an archive is compressed."""

    NONE = "tar"
    GZIP = "tar+gzip"
    ZSTD = "tar+zstd"


class Kind(Enum):
    """What a member of an archive is."""

    FILE = auto()
    SPARSE_FILE = auto()
    DIRECTORY = auto()
    SYMBOLIC_LINK = auto()
    HARD_LINK = auto()
    OTHER = auto()


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an archive.

    Attributes:
        name: Its path, as the archive has it.
        kind: What it is.
        target: What a link leads to, empty for anything else.
        offset: Where its content begins in the archive, in bytes.
        size: How many bytes of content it has.
    """

    name: str
    kind: Kind
    target: str
    offset: int
    size: int


class Allowance:
    """How many bytes may be decompressed.

    Args:
        size: The number.
    """

    def __init__(self, size: int) -> None:
        self._size = self._left = size

    def use(self, count: int) -> None:
        """Count bytes.

        Raises:
            ArchiveError: If they are too many.
        """
        self._left -= count
        if self._left < 0:
            raise ArchiveError(
                f"The layers have more than {self._size} bytes when they are decompressed. Allow more with --max-bytes."
            )


def compression_of(file: io.BufferedReader, name: str) -> Compression:
    """Return how an archive is compressed, by its first bytes, whatever its media type says.

    Args:
        file: The archive, at its beginning; it stays there.
        name: What messages call it.

    Raises:
        ArchiveError: If it is compressed in another way.
    """
    start = file.peek(8)[:8]
    for magic, other in _OTHER_COMPRESSIONS.items():
        if start.startswith(magic):
            raise ArchiveError(f"{name} is compressed with {other}. Layers of tar, gzip and zstd can be read.")
    if start.startswith(_GZIP):
        return Compression.GZIP
    is_skippable = start[1:4] == _ZSTD_SKIPPABLE and start[0] & 0xF0 == 0x50
    return Compression.ZSTD if start.startswith(_ZSTD) or is_skippable else Compression.NONE


class Decompressed:
    """The bytes of an archive after decompression, one after another.

    Args:
        file: The archive, at its beginning.
        name: What messages call it.
        allowance: How many bytes may be decompressed.

    Attributes:
        position: How many bytes have been read.

    Raises:
        ArchiveError: If it is compressed in a way that can't be read.
    """

    def __init__(self, file: io.BufferedReader, name: str, allowance: Allowance) -> None:
        self.position = 0
        self._name = name
        self._allowance = allowance
        self._file, self._errors = _decompressing(file, compression_of(file, name))

    def read(self, count: int) -> bytes:
        """Read bytes: so many, or fewer at the end. What is asked for is held in memory.

        Raises:
            ArchiveError: If they are damaged, or are more than are allowed.
        """
        try:
            data = self._file.read(count)
        except self._errors as error:
            raise ArchiveError(f"{self._name} is damaged: {error}.") from None
        self._allowance.use(len(data))
        self.position += len(data)
        return data

    def read_whole(self, count: int) -> bytes:
        """Read so many bytes.

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
        """Read on up to a place, and keep nothing of it.

        Raises:
            ArchiveError: As `read_whole`.
        """
        for _ in self.chunks(position - self.position):
            pass

    def damaged(self, reason: str) -> ArchiveError:
        """Return the error of an archive that is no right one."""
        return ArchiveError(f"{self._name} is no readable tar archive: {reason}.")


def members(archive: Decompressed) -> Iterator[Member]:
    """Yield the members of an archive in their order.

    While a member is at hand, its content can be read from the archive; the rest of it is skipped.

    Args:
        archive: The archive, at its beginning.

    Raises:
        ArchiveError: If it is damaged, or one of its extension headers is too large.
    """
    while (member := _next_member(archive)) is not None:
        end = member.offset + member.size + -member.size % _BLOCK
        yield member
        archive.skip_to(end)


def drain(file: BinaryIO) -> None:
    """Read a file to its end, so that its digest is verified there."""
    while file.read(_CHUNK):
        pass


def _next_member(archive: Decompressed) -> Member | None:
    """Read the next header with its extension headers, None at the end."""
    extensions: dict[str, str] = {}
    while (header := _header(archive)) is not None:
        match header.type:
            case tarfile.XHDTYPE | tarfile.SOLARIS_XHDTYPE:
                extensions |= _attributes(_extension(archive, header), archive)
            case tarfile.XGLTYPE:
                # Docker and containerd pass these over as well.
                archive.skip_to(archive.position + header.size + -header.size % _BLOCK)
            case tarfile.GNUTYPE_LONGNAME:
                extensions.setdefault("path", _text(_extension(archive, header)))
            case tarfile.GNUTYPE_LONGLINK:
                extensions.setdefault("linkpath", _text(_extension(archive, header)))
            case _:
                return _member(archive, header, extensions)
    if extensions:
        raise archive.damaged("it ends behind an extension header")
    return None


def _header(archive: Decompressed) -> tarfile.TarInfo | None:
    """Read a header, None if it is the end's."""
    block = archive.read(_BLOCK)
    if not block.strip(b"\0"):
        return None
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise archive.damaged(str(error)) from None
    if header.size < 0:
        raise archive.damaged("a member has a negative size")
    if header.type == tarfile.GNUTYPE_SPARSE:
        _skip_map(archive, block)
    return header


def _skip_map(archive: Decompressed, block: bytes) -> None:
    """Read on over the rest of a sparse file's map, behind its header. A byte of each block says if there is more."""
    has_more = block[482]
    while has_more:
        has_more = archive.read_whole(_BLOCK)[504]


def _extension(archive: Decompressed, header: tarfile.TarInfo) -> bytes:
    if header.size > LARGEST_EXTENSION:
        raise archive.damaged(f"an extension header has {header.size} bytes, and may have {LARGEST_EXTENSION}")
    return archive.read_whole(header.size + -header.size % _BLOCK)[: header.size]


def _attributes(content: bytes, archive: Decompressed) -> dict[str, str]:
    """Return those attributes of a pax header that say where a member is and how large.

    A header is a list of records: a length, a space, a keyword, '=', a value and a line feed.
    """
    attributes: dict[str, str] = {}
    position = 0
    while position < len(content) and content[position]:
        number, space, _ = content[position : position + 8].partition(b" ")
        length = int(number) if number.isdigit() else 0
        record = content[position + len(number) + 1 : position + length]
        keyword, equals, value = record[:-1].partition(b"=")
        if not space or not equals or not record.endswith(b"\n") or position + length > len(content):
            raise archive.damaged("an extension header is malformed")
        if keyword in _KEYWORDS:
            attributes[_text(keyword)] = _text(value)
        elif keyword.startswith(_SPARSE):
            attributes[_text(_SPARSE)] = "yes"
        position += length
    return attributes


def _text(content: bytes) -> str:
    return content.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _member(archive: Decompressed, header: tarfile.TarInfo, extensions: dict[str, str]) -> Member:
    kind = _KINDS.get(header.type, Kind.OTHER)
    is_sparse = header.type == tarfile.GNUTYPE_SPARSE or _text(_SPARSE) in extensions
    return Member(
        extensions.get("GNU.sparse.name") or extensions.get("path") or header.name,
        Kind.SPARSE_FILE if is_sparse and kind is Kind.FILE else kind,
        (extensions.get("linkpath") or header.linkname) if kind in {Kind.SYMBOLIC_LINK, Kind.HARD_LINK} else "",
        archive.position,
        # What has no content may still say that it has a size.
        0 if header.type in _WITHOUT_CONTENT else _size(archive, header, extensions),
    )


def _size(archive: Decompressed, header: tarfile.TarInfo, extensions: dict[str, str]) -> int:
    size = extensions.get("size")
    if not size:
        return header.size
    if not (size.isascii() and size.isdigit()) or len(size) > 19:
        raise archive.damaged("a member's size is no number")
    return int(size)


_SPARSE = b"GNU.sparse."
_KEYWORDS = frozenset({b"path", b"linkpath", b"size", b"GNU.sparse.name"})
_KINDS = {
    tarfile.REGTYPE: Kind.FILE,
    tarfile.AREGTYPE: Kind.FILE,
    tarfile.CONTTYPE: Kind.FILE,
    tarfile.GNUTYPE_SPARSE: Kind.FILE,
    tarfile.DIRTYPE: Kind.DIRECTORY,
    tarfile.SYMTYPE: Kind.SYMBOLIC_LINK,
    tarfile.LNKTYPE: Kind.HARD_LINK,
}
_WITHOUT_CONTENT = frozenset(
    {tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE}
)


def _decompressing(file: io.BufferedReader, compression: Compression) -> tuple[BinaryIO, tuple[type[Exception], ...]]:
    """Return the decompressed file, and the errors that it raises if it is damaged."""
    if compression is Compression.GZIP:
        return cast("BinaryIO", gzip.GzipFile(fileobj=file, mode="rb")), (EOFError, zlib.error, gzip.BadGzipFile)
    if compression is Compression.ZSTD:
        zstd = zstd_module()
        options = {zstd.DecompressionParameter.window_log_max: LARGEST_WINDOW_LOG}
        return zstd.ZstdFile(file, options=options), (EOFError, zstd.ZstdError)
    return file, ()


def zstd_module() -> Any:
    """Return the module for Zstandard: of the standard library from Python 3.14 on, and else of a package like it.

    Raises:
        UsageError: If there is none.
    """
    for name in ("compression.zstd", "backports.zstd"):
        with suppress(ImportError):
            return import_module(name)
    raise UsageError(
        "A layer is compressed with Zstandard, which takes one more package: pip install 'ecr-layers[zstd]'"
    )
