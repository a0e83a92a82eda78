"""A bounded directory of blobs that layouts and archives share.

Its blobs are verified by their digests when they are used, so processes share it without a lock. Files are hard links
of those in layouts where both are on one file system, and take no space twice.
"""

import contextlib
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

from ecr_layers.store.target import path_of

CACHE_BYTES = 20 * 1024**3
"""Most bytes of a cache by default."""


class BlobCache:
    """A cache of blobs, as `DIRECTORY/blobs/sha256/…`.

    Args:
        directory: The directory.
        max_bytes: Most bytes that it keeps. The blobs that weren't used for the longest time are removed.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self._blobs = directory / "blobs"
        self._max_bytes = max_bytes

    def take(self, digest: str, size: int | None, path: Path) -> bool:
        """Put a blob to a path, and tell whether that was possible. The caller verifies it.

        Raises:
            OSError: If it can't be written.
        """
        cached = path_of(self._blobs, digest)
        found = _size(cached)
        if found is None or size not in {None, found}:
            return False
        # Another process may remove it meanwhile.
        with contextlib.suppress(OSError):
            _link(cached, path)
            os.utime(cached)
        return path.is_file()

    def add(self, digest: str, path: Path) -> None:
        """Keep a verified blob, as one used just now.

        Raises:
            OSError: If it can't be written.
        """
        cached = path_of(self._blobs, digest)
        if _size(cached) != path.stat().st_size:
            _link(path, cached)
        os.utime(cached)

    def remove(self, digest: str) -> None:
        """Remove a damaged blob.

        Raises:
            OSError: If it can't be removed.
        """
        path_of(self._blobs, digest).unlink(missing_ok=True)

    def trim(self) -> None:
        """Remove blobs until the rest is within the bound.

        Raises:
            OSError: If one can't be removed.
        """
        found = sorted(_files(self._blobs), key=lambda each: each[1].st_mtime, reverse=True)
        kept = 0
        for path, status in found:
            kept += status.st_size
            if kept > self._max_bytes:
                path.unlink(missing_ok=True)


def _files(blobs: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for path in blobs.glob("*/*"):
        # Another process may have removed it.
        with contextlib.suppress(FileNotFoundError):
            yield path, path.lstat()


def _size(path: Path) -> int | None:
    """Return the size of a file in bytes; None for anything else."""
    with contextlib.suppress(OSError):
        found = path.lstat()
        return found.st_size if stat.S_ISREG(found.st_mode) else None
    return None


def _link(source: Path, target: Path) -> None:
    """Make a file available under another path, atomically, replacing any other file.

    A file of another user is copied, because its owner could change it later.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.{os.getpid()}-{threading.get_ident()}.link")
    try:
        if not _linked(source, part):
            shutil.copyfile(source, part, follow_symlinks=False)
        part.replace(target)
    finally:
        # Nothing is left of it, unless it failed, or both were links of one file.
        part.unlink(missing_ok=True)


def _linked(source: Path, target: Path) -> bool:
    """Make a hard link if possible."""
    with contextlib.suppress(OSError):
        target.unlink(missing_ok=True)
        if source.lstat().st_uid == os.geteuid():
            os.link(source, target, follow_symlinks=False)
            return True
    return False
