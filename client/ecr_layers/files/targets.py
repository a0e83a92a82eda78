"""Where files of an image are extracted to: a directory, or a tar archive."""

import errno
import os
import stat
import tarfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, ClassVar, Self, cast

from ecr_layers.errors import TargetError, UsageError
from ecr_layers.files.archives import XATTR, Attributes, Kind
from ecr_layers.files.extraction import write_errors
from ecr_layers.files.merged import FileInfo
from ecr_layers.files.tables import Content

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_SPECIAL_TYPES = {
    Kind.PIPE: tarfile.FIFOTYPE,
    Kind.CHARACTER_DEVICE: tarfile.CHRTYPE,
    Kind.BLOCK_DEVICE: tarfile.BLKTYPE,
}
_WITHOUT_SET_ID = 0o7777 & ~(stat.S_ISUID | stat.S_ISGID)


class DirectoryTarget:
    """A new or empty directory. Nothing outside is written, as no link is followed and no file replaced.

    Args:
        root: The directory; it is made if it is missing.
        keeps_owner: Whether files get their owners, and keep set-user-ID and set-group-ID bits.

    Raises:
        UsageError: If owners can't be set.
        TargetError: If the directory isn't empty, or can't be used.
    """

    special_kinds: ClassVar[Collection[Kind]] = (Kind.PIPE,)

    def __init__(self, root: Path, *, keeps_owner: bool) -> None:
        if keeps_owner and os.geteuid() != 0:
            raise UsageError("Only root can set the owners of files.", code="not-root")
        with write_errors(root):
            root.mkdir(parents=True, exist_ok=True)
            if any(root.iterdir()):
                raise TargetError(f"{root} isn't empty. Choose a new directory.", code="target-not-empty")
            self._place = _Place(os.open(root, os.O_RDONLY | os.O_DIRECTORY))
        self._keeps_owner = keeps_owner
        self._directories: list[FileInfo] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._finish_directories()
        finally:
            self._place.close()

    def add_directory(self, file: FileInfo) -> None:
        """Make a directory; its mode and time are set at the end."""
        with self._parent(file) as (parent, name):
            os.mkdir(name, 0o700, dir_fd=parent)
        self._directories.append(file)

    def add_link(self, file: FileInfo) -> None:
        """Make a symbolic link."""
        with self._parent(file) as (parent, name):
            os.symlink(file.target, name, dir_fd=parent)
            if self._keeps_owner:
                os.chown(name, file.attributes.uid, file.attributes.gid, dir_fd=parent, follow_symlinks=False)
            os.utime(name, _times(file.attributes), dir_fd=parent, follow_symlinks=False)

    def add_file(self, file: FileInfo, content: Content) -> None:
        """Write a file with its content."""
        with (
            self._parent(file) as (parent, name),
            os.fdopen(os.open(name, _NEW_FILE, 0o600, dir_fd=parent), "wb") as out,
        ):
            for chunk in content.chunks(file.size):
                out.write(chunk)
            out.flush()
            self._set_attributes(out.fileno(), file.attributes)

    def add_special(self, file: FileInfo) -> None:
        """Make a pipe."""
        with self._parent(file) as (parent, name):
            os.mkfifo(name, 0o600, dir_fd=parent)
            if self._keeps_owner:
                os.chown(name, file.attributes.uid, file.attributes.gid, dir_fd=parent, follow_symlinks=False)
            # Nobody else may enter the directory yet, and put a link in its place.
            os.chmod(name, self._mode(file.attributes), dir_fd=parent)
            os.utime(name, _times(file.attributes), dir_fd=parent, follow_symlinks=False)

    def add_hard_link(self, file: FileInfo, first: FileInfo) -> None:
        """Make another name of a file."""
        with self._parent(first) as (parent, old):
            source = os.dup(parent)
        try:
            with self._parent(file) as (parent, new):
                os.link(old, new, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(source)

    def _finish_directories(self) -> None:
        for file in reversed(self._directories):
            with self._parent(file) as (parent, name), _opened(name, parent) as directory:
                self._set_attributes(directory, file.attributes)

    def _set_attributes(self, descriptor: int, attributes: Attributes) -> None:
        if self._keeps_owner:
            os.fchown(descriptor, attributes.uid, attributes.gid)
        # After the owner, because a change of owner clears bits.
        os.fchmod(descriptor, self._mode(attributes))
        os.utime(descriptor, _times(attributes))

    def _mode(self, attributes: Attributes) -> int:
        return attributes.mode if self._keeps_owner else attributes.mode & _WITHOUT_SET_ID

    @contextmanager
    def _parent(self, file: FileInfo) -> Iterator[tuple[int, str]]:
        """Open the directory of a file, made if it is missing, and return it with the file's name."""
        *above, name = file.path.strip("/").split("/")
        with write_errors(file.path):
            yield self._place.move_to(above), name


class _Place:
    """An open directory below a root, which moves from each file to the next: one by one from the root would take long.

    Args:
        root: The root's descriptor, which is closed with it.
    """

    def __init__(self, root: int) -> None:
        self._descriptor = root
        self._names: list[str] = []
        self._identities = [_identity(root)]

    def close(self) -> None:
        """Close the directory."""
        os.close(self._descriptor)

    def move_to(self, names: Sequence[str]) -> int:
        """Go to a directory, made if it is missing, and return its descriptor.

        Raises:
            OSError: If it can't be opened, or another program has moved one on the way.
        """
        while self._names != list(names[: len(self._names)]):
            self._enter("..")
            self._names.pop()
            self._identities.pop()
            if _identity(self._descriptor) != self._identities[-1]:
                raise OSError(errno.ESTALE, "The directory was moved meanwhile")
        for name in names[len(self._names) :]:
            self._enter(name)
            self._names.append(name)
            self._identities.append(_identity(self._descriptor))
        return self._descriptor

    def _enter(self, name: str) -> None:
        directory = _open_or_make(name, self._descriptor)
        os.close(self._descriptor)
        self._descriptor = directory


def _identity(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


class TarTarget:
    """A tar archive, in the pax format.

    Args:
        file: Where it is written, such as a pipe.
    """

    special_kinds: ClassVar[Collection[Kind]] = (Kind.PIPE, Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE)

    def __init__(self, file: BinaryIO) -> None:
        self._archive = tarfile.TarFile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT, encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._archive.close()

    def add_directory(self, file: FileInfo) -> None:
        """Add a directory."""
        self._archive.addfile(_header(file, tarfile.DIRTYPE))

    def add_link(self, file: FileInfo) -> None:
        """Add a symbolic link."""
        self._archive.addfile(_header(file, tarfile.SYMTYPE, file.target))

    def add_file(self, file: FileInfo, content: Content) -> None:
        """Add a file with its content."""
        header = _header(file, tarfile.REGTYPE)
        header.size = file.size
        self._archive.addfile(header, cast("BinaryIO", _Chunks(content.chunks(file.size))))

    def add_special(self, file: FileInfo) -> None:
        """Add a device or a pipe."""
        header = _header(file, _SPECIAL_TYPES[file.kind])
        header.devmajor, header.devminor = file.attributes.device
        self._archive.addfile(header)

    def add_hard_link(self, file: FileInfo, first: FileInfo) -> None:
        """Add another name of a file."""
        self._archive.addfile(_header(file, tarfile.LNKTYPE, first.path.strip("/")))


class _Chunks:
    """The bytes of chunks as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._left = b""

    def read(self, count: int) -> bytes:
        """Return the next bytes, fewer at the end."""
        while len(self._left) < count and (chunk := next(self._chunks, b"")):
            self._left += chunk
        data, self._left = self._left[:count], self._left[count:]
        return data


def _header(file: FileInfo, kind: bytes, target: str = "") -> tarfile.TarInfo:
    header = tarfile.TarInfo(file.path.strip("/"))
    header.type, header.linkname = kind, target
    header.mode, header.mtime = file.attributes.mode, file.attributes.mtime
    header.uid, header.gid = file.attributes.uid, file.attributes.gid
    header.pax_headers = {
        f"{XATTR}{name}": value.decode("utf-8", "surrogateescape") for name, value in file.attributes.xattrs
    }
    return header


def _times(attributes: Attributes) -> tuple[float, float]:
    return attributes.mtime, attributes.mtime


def _open_or_make(name: str, parent: int) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=parent)
    except FileNotFoundError:
        os.mkdir(name, 0o755, dir_fd=parent)
        return os.open(name, _DIRECTORY, dir_fd=parent)


@contextmanager
def _opened(name: str, parent: int) -> Iterator[int]:
    directory = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        yield directory
    finally:
        os.close(directory)
