"""Writes files of an image to a target, each layer read once more in the order of its archive."""

import io
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import ClassVar, Protocol

from ecr_layers.errors import TargetError, escaped
from ecr_layers.files.archives import Kind
from ecr_layers.files.merged import FileInfo, Place
from ecr_layers.files.tables import Content
from ecr_layers.files.tree import Leaf
from ecr_layers.oci.manifests import Descriptor

_READ_AT_ONCE = 1024 * 1024
_OTHER_DIRECTORY = "Free up space there, or set TMPDIR to another directory."


class Target(Protocol):
    """Where files are written. Directories and symbolic links come before files, hard links after their files.

    Attributes:
        special_kinds: The types of devices and pipes that it can have.
    """

    special_kinds: ClassVar[Collection[Kind]]

    def add_directory(self, file: FileInfo) -> None:
        """Add a directory."""

    def add_link(self, file: FileInfo) -> None:
        """Add a symbolic link."""

    def add_file(self, file: FileInfo, content: Content) -> None:
        """Add a file with its content."""

    def add_special(self, file: FileInfo) -> None:
        """Add a device or a pipe."""

    def add_hard_link(self, file: FileInfo, first: FileInfo) -> None:
        """Add another name of a file."""


def extract(
    places: Iterable[Place],
    info: Callable[[Place], FileInfo],
    open_contents: Callable[[int], AbstractContextManager[Content]],
    target: Target,
) -> tuple[FileInfo, ...]:
    """Write files to a target, and return those that it can't have.

    Args:
        places: The files, each directory before its entries.
        info: Describes a file.
        open_contents: Opens the contents of a layer's files by its number.
        target: The target.
    """
    left_out: list[FileInfo] = []
    contents: dict[int, dict[int, list[FileInfo]]] = {}
    for place in places:
        file = info(place)
        if file.kind is Kind.DIRECTORY:
            target.add_directory(file)
        elif file.kind is Kind.SYMBOLIC_LINK:
            target.add_link(file)
        elif file.kind in {Kind.FILE, *target.special_kinds} and isinstance(place.entry, Leaf):
            contents.setdefault(place.layer, {}).setdefault(place.entry.offset, []).append(file)
        else:
            left_out.append(file)
    for layer, files in sorted(contents.items()):
        with open_contents(layer) as content:
            _extract_layer(content, files, target)
    return tuple(left_out)


def _extract_layer(content: Content, files: dict[int, list[FileInfo]], target: Target) -> None:
    """Write the files of a layer by the offsets of their contents; hard links have the same."""
    for offset, (first, *others) in sorted(files.items()):
        if first.kind is Kind.FILE:
            content.skip_to(offset)
            target.add_file(first, content)
        else:
            target.add_special(first)
        for other in others:
            target.add_hard_link(other, first)


def keeping(
    open_layer: Callable[[Descriptor], io.BufferedReader], directory: Path
) -> Callable[[Descriptor], io.BufferedReader]:
    """Return a function that opens layers, and keeps them in a directory so that each is loaded once."""

    def open_kept(layer: Descriptor) -> io.BufferedReader:
        path = directory / layer.digest.replace(":", "-")
        with write_errors(directory, _OTHER_DIRECTORY):
            if not path.exists():
                with open_layer(layer) as source, path.open("wb") as copy:
                    shutil.copyfileobj(source, copy, _READ_AT_ONCE)
            return path.open("rb")

    return open_kept


@contextmanager
def write_errors(path: Path | str, remedy: str = "") -> Iterator[None]:
    """Replace an OSError by an error of one line.

    Args:
        path: What is written.
        remedy: What to do, as a sentence.

    Raises:
        TargetError: In its place.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        message = f"Can't write {escaped(str(path))}: {reason}. {remedy}".rstrip()
        raise TargetError(message, path=str(path)) from None
