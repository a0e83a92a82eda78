"""Directories and files that a download writes: locks, atomic writes, existing blobs, free space."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from ecr_layers.errors import TargetError
from ecr_layers.oci.references import hasher

_READ_AT_ONCE = 1024 * 1024
_REMEDIES = {
    errno.ENOSPC: "Free up space and try again; it resumes.",
    errno.EDQUOT: "Free up space and try again; it resumes.",
    errno.EACCES: "Choose a target that you may write to.",
    errno.EPERM: "Choose a target that you may write to.",
    errno.EROFS: "Choose a target that is writable.",
    errno.ENOTDIR: "Choose a directory as the target.",
    errno.EEXIST: "Choose a directory as the target.",
    errno.EMFILE: "Allow more open files (ulimit -n), or use fewer connections.",
}


@contextlib.contextmanager
def target_errors(path: Path) -> Iterator[None]:
    """Replace an OSError by an error of one line.

    Raises:
        TargetError: In its place.
    """
    try:
        yield
    except OSError as error:
        name = error.filename if isinstance(error.filename, str) else path
        reason = error.strerror or type(error).__name__
        remedy = _REMEDIES.get(error.errno or 0, "Check the target and try again; it resumes.")
        raise TargetError(f"{name} can't be written: {reason}. {remedy}", path=str(name)) from None


@contextlib.contextmanager
def locked(directory: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Make a directory and lock it; wait for another process that has it.

    The lock is the directory's own (flock), so it ends with the process.

    Args:
        directory: The directory.
        on_wait: Called before waiting.

    Raises:
        OSError: If it can't be made or opened.
    """
    descriptor = _lock(directory, on_wait)
    while not _is_at(directory, descriptor):
        # The other process has removed the directory.
        os.close(descriptor)
        descriptor = _lock(directory, on_wait)
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(directory: Path, on_wait: Callable[[], None]) -> int:
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        on_wait()
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def _is_at(directory: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(directory.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def path_of(blobs: Path, digest: str) -> Path:
    """Return the file of a blob, such as `sha256/…`.

    Args:
        blobs: The directory of blobs; in an image layout, `blobs`.
        digest: A digest that was checked (`references.is_digest`).
    """
    algorithm, _, encoded = digest.partition(":")
    return blobs / algorithm / encoded


def is_there(path: Path, size: int | None) -> bool:
    """Tell whether a file has a blob's name and size; None for an unknown size."""
    return path.is_file() and (size is None or path.stat().st_size == size)


def has_digest(file: BinaryIO, digest: str, on_read: Callable[[int], bool] = lambda _: False) -> bool:
    """Tell whether a file has a digest.

    Args:
        file: The file, at its beginning.
        digest: The digest.
        on_read: Gets the number of bytes read so far; returns whether to stop, and answer False.

    Raises:
        OSError: If it can't be read.
    """
    found, count = hasher(digest), 0
    while chunk := file.read(_READ_AT_ONCE):
        found.update(chunk)
        count += len(chunk)
        if on_read(count):
            return False
    return bool(found.hexdigest() == digest.partition(":")[2])


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that replaces `path` at the end, or is removed after an error.

    Raises:
        OSError: If it can't be written.
    """
    part = path.with_name(f"{path.name}.part")
    # A symbolic link isn't followed: it may be another user's.
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(part, flags, 0o666), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            if not part.is_symlink():
                part.unlink()
        raise


def write_file(path: Path, content: bytes) -> None:
    """Write a file atomically, unless it has that content.

    Raises:
        OSError: If it can't be written.
    """
    if is_there(path, len(content)) and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as file:
        file.write(content)


def check_space(directory: Path, needed: int) -> None:
    """Check the free space before a download.

    Args:
        directory: Where the bytes go; it need not exist.
        needed: How many bytes.

    Raises:
        TargetError: If there is less.
    """
    existing = next(each for each in (directory, *directory.parents) if each.exists())
    disk = os.statvfs(existing)
    free = disk.f_bavail * disk.f_frsize
    if disk.f_blocks and needed > free:
        raise TargetError(
            f"{existing} has {free} bytes free, and the download needs {needed}. Free up space.",
            code="no-space",
            path=str(existing),
        )
