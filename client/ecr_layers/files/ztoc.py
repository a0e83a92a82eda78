"""SOCI's tables of gzip layers: files are listed and read without the rest of the layer.

A table has the state of the decompressor at points of the layer, some megabytes apart. Between two of them is a span,
whose compressed bytes have a digest.

Sources: https://github.com/awslabs/soci-snapshotter/blob/main/ztoc/fbs/ztoc.fbs and
https://github.com/awslabs/soci-snapshotter/blob/main/ztoc/compression/gzip_zinfo.c
"""

import io
import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from ecr_layers.errors import IntegrityError
from ecr_layers.files.archives import Kind, Member, attributes, seconds_of, xattrs_of
from ecr_layers.files.compression import Allowance
from ecr_layers.files.tables import KINDS, LARGEST_TABLE, MalformedTableError, OpenLayer, check, read_range
from ecr_layers.files.tree import MOST_ENTRIES
from ecr_layers.oci.manifests import Descriptor, Manifest
from ecr_layers.oci.references import digest_of, is_digest

INDEX_ANNOTATION = "com.amazon.soci.index-digest"
"""The annotation of an image's manifest with the digest of its SOCI index, version 2."""

_LAYER_ANNOTATION = "com.amazon.soci.image-layer-digest"
_WINDOW = 32 * 1024
_HEADER = struct.Struct("<iq")
_CHECKPOINT = struct.Struct(f"<qqB{_WINDOW}s")
# The first point of old tables, which leave it out: after a header of 10 bytes.
_FIRST = (10, 0, 0, b"")
_GZIP = 1
_OFFSET, _FIELD = struct.Struct("<I"), struct.Struct("<H")


@dataclass(frozen=True, slots=True)
class _Span:
    """Bytes between two points.

    Attributes:
        start: Offset of its first byte in the archive.
        end: Offset of the first byte after it.
        first: Offset of its first byte in the layer.
        last: Offset of the first byte after it.
        bits: How many bits of the first byte belong to it; 0 for all.
        window: The bytes of the archive before it.
        digest: The digest of its compressed bytes.
    """

    start: int
    end: int
    first: int
    last: int
    bits: int
    window: bytes
    digest: str

    def decompress(self, compressed: bytes) -> bytes:
        """Return its bytes of the archive.

        Raises:
            MalformedTableError: If they aren't what the table says.
        """
        decompressor = zlib.decompressobj(-zlib.MAX_WBITS, self.window)
        if self.bits:
            compressed = _with_bits_skipped(compressed, 8 - self.bits)
        try:
            data = decompressor.decompress(compressed, self.end - self.start)
        except zlib.error:
            raise MalformedTableError from None
        check(len(data) == self.end - self.start)
        return data


class Ztoc:
    """SOCI's table of a layer.

    Args:
        layer: The layer.
        content: The table, verified.
        open_layer: Opens the layer.

    Attributes:
        members: The layer's members.

    Raises:
        MalformedTableError: If it can't be used.
    """

    def __init__(self, layer: Descriptor, content: bytes, open_layer: OpenLayer) -> None:
        try:
            root = _FlatTable.root(content)
            check(root.text(0) == "0.9" and root.integer(2) == layer.size)
            self.members = [_member(each) for each in root.table(4).tables(0)]
            self._spans = list(_spans(root.table(5), layer.size, root.integer(3)))
        except struct.error:
            raise MalformedTableError from None
        self._starts = [span.start for span in self._spans]
        self._name = layer.digest
        self._open_layer = open_layer
        ends = [0, *(member.offset + member.size for member in self.members)]
        check(all(end <= member.offset for end, member in zip(ends, self.members, strict=False)))
        check(ends[-1] <= self._spans[-1].end)

    @contextmanager
    def contents(self, allowance: Allowance) -> Iterator["_Contents"]:
        """Open the contents of its files.

        Raises:
            ClientError: If the layer can't be read.
        """
        with self._open_layer() as file:
            yield _Contents(self, file, allowance)

    def span_at(self, position: int) -> _Span:
        """Return the span with a byte of the archive."""
        return self._spans[bisect_right(self._starts, position) - 1]

    def read_span(self, span: _Span, file: io.BufferedReader) -> bytes:
        """Return the bytes of the archive in a span.

        Raises:
            IntegrityError: If its compressed bytes don't have their digest.
            MalformedTableError: If the table is wrong.
        """
        compressed = read_range(file, span.first, span.last - span.first)
        if digest_of(compressed, span.digest) != span.digest:
            raise IntegrityError(
                f"Digest mismatch: {self._name} has other bytes than its SOCI index says. The registry's copy may be "
                "corrupt."
            )
        return span.decompress(compressed)


class _Contents:
    """The contents of a layer's files, in order."""

    def __init__(self, ztoc: Ztoc, file: io.BufferedReader, allowance: Allowance) -> None:
        self._ztoc = ztoc
        self._file = file
        self._allowance = allowance
        self._position = 0
        self._span: _Span | None = None
        self._data = b""

    def skip_to(self, position: int) -> None:
        """Go to an offset in the archive."""
        self._position = position

    def chunks(self, count: int) -> Iterator[bytes]:
        """Yield the next bytes, from their spans."""
        end = self._position + count
        while self._position < end:
            span = self._ztoc.span_at(self._position)
            if span is not self._span:
                self._allowance.use(span.end - span.start)
                self._span, self._data = span, self._ztoc.read_span(span, self._file)
            chunk = self._data[self._position - span.start : end - span.start]
            self._position += len(chunk)
            yield chunk


def ztocs(index: Manifest) -> Mapping[str, Descriptor]:
    """Return the tables that a SOCI index lists, by the digests of their layers."""
    return {each.annotations.get(_LAYER_ANNOTATION, ""): each for each in index.layers}


def _spans(info: "_FlatTable", layer_size: int, archive_size: int) -> Iterator[_Span]:
    check(info.integer(0, "<b", _GZIP) == _GZIP)
    digests = info.texts(2)
    points = _points(info.bytes(3))
    check(len(points) == len(digests) > 0 and points[0][1] == 0)
    following = [*((first, start) for first, start, _, _ in points[1:]), (layer_size, archive_size)]
    for (first, start, bits, window), (last, end), digest in zip(points, following, digests, strict=True):
        check(0 < first < last and start < end and bits < 8 and is_digest(digest))
        check(max(last - first, end - start) <= LARGEST_TABLE)
        yield _Span(start, end, first - (bits > 0), last, bits, window if start else b"", digest)


def _points(checkpoints: bytes) -> list[tuple[int, int, int, bytes]]:
    count, _ = _HEADER.unpack_from(checkpoints)
    points = list(_CHECKPOINT.iter_unpack(checkpoints[_HEADER.size :]))
    check(count - len(points) in {0, 1})
    return [*[_FIRST] * (count - len(points)), *points]


def _member(entry: "_FlatTable") -> Member:
    kind = KINDS.get(entry.text(1), Kind.OTHER)
    return Member(
        entry.text(0),
        kind,
        entry.text(4),
        entry.integer(2),
        entry.integer(3) if kind is Kind.FILE else 0,
        attributes(
            entry.integer(5),
            entry.integer(6, "<I"),
            entry.integer(7, "<I"),
            seconds_of(entry.text(10)),
            xattrs=xattrs_of({each.text(0): each.text(1) for each in entry.tables(13)}),
            device=(entry.integer(11), entry.integer(12)),
        ),
    )


class _FlatTable:
    """A table of FlatBuffers. The library for Python checks no bounds, and needs more code than this.

    Source: https://flatbuffers.dev/internals/

    Args:
        content: The buffer.
        position: Offset of the table.

    Raises:
        struct.error: Here and in the methods, if something is beyond the buffer.
    """

    def __init__(self, content: bytes, position: int) -> None:
        self._content = content
        self._position = position

    @classmethod
    def root(cls, content: bytes) -> Self:
        """Return the table that a buffer starts with."""
        return cls(content, _OFFSET.unpack_from(content)[0])

    def integer(self, field: int, form: str = "<q", default: int = 0) -> int:
        """Return a number; negative ones are 0."""
        place = self._place(field)
        number: int = struct.unpack_from(form, self._content, place)[0] if place else default
        return max(number, 0)

    def bytes(self, field: int) -> bytes:
        """Return a vector of bytes; empty without one."""
        place = self._place(field)
        return _vector(self._content, place) if place else b""

    def text(self, field: int) -> str:
        """Return a text; empty without one."""
        return self.bytes(field).decode("utf-8", "surrogateescape")

    def texts(self, field: int) -> list[str]:
        """Return a vector of texts."""
        return [_vector(self._content, place).decode("ascii", "replace") for place in self._places(field)]

    def table(self, field: int) -> "_FlatTable":
        """Return a table in it."""
        place = self._place(field)
        check(place > 0)
        return _FlatTable(self._content, _target(self._content, place))

    def tables(self, field: int) -> Iterator["_FlatTable"]:
        """Yield a vector of tables."""
        return (_FlatTable(self._content, _target(self._content, place)) for place in self._places(field))

    def _place(self, field: int) -> int:
        """Return where a field is; 0 without it."""
        fields = self._position - struct.unpack_from("<i", self._content, self._position)[0]
        entry = 4 + 2 * field
        check(fields >= 0)
        if entry >= _FIELD.unpack_from(self._content, fields)[0]:
            return 0
        offset: int = _FIELD.unpack_from(self._content, fields + entry)[0]
        return self._position + offset if offset else 0

    def _places(self, field: int) -> range:
        place = self._place(field)
        if not place:
            return range(0)
        start = _target(self._content, place)
        count = _OFFSET.unpack_from(self._content, start)[0]
        check(count <= MOST_ENTRIES)
        return range(start + _OFFSET.size, start + _OFFSET.size * (count + 1), _OFFSET.size)


def _target(content: bytes, place: int) -> int:
    """Return what the offset at a place leads to."""
    offset: int = _OFFSET.unpack_from(content, place)[0]
    return place + offset


def _vector(content: bytes, place: int) -> bytes:
    start = _target(content, place) + _OFFSET.size
    length = _OFFSET.unpack_from(content, start - _OFFSET.size)[0]
    check(start + length <= len(content))
    return content[start : start + length]


def _with_bits_skipped(compressed: bytes, count: int) -> bytes:
    """Return a stream of Deflate whose first bits are replaced by empty blocks, because zlib starts at whole bytes.

    An empty block with fixed codes has 10 bits; one with codes of its own can have an odd number. RFC 1951, 3.2.3.

    Args:
        compressed: The stream.
        count: How many bits of its first byte to skip.
    """
    blocks, length = (0, 0) if count % 2 == 0 else (_ODD_BLOCK, _ODD_BLOCK_BITS)
    while length % 8 != count:
        blocks |= 0b010 << length
        length += 10
    blocks |= compressed[0] >> count << length
    return blocks.to_bytes(length // 8 + 1, "little") + compressed[1:]


def _odd_block() -> tuple[int, int]:
    """Return the bits of an empty block with codes of its own, and their number, which is odd."""
    # Not the last block, with dynamic codes; 257 literals, one distance, and 19 lengths of codes for lengths.
    fields = [(0, 1), (2, 2), (0, 5), (0, 5), (15, 4)]
    # The codes 1 (a length of 1) and 18 (11 to 138 zeros) have one bit each; the order is that of the RFC.
    order = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)
    fields += [(int(code in {1, 18}), 3) for code in order]
    # 138 and 118 zeros, then lengths of 1 for the end of the block and for the distance; then the end of the block.
    fields += [(1, 1), (138 - 11, 7), (1, 1), (118 - 11, 7), (0, 1), (0, 1), (0, 1)]
    bits = length = 0
    for value, width in fields:
        bits |= value << length
        length += width
    return bits, length


_ODD_BLOCK, _ODD_BLOCK_BITS = _odd_block()
