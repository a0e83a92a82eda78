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

_LONGEST_NAME = 255
_MOST_STEPS = 50_000_000
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
        offset: Offset of its content in the layer's archive, in bytes.
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
        self._steps = _MOST_STEPS

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
        inside: list[tuple[str, Directory | None]] = [("", self.root)]
        waiting = list(reversed(path))
        left = MOST_LINKS
        while waiting:
            self._budget.step()
            part = waiting.pop()
            if part == "..":
                inside = inside[:-1] or inside
                continue
            directory = inside[-1][1]
            entry = directory.entries.get(part) if directory else None
            if isinstance(entry, Leaf) and not waiting:
                return entry, path
            if left and isinstance(entry, Leaf) and entry.kind is Kind.SYMBOLIC_LINK:
                left -= 1
                inside = inside[:1] if entry.target.startswith("/") else inside
                waiting.extend(reversed(parts_of(entry.target)))
            else:
                inside.append((part, entry if isinstance(entry, Directory) else None))
        return None, tuple(name for name, _ in inside[1:])

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
        """Return a directory, added if it is missing; None for a whiteout's that is a file.

        The layer's own links on the way are followed.
        """
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
            if left and isinstance(entry, Leaf) and entry.kind is Kind.SYMBOLIC_LINK:
                left -= 1
                inside = inside[:1] if entry.target.startswith("/") else inside
                waiting.extend(reversed(parts_of(entry.target)))
            elif isinstance(entry, Leaf) and not is_made:
                return None
            else:
                inside.append(self._add_directory(inside[-1], part, is_made=is_made))
        return inside[-1]


def parts_of(path: str) -> Parts:
    """Return the parts of a path, without empty ones and `.`."""
    return tuple(part for part in path.split("/") if part not in {"", "."})


def _can_exist(member: Member, path: Parts) -> bool:
    """Tell whether a file system can have a member."""
    is_short = max(len(member.name), len(member.target)) <= LONGEST_PATH and max(map(len, path)) <= _LONGEST_NAME
    return is_short and path[-1] != ".."
