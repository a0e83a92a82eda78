"""A blob while it is downloaded: `NAME.part` and a journal of the blocks in it, until size and digest are verified.

The first thread that has a block writes it and marks it in the journal, so that the next run resumes with the missing
blocks, whatever ended the process. The digest is computed as blocks arrive: from memory if a block is the next in
order, otherwise from the file, which is in the system's cache.
"""

import contextlib
import errno
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ecr_layers.oci.references import hasher

_READ_AT_ONCE = 1024 * 1024
_LOCKS = 32
# Errors of file systems that can't reserve space.
_CAN_NOT_RESERVE = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})
_MISSING, _THERE = b"0", b"1"
_TO_DISK: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)


class BlobFile:
    """One blob's file. Blocks may be written from several threads.

    Args:
        path: The verified blob's path.
        digest: Its digest.
        size: Its size in bytes.
        block_size: The size of a block in bytes; the last may be smaller.

    Attributes:
        path: The verified blob's path.
        digest: Its digest.
        size: Its size in bytes.
        block_size: The size of a block in bytes.
        loaded: How many bytes the file has.
    """

    def __init__(self, path: Path, digest: str, size: int, block_size: int) -> None:
        self.path = path
        self.digest = digest
        self.size = size
        self.block_size = block_size
        self.loaded = 0
        self._part = path.with_name(f"{path.name}.part")
        self._journal = path.with_name(f"{path.name}.journal")
        self._header = _header(digest, size, block_size)
        self._there = bytearray()
        self._locks = [threading.Lock() for _ in range(_LOCKS)]
        self._count_lock = threading.Lock()
        self._round = 0
        self._file = self._marks = -1
        self._hash_lock = threading.Lock()
        self._hash = hasher(digest)
        self._hashed = 0

    @property
    def block_count(self) -> int:
        """The number of blocks."""
        return -(-self.size // self.block_size)

    def open(self) -> None:
        """Open the files, with the blocks of an earlier run.

        Raises:
            OSError: If they can't be opened or there is no space for them.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(self._part, flags, 0o666)
        self._marks = os.open(self._journal, flags, 0o666)
        marks = self._read_journal()
        if marks is None:
            self._begin()
        else:
            self._there = marks
            self.loaded = sum(self._length(block) for block in range(self.block_count) if marks[block])

    def close(self) -> None:
        """Close the files, and keep them."""
        with self._next_round():
            for descriptor in (self._file, self._marks):
                if descriptor >= 0:
                    os.close(descriptor)
            self._file = self._marks = -1

    def missing(self) -> list[tuple[int, int]]:
        """Return the runs of missing blocks: the first of each, and the one after its last."""
        runs: list[tuple[int, int]] = []
        start = self._there.find(0)
        while start >= 0:
            end = self._there.find(1, start)
            end = self.block_count if end < 0 else end
            runs.append((start, end))
            start = self._there.find(0, end)
        return runs

    def has(self, block: int) -> bool:
        """Tell whether the file has a block."""
        return bool(self._there[block])

    @property
    def round(self) -> int:
        """The current round. Blocks of an earlier round aren't written anymore."""
        return self._round

    def write(self, block: int, data: bytes, belongs_to: int) -> bool:
        """Write a block unless the file has it, and return whether it was missing.

        Args:
            block: The number of the block.
            data: The whole block.
            belongs_to: The round in which it was requested.

        Raises:
            OSError: If it can't be written.
        """
        with self._locks[block % _LOCKS]:
            if belongs_to != self._round or self._there[block]:
                return False
            _write(self._file, data, block * self.block_size)
            self._there[block] = 1
            _write(self._marks, _THERE, len(self._header) + block)
        with self._count_lock:
            self.loaded += len(data)
        self._hash_if_next(block, data, belongs_to)
        return True

    def is_behind(self) -> bool:
        """Tell whether `catch_up` could hash a block."""
        hashed = self._hashed
        return hashed < self.block_count and bool(self._there[hashed])

    def catch_up(self, is_stopped: Callable[[], bool] = lambda: False) -> None:
        """Hash the next blocks in order, from the file.

        Args:
            is_stopped: Tells whether to give up; asked for each megabyte.

        Raises:
            OSError: If it can't be read.
        """
        view = memoryview(bytearray(max(_READ_AT_ONCE, self.block_size)))
        with self._hash_lock:
            while self.is_behind() and not is_stopped():
                end = self._there.find(0, self._hashed)
                blocks = (self.block_count if end < 0 else end) - self._hashed
                start = self._hashed * self.block_size
                length = min(len(view), blocks * self.block_size, self.size - start)
                if length >= self.block_size:
                    length -= length % self.block_size
                self._hash.update(view[: _read(self._file, view[:length], start)])
                self._hashed += -(-length // self.block_size)

    def is_right(self, is_stopped: Callable[[], bool] = lambda: False) -> bool:
        """Tell whether the file has the blob's digest.

        Args:
            is_stopped: As for `catch_up`.
        """
        self.catch_up(is_stopped)
        with self._hash_lock:
            return self._hashed == self.block_count and self._hash.hexdigest() == self.digest.partition(":")[2]

    def finish(self) -> None:
        """Give the verified file its name, once it is on the disk.

        Raises:
            OSError: If that fails.
        """
        _TO_DISK(self._file)
        self.close()
        self._part.replace(self.path)
        self._journal.unlink(missing_ok=True)

    def begin_again(self) -> None:
        """Start a new round without any blocks.

        Raises:
            OSError: If the journal can't be written.
        """
        with self._next_round(), self._hash_lock:
            self._hash, self._hashed = hasher(self.digest), 0
            self._begin()

    def discard(self) -> None:
        """Remove the files."""
        self.close()
        discard(self.path)

    @contextlib.contextmanager
    def _next_round(self) -> Iterator[None]:
        """Wait for writes that are under way, and drop later ones of this round."""
        with contextlib.ExitStack() as stack:
            for lock in self._locks:
                stack.enter_context(lock)
            self._round += 1
            yield

    def _begin(self) -> None:
        """Write an empty journal, and reserve the space."""
        self.loaded = 0
        self._there = bytearray(self.block_count)
        os.ftruncate(self._marks, 0)
        _reserve(self._file, self.size)
        _write(self._marks, self._header + _MISSING * self.block_count, 0)

    def _read_journal(self) -> bytearray | None:
        """Return the marks of the blocks; None if the journal isn't of this blob and file."""
        if os.fstat(self._file).st_size != self.size:
            return None
        content = os.pread(self._marks, len(self._header) + self.block_count + 1, 0)
        marks = content[len(self._header) :]
        if not content.startswith(self._header) or len(marks) != self.block_count or marks.strip(_MISSING + _THERE):
            return None
        return bytearray(marks.translate(bytes.maketrans(_MISSING + _THERE, b"\0\1")))

    def _length(self, block: int) -> int:
        return min(self.block_size, self.size - block * self.block_size)

    def _hash_if_next(self, block: int, data: bytes, belongs_to: int) -> None:
        if block != self._hashed or not self._hash_lock.acquire(blocking=False):
            return
        try:
            # Another thread may have begun a new round since the block was written.
            if block == self._hashed and belongs_to == self._round:
                self._hash.update(data)
                self._hashed += 1
        finally:
            self._hash_lock.release()


def allocated(path: Path) -> int:
    """Return how many bytes an earlier run has reserved on the disk for the blob at `path`."""
    try:
        return path.with_name(f"{path.name}.part").stat().st_blocks * 512
    except OSError:
        return 0


def discard(path: Path) -> None:
    """Remove the `.part` file and the journal of the blob at `path`."""
    for suffix in (".part", ".journal"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(f"{path.name}{suffix}").unlink()


def _header(digest: str, size: int, block_size: int) -> bytes:
    about: dict[str, Any] = {"journal": 1, "digest": digest, "size": size, "blockSize": block_size}
    return f"{json.dumps(about)}\n".encode()


def _reserve(descriptor: int, size: int) -> None:
    os.ftruncate(descriptor, 0)
    if hasattr(os, "posix_fallocate") and size:
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno not in _CAN_NOT_RESERVE:
                raise
    os.ftruncate(descriptor, size)


def _write(descriptor: int, data: bytes, place: int) -> None:
    written = os.pwrite(descriptor, data, place)
    while written < len(data):
        written += os.pwrite(descriptor, data[written:], place + written)


def _read(descriptor: int, view: memoryview, place: int) -> int:
    count = os.preadv(descriptor, [view], place)
    while 0 < count < len(view):
        more = os.preadv(descriptor, [view[count:]], place + count)
        if not more:
            break
        count += more
    return count
