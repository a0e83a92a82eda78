"""Reads a blob in order over many connections at once, ahead of its reader.

Threads download the next parts: at most `WINDOW` bytes, which bounds the memory, and as far ahead of the reader as it
has read, so that one that stops early wastes no more than that. A reader that reads everything can't waste any.
"""

import threading

from ecr_layers.transfer.downloads import DownloadError
from ecr_layers.transfer.source import BlobSource

PART = 1024 * 1024
"""The size of a part in bytes."""

WINDOW = 32 * PART
"""The most bytes that are held in memory."""

_FIRST_WINDOW = 2 * PART


class ReadAhead:
    """The bytes of a blob from an offset to its end.

    Args:
        source: Where the bytes come from; the server has to take ranges.
        start: The offset.
        end: The blob's size.
        connections: How many parts are downloaded at once.
        is_read_whole: Whether the reader is known to read to the end.
    """

    def __init__(
        self, source: BlobSource, start: int, end: int, connections: int, *, is_read_whole: bool = False
    ) -> None:
        self._source = source
        self._start, self._end = start, end
        self._position = start
        self._first_window = WINDOW if is_read_whole else _FIRST_WINDOW
        self._parts: dict[int, bytes] = {}
        self._next = 0
        self._error: BaseException | None = None
        self._stopped = threading.Event()
        self._changed = threading.Condition()
        count = min(connections, WINDOW // PART, -(-(end - start) // PART))
        for number in range(count):
            threading.Thread(target=self._work, name=f"read-ahead-{number}", daemon=True).start()

    @property
    def position(self) -> int:
        """The offset of the next byte."""
        return self._position

    def read(self, count: int) -> bytes:
        """Return the next bytes, at least one and at most `count`.

        Raises:
            TransferError: If they can't be downloaded, despite retries.
        """
        number, offset = divmod(self._position - self._start, PART)
        with self._changed:
            self._changed.wait_for(lambda: number in self._parts or self._error is not None)
            if number not in self._parts and self._error is not None:
                raise self._error
            data = self._parts[number][offset : offset + count]
            self._position += len(data)
            if (self._position - self._start) // PART != number or self._position == self._end:
                del self._parts[number]
                self._changed.notify_all()
        return data

    def close(self) -> None:
        """Stop the threads."""
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()

    def _work(self) -> None:
        try:
            while (number := self._take()) is not None:
                data = self._download(number)
                with self._changed:
                    self._parts[number] = data
                    self._changed.notify_all()
        except BaseException as error:
            # It is raised in the thread that reads.
            with self._changed:
                self._error = self._error or error
                self._changed.notify_all()

    def _take(self) -> int | None:
        """Return the next part's number once it is in the window; None if there is none."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_over() or self._is_in_window())
            if self._is_over():
                return None
            self._next += 1
            return self._next - 1

    def _is_over(self) -> bool:
        return self._stopped.is_set() or self._error is not None or self._start + self._next * PART >= self._end

    def _is_in_window(self) -> bool:
        window = min(max(self._position - self._start, self._first_window), WINDOW)
        return self._start + (self._next + 1) * PART <= self._position + window

    def _download(self, number: int) -> bytes:
        first = self._start + number * PART
        last = min(first + PART, self._end) - 1
        attempts = self._source.attempts(self._stopped.wait)
        while True:
            try:
                with self._source.open(first, last) as body:
                    if not body.takes_ranges:
                        raise DownloadError("S3 ignores ranges", can_pass=False)  # noqa: TRY301
                    data = body.read(last - first + 1)
                if len(data) == last - first + 1:
                    return data
                raise DownloadError("the answer is too short")  # noqa: TRY301
            except DownloadError as error:
                if self._stopped.is_set():
                    raise
                attempts.failed(error)
