"""Files of an image, found in its layers as a container would find them, without unpacking anything.

The newest layer is read first, and no layer below the one that decides. Each is read as a whole, so that its digest is
verified before anything of it is believed.

Source: https://github.com/opencontainers/image-spec/blob/main/layer.md
"""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from ecr_layers.errors import ClientError, one_line
from ecr_layers.files.archives import Allowance, ArchiveError, Decompressed, Kind, Member, drain, members
from ecr_layers.oci.manifests import Descriptor

MOST_BYTES = 64 * 1024**3
"""How many bytes of layers are read, after decompression, unless the caller says otherwise."""

MOST_ENTRIES = 1_000_000
"""How many files and directories all layers together may have: they are kept in mind, with their names."""

MOST_TEXT = 64 * 1024**2
"""How many characters their names and the targets of their links may have together."""

MOST_LINKS = 40
"""How many symbolic links one path may lead through, as in Linux (MAXSYMLINKS)."""

KEPT_BYTES = 32 * 1024 * 1024
"""How many bytes are kept of files that are likely the one that is looked for. A larger one is read again."""

# What Linux takes (PATH_MAX, NAME_MAX). No container can have a file with a longer path or name.
_LONGEST_PATH, _LONGEST_NAME = 4096, 255

_MOST_STEPS = 50_000_000
_MOST_LIKELY_PATHS = 64
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_WHITEOUT_METADATA = ".wh..wh."

Parts = tuple[str, ...]
"""The parts of a path from the root; some can be `..`."""


@dataclass(slots=True, eq=False)
class _Directory:
    entries: "dict[str, _Entry]" = field(default_factory=dict)
    removed: set[str] | None = None
    is_opaque: bool = False

    def hides(self, name: str) -> bool:
        """Tell whether lower layers' entry of this name is hidden."""
        return self.is_opaque or (self.removed is not None and name in self.removed)


@dataclass(slots=True, eq=False)
class _Leaf:
    """Anything but a directory; `content` is there if it was kept."""

    kind: Kind
    target: str
    offset: int
    size: int
    content: bytes | None = None


_Entry = _Directory | _Leaf


@dataclass(frozen=True, slots=True)
class _Found:
    """What is at a path, or at the part of it that is no directory.

    Attributes:
        entry: The entry.
        depth: How many parts of the path lead to it.
        layer: The number of the layer that has it.
    """

    entry: _Entry
    depth: int
    layer: int


class _Budget:
    """What all layers may take together."""

    def __init__(self, max_bytes: int) -> None:
        self.bytes = Allowance(max_bytes)
        self._entries = MOST_ENTRIES
        self._text = MOST_TEXT
        self._steps = _MOST_STEPS

    def add_entry(self, text: int) -> None:
        self._entries -= 1
        self._text -= text
        if self._entries < 0 or self._text < 0:
            raise ClientError("The layers have too many files to keep their names. Fetch the image and unpack it.")

    def step(self) -> None:
        self._steps -= 1
        if self._steps < 0:
            raise ClientError("The layers' files are behind too many links. Fetch the image and unpack it.")


class ImageFiles:
    """The files of an image, for one thread at a time.

    Args:
        layers: The image's layers, the lowest first.
        open_layer: Opens a layer for reading from its beginning.
        max_bytes: How many bytes of layers may be read, after decompression.
    """

    def __init__(
        self,
        layers: Sequence[Descriptor],
        open_layer: Callable[[Descriptor], io.BufferedReader],
        max_bytes: int = MOST_BYTES,
    ) -> None:
        self._layers = layers
        self._open_layer = open_layer
        self._budget = _Budget(max_bytes)
        self._trees: dict[int, _Directory] = {}
        self._likely: set[Parts] = set()
        self._left_to_keep = KEPT_BYTES

    def read(self, path: str) -> Iterator[bytes]:
        """Return the content of a file, in chunks. Links are followed, inside the image alone.

        Nothing is read for a second time unless the file is a large one, or a link leads back to it.

        Args:
            path: Its path from the image's root; `/` in front may be left out.

        Raises:
            ClientError: If there is no such file, it is a directory, or a layer can't be read.
        """
        leaf, layer = self._file(path)
        return iter((leaf.content,)) if leaf.content is not None else self._read_again(leaf, layer)

    def _file(self, path: str) -> tuple[_Leaf, int]:
        found = self._resolve(_parts(path), path)
        if isinstance(found.entry, _Directory):
            raise ClientError(f"{one_line(path)} is a directory.")
        if found.entry.kind is Kind.SPARSE_FILE:
            raise ClientError(
                f"{one_line(path)} is a sparse file, which can't be shown. Fetch the image and unpack it."
            )
        if found.entry.kind is not Kind.FILE:
            raise ClientError(f"{one_line(path)} is a device or a pipe and has no content.")
        return found.entry, found.layer

    def _resolve(self, path: Parts, named: str) -> _Found:
        """Follow a path with its links, each part after the other."""
        done: Parts = ()
        left = MOST_LINKS
        top = 0
        found = _Found(_Directory(), 0, 0)
        while path:
            if path[0] == "..":
                done, path = done[:-1], path[1:]
                continue
            run = (*done, *takewhile(lambda part: part != "..", path))
            rest = path[len(run) - len(done) :]
            self._note_likely((*run, *rest))
            looked_up = self._look_up(run, top)
            if looked_up is None:
                raise ClientError(f"The image has no {one_line(named)}.")
            found, top = looked_up, 0
            link = found.entry
            if isinstance(link, _Directory) or link.kind not in {Kind.SYMBOLIC_LINK, Kind.HARD_LINK}:
                done, path = _beyond(found, run, rest, named)
                continue
            left -= 1
            if not left:
                raise ClientError(f"{one_line(named)} is behind more than {MOST_LINKS} links, or a circle of them.")
            done, path = _followed(link, run[: found.depth], (*run[found.depth :], *rest))
            # A hard link is one to a file of the same layer or of one below it.
            top = found.layer if link.kind is Kind.HARD_LINK else 0
        return found

    def _look_up(self, path: Parts, top: int) -> _Found | None:
        """Return what is at a path without `..`, or the first thing on the way that is no directory.

        Args:
            path: The path.
            top: The number of the layer to begin with; 0 is the newest.
        """
        directories = -1
        for layer in range(top, len(self._layers)):
            found, is_final = _look_up_in(self._tree(layer), path, layer)
            if not isinstance(found.entry, _Directory):
                # A directory of a newer layer is in its place, and what is below it is hidden by it.
                return found if found.depth > directories else None
            directories = max(directories, found.depth)
            if found.depth == len(path):
                return found
            if is_final:
                return None
        return None

    def _tree(self, layer: int) -> _Directory:
        """Return the files of a layer, which is read if it has not been."""
        if layer not in self._trees:
            descriptor = self._descriptor(layer)
            with self._open_layer(descriptor) as file:
                archive = Decompressed(file, f"Layer {descriptor.digest}", self._budget.bytes)
                tree = _Tree(self._budget)
                for member in members(archive):
                    leaf = tree.add(member)
                    self._keep(leaf, member, archive)
                drain(file)
            self._trees[layer] = tree.root
        return self._trees[layer]

    def _keep(self, leaf: _Leaf | None, member: Member, archive: Decompressed) -> None:
        """Keep the content of a file that is likely to be asked for, and learn where links lead."""
        path = _parts(member.name)
        if leaf is None:
            return
        if leaf.kind is Kind.FILE and path in self._likely and leaf.size <= self._left_to_keep:
            self._left_to_keep -= leaf.size
            leaf.content = archive.read_whole(leaf.size)
        if leaf.kind is Kind.SYMBOLIC_LINK:
            for likely in [each for each in self._likely if each[: len(path)] == path]:
                self._note_likely(_lexical(_joined(path[:-1], leaf.target, likely[len(path) :])))

    def _note_likely(self, path: Parts) -> None:
        if len(self._likely) < _MOST_LIKELY_PATHS:
            self._likely.add(path)

    def _read_again(self, leaf: _Leaf, layer: int) -> Iterator[bytes]:
        descriptor = self._descriptor(layer)
        with self._open_layer(descriptor) as file:
            archive = Decompressed(file, f"Layer {descriptor.digest}", self._budget.bytes)
            archive.skip_to(leaf.offset)
            yield from archive.chunks(leaf.size)
            drain(file)

    def _descriptor(self, layer: int) -> Descriptor:
        """Return a layer by its number, which is 0 for the newest."""
        descriptor = self._layers[len(self._layers) - 1 - layer]
        if descriptor.is_foreign:
            raise ArchiveError(
                f"Layer {descriptor.digest} is a foreign one, which the registry does not have. The file may be in it."
            )
        return descriptor


class _Tree:
    """The files of one layer, as its members are added."""

    def __init__(self, budget: _Budget) -> None:
        self.root = _Directory()
        self._budget = budget

    def add(self, member: Member) -> _Leaf | None:
        """Add a member, and return it unless it is a directory or says what a lower layer loses."""
        path = _parts(member.name)
        if not path or not _can_exist(member, path):
            return None
        directory, name = self._enter(path[:-1]), path[-1]
        if name.startswith(_WHITEOUT):
            self._remove(directory, name)
            return None
        if member.kind is Kind.DIRECTORY:
            self._add_directory(directory, name)
            return None
        self._budget.add_entry(len(name) + len(member.target))
        directory.entries[name] = leaf = _Leaf(member.kind, member.target, member.offset, member.size)
        return leaf

    def _remove(self, directory: _Directory, name: str) -> None:
        if name == _OPAQUE:
            directory.is_opaque = True
        elif not name.startswith(_WHITEOUT_METADATA):
            directory.removed = directory.removed or set()
            directory.removed.add(name.removeprefix(_WHITEOUT))
            self._budget.add_entry(len(name))

    def _add_directory(self, parent: _Directory, name: str) -> _Directory:
        existing = parent.entries.get(name)
        if isinstance(existing, _Directory):
            return existing
        self._budget.add_entry(len(name))
        parent.entries[name] = directory = _Directory()
        return directory

    def _enter(self, path: Parts) -> _Directory:
        """Return a directory, which is made if it is not there. A link of the same layer on the way is followed."""
        inside = [self.root]
        waiting = list(reversed(path))
        left = MOST_LINKS
        while waiting:
            self._budget.step()
            part = waiting.pop()
            if part == "..":
                inside = inside[:-1] or inside
                continue
            entry = inside[-1].entries.get(part)
            if left and isinstance(entry, _Leaf) and entry.kind is Kind.SYMBOLIC_LINK:
                left -= 1
                inside = inside[:1] if entry.target.startswith("/") else inside
                waiting.extend(reversed(_parts(entry.target)))
            else:
                inside.append(self._add_directory(inside[-1], part))
        return inside[-1]


def _can_exist(member: Member, path: Parts) -> bool:
    """Tell whether a file system can have a member."""
    return max(len(member.name), len(member.target)) <= _LONGEST_PATH and max(map(len, path)) <= _LONGEST_NAME


def _look_up_in(tree: _Directory, path: Parts, layer: int) -> tuple[_Found, bool]:
    """Return how far one layer has a path, and whether it hides what lower layers have of it."""
    directory = tree
    is_final = False
    for depth, name in enumerate(path):
        is_final = is_final or directory.hides(name)
        entry = directory.entries.get(name)
        if entry is None:
            return _Found(directory, depth, layer), is_final
        if not isinstance(entry, _Directory):
            return _Found(entry, depth + 1, layer), is_final
        directory = entry
    return _Found(directory, len(path), layer), is_final


def _beyond(found: _Found, run: Parts, rest: Parts, named: str) -> tuple[Parts, Parts]:
    """Return where a path goes on, behind something that is no link."""
    if not isinstance(found.entry, _Directory) and (found.depth < len(run) or rest):
        place = "/".join(run[: found.depth])
        raise ClientError(f"The image has no {one_line(named)}: /{one_line(place)} is no directory.")
    return run, rest


def _followed(link: _Leaf, place: Parts, rest: Parts) -> tuple[Parts, Parts]:
    """Return where a path goes on behind a link: what is resolved of it, and what is not."""
    is_absolute = link.target.startswith("/") or link.kind is Kind.HARD_LINK
    return () if is_absolute else place[:-1], (*_parts(link.target), *rest)


def _joined(directory: Parts, target: str, rest: Parts) -> Parts:
    return (*(() if target.startswith("/") else directory), *_parts(target), *rest)


def _lexical(path: Parts) -> Parts:
    """Return a path without `..`, as it is if no link is on the way."""
    done: list[str] = []
    for part in path:
        if part != "..":
            done.append(part)
        elif done:
            done.pop()
    return tuple(done)


def _parts(path: str) -> Parts:
    return tuple(part for part in path.split("/") if part not in {"", "."})
