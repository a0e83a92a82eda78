"""Loads blobs into files: many at once, and a large one by many ranges at once.

As many threads as there are to be connections take ranges from the blobs, the largest blob first. Ranges become smaller
towards the end, and a thread that has none left takes the second half of what another still has to read, so that all
end at the same time. A range that is far slower than the others is asked for again on a new connection, and the first
to finish wins: blocks that are there are not written a second time (see blob_file.py).
"""

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from ecr_layers.errors import ClientError, IntegrityError
from ecr_layers.transfer.blob_file import BlobFile
from ecr_layers.transfer.downloads import BLOCK, Body, DownloadError
from ecr_layers.transfer.retries import Retries
from ecr_layers.transfer.source import Attempts, BlobSource

_MIB = 1024 * 1024
# Few of them hash at the same time; the others wait for the disk.
_BACKGROUND_THREADS = 6
_SECONDS_BETWEEN_REPORTS = 0.1
# How long threads that are to stop are waited for. One that waits for an answer to begin can't be woken: it ends with
# the process, or when its time is out, and can't write any more (`BlobFile.round`).
_SECONDS_TO_STOP = 0.2
# How many times slower than the others a range is that is asked for again, and how often at once at most.
_FAR_SLOWER, _MOST_ATTEMPTS = 4, 3
# How many seconds a range has to take before it is worth another connection's while.
_WORTH_HALVING = 0.25


@dataclass(frozen=True, slots=True)
class TransferSettings:
    """How blobs are loaded.

    Attributes:
        connections: How many ranges are loaded at once, each over a connection of its own.
        largest_range: How many bytes are asked for at once at most.
        smallest_range: How many bytes a range has at least, unless the blob has no more.
        block_size: How many bytes are written, and marked as written, at once. Memory is `connections` times this.
        patience: How many seconds a range is given before it can be found slow.
    """

    connections: int = 32
    largest_range: int = 32 * _MIB
    smallest_range: int = 4 * _MIB
    block_size: int = BLOCK
    patience: float = 0.5


class BlobState(StrEnum):
    """Where a blob is on its way."""

    WAITING = "waiting"
    LOADING = "loading"
    FINISHED = "finished"
    PRESENT = "present"


@dataclass(slots=True)
class Blob:
    """A blob to be loaded, and how far it is.

    Attributes:
        source: Where its bytes come from.
        path: The file that it is to be.
        size: Its size in bytes, None as long as it is not known.
        largest_size: How many bytes it may have, None for any number.
        state: Where it is on its way.
        found: How many bytes of it an earlier run had left.
    """

    source: BlobSource
    path: Path
    size: int | None
    largest_size: int | None = None
    state: BlobState = BlobState.WAITING
    found: int = 0
    file: BlobFile | None = None
    waiting: list[tuple[int, int]] = field(default_factory=list)
    is_finishing: bool = False
    is_catching_up: bool = False
    mismatches: int = 0
    # The one attempt that reads the whole blob, where the server takes no ranges.
    stream: "_Attempt | None" = None

    @property
    def digest(self) -> str:
        """Its digest."""
        return self.source.digest

    @property
    def loaded(self) -> int:
        """How many bytes of it are there."""
        if self.state in {BlobState.FINISHED, BlobState.PRESENT}:
            return self.size or 0
        return self.file.loaded if self.file is not None else 0

    @property
    def unasked(self) -> int:
        """How many of its bytes nobody has asked for."""
        if self.file is None:
            return (self.size or 0) if self.state is BlobState.WAITING else 0
        return sum(end - start for start, end in self.waiting) * self.file.block_size


@dataclass(eq=False, slots=True)
class _Range:
    """Some of a blob's blocks: from `start` up to the one before `end`."""

    blob: Blob
    file: BlobFile
    start: int
    end: int
    round: int
    attempts: "list[_Attempt]" = field(default_factory=list)

    @property
    def next(self) -> int:
        """The first block that is missing; `end` if none is."""
        while self.start < self.end and self.file.has(self.start):
            self.start += 1
        return self.start

    @property
    def is_done(self) -> bool:
        return self.round != self.file.round or self.next >= self.end

    @property
    def left(self) -> int:
        """How many bytes are left."""
        return (self.end - self.next) * self.file.block_size


@dataclass(eq=False, slots=True)
class _Attempt:
    """One connection's try at a range."""

    range: _Range
    on_new_connection: bool = False
    started: float = field(default_factory=time.monotonic)
    read: int = 0
    last_read: float = field(default_factory=time.monotonic)
    is_waiting: bool = False
    is_stopped: bool = False
    body: Body | None = None

    def speed(self, now: float) -> float:
        """Return how fast it is: at what it has read on the whole, or if it is slower now, at what it reads now."""
        since_last = max(now - self.last_read, 1e-3)
        return min(self.read / max(now - self.started, 1e-3), self.range.file.block_size / since_last)

    def stop(self) -> None:
        self.is_stopped = True
        if self.body is not None:
            self.body.stop()


class Loader:
    """Loads blobs, each into its file.

    Args:
        blobs: The blobs, each with a path of its own.
        settings: How to load them.
        retries: How often a request is made again.
    """

    def __init__(self, blobs: Sequence[Blob], settings: TransferSettings, retries: Retries) -> None:
        self._blobs = sorted(blobs, key=lambda blob: -(blob.size or 0))
        self._settings = settings
        self._retries = retries
        self._changed = threading.Condition()
        self._running: list[_Attempt] = []
        self._opening = 0
        self._speeds: deque[float] = deque(maxlen=2 * settings.connections)
        self._stopped = threading.Event()
        self._error: BaseException | None = None
        self._background = ThreadPoolExecutor(_BACKGROUND_THREADS, "verify")

    def run(self, report: Callable[[], None]) -> None:
        """Load all of them.

        Args:
            report: Called about ten times a second, in this thread.

        Raises:
            ClientError: If one can't be loaded or is not what its digest says. What is there stays, to go on with.
            OSError: If one can't be written.
        """
        count = min(self._settings.connections, max(1, self._most_ranges()))
        threads = [threading.Thread(target=self._work, name=f"load-{n}", daemon=True) for n in range(count)]
        for thread in threads:
            thread.start()
        try:
            while not self._is_over():
                report()
                with self._changed:
                    self._changed.wait(_SECONDS_BETWEEN_REPORTS)
        finally:
            self._stop(threads)
            report()
        if self._error is not None:
            raise self._error

    def _is_over(self) -> bool:
        return self._error is not None or all(blob.state is BlobState.FINISHED for blob in self._blobs)

    def _most_ranges(self) -> int:
        """Return how many ranges there can be at once."""
        smallest = self._settings.smallest_range
        return sum(max(1, -(-(blob.size or self._settings.largest_range) // smallest)) for blob in self._blobs)

    def _stop(self, threads: list[threading.Thread]) -> None:
        self._stopped.set()
        with self._changed:
            for attempt in self._running:
                attempt.stop()
            self._changed.notify_all()
        deadline = time.monotonic() + _SECONDS_TO_STOP
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._background.shutdown(cancel_futures=True)
        for blob in self._blobs:
            if blob.file is not None:
                blob.file.close()

    def _work(self) -> None:
        """Do what there is to do until there is nothing left."""
        try:
            while (task := self._next_task()) is not None:
                task()
        except BaseException as error:
            # It goes on in the thread that waits.
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            # What fails because everything is being stopped is not why.
            if self._error is None and not self._stopped.is_set():
                self._error = error
            self._stopped.set()
            self._changed.notify_all()

    def _next_task(self) -> Callable[[], None] | None:
        with self._changed:
            while not self._stopped.is_set() and not self._is_over():
                task = self._race() or self._unasked_range() or self._unopened_blob() or self._half_of_a_range()
                if task is not None:
                    return task
                self._changed.wait(self._settings.patience / 4)
            return None

    def _unopened_blob(self) -> Callable[[], None] | None:
        for blob in self._blobs:
            if blob.state is BlobState.WAITING:
                blob.state = BlobState.LOADING
                return lambda: self._open(blob)
        return None

    def _unasked_range(self) -> Callable[[], None] | None:
        for blob in self._blobs:
            if blob.file is not None and blob.waiting:
                start, end = blob.waiting[0]
                cut = min(end, start + self._range_length(blob.file))
                blob.waiting[:1] = [(cut, end)] if cut < end else []
                return self._attempt(_Range(blob, blob.file, start, cut, blob.file.round))
        return None

    def _range_length(self, file: BlobFile) -> int:
        """Return how many blocks the next range has: fewer, the less there is left to ask for."""
        left = sum(blob.unasked for blob in self._blobs)
        length = left // (2 * self._settings.connections)
        length = min(self._settings.largest_range, max(self._settings.smallest_range, length))
        return max(1, length // file.block_size)

    def _race(self) -> Callable[[], None] | None:
        """Return a second attempt at a range that is far slower than the others."""
        now = time.monotonic()
        slow = [attempt for attempt in self._running if self._is_slow(attempt, now)]
        for attempt in slow:
            attempts = attempt.range.attempts
            if len(attempts) < _MOST_ATTEMPTS and all(each in slow for each in attempts) and not attempt.range.is_done:
                self._put_back(attempt.range)
                return self._attempt(attempt.range, on_new_connection=True)
        return None

    def _put_back(self, slow: _Range) -> None:
        """Leave the beginning of what is left of a slow range to it, and let others ask for the rest."""
        cut = slow.next + max(1, self._settings.smallest_range // slow.file.block_size)
        if cut < slow.end:
            slow.blob.waiting.insert(0, (cut, slow.end))
            slow.end = cut

    def _is_slow(self, attempt: _Attempt, now: float) -> bool:
        if (
            attempt.is_waiting
            or attempt.range.blob.stream is not None
            or now - attempt.started < self._settings.patience
        ):
            return False
        others = [each.speed(now) for each in self._running if each is not attempt and each.read] + list(self._speeds)
        return bool(others) and attempt.speed(now) * _FAR_SLOWER < statistics.median(others)

    def _half_of_a_range(self) -> Callable[[], None] | None:
        """Return the second half of the range that will take longest, unless that is soon done."""
        now = time.monotonic()
        ranges = {attempt.range for attempt in self._running if attempt.range.blob.stream is None and attempt.read}
        if not ranges:
            return None
        times = {each: each.left / max(1.0, *(attempt.speed(now) for attempt in each.attempts)) for each in ranges}
        longest = max(times, key=times.__getitem__)
        first = longest.next
        half = (longest.end - first) // 2
        if times[longest] < _WORTH_HALVING or half * longest.file.block_size < self._settings.smallest_range // 4:
            return None
        end, longest.end = longest.end, longest.end - half
        return self._attempt(_Range(longest.blob, longest.file, longest.end, end, longest.round))

    def _attempt(self, wanted: _Range, *, on_new_connection: bool = False) -> Callable[[], None]:
        attempt = _Attempt(wanted, on_new_connection)
        wanted.attempts.append(attempt)
        self._running.append(attempt)
        return lambda: self._load(attempt)

    def _open(self, blob: Blob) -> None:
        """Open a blob's file and see what is missing."""
        size = blob.size if blob.size is not None else self._ask_for_size(blob)
        if blob.largest_size is not None and size > blob.largest_size:
            raise too_large(blob.digest, size, blob.largest_size)
        file = BlobFile(blob.path, blob.digest, size, self._settings.block_size)
        file.open()
        with self._changed:
            blob.size, blob.file, blob.found = size, file, file.loaded
            blob.waiting = file.missing()
            self._changed.notify_all()
        self._follow_up(blob, file)

    def _ask_for_size(self, blob: Blob) -> int:
        attempts = Attempts(self._retries, blob.digest, self._stopped.wait)
        while True:
            try:
                with blob.source.open(0, 0) as body:
                    if body.takes_ranges:
                        # Else the connection could not be used again.
                        body.read(1)
                    if body.size is None:
                        raise DownloadError("S3 does not say how many bytes it has", can_pass=False)  # noqa: TRY301
                    return body.size
            except DownloadError as error:
                attempts.failed(error)
                # Nobody waits for the size any more.
                if self._stopped.is_set():
                    raise

    def _load(self, attempt: _Attempt) -> None:
        """Load a range, as often as it takes."""
        attempts = Attempts(self._retries, attempt.range.blob.digest, self._stopped.wait)
        try:
            while not self._is_enough(attempt):
                try:
                    self._read(attempt, attempts)
                except DownloadError as error:
                    if self._is_enough(attempt):
                        return
                    attempt.is_waiting = True
                    attempts.failed(error)
                    attempt.is_waiting, attempt.started, attempt.read = False, time.monotonic(), 0
        finally:
            self._leave(attempt)
        self._follow_up(attempt.range.blob, attempt.range.file)

    def _is_enough(self, attempt: _Attempt) -> bool:
        stream = attempt.range.blob.stream
        is_another_reading_it_all = stream is not None and stream is not attempt
        return self._stopped.is_set() or attempt.is_stopped or is_another_reading_it_all or attempt.range.is_done

    def _leave(self, attempt: _Attempt) -> None:
        """Take an attempt off, and stop the others at a range that is done."""
        with self._changed:
            attempt.body = None
            self._running.remove(attempt)
            attempt.range.attempts.remove(attempt)
            if attempt.read:
                self._speeds.append(attempt.read / max(time.monotonic() - attempt.started, 1e-3))
            if attempt.range.is_done:
                for other in attempt.range.attempts:
                    other.stop()
            self._changed.notify_all()

    def _read(self, attempt: _Attempt, attempts: Attempts) -> None:
        """Read a range's bytes from one answer."""
        wanted, file = attempt.range, attempt.range.file
        block = wanted.next
        last = min(wanted.end * file.block_size, file.size) - 1
        with wanted.blob.source.open(
            block * file.block_size, last, on_new_connection=attempt.on_new_connection
        ) as body:
            attempt.body = body
            _check_size(file, body)
            if not body.takes_ranges:
                if not self._becomes_stream(attempt):
                    return
                block = 0
            while block < wanted.end and not attempt.is_stopped:
                if self._read_block(attempt, body, block):
                    # What is read again, of a server that takes no ranges, is no progress.
                    attempts.succeeded()
                block += 1

    def _read_block(self, attempt: _Attempt, body: Body, block: int) -> bool:
        """Read a block, and return whether it was missing."""
        wanted, file = attempt.range, attempt.range.file
        length = min(file.block_size, file.size - block * file.block_size)
        data = body.read(length)
        if len(data) < length:
            raise DownloadError("the answer is too short")
        attempt.read += length
        attempt.last_read = time.monotonic()
        was_missing = file.write(block, data, wanted.round)
        if file.is_behind() and not wanted.blob.is_catching_up:
            wanted.blob.is_catching_up = True
            self._in_background(lambda: self._catch_up(wanted.blob, file))
        return was_missing

    def _becomes_stream(self, attempt: _Attempt) -> bool:
        """Let an attempt read the whole blob, whose server takes no ranges, if no other does."""
        blob = attempt.range.blob
        with self._changed:
            if blob.stream is not None and blob.stream is not attempt and blob.stream in self._running:
                return False
            blob.stream = attempt
            blob.waiting = []
            attempt.range.start, attempt.range.end = 0, attempt.range.file.block_count
            return True

    def _follow_up(self, blob: Blob, file: BlobFile) -> None:
        """Finish a blob of which everything is there."""
        with self._changed:
            if blob.is_finishing or self._stopped.is_set() or file.missing():
                return
            blob.is_finishing = True
        self._in_background(lambda: self._finish(blob, file))

    def _in_background(self, task: Callable[[], None]) -> None:
        def run() -> None:
            try:
                task()
            except BaseException as error:
                self._fail(error)

        try:
            self._background.submit(run)
        except RuntimeError:
            # Everything is being stopped.
            return

    def _catch_up(self, blob: Blob, file: BlobFile) -> None:
        blob.is_catching_up = False
        if not self._stopped.is_set():
            file.catch_up()

    def _finish(self, blob: Blob, file: BlobFile) -> None:
        """Give a blob its name, or load it once more if it is not what its digest says."""
        if file.is_right():
            file.finish()
            state = BlobState.FINISHED
        elif blob.mismatches or not file.size:
            file.discard()
            raise IntegrityError(
                f"{blob.digest} was loaded twice and has another digest each time. Nothing of it is kept. Whoever "
                "keeps the registry should check it."
                if file.size
                else f"{blob.digest} has no bytes by the manifest, and its digest is not that of nothing."
            )
        else:
            file.begin_again()
            state = BlobState.LOADING
        with self._changed:
            blob.mismatches += 1
            blob.state = state
            if state is BlobState.LOADING:
                blob.found, blob.stream, blob.is_finishing = 0, None, False
                blob.waiting = file.missing()
            self._changed.notify_all()


def too_large(digest: str, size: int, largest: int) -> ClientError:
    """Return the error for a blob that has more bytes than it may have."""
    return ClientError(f"{digest} has {size} bytes, and --max-bytes allows {largest}. Nothing of it was loaded.")


def _check_size(file: BlobFile, body: Body) -> None:
    if body.size is not None and body.size != file.size:
        raise IntegrityError(
            f"{file.digest} has {body.size} bytes in S3, and {file.size} by the manifest. One of them is wrong."
        )
