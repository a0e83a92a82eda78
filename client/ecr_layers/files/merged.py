"""The directories of an image, merged from its layers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ecr_layers.files.archives import Attributes, Kind
from ecr_layers.files.tree import LONGEST_PATH, Directory, Entry, Leaf, Parts

LayerDirectory = tuple[int, Directory]
"""A directory of a layer, after the layer's number; 0 is the newest."""


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file or directory of an image.

    Attributes:
        path: Its path from the root, with a slash in front.
        kind: Its type. A hard link is a file, unless its target is missing.
        attributes: Its permissions, owner and time.
        size: Its size in bytes; of a sparse file the stored size.
        target: The target of a link, empty for other types.
        layer: The digest of the layer that it comes from.
        offset: Identifies its content in the layer; 0 for a directory.
    """

    path: str
    kind: Kind
    attributes: Attributes
    size: int
    target: str
    layer: str
    offset: int


@dataclass(frozen=True, slots=True)
class Place:
    """A file or directory of an image.

    Attributes:
        path: Its path from the root, without a slash in front.
        entry: What its layer says of it.
        layer: The number of its layer; 0 is the newest.
    """

    path: str
    entry: Entry
    layer: int


@dataclass(slots=True)
class _Merged:
    """What the layers have at one path, the newest first."""

    directories: list[LayerDirectory] = field(default_factory=list)
    leaf: tuple[int, Leaf] | None = None
    is_hidden: bool = False

    @property
    def is_directory(self) -> bool:
        return any(directory.is_made for _, directory in self.directories)

    def add(self, layer: int, entry: Entry) -> None:
        """Add what the next lower layer has."""
        if self.is_hidden:
            return
        if isinstance(entry, Directory):
            self.directories.append((layer, entry))
            return
        self.is_hidden = True
        if not self.is_directory:
            self.leaf = layer, entry


def walk(path: str, directories: Sequence[LayerDirectory]) -> Iterator[Place]:
    """Yield a directory and everything below, each directory before its entries, sorted by name.

    Args:
        path: Its path; empty for the root, which isn't yielded itself.
        directories: What each layer has of it, the newest first.
    """
    waiting = [(path, _Merged(list(directories)))]
    while waiting:
        place, merged = waiting.pop()
        if merged.leaf is not None:
            layer, leaf = merged.leaf
            yield Place(place, leaf, layer)
            continue
        if place:
            yield _directory(place, merged.directories)
        below = ((f"{place}/{name}".lstrip("/"), each) for name, each in _children(merged.directories))
        waiting.extend(each for each in below if len(each[0]) < LONGEST_PATH)


def directory_in(tree: Directory, path: Parts) -> tuple[Directory | None, bool]:
    """Return a layer's directory at a path, if there is one, and whether it hides those of lower layers."""
    directory, is_final = tree, False
    for name in path:
        is_final = is_final or directory.hides(name)
        entry = directory.entries.get(name)
        if not isinstance(entry, Directory):
            return None, is_final or entry is not None
        directory = entry
    return directory, is_final or directory.is_opaque


def _directory(path: str, directories: Sequence[LayerDirectory]) -> Place:
    """Return a directory with the attributes of the newest layer that lists it."""
    made = [(layer, each) for layer, each in directories if each.is_made]
    layer, directory = next(((layer, each) for layer, each in made if each.attributes), made[-1])
    return Place(path, directory, layer)


def _children(directories: Sequence[LayerDirectory]) -> list[tuple[str, _Merged]]:
    """Return the merged entries of a directory by name, the last name first."""
    found: dict[str, _Merged] = {}
    for layer, directory in directories:
        for name, entry in directory.entries.items():
            found.setdefault(name, _Merged()).add(layer, entry)
        for name in directory.removed or ():
            found.setdefault(name, _Merged()).is_hidden = True
        if directory.is_opaque:
            break
    there = [(name, each) for name, each in found.items() if each.leaf is not None or each.is_directory]
    return sorted(there, key=lambda each: each[0], reverse=True)
