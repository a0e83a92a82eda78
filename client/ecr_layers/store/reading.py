"""Reads an image layout: a directory, or an archive of one without compression."""

import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ecr_layers.errors import ClientError, UsageError
from ecr_layers.files.archives import Kind, members
from ecr_layers.files.compression import Allowance, Compression, Decompressed, compression_of
from ecr_layers.files.image_files import MOST_BYTES
from ecr_layers.oci.manifests import LARGEST_MANIFEST, Descriptor, Manifest
from ecr_layers.store.layout import INDEX, LARGEST_INDEX, LayoutIndex
from ecr_layers.store.target import path_of

MOST_MEMBERS = 1_000_000
"""Most files of an archive."""


class LayoutFiles:
    """The files of a layout.

    Args:
        path: The directory or the archive.

    Attributes:
        path: The same.
        index: Its index.
        entries: The images and artifacts in the index.

    Raises:
        UsageError: If it is neither, or can't be read.
        ClientError: If its index is malformed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._members = None if path.is_dir() else _members(path)
            with self._open(INDEX) as file:
                content = file.read(LARGEST_INDEX + 1)
        except (FileNotFoundError, KeyError):
            raise UsageError(f"{path} isn't an OCI image layout, nor an archive of one.", code="no-layout") from None
        except OSError as error:
            raise UsageError(f"Can't read {path}: {error.strerror}.", code="no-layout") from None
        self.index = LayoutIndex(content, f"{path}/{INDEX}")
        self.entries = tuple(map(Descriptor.parse, self.index.entries))

    def size(self, digest: str) -> int | None:
        """Return the size of a blob's file in bytes; None without."""
        if self._members is not None:
            return self._members.get(_name(digest), (0, None))[1]
        path = self.path / _name(digest)
        return path.stat().st_size if path.is_file() else None

    def has(self, blob: Descriptor) -> bool:
        """Tell whether it has a blob, by its size."""
        return self.size(blob.digest) == blob.size

    @contextmanager
    def open(self, digest: str) -> Iterator[io.BufferedReader]:
        """Open a blob that it has."""
        with self._open(_name(digest)) as file:
            yield file

    def manifest(self, descriptor: Descriptor) -> Manifest | None:
        """Return a manifest or index, verified; None without.

        Raises:
            IntegrityError: If it doesn't have its digest.
            ClientError: If it is malformed.
        """
        if self.size(descriptor.digest) is None:
            return None
        with self.open(descriptor.digest) as file:
            return Manifest.parse(file.read(LARGEST_MANIFEST + 1), descriptor.media_type or None, descriptor.digest)

    def reachable(self) -> Iterator[Descriptor]:
        """Yield what its entries lead to; see `reachable`."""
        return reachable(self.entries, self.manifest)

    @contextmanager
    def _open(self, name: str) -> Iterator[io.BufferedReader]:
        if self._members is None:
            with (self.path / name).open("rb") as file:
                yield file
            return
        with self.path.open("rb") as file:
            member: io.RawIOBase = _Member(file.fileno(), *self._members[name])
            yield io.BufferedReader(member)


def reachable(entries: Iterable[Descriptor], manifest: Callable[[Descriptor], Manifest | None]) -> Iterator[Descriptor]:
    """Yield everything that entries of an index lead to, each once and before what it lists.

    Args:
        entries: The entries.
        manifest: Returns a manifest or index; None for one that can't be read.

    Raises:
        ClientError: What `manifest` raises.
    """
    seen: set[str] = set()
    waiting = list(entries)
    while waiting:
        entry = waiting.pop()
        if entry.digest in seen:
            continue
        seen.add(entry.digest)
        yield entry
        found = manifest(entry) if _is_manifest(entry) else None
        if found is not None:
            new = {blob.digest: blob for blob in found.blobs if blob.digest not in seen}
            seen |= new.keys()
            yield from new.values()
            waiting += found.manifests


def _is_manifest(entry: Descriptor) -> bool:
    """Tell whether an index's entry is a manifest or index. Other tools may list any document there."""
    return not entry.media_type or any(kind in entry.media_type for kind in ("manifest", "image.index"))


def _name(digest: str) -> str:
    return path_of(Path("blobs"), digest).as_posix()


def _members(path: Path) -> Mapping[str, tuple[int, int]]:
    """Return offset and size of each file in an archive.

    Raises:
        ClientError: If it is damaged, or has too many files.
        UsageError: If it is compressed.
        OSError: If it can't be read.
    """
    with path.open("rb") as file:
        if compression_of(file, str(path)) is not Compression.NONE:
            raise UsageError(f"{path} is compressed. Decompress it first.", code="no-layout")
        archive = Decompressed(file, str(path), Allowance(MOST_BYTES))
        found: dict[str, tuple[int, int]] = {}
        for member in members(archive):
            if member.kind is Kind.FILE:
                found[member.name.removeprefix("./")] = member.offset, member.size
            if len(found) > MOST_MEMBERS:
                raise ClientError(f"{path} has over {MOST_MEMBERS} files.", code="malformed-document")
        return found


class _Member(io.RawIOBase):
    """A file of an archive."""

    def __init__(self, archive: int, offset: int, size: int) -> None:
        super().__init__()
        self._archive, self._position, self._end = archive, offset, offset + size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        wanted = memoryview(buffer)[: self._end - self._position]
        count = os.preadv(self._archive, [wanted], self._position)
        self._position += count
        return count
