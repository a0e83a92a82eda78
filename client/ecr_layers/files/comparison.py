"""Compares the files of two images."""

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from ecr_layers.files.archives import Kind
from ecr_layers.files.image_files import ImageFiles
from ecr_layers.files.merged import FileInfo
from ecr_layers.files.tables import Content


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file or directory that two images have, but not the same.

    Attributes:
        path: Its path.
        aspects: What differs: `type`, `mode`, `owner`, `target` or `content`. Times don't count.
    """

    path: str
    aspects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FilesDiff:
    """How the files of two images differ.

    Attributes:
        added: The files and directories that only the second has.
        changed: Those that differ.
        removed: Those that only the first has.
    """

    added: tuple[FileInfo, ...]
    changed: tuple[FileChange, ...]
    removed: tuple[FileInfo, ...]


@dataclass(slots=True)
class _Digests:
    """A target that computes the digests of files instead of writing them."""

    special_kinds: ClassVar[Collection[Kind]] = ()
    found: dict[str, bytes] = field(default_factory=dict)

    def add_directory(self, file: FileInfo) -> None:
        """Ignore a directory."""

    def add_link(self, file: FileInfo) -> None:
        """Ignore a symbolic link."""

    def add_file(self, file: FileInfo, content: Content) -> None:
        """Compute the digest of a file."""
        digest = hashlib.sha256()
        for chunk in content.chunks(file.size):
            digest.update(chunk)
        self.found[file.path] = digest.digest()

    def add_special(self, file: FileInfo) -> None:
        """Ignore a device or a pipe."""

    def add_hard_link(self, file: FileInfo, first: FileInfo) -> None:
        """Give another name of a file its digest."""
        self.found[file.path] = self.found[first.path]


def diff_files(first: ImageFiles, second: ImageFiles) -> FilesDiff:
    """Compare the files of two images. Contents are read only where sizes are equal.

    Raises:
        ClientError: If a layer can't be read.
    """
    added: list[FileInfo] = []
    removed: list[FileInfo] = []
    both: list[tuple[FileInfo, FileInfo]] = []
    for old, new in _paired(first.walk(), second.walk()):
        if old is None and new is not None:
            added.append(new)
        elif new is None and old is not None:
            removed.append(old)
        elif old is not None and new is not None:
            both.append((old, new))
    differing = _differing_contents(first, second, [old.path for old, new in both if _may_differ(old, new)])
    changes = (FileChange(old.path, tuple(_aspects(old, new, old.path in differing))) for old, new in both)
    return FilesDiff(tuple(added), tuple(change for change in changes if change.aspects), tuple(removed))


def _paired(first: Iterator[FileInfo], second: Iterator[FileInfo]) -> Iterator[tuple[FileInfo | None, FileInfo | None]]:
    """Yield the files of both by their paths; both are in the same order."""
    old, new = next(first, None), next(second, None)
    while old or new:
        if new is None or (old is not None and _key(old) < _key(new)):
            yield old, None
            old = next(first, None)
        elif old is None or _key(new) < _key(old):
            yield None, new
            new = next(second, None)
        else:
            yield old, new
            old, new = next(first, None), next(second, None)


def _key(file: FileInfo) -> list[str]:
    return file.path.split("/")


def _may_differ(old: FileInfo, new: FileInfo) -> bool:
    """Tell whether the contents have to be read."""
    return old.kind is new.kind is Kind.FILE and old.size == new.size > 0 and not _is_same_content(old, new)


def _is_same_content(old: FileInfo, new: FileInfo) -> bool:
    return (old.layer, old.offset) == (new.layer, new.offset)


def _differing_contents(first: ImageFiles, second: ImageFiles, paths: list[str]) -> set[str]:
    if not paths:
        return set()
    old, new = _Digests(), _Digests()
    first.extract(old, *paths)
    second.extract(new, *paths)
    return {path for path in paths if old.found[path] != new.found[path]}


def _aspects(old: FileInfo, new: FileInfo, has_other_content: bool) -> Iterator[str]:
    if old.kind is not new.kind:
        yield "type"
        return
    if old.kind is not Kind.SYMBOLIC_LINK and old.attributes.mode != new.attributes.mode:
        yield "mode"
    if (old.attributes.uid, old.attributes.gid) != (new.attributes.uid, new.attributes.gid):
        yield "owner"
    if old.target != new.target:
        yield "target"
    # The contents of sparse files can't be read.
    is_other_sparse_file = old.kind is Kind.SPARSE_FILE and not _is_same_content(old, new)
    if old.size != new.size or has_other_content or is_other_sparse_file:
        yield "content"
