"""Downloads blobs into files: many at once, and a large one by many ranges at once.

As many threads as there are connections take ranges from the blobs, the largest blob first. Ranges get smaller towards
the end, and an idle thread takes the second half of another's range, so that all end at the same time. A range that is
far slower than the others is requested again on a new connection, and the first to finish is used: blocks are written
once (see blob_file.py).
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from ecr_layers.errors import ClientError, IntegrityError
from ecr_layers.transfer.blob_file import BlobFile
from ecr_layers.transfer.blobs import Attempt, Blob, BlobState, Range, TransferSettings
from ecr_layers.transfer.downloads import Body, DownloadError
from ecr_layers.transfer.schedule import half_of_the_longest, shorten, slow_range
from ecr_layers.transfer.source import BlobAttempts

# A few of them hash at the same time; the others wait for the disk.
_BACKGROUND_THREADS = 6
_SECONDS_BETWEEN_REPORTS = 0.1
# How long stopping threads are waited for. One that waits for the start of an answer can't be woken: it ends with the
# process or its time-out, and can't write anymore (`BlobFile.round`).
_SECONDS_TO_STOP = 0.2


class Loader:
    """Downloads blobs, each into its own file.

    Args:
        blobs: The blobs.
        settings: How to download them.
    """

    def __init__(self, blobs: Sequence[Blob], settings: TransferSettings) -> None:
        self._blobs = sorted(blobs, key=lambda blob: -(blob.size or 0))
        self._settings = settings
        self._changed = threading.Condition()
        self._running: list[Attempt] = []
        self._speeds: deque[float] = deque(maxlen=2 * settings.connections)
        self._stopped = threading.Event()
        self._error: BaseException | None = None
        self._background = ThreadPoolExecutor(_BACKGROUND_THREADS, "verify")

    def run(self, report: Callable[[], None]) -> None:
        """Download all of them.

        Args:
            report: Called about ten times a second, in this thread.

        Raises:
            ClientError: If one can't be downloaded or has another digest. The blocks that arrived are kept.
            OSError: If one can't be written.
        """
        count = min(self._settings.connections, max(1, self._most_ranges()))
        threads = [threading.Thread(target=self._work, name=f"load-{n}", daemon=True) for n in range(count)]
        try:
            _start(threads)
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
        """Return how many ranges could run at once."""
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
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
        # Hashing stops within a megabyte.
        self._background.shutdown(cancel_futures=True)
        for blob in self._blobs:
            if blob.file is not None:
                blob.file.close()

    def _work(self) -> None:
        """Run tasks until none is left."""
        try:
            while (task := self._next_task()) is not None:
                task()
        except BaseException as error:
            # It is raised in the thread that waits.
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            # An error while stopping isn't the cause.
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
                return self._attempt(Range(blob, blob.file, start, cut, blob.file.round))
        return None

    def _range_length(self, file: BlobFile) -> int:
        """Return how many blocks the next range has: fewer towards the end."""
        left = sum(blob.unasked for blob in self._blobs)
        length = left // (2 * self._settings.connections)
        length = min(self._settings.largest_range, max(self._settings.smallest_range, length))
        return max(1, length // file.block_size)

    def _race(self) -> Callable[[], None] | None:
        """Return another attempt at a range that is far slower than the others."""
        slow = slow_range(self._running, self._speeds, self._settings.patience, time.monotonic())
        if slow is None:
            return None
        shorten(slow, self._settings.smallest_range)
        return self._attempt(slow, on_new_connection=True)

    def _half_of_a_range(self) -> Callable[[], None] | None:
        half = half_of_the_longest(self._running, self._settings.smallest_range // 4, time.monotonic())
        return None if half is None else self._attempt(half)

    def _attempt(self, wanted: Range, *, on_new_connection: bool = False) -> Callable[[], None]:
        attempt = Attempt(wanted, on_new_connection)
        wanted.attempts.append(attempt)
        self._running.append(attempt)
        return lambda: self._load(attempt)

    def _open(self, blob: Blob) -> None:
        """Open a blob's file and find the missing blocks."""
        size = blob.size if blob.size is not None else self._size_of(blob)
        if blob.largest_size is not None and size > blob.largest_size:
            raise too_large(blob.digest, size, blob.largest_size)
        file = BlobFile(blob.path, blob.digest, size, self._settings.block_size)
        file.open()
        with self._changed:
            blob.size, blob.file, blob.found = size, file, file.loaded
            blob.waiting = file.missing()
            self._changed.notify_all()
        self._follow_up(blob, file)

    def _size_of(self, blob: Blob) -> int:
        return blob.source.ask_for_size(blob.source.attempts(self._stopped.wait), self._stopped.is_set)

    def _load(self, attempt: Attempt) -> None:
        """Download a range, with retries."""
        attempts = attempt.range.blob.source.attempts(self._stopped.wait)
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

    def _is_enough(self, attempt: Attempt) -> bool:
        stream = attempt.range.blob.stream
        is_another_reading_it_all = stream is not None and stream is not attempt
        return self._stopped.is_set() or attempt.is_stopped or is_another_reading_it_all or attempt.range.is_done

    def _leave(self, attempt: Attempt) -> None:
        """Remove an attempt, and stop the others at the same range if it is done."""
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

    def _read(self, attempt: Attempt, attempts: BlobAttempts) -> None:
        """Read a range from one answer."""
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
                    # A server that ignores ranges sends bytes again; they aren't progress.
                    attempts.succeeded()
                block += 1

    def _read_block(self, attempt: Attempt, body: Body, block: int) -> bool:
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

    def _becomes_stream(self, attempt: Attempt) -> bool:
        """Let an attempt read the whole blob, unless another does."""
        blob = attempt.range.blob
        with self._changed:
            if blob.stream is not None and blob.stream is not attempt and blob.stream in self._running:
                return False
            blob.stream = attempt
            blob.waiting = []
            attempt.range.start, attempt.range.end = 0, attempt.range.file.block_count
            return True

    def _follow_up(self, blob: Blob, file: BlobFile) -> None:
        """Finish a blob without missing blocks."""
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
        except RuntimeError as error:
            # The loader is being stopped, or the system allows no more threads.
            self._fail(error)

    def _catch_up(self, blob: Blob, file: BlobFile) -> None:
        blob.is_catching_up = False
        if not self._stopped.is_set():
            file.catch_up(self._stopped.is_set)

    def _finish(self, blob: Blob, file: BlobFile) -> None:
        """Give a blob its name, or download it once more after a digest mismatch."""
        is_right = file.is_right(self._stopped.is_set)
        if self._stopped.is_set() and not is_right:
            return
        if is_right:
            file.finish()
            state = BlobState.FINISHED
        elif blob.mismatches or not file.size:
            file.discard()
            raise _mismatch(file)
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


def _start(threads: Sequence[threading.Thread]) -> None:
    """Start as many threads as the system allows, at least one."""
    for number, thread in enumerate(threads):
        try:
            thread.start()
        except RuntimeError:
            if not number:
                raise
            return


def too_large(digest: str, size: int, largest: int) -> ClientError:
    """Return the error for a blob over the size limit."""
    return ClientError(
        f"{digest} has {size} bytes, over the limit of {largest}. Nothing of it was downloaded.",
        code="blob-too-large",
        digest=digest,
        size=size,
        limit=largest,
    )


def _mismatch(file: BlobFile) -> IntegrityError:
    if not file.size:
        return IntegrityError(f"Digest mismatch: the manifest says that {file.digest} is empty.", digest=file.digest)
    return IntegrityError(
        f"Digest mismatch after two downloads of {file.digest}; removed the partial file. The registry's copy may be "
        "corrupt.",
        digest=file.digest,
    )


def _check_size(file: BlobFile, body: Body) -> None:
    if body.size is not None and body.size != file.size:
        raise IntegrityError(
            f"{file.digest} has {body.size} bytes in S3, but {file.size} in the manifest. The registry's copy or the "
            "manifest is corrupt.",
            code="size-mismatch",
            digest=file.digest,
        )
