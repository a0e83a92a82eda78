"""Tables of contents in layers, eStargz's and zstd:chunked's: files are listed and read without the rest of the layer.

The manifest has the digest of the table, and the table those of the files' chunks.

Sources: https://github.com/containerd/stargz-snapshotter/blob/main/docs/estargz.md,
https://github.com/containers/storage/blob/main/pkg/chunked/internal/minimal/compression.go
"""

import io
import json
import re
from base64 import b64decode
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from ecr_layers.errors import IntegrityError
from ecr_layers.files.archives import Kind, Member, attributes, members, seconds_of
from ecr_layers.files.compression import Allowance, Decompressed
from ecr_layers.files.tables import KINDS, LARGEST_TABLE, MalformedTableError, OpenLayer, check, read_range
from ecr_layers.oci.documents import mapping, text, text_map, whole
from ecr_layers.oci.manifests import Descriptor
from ecr_layers.oci.references import digest_of, is_digest

_ESTARGZ = "containerd.io/snapshot/stargz/toc.digest"
# The second is that of Podman and skopeo before 2023.
_ZSTD_CHUNKED = ("io.github.containers.zstd-chunked.", "io.containers.zstd-chunked.")
_POSITION = re.compile(r"([0-9]{1,18}):([0-9]{1,18}):([0-9]{1,18}):1")
_FRAME_HEADER = 8
_FOOTER_SIZE = 51
_FOOTER = re.compile(rb".{12}SG\x16\0([0-9a-f]{16})STARGZ.{13}", re.DOTALL)
_NAME = "stargz.index.json"


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A part of a file.

    Attributes:
        size: Its size in bytes.
        offset: Offset of the compressed bytes in the layer.
        inner: Offset of the chunk in the decompressed bytes.
        digest: The chunk's digest.
    """

    size: int
    offset: int
    inner: int
    digest: str


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry of a table: a member with its first chunk, or a later chunk of the same member."""

    member: Member | None
    name: str
    start: int
    chunk: _Chunk


class Toc:
    """The table of contents of a layer.

    Args:
        name: The layer's name for messages.
        open_layer: Opens the layer.
        files: The members, each with its chunks.
        end: Offset of the first byte after the chunks.

    Attributes:
        members: The layer's members. Their offsets are their numbers.

    Raises:
        MalformedTableError: If the chunks don't make up the files.
    """

    def __init__(
        self, name: str, open_layer: OpenLayer, files: Sequence[tuple[Member, Sequence[_Chunk]]], end: int
    ) -> None:
        self.members = [replace(member, offset=number) for number, (member, _) in enumerate(files)]
        self._name = name
        self._open_layer = open_layer
        self._chunks = [chunks for _, chunks in files]
        offsets = {chunk.offset for chunks in self._chunks for chunk in chunks}
        self._ends = [*sorted(offsets), end]
        check(max(offsets, default=0) < end)
        for member, chunks in files:
            check(member.size == sum(chunk.size for chunk in chunks))
            check(all(is_digest(chunk.digest) and chunk.size <= LARGEST_TABLE for chunk in chunks))

    @contextmanager
    def contents(self, allowance: Allowance) -> Iterator["_Contents"]:
        """Open the contents of its files.

        Raises:
            ClientError: If the layer can't be read.
        """
        with self._open_layer() as file:
            yield _Contents(self, file, allowance)

    def chunks(self, number: int, file: io.BufferedReader, allowance: Allowance) -> Iterator[bytes]:
        """Yield the verified chunks of a member.

        Raises:
            IntegrityError: If one has another digest than the table says.
            ArchiveError: If the layer is damaged, or more is decompressed than allowed.
        """
        for chunk in self._chunks[number]:
            end = self._ends[bisect_right(self._ends, chunk.offset)]
            compressed = read_range(file, chunk.offset, end - chunk.offset)
            archive = _decompressed(compressed, self._name, allowance)
            archive.skip_to(chunk.inner)
            data = archive.read_whole(chunk.size)
            if digest_of(data, chunk.digest) != chunk.digest:
                raise IntegrityError(
                    f"Digest mismatch: {self._name} has other bytes than its table of contents says. The registry's "
                    "copy may be corrupt."
                )
            yield data


class _Contents:
    """The contents of a layer's files."""

    def __init__(self, toc: Toc, file: io.BufferedReader, allowance: Allowance) -> None:
        self._toc = toc
        self._file = file
        self._allowance = allowance
        self._number = 0

    def skip_to(self, position: int) -> None:
        """Go to the content of a member."""
        self._number = position

    def chunks(self, count: int) -> Iterator[bytes]:
        """Yield the member's content of `count` bytes."""
        check(count == self._toc.members[self._number].size)
        return self._toc.chunks(self._number, self._file, self._allowance)


def read_toc(layer: Descriptor, open_layer: OpenLayer, allowance: Allowance) -> Toc | None:
    """Return a layer's table of contents, verified by its digest in the manifest; None if it says that it has none.

    Args:
        layer: The layer, as the manifest describes it.
        open_layer: Opens it; only its end is read.
        allowance: How many bytes may be decompressed.

    Raises:
        MalformedTableError: If it can't be used.
        ClientError: If it can't be read.
    """
    for prefix in _ZSTD_CHUNKED:
        position = _POSITION.fullmatch(layer.annotations.get(f"{prefix}manifest-position", ""))
        if position is not None:
            digest = layer.annotations.get(f"{prefix}manifest-checksum", "")
            return _read_zstd_chunked(layer, open_layer, allowance, digest, position)
    if _ESTARGZ in layer.annotations:
        return _read_estargz(layer, open_layer, allowance, layer.annotations[_ESTARGZ])
    return None


def _read_zstd_chunked(
    layer: Descriptor, open_layer: OpenLayer, allowance: Allowance, digest: str, position: re.Match[str]
) -> Toc:
    offset, length, size = map(int, position.groups())
    check(offset + length <= layer.size and max(length, size) <= LARGEST_TABLE)
    with open_layer() as file:
        compressed = read_range(file, offset, length)
    check(is_digest(digest) and digest_of(compressed, digest) == digest)
    content = _decompressed(compressed, layer.digest, allowance).read_whole(size)
    return Toc(layer.digest, open_layer, _files(content), offset - _FRAME_HEADER)


def _read_estargz(layer: Descriptor, open_layer: OpenLayer, allowance: Allowance, digest: str) -> Toc:
    end = layer.size - _FOOTER_SIZE
    check(end > 0)
    with open_layer() as file:
        footer = _FOOTER.fullmatch(read_range(file, end, _FOOTER_SIZE))
        offset = int(footer[1], 16) if footer else end
        check(0 < end - offset <= LARGEST_TABLE)
        archive = _decompressed(read_range(file, offset, end - offset), layer.digest, allowance)
    for table in members(archive):
        check(table.name == _NAME and table.size <= LARGEST_TABLE)
        content = archive.read_whole(table.size)
        check(is_digest(digest) and digest_of(content, digest) == digest)
        # The table is a file of the layer, too.
        itself = table, [_Chunk(table.size, offset, table.offset, digest)]
        return Toc(layer.digest, open_layer, [*_files(content), itself], end)
    raise MalformedTableError


def _files(content: bytes) -> list[tuple[Member, list[_Chunk]]]:
    """Read a table: members, each with its chunks."""
    try:
        document = mapping(json.loads(content, object_hook=_read_entry))
    except (ValueError, RecursionError):
        raise MalformedTableError from None
    entries = document.get("entries")
    check(document.get("version") == 1 and isinstance(entries, list))
    files: list[tuple[Member, list[_Chunk]]] = []
    for entry in entries or ():
        check(isinstance(entry, _Entry))
        if entry.member is not None:
            files.append((entry.member, []))
        check(bool(files))
        member, chunks = files[-1]
        if member.kind is Kind.FILE and member.size:
            check(member.name == entry.name and entry.start == sum(chunk.size for chunk in chunks))
            # The last chunk of a file doesn't say its size.
            chunks.append(replace(entry.chunk, size=entry.chunk.size or member.size - entry.start))
    return files


def _read_entry(entry: dict[str, Any]) -> Any:
    """Return an entry of a table instead of a JSON object, which takes much more memory."""
    name, kind = text(entry.get("name")), text(entry.get("type"))
    if name is None or kind is None:
        return entry
    digest = text(entry.get("chunkDigest")) or text(entry.get("digest")) or ""
    offset, inner, start, size = (
        whole(entry.get(each)) for each in ("offset", "innerOffset", "chunkOffset", "chunkSize")
    )
    chunk = _Chunk(size, offset, inner, digest)
    return _Entry(None if kind == "chunk" else _member(entry, name, kind), name, start, chunk)


def _member(entry: Mapping[str, Any], name: str, kind: str) -> Member:
    mode, uid, gid, size, major, minor = (
        whole(entry.get(each)) for each in ("mode", "uid", "gid", "size", "devMajor", "devMinor")
    )
    xattrs = tuple((key, b64decode(value, validate=True)) for key, value in text_map(entry.get("xattrs")).items())
    found = attributes(
        mode, uid, gid, seconds_of(text(entry.get("modtime")) or ""), xattrs=xattrs, device=(major, minor)
    )
    of_kind = KINDS.get(kind, Kind.OTHER)
    return Member(name, of_kind, text(entry.get("linkName")) or "", 0, size if of_kind is Kind.FILE else 0, found)


def _decompressed(compressed: bytes, name: str, allowance: Allowance) -> Decompressed:
    return Decompressed(io.BufferedReader(io.BytesIO(compressed)), name, allowance)
