"""The files and directories of one layer, without their content."""

from dataclasses import dataclass, field

from ecr_layers.errors import ClientError
from ecr_layers.files.archives import Attributes, Kind, Member
from ecr_layers.files.compression import Allowance

MOST_ENTRIES = 1_000_000
"""Most files and directories of all layers together; their names are kept in memory."""

MOST_TEXT = 64 * 1024**2
"""Most characters of their names and link targets together."""

MOST_LINKS = 40
"""Most symbolic links on one path, as in Linux (MAXSYMLINKS)."""

LONGEST_PATH = 4096
"""Longest path, as in Linux (PATH_MAX). No container can have a file with a longer one."""

MOST_STEPS = 50_000_000
"""Most steps on paths through links, of all layers together."""

_LONGEST_NAME = 255
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_WHITEOUT_METADATA = ".wh..wh."

Parts = tuple[str, ...]
"""The parts of a path from the root; some can be `..`."""


@dataclass(slots=True, eq=False)
class Directory:
    """A directory of a layer.

    Attributes:
        entries: Its entries by name.
        removed: The names of lower layers' entries that the layer removes; None for none.
        is_opaque: Whether the layer removes all entries of lower layers.
        is_made: Whether the layer makes it; otherwise it only removes entries from a lower layer's directory.
        attributes: Its owner, permissions and time; None if the layer doesn't list it itself.
    """

    entries: "dict[str, Entry]" = field(default_factory=dict)
    removed: set[str] | None = None
    is_opaque: bool = False
    is_made: bool = True
    attributes: Attributes | None = None

    def hides(self, name: str) -> bool:
        """Tell whether it hides lower layers' entry of this name."""
        return self.is_opaque or (self.removed is not None and name in self.removed)


@dataclass(slots=True, eq=False)
class Leaf:
    """Anything but a directory. Hard links in a layer share one.

    Attributes:
        kind: Its type. A hard link is to a file of a lower layer.
        target: The target of a link.
        offset: Identifies its content in the layer: its offset in the archive, or what a table says instead.
        size: Size of its content in bytes.
        attributes: Its owner, permissions and time.
        content: Its content, if it is kept in memory.
    """

    kind: Kind
    target: str
    offset: int
    size: int
    attributes: Attributes
    content: bytes | None = None


Entry = Directory | Leaf


class Budget:
    """What all layers of an image may use together.

    Args:
        max_bytes: How many bytes may be decompressed.

    Attributes:
        bytes: The bytes that may be decompressed.
    """

    def __init__(self, max_bytes: int) -> None:
        self.bytes = Allowance(max_bytes)
        self._entries = MOST_ENTRIES
        self._text = MOST_TEXT
        self._steps = MOST_STEPS

    def add_entry(self, text: int) -> None:
        """Count an entry with so many characters of names.

        Raises:
            ClientError: If there are too many.
        """
        self._entries -= 1
        self._text -= text
        if self._entries < 0 or self._text < 0:
            raise ClientError(
                "The layers have too many files to keep their names in memory. Fetch the image and unpack it.",
                code="too-many-files",
            )

    def step(self) -> None:
        """Count a step on a path.

        Raises:
            ClientError: If there are too many.
        """
        self._steps -= 1
        if self._steps < 0:
            raise ClientError("The layers have too many links. Fetch the image and unpack it.", code="too-many-links")


class Tree:
    """The files of one layer, as its members are added.

    Args:
        budget: What all layers may use together.

    Attributes:
        root: The root directory.
    """

    def __init__(self, budget: Budget) -> None:
        self.root = Directory()
        self._budget = budget

    def add(self, member: Member) -> Leaf | None:
        """Add a member, and return it unless it is a directory or a whiteout.

        Raises:
            ClientError: If the layers have too many members or links.
        """
        path = parts_of(member.name)
        if not path or not _can_exist(member, path):
            return None
        name = path[-1]
        is_whiteout = name.startswith(_WHITEOUT)
        directory = self._enter(path[:-1], is_made=not is_whiteout)
        if is_whiteout or directory is None:
            self._remove(directory, name)
            return None
        if member.kind is Kind.DIRECTORY:
            self._add_directory(directory, name, is_made=True).attributes = member.attributes
            return None
        self._budget.add_entry(len(name) + len(member.target))
        directory.entries[name] = leaf = self._leaf(member)
        return leaf

    def _leaf(self, member: Member) -> Leaf:
        """Return a new leaf; for a hard link the one that its target is at this place of the archive."""
        if member.kind is not Kind.HARD_LINK:
            return Leaf(member.kind, member.target, member.offset, member.size, member.attributes)
        linked, path = self._find(parts_of(member.target))
        return linked or Leaf(Kind.HARD_LINK, "/".join(path), member.offset, 0, member.attributes)

    def _find(self, path: Parts) -> tuple[Leaf | None, Parts]:
        """Return the leaf at a path, and the path without the layer's links in it. A link at its end isn't followed."""
        walk = _Walk(self.root, path, self._budget, follows_last=False)
        while (part := walk.next_part()) is not None:
            entry = walk.directory.entries.get(part)
            if isinstance(entry, Leaf) and walk.is_at_end:
                return entry, path
            walk.enter(part, entry if isinstance(entry, Directory) else Directory())
        return None, walk.path

    def _remove(self, directory: Directory | None, name: str) -> None:
        if directory is None:
            # A whiteout below a file removes nothing.
            return
        if name == _OPAQUE:
            directory.is_opaque = True
        elif not name.startswith(_WHITEOUT_METADATA):
            directory.removed = directory.removed or set()
            directory.removed.add(name.removeprefix(_WHITEOUT))
            self._budget.add_entry(len(name))

    def _add_directory(self, parent: Directory, name: str, *, is_made: bool) -> Directory:
        existing = parent.entries.get(name)
        if isinstance(existing, Directory):
            existing.is_made = existing.is_made or is_made
            return existing
        self._budget.add_entry(len(name))
        # A file in its place has already hidden what lower layers have there.
        directory = Directory(is_made=is_made, is_opaque=existing is not None)
        parent.entries[name] = directory
        return directory

    def _enter(self, path: Parts, *, is_made: bool) -> Directory | None:
        """Return a directory, added if it is missing; None for a whiteout's that is a file."""
        walk = _Walk(self.root, path, self._budget, follows_last=True)
        while (part := walk.next_part()) is not None:
            if not is_made and isinstance(walk.directory.entries.get(part), Leaf):
                return None
            walk.enter(part, self._add_directory(walk.directory, part, is_made=is_made))
        return walk.directory


class _Walk:
    """A walk along a path of a layer, whose own links are followed.

    Args:
        root: The layer's root directory.
        path: The path.
        budget: Bounds the steps.
        follows_last: Whether a link at the end of the path is followed.
    """

    def __init__(self, root: Directory, path: Parts, budget: Budget, *, follows_last: bool) -> None:
        self._inside = [("", root)]
        self._waiting = list(reversed(path))
        self._budget = budget
        self._follows_last = follows_last
        self._links_left = MOST_LINKS

    @property
    def directory(self) -> Directory:
        """The directory that it has come to."""
        return self._inside[-1][1]

    @property
    def path(self) -> Parts:
        """The path of that directory."""
        return tuple(name for name, _ in self._inside[1:])

    @property
    def is_at_end(self) -> bool:
        """Whether no part is left after the last one."""
        return not self._waiting

    def enter(self, name: str, directory: Directory) -> None:
        """Go into a directory."""
        self._inside.append((name, directory))

    def next_part(self) -> str | None:
        """Return the next name in the directory that isn't a link to follow; None at the end."""
        while self._waiting:
            self._budget.step()
            part = self._waiting.pop()
            entry = self.directory.entries.get(part)
            if part == "..":
                self._inside = self._inside[:-1] or self._inside
            elif isinstance(entry, Leaf) and self._is_followed(entry):
                self._links_left -= 1
                self._inside = self._inside[:1] if entry.target.startswith("/") else self._inside
                self._waiting.extend(reversed(parts_of(entry.target)))
            else:
                return part
        return None

    def _is_followed(self, entry: Leaf) -> bool:
        is_link = entry.kind is Kind.SYMBOLIC_LINK and self._links_left > 0
        return is_link and (self._follows_last or not self.is_at_end)


def parts_of(path: str) -> Parts:
    """Return the parts of a path, without empty ones and `.`."""
    return tuple(part for part in path.split("/") if part not in {"", "."})


def _can_exist(member: Member, path: Parts) -> bool:
    """Tell whether a file system can have a member."""
    is_short = max(len(member.name), len(member.target)) <= LONGEST_PATH and max(map(len, path)) <= _LONGEST_NAME
    return is_short and path[-1] != ".."
