"""A blob on the way to its file: `NAME.part`, of which a journal knows what is there, until size and digest are right.

The file is cut into blocks. A block is written once, whoever has it first, and is then marked in the journal, so that
whatever ends the process, the next run goes on with the blocks that are missing. The digest is computed as blocks come
in: from memory where a block is the next in order, and otherwise from the file, which the system has in its cache.
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
# What file systems say that can't reserve space.
_CAN_NOT_RESERVE = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})
_MISSING, _THERE = b"0", b"1"
_TO_DISK: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)


class BlobFile:
    """One blob's file and what is there of it. Blocks may be written from several threads.

    Args:
        path: Where the blob is to be once it is verified.
        digest: Its digest.
        size: Its size in bytes.
        block_size: How many bytes a block has; the last may have fewer.

    Attributes:
        path: Where the blob is to be.
        digest: Its digest.
        size: Its size in bytes.
        block_size: How many bytes a block has.
        loaded: How many bytes are there.
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
        """How many blocks there are."""
        return -(-self.size // self.block_size)

    def open(self) -> None:
        """Open the files; what an earlier run has left is taken over.

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
        """Close the files; what is there stays."""
        with self._next_round():
            for descriptor in (self._file, self._marks):
                if descriptor >= 0:
                    os.close(descriptor)
            self._file = self._marks = -1

    def missing(self) -> list[tuple[int, int]]:
        """Return the runs of blocks that are missing: the first of each, and the one behind its last."""
        runs: list[tuple[int, int]] = []
        start = self._there.find(0)
        while start >= 0:
            end = self._there.find(1, start)
            end = self.block_count if end < 0 else end
            runs.append((start, end))
            start = self._there.find(0, end)
        return runs

    def has(self, block: int) -> bool:
        """Tell whether a block is there."""
        return bool(self._there[block])

    @property
    def round(self) -> int:
        """Which round this is: what belongs to an earlier one is not written any more."""
        return self._round

    def write(self, block: int, data: bytes, belongs_to: int) -> bool:
        """Write a block if it is not there yet, and return whether it was not.

        Args:
            block: The number of the block.
            data: All of it.
            belongs_to: The round in which it was asked for.

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
        self._hash_if_next(block, data)
        return True

    def is_behind(self) -> bool:
        """Tell whether there are blocks that could be hashed by `catch_up`."""
        hashed = self._hashed
        return hashed < self.block_count and bool(self._there[hashed])

    def catch_up(self) -> None:
        """Hash what is there and next in order, from the file.

        Raises:
            OSError: If it can't be read.
        """
        view = memoryview(bytearray(max(_READ_AT_ONCE, self.block_size)))
        with self._hash_lock:
            while self.is_behind():
                end = self._there.find(0, self._hashed)
                blocks = (self.block_count if end < 0 else end) - self._hashed
                start = self._hashed * self.block_size
                length = min(len(view), blocks * self.block_size, self.size - start)
                if length >= self.block_size:
                    length -= length % self.block_size
                self._hash.update(view[: _read(self._file, view[:length], start)])
                self._hashed += -(-length // self.block_size)

    def is_right(self) -> bool:
        """Tell whether all that is there has the blob's digest."""
        self.catch_up()
        with self._hash_lock:
            return self._hashed == self.block_count and self._hash.hexdigest() == self.digest.partition(":")[2]

    def finish(self) -> None:
        """Give the file its name, once it is on the disk; it has to be right.

        Raises:
            OSError: If that fails.
        """
        _TO_DISK(self._file)
        self.close()
        self._part.replace(self.path)
        self._journal.unlink(missing_ok=True)

    def begin_again(self) -> None:
        """Forget what is there.

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
        """Wait until nothing is written, and let nothing be written any more that was asked for before."""
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
        """Return the marks of the blocks, None if the journal is not that of this blob and file."""
        if os.fstat(self._file).st_size != self.size:
            return None
        content = os.pread(self._marks, len(self._header) + self.block_count + 1, 0)
        marks = content[len(self._header) :]
        if not content.startswith(self._header) or len(marks) != self.block_count or marks.strip(_MISSING + _THERE):
            return None
        return bytearray(marks.translate(bytes.maketrans(_MISSING + _THERE, b"\0\1")))

    def _length(self, block: int) -> int:
        return min(self.block_size, self.size - block * self.block_size)

    def _hash_if_next(self, block: int, data: bytes) -> None:
        if block != self._hashed or not self._hash_lock.acquire(blocking=False):
            return
        try:
            if block == self._hashed:
                self._hash.update(data)
                self._hashed += 1
        finally:
            self._hash_lock.release()


def allocated(path: Path) -> int:
    """Return how many bytes of the disk an earlier run has reserved for the blob that is to be at `path`."""
    try:
        return path.with_name(f"{path.name}.part").stat().st_blocks * 512
    except OSError:
        return 0


def discard(path: Path) -> None:
    """Remove what there is beside the blob at `path`: its `.part` file and its journal."""
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
