"""Files of an image as a container sees them, found in its layers without unpacking them.

The newest layer is read first, and only as many layers as it takes to find a file.

Source: https://github.com/opencontainers/image-spec/blob/main/layer.md
"""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

from ecr_layers.errors import ClientError, one_line
from ecr_layers.files.archives import Attributes, Kind
from ecr_layers.files.extraction import Target, extract
from ecr_layers.files.layers import FindTable, Layers
from ecr_layers.files.merged import FileInfo, LayerDirectory, Place, directory_in, walk
from ecr_layers.files.tree import MOST_LINKS, Directory, Entry, Leaf, Parts, parts_of
from ecr_layers.oci.manifests import Descriptor

MOST_BYTES = 64 * 1024**3
"""Default limit of bytes that are decompressed."""

_BROKEN_LINK = frozenset({"no-such-file", "too-many-links"})


@dataclass(frozen=True, slots=True)
class _Found:
    """The entry at a path, or the first entry on the way that isn't a directory.

    Attributes:
        entry: The entry.
        path: Its path.
        layer: The number of its layer; 0 is the newest.
    """

    entry: Entry
    path: Parts
    layer: int

    @property
    def depth(self) -> int:
        """How many parts of the path lead to it."""
        return len(self.path)


class ImageFiles:
    """The files of an image, for one thread at a time. It remembers which layer has which file.

    Args:
        layers: The image's layers, the lowest first.
        open_layer: Opens a layer for reading from its beginning.
        max_bytes: How many bytes may be decompressed.
        find_table: Finds the table of a layer's files; None reads whole layers.
    """

    def __init__(
        self,
        layers: Sequence[Descriptor],
        open_layer: Callable[[Descriptor], io.BufferedReader],
        max_bytes: int = MOST_BYTES,
        find_table: FindTable | None = None,
    ) -> None:
        self._layers = Layers(layers, open_layer, max_bytes, find_table)

    def read(self, path: str) -> Iterator[bytes]:
        """Return the content of a file, in chunks. Links are followed inside the image.

        Args:
            path: Its path from the image's root, with or without a slash in front.

        Raises:
            ClientError: If there is no such file, it is a directory, or a layer can't be read.
        """
        leaf, layer = self._file(path)
        return iter((leaf.content,)) if leaf.content is not None else self._read_again(leaf, layer)

    def walk(self, path: str = "/") -> Iterator[FileInfo]:
        """Yield what is at a path and below, each directory before its entries, sorted by name.

        The root itself isn't yielded. Links in the path are followed inside the image, others aren't.

        Args:
            path: The path from the image's root.

        Raises:
            ClientError: If nothing is there, or a layer can't be read.
        """
        return (self._info(place) for place in self._walk(path))

    def extract(self, target: Target, *paths: str) -> tuple[FileInfo, ...]:
        """Write files, and return those that the target can't have.

        Args:
            target: Where they are written.
            paths: Their paths, each with everything below; all files without one.

        Raises:
            ClientError: If nothing is at a path, a layer can't be read, or the target can't be written.
        """
        places = {place.path: place for path in paths or ("/",) for place in self._walk(path)}
        in_order = sorted(places.values(), key=lambda place: place.path.split("/"))
        return extract(in_order, self._info, self._layers.contents, target)

    def _walk(self, path: str) -> Iterator[Place]:
        found = self._resolve(parts_of(path), path)
        name = "/".join(found.path)
        if not isinstance(found.entry, Directory):
            yield Place(name, found.entry, found.layer)
            return
        for place in walk(name, self._directories(found.path)):
            yield self._through_hard_link(place)

    def _directories(self, path: Parts) -> list[LayerDirectory]:
        """Return what each layer has of a directory, the newest first."""
        found: list[LayerDirectory] = []
        for layer in range(len(self._layers)):
            directory, is_final = directory_in(self._layers.tree(layer), path)
            if directory is not None:
                found.append((layer, directory))
            if is_final:
                break
        return found

    def _through_hard_link(self, place: Place) -> Place:
        """Return a hard link as the file of a lower layer that it leads to; unchanged if there is none."""
        try:
            linked = self._linked(_Found(place.entry, (), place.layer), place.path, 0)
        except ClientError as error:
            if error.code in _BROKEN_LINK:
                return place
            raise
        return place if isinstance(linked.entry, Directory) else Place(place.path, linked.entry, linked.layer)

    def _info(self, place: Place) -> FileInfo:
        entry, digest = place.entry, self._layers.digest(place.layer)
        if isinstance(entry, Directory):
            return FileInfo(f"/{place.path}", Kind.DIRECTORY, entry.attributes or Attributes(), 0, "", digest, 0)
        return FileInfo(f"/{place.path}", entry.kind, entry.attributes, entry.size, entry.target, digest, entry.offset)

    def _file(self, path: str) -> tuple[Leaf, int]:
        found = self._resolve(parts_of(path), path)
        entry, name = found.entry, one_line(path)
        if isinstance(entry, Directory):
            raise ClientError(f"{name} is a directory.", code="not-a-file")
        if entry.kind is Kind.SPARSE_FILE:
            raise ClientError(
                f"{name} is a sparse file, which isn't supported. Fetch the image and unpack it.", code="not-a-file"
            )
        if entry.kind is not Kind.FILE:
            raise ClientError(f"{name} is a device or a pipe, which has no content.", code="not-a-file")
        return entry, found.layer

    def _resolve(self, path: Parts, named: str, top: int = 0, hard_links: int = 0) -> _Found:
        """Follow a path with its links.

        Args:
            path: The path.
            named: The path in messages.
            top: The number of the newest layer to look in.
            hard_links: How many hard links led here; a symbolic link at the end of their targets isn't followed.
        """
        done: Parts = ()
        left = MOST_LINKS
        root = found = _Found(Directory(), (), top)
        while path:
            if path[0] == "..":
                done, path = done[:-1], path[1:]
                found = root
                continue
            run = (*done, *takewhile(lambda part: part != "..", path))
            rest = path[len(run) - len(done) :]
            self._layers.note_likely((*run, *rest))
            looked_up = self._look_up(run, top)
            if looked_up is None:
                raise _missing(named)
            found = self._linked(looked_up, named, hard_links)
            link = found.entry
            is_last = found.depth == len(run) and not rest
            if isinstance(link, Directory) or link.kind is not Kind.SYMBOLIC_LINK or (is_last and hard_links):
                done, path = _beyond(found, run, rest, named)
                continue
            left -= 1
            if left < 0:
                raise _too_many_links(named)
            done, path = _followed(link, run[: found.depth], (*run[found.depth :], *rest))
            # A link to a directory that is already resolved, such as `/` or `.`, leaves nothing to look up.
            found = found if path else root
        return _Found(found.entry, done, found.layer)

    def _linked(self, found: _Found, named: str, hard_links: int) -> _Found:
        """Return the file that a hard link to a lower layer names; anything else as it is."""
        if isinstance(found.entry, Directory) or found.entry.kind is not Kind.HARD_LINK:
            return found
        if hard_links == MOST_LINKS:
            raise _too_many_links(named)
        linked = self._resolve(parts_of(found.entry.target), named, found.layer + 1, hard_links + 1)
        return _Found(linked.entry, found.path, linked.layer)

    def _look_up(self, path: Parts, top: int) -> _Found | None:
        """Return the entry at a path without `..`, or the first entry on the way that isn't a directory.

        Args:
            path: The path.
            top: The number of the newest layer to look in.
        """
        directories = -1
        for layer in range(top, len(self._layers)):
            found, is_final = _look_up_in(self._layers.tree(layer), path, layer)
            if not isinstance(found.entry, Directory):
                # A newer layer's directory replaces it, and hides everything below.
                return found if found.depth > directories else None
            directories = max(directories, found.depth)
            if found.depth == len(path):
                return found
            if is_final:
                return None
        return None

    def _read_again(self, leaf: Leaf, layer: int) -> Iterator[bytes]:
        with self._layers.contents(layer) as content:
            content.skip_to(leaf.offset)
            yield from content.chunks(leaf.size)


def _look_up_in(tree: Directory, path: Parts, layer: int) -> tuple[_Found, bool]:
    """Return how far one layer has a path, and whether it hides the rest in lower layers."""
    directory, made = tree, _Found(tree, (), layer)
    is_final = False
    for depth, name in enumerate(path, start=1):
        is_final = is_final or directory.hides(name)
        entry = directory.entries.get(name)
        if entry is None:
            return made, is_final
        if not isinstance(entry, Directory):
            return _Found(entry, path[:depth], layer), is_final
        directory = entry
        if entry.is_made:
            made = _Found(entry, path[:depth], layer)
    return made, is_final


def _beyond(found: _Found, run: Parts, rest: Parts, named: str) -> tuple[Parts, Parts]:
    """Return where a path continues after something that isn't a link."""
    if not isinstance(found.entry, Directory) and (found.depth < len(run) or rest):
        raise _missing(named, f": /{one_line('/'.join(run[: found.depth]))} isn't a directory")
    return run, rest


def _missing(named: str, reason: str = "") -> ClientError:
    return ClientError(f"The image has no {one_line(named)}{reason}.", code="no-such-file", path=named)


def _too_many_links(named: str) -> ClientError:
    return ClientError(f"{one_line(named)}: too many links, or a loop.", code="too-many-links", path=named)


def _followed(link: Leaf, place: Parts, rest: Parts) -> tuple[Parts, Parts]:
    """Return where a path continues after a symbolic link: the part that is resolved, and the rest."""
    return () if link.target.startswith("/") else place[:-1], (*parts_of(link.target), *rest)
