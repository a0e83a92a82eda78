"""Reads tar archives of any origin from beginning to end.

The standard library's `tarfile` reads headers of any size into memory, keeps every member, and follows extension
headers by recursion, so a small layer could fill the memory. It also takes most of the time for fields that don't
matter here: layers have hundreds of thousands of members.

Sources: https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html,
https://www.gnu.org/software/tar/manual/html_node/Standard.html
"""

import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum, auto
from functools import lru_cache
from typing import Any

from ecr_layers.files.compression import Decompressed

LARGEST_EXTENSION = 1024 * 1024
"""Largest extension header, in bytes: a long name, or a member's attributes."""

XATTR = "SCHILY.xattr."
"""The prefix of extended attributes in a pax header, as GNU tar and Go have it."""

_BLOCK = tarfile.BLOCKSIZE


class Kind(Enum):
    """The type of a member."""

    FILE = auto()
    SPARSE_FILE = auto()
    DIRECTORY = auto()
    SYMBOLIC_LINK = auto()
    HARD_LINK = auto()
    CHARACTER_DEVICE = auto()
    BLOCK_DEVICE = auto()
    PIPE = auto()
    OTHER = auto()


@dataclass(frozen=True, slots=True)
class Attributes:
    """What an archive says of a member besides its name and content. Malformed values are 0.

    Attributes:
        mode: Its permissions.
        uid: Its owner's number.
        gid: Its group's number.
        mtime: When it was changed, in seconds since 1970.
        xattrs: Its extended attributes: names and values.
        device: The major and minor number of a device.
    """

    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    mtime: float = 0
    xattrs: tuple[tuple[str, bytes], ...] = ()
    device: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an archive.

    Attributes:
        name: Its path, as the archive has it.
        kind: Its type.
        target: The target of a link, empty for other types.
        offset: Offset of its content in the archive, in bytes.
        size: Size of its content in bytes.
        attributes: Its owner, permissions and time.
    """

    name: str
    kind: Kind
    target: str
    offset: int
    size: int
    attributes: Attributes


def members(archive: Decompressed) -> Iterator[Member]:
    """Yield the members of an archive in order.

    Before the next one, a member's content can be read from the archive; the rest is skipped.

    Args:
        archive: The archive, at its beginning.

    Raises:
        ArchiveError: If it is damaged, or one of its extension headers is too large.
    """
    while (member := _next_member(archive)) is not None:
        end = member.offset + member.size + -member.size % _BLOCK
        yield member
        archive.skip_to(end)


def _next_member(archive: Decompressed) -> Member | None:
    """Read the next header with its extension headers; None at the end."""
    extensions: dict[str, str] = {}
    while (header := _header(archive)) is not None:
        match header.type:
            case tarfile.XHDTYPE | tarfile.SOLARIS_XHDTYPE:
                extensions |= _attributes(_extension(archive, header), archive)
            case tarfile.XGLTYPE:
                # Docker and containerd ignore these, too.
                archive.skip_to(archive.position + header.size + -header.size % _BLOCK)
            case tarfile.GNUTYPE_LONGNAME:
                extensions.setdefault("path", _text(_extension(archive, header)))
            case tarfile.GNUTYPE_LONGLINK:
                extensions.setdefault("linkpath", _text(_extension(archive, header)))
            case _:
                return _member(archive, header, extensions)
    if extensions:
        raise archive.damaged("it ends after an extension header")
    return None


@dataclass(frozen=True, slots=True)
class _Header:
    """The fields of a header that matter here."""

    name: str
    size: int
    type: bytes
    linkname: str
    attributes: Attributes


def _header(archive: Decompressed) -> _Header | None:
    """Read a header; None at the end."""
    block = archive.read(_BLOCK)
    if not block.strip(b"\0"):
        return None
    if len(block) < _BLOCK:
        raise archive.damaged("it ends in the middle of a header")
    if not _has_checksum(block, _number(archive, block[148:156])):
        raise archive.damaged("a header has a wrong checksum")
    kind, name, prefix = block[156:157], _text(block[:100]), _text(block[345:500])
    if kind == tarfile.AREGTYPE and name.endswith("/"):
        # In the oldest form, a directory is a file with a slash at the end of its name.
        kind = tarfile.DIRTYPE
    if prefix and kind not in _GNU_TYPES:
        name = f"{prefix}/{name}"
    if kind == tarfile.GNUTYPE_SPARSE:
        _skip_map(archive, block)
    device = block[329:345] if kind in {tarfile.CHRTYPE, tarfile.BLKTYPE} else b""
    attributes = _read_attributes(block[100:124], block[136:148], device)
    return _Header(name, _number(archive, block[124:136]), kind, _text(block[157:257]), attributes)


# Most members of a layer have the same few; sharing them saves time and memory.
@lru_cache(maxsize=4096)
def _read_attributes(owner: bytes, mtime: bytes, device: bytes) -> Attributes:
    numbers = map(_lenient_number, (owner[:8], owner[8:16], owner[16:], mtime))
    return attributes(*numbers, device=(_lenient_number(device[:8]), _lenient_number(device[8:])) if device else (0, 0))


def attributes(mode: int, uid: int, gid: int, mtime: float, **others: Any) -> Attributes:
    """Return attributes from untrusted values; numbers that can't be are 0."""
    return Attributes(mode & 0o7777, _in_range(uid, _LARGEST_ID), _in_range(gid, _LARGEST_ID), _time(mtime), **others)


def xattrs_of(records: Mapping[str, str]) -> tuple[tuple[str, bytes], ...]:
    """Return the extended attributes in the records of a pax header."""
    found = ((name.removeprefix(XATTR), value) for name, value in records.items() if name.startswith(XATTR))
    return tuple((name, value.encode("utf-8", "surrogateescape")) for name, value in found)


def seconds_of(time: str) -> float:
    """Return a time of RFC 3339 in seconds since 1970; 0 if it is malformed."""
    try:
        return datetime.fromisoformat(time).timestamp()
    except (ValueError, OverflowError):
        return 0


def _lenient_number(content: bytes) -> int:
    if content[0] in {0o200, 0o377}:
        return int.from_bytes(content[1:], "big", signed=content[0] == 0o377)
    digits = content.partition(b"\0")[0].strip()
    return int(digits, 8) if digits and not digits.strip(b"01234567") else 0


def _in_range(number: int, largest: int) -> int:
    return number if 0 <= number <= largest else 0


def _time(seconds: float) -> float:
    if abs(seconds) > _LATEST:
        return 0
    return int(seconds) if seconds == int(seconds) else seconds


def _extended(attributes: Attributes, extensions: dict[str, str]) -> Attributes:
    """Return attributes with those of a pax header."""
    changed: dict[str, Any] = {}
    for name in ("uid", "gid"):
        if re.fullmatch(r"[0-9]{1,10}", extensions.get(name, "")):
            changed[name] = _in_range(int(extensions[name]), _LARGEST_ID)
    if re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]{0,30})?", extensions.get("mtime", "")):
        changed["mtime"] = _time(float(extensions["mtime"]))
    if xattrs := xattrs_of(extensions):
        changed["xattrs"] = xattrs
    return replace(attributes, **changed) if changed else attributes


def _has_checksum(block: bytes, checksum: int) -> bool:
    """Compare the sum of a header's bytes, its checksum counted as spaces. Some old programs summed signed bytes."""
    counted = block[:148] + block[156:]
    unsigned = 8 * ord(" ") + sum(counted)
    return checksum == unsigned or checksum == unsigned - 256 * sum(each > 127 for each in counted)


def _number(archive: Decompressed, content: bytes) -> int:
    """Read a number: octal digits, or GNU's form for large ones, in base 256 after a marker."""
    if content[0] == 0o200:
        return int.from_bytes(content[1:], "big")
    digits = content.partition(b"\0")[0].strip()
    if digits.strip(b"01234567"):
        raise archive.damaged("a header has a malformed number")
    return int(digits or b"0", 8)


def _skip_map(archive: Decompressed, block: bytes) -> None:
    """Skip the rest of a sparse file's map after its header. A byte of each block tells whether another follows."""
    has_more = block[482]
    while has_more:
        has_more = archive.read_whole(_BLOCK)[504]


def _extension(archive: Decompressed, header: _Header) -> bytes:
    if header.size > LARGEST_EXTENSION:
        raise archive.damaged(f"an extension header has {header.size} bytes; at most {LARGEST_EXTENSION} are supported")
    return archive.read_whole(header.size + -header.size % _BLOCK)[: header.size]


def _attributes(content: bytes, archive: Decompressed) -> dict[str, str]:
    """Return the attributes of a pax header that matter here: names, link targets, sizes, owners, times and xattrs.

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
        elif keyword.startswith(XATTR.encode()):
            attributes[_text(keyword)] = value.decode("utf-8", "surrogateescape")
        elif keyword.startswith(_SPARSE):
            attributes[_text(_SPARSE)] = "yes"
        position += length
    return attributes


def _text(content: bytes) -> str:
    return content.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _member(archive: Decompressed, header: _Header, extensions: dict[str, str]) -> Member:
    kind = _KINDS.get(header.type, Kind.OTHER)
    is_sparse = header.type == tarfile.GNUTYPE_SPARSE or _text(_SPARSE) in extensions
    return Member(
        extensions.get("GNU.sparse.name") or extensions.get("path") or header.name,
        Kind.SPARSE_FILE if is_sparse and kind is Kind.FILE else kind,
        (extensions.get("linkpath") or header.linkname) if kind in {Kind.SYMBOLIC_LINK, Kind.HARD_LINK} else "",
        archive.position,
        # A member without content may still state a size.
        0 if header.type in _WITHOUT_CONTENT else _size(archive, header, extensions),
        _extended(header.attributes, extensions) if extensions else header.attributes,
    )


def _size(archive: Decompressed, header: _Header, extensions: dict[str, str]) -> int:
    size = extensions.get("size")
    if not size:
        return header.size
    if not (size.isascii() and size.isdigit()) or len(size) > 19:
        raise archive.damaged("a member's size isn't a number")
    return int(size)


# Their headers have other fields where others have a prefix.
_GNU_TYPES = frozenset({tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.GNUTYPE_SPARSE})
_SPARSE = b"GNU.sparse."
_KEYWORDS = frozenset({b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime", b"GNU.sparse.name"})
_LARGEST_ID = 2**32 - 2
# The year 9999; later ones have no date in Python.
_LATEST = 253_402_300_799 - 86_400
_KINDS = {
    tarfile.REGTYPE: Kind.FILE,
    tarfile.AREGTYPE: Kind.FILE,
    tarfile.CONTTYPE: Kind.FILE,
    tarfile.GNUTYPE_SPARSE: Kind.FILE,
    tarfile.DIRTYPE: Kind.DIRECTORY,
    tarfile.SYMTYPE: Kind.SYMBOLIC_LINK,
    tarfile.LNKTYPE: Kind.HARD_LINK,
    tarfile.CHRTYPE: Kind.CHARACTER_DEVICE,
    tarfile.BLKTYPE: Kind.BLOCK_DEVICE,
    tarfile.FIFOTYPE: Kind.PIPE,
}
_WITHOUT_CONTENT = frozenset(
    {tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE}
)
