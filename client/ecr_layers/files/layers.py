"""The layers of an image: the files of each, and their contents.

A layer is read to its end, so that its digest is verified before any of its files is returned. A layer that has a
table of its files is only read where they are; what is read is verified by the table.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ecr_layers.files.archives import Kind, Member, members
from ecr_layers.files.compression import Allowance, ArchiveError, Decompressed, drain
from ecr_layers.files.tables import Content, MalformedTableError, Table
from ecr_layers.files.tree import Budget, Directory, Leaf, Parts, Tree, parts_of
from ecr_layers.oci.manifests import Descriptor

KEPT_BYTES = 32 * 1024 * 1024
"""How many bytes of files are kept in memory because they are likely wanted. Larger files are read again."""

_MOST_LIKELY_PATHS = 64

FindTable = Callable[[Descriptor, Allowance], Table | None]
"""Returns the table of a layer's files, or None; raises MalformedTableError or ArchiveError if it can't be used."""


class Layers:
    """The layers of an image, by numbers: 0 is the newest.

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
        max_bytes: int,
        find_table: FindTable | None,
    ) -> None:
        self._layers = layers[::-1]
        self._open_layer = open_layer
        self._find_table = find_table
        self._budget = Budget(max_bytes)
        self._tables: dict[int, Table] = {}
        self._trees: dict[int, Directory] = {}
        self._likely: set[Parts] = set()
        self._left_to_keep = KEPT_BYTES

    def __len__(self) -> int:
        """Return their number."""
        return len(self._layers)

    def digest(self, layer: int) -> str:
        """Return the digest of a layer."""
        return self._layers[layer].digest

    def tree(self, layer: int) -> Directory:
        """Return the files of a layer. It is read once.

        Raises:
            ClientError: If it can't be read.
        """
        if layer not in self._trees:
            self._trees[layer] = self._listed(layer) or self._read(layer)
        return self._trees[layer]

    @contextmanager
    def contents(self, layer: int) -> Iterator[Content]:
        """Open the contents of a layer's files, to be read in their order.

        Raises:
            ClientError: If it can't be read.
        """
        table = self._tables.get(layer)
        with self._archive(layer) if table is None else table.contents(self._budget.bytes) as content:
            yield content

    def _listed(self, layer: int) -> Directory | None:
        """Return the files in the table of a layer; None without a usable table."""
        if self._find_table is None:
            return None
        try:
            table = self._find_table(self._layers[layer], self._budget.bytes)
        except (MalformedTableError, ArchiveError):
            return None
        if table is None:
            return None
        tree = Tree(self._budget)
        for member in table.members:
            tree.add(member)
        self._tables[layer] = table
        return tree.root

    def _read(self, layer: int) -> Directory:
        """Return the files of a layer from its archive."""
        tree = Tree(self._budget)
        with self._archive(layer) as archive:
            for member in members(archive):
                leaf = tree.add(member)
                if leaf is not None:
                    self._keep(leaf, member, archive)
        return tree.root

    @contextmanager
    def _archive(self, layer: int) -> Iterator[Decompressed]:
        """Open the archive of a layer, and read it to its end, where its digest is verified."""
        descriptor = self._layers[layer]
        with self._open_layer(descriptor) as file:
            yield Decompressed(file, f"Layer {descriptor.digest}", self._budget.bytes)
            drain(file)

    def note_likely(self, path: Parts) -> None:
        """Keep the content of the file at a path, if it is small, when its layer is read."""
        if len(self._likely) < _MOST_LIKELY_PATHS:
            self._likely.add(path)

    def _keep(self, leaf: Leaf, member: Member, archive: Decompressed) -> None:
        """Keep the content of a file that is likely wanted, and learn where links lead."""
        path = parts_of(member.name)
        if member.kind is Kind.FILE and path in self._likely and leaf.size <= self._left_to_keep:
            self._left_to_keep -= leaf.size
            leaf.content = archive.read_whole(leaf.size)
        if leaf.kind is Kind.SYMBOLIC_LINK:
            for likely in [each for each in self._likely if each[: len(path)] == path]:
                self.note_likely(_lexical(_joined(path[:-1], leaf.target, likely[len(path) :])))


def _joined(directory: Parts, target: str, rest: Parts) -> Parts:
    return (*(() if target.startswith("/") else directory), *parts_of(target), *rest)


def _lexical(path: Parts) -> Parts:
    """Return a path without `..`, as if no link were on the way."""
    done: list[str] = []
    for part in path:
        if part != "..":
            done.append(part)
        elif done:
            done.pop()
    return tuple(done)
