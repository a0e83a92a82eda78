"""Blobs that are downloaded, and the ranges and attempts that they consist of."""

import time
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from ecr_layers.transfer.blob_file import BlobFile
from ecr_layers.transfer.downloads import BLOCK, Body
from ecr_layers.transfer.source import BlobSource

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class TransferSettings:
    """How blobs are downloaded.

    Attributes:
        connections: How many ranges are downloaded at once, each over its own connection.
        largest_range: Largest range, in bytes.
        smallest_range: Smallest range, in bytes, unless the blob is smaller.
        block_size: How many bytes are written, and marked in the journal, at once. Memory is `connections` times this.
        patience: How many seconds a range runs before it can be found slow.
        limit_rate: Most bytes a second, of all connections together; None for any.
    """

    connections: int = 32
    largest_range: int = 32 * _MIB
    smallest_range: int = 4 * _MIB
    block_size: int = BLOCK
    patience: float = 0.5
    limit_rate: int | None = None


class BlobState(StrEnum):
    """The state of a blob."""

    WAITING = "waiting"
    VERIFYING = "verifying"
    LOADING = "loading"
    FINISHED = "finished"
    PRESENT = "present"


@dataclass(slots=True)
class Blob:
    """A blob to download, and its progress.

    Attributes:
        source: Where its bytes come from.
        path: The file to write.
        size: Its size in bytes; None until it is known.
        largest_size: Largest size that is accepted, in bytes; None for any.
        state: Its state.
        found: How many bytes an earlier run left.
        verified: How many bytes of an existing file have been verified.
    """

    source: BlobSource
    path: Path
    size: int | None
    largest_size: int | None = None
    state: BlobState = BlobState.WAITING
    found: int = 0
    verified: int = 0
    file: BlobFile | None = None
    waiting: list[tuple[int, int]] = field(default_factory=list)
    is_finishing: bool = False
    is_catching_up: bool = False
    mismatches: int = 0
    # The one attempt that reads the whole blob, if the server ignores ranges.
    stream: "Attempt | None" = None

    @property
    def digest(self) -> str:
        """Its digest."""
        return self.source.digest

    @property
    def loaded(self) -> int:
        """How many of its bytes the target has."""
        if self.state in {BlobState.FINISHED, BlobState.PRESENT}:
            return self.size or 0
        if self.state is BlobState.VERIFYING:
            return self.verified
        return self.file.loaded if self.file is not None else 0

    @property
    def unasked(self) -> int:
        """How many of its bytes no attempt has requested."""
        if self.file is None:
            return (self.size or 0) if self.state is BlobState.WAITING else 0
        return sum(end - start for start, end in self.waiting) * self.file.block_size


@dataclass(eq=False, slots=True)
class Range:
    """Blocks of a blob: from `start` to the one before `end`."""

    blob: Blob
    file: BlobFile
    start: int
    end: int
    round: int
    attempts: "list[Attempt]" = field(default_factory=list)

    @property
    def next(self) -> int:
        """The first missing block; `end` if none is missing."""
        while self.start < self.end and self.file.has(self.start):
            self.start += 1
        return self.start

    @property
    def is_done(self) -> bool:
        """Whether no block is missing, or the blob is downloaded again."""
        return self.round != self.file.round or self.next >= self.end

    @property
    def left(self) -> int:
        """How many bytes are missing."""
        return (self.end - self.next) * self.file.block_size


@dataclass(eq=False, slots=True)
class Attempt:
    """An attempt at a range over one connection."""

    range: Range
    on_new_connection: bool = False
    started: float = field(default_factory=time.monotonic)
    read: int = 0
    last_read: float = field(default_factory=time.monotonic)
    is_waiting: bool = False
    is_stopped: bool = False
    body: Body | None = None

    def speed(self, now: float) -> float:
        """Return its average speed, or the current one if that is lower, in bytes a second."""
        since_last = max(now - self.last_read, 1e-3)
        return min(self.read / max(now - self.started, 1e-3), self.range.file.block_size / since_last)

    def stop(self) -> None:
        """End it."""
        self.is_stopped = True
        if self.body is not None:
            self.body.stop()
