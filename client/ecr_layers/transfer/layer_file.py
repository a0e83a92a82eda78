"""A layer in the registry as an open file: only the ranges that are read are downloaded."""

import io
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ecr_layers.errors import IntegrityError
from ecr_layers.oci.references import hasher
from ecr_layers.transfer.downloads import Body, DownloadError
from ecr_layers.transfer.read_ahead import ReadAhead
from ecr_layers.transfer.source import BlobSource

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_SMALLEST_RANGE, _LARGEST_RANGE = 256 * 1024, 32 * 1024 * 1024
# A short distance ahead is read and dropped, rather than requested anew.
_NEAR = 256 * 1024
# After so many bytes in order, the reader is taken for one that reads everything.
_IN_ORDER = 1024 * 1024


class LayerFile(io.RawIOBase):
    """A layer's bytes. A reader that reads them in order is served by many connections that read ahead.

    If all bytes are read in order, the digest is verified at the end; otherwise it can't be.

    Args:
        source: Where the bytes come from.
        size: The layer's size in bytes; by default, S3 is asked for it.
        connections: How many connections read ahead.
        is_read_whole: Whether the reader is known to read everything, which then starts over all connections.

    Attributes:
        size: The layer's size in bytes.

    Raises:
        TransferError: If the size is unknown and S3 doesn't say it.
    """

    def __init__(
        self, source: BlobSource, size: int | None = None, connections: int = 16, *, is_read_whole: bool = False
    ) -> None:
        super().__init__()
        self._source = source
        self._connections = connections
        self._is_read_whole = is_read_whole
        self._attempts = source.attempts()
        self._position = 0
        self._in_order = 0
        self._range = _SMALLEST_RANGE
        self._hash = hasher(source.digest)
        self._hashed = 0
        self._open = ExitStack()
        self._body: Body | None = None
        self._body_position = self._body_end = 0
        self._ahead: ReadAhead | None = None
        self.size = size if size is not None else source.ask_for_size(self._attempts)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to an offset, and return it. Nothing is downloaded before the next read.

        Raises:
            ValueError: If the offset is negative.
        """
        position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if position < 0:
            raise ValueError(f"Negative offset {position}.")
        if position != self._position:
            self._range, self._in_order = _SMALLEST_RANGE, 0
        self._position = position
        return position

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Read the next bytes into a buffer, and return their number, 0 at the end.

        Raises:
            TransferError: If they can't be downloaded, despite retries.
            IntegrityError: If the whole layer was read in order and has another digest.
        """
        view = memoryview(buffer).cast("B")
        count = min(len(view), self.size - self._position)
        if count <= 0:
            # An empty layer has a digest, too.
            self._verify(b"")
            return 0
        data = self._read(count)
        view[: len(data)] = data
        self._verify(data)
        self._position += len(data)
        self._in_order += len(data)
        return len(data)

    def close(self) -> None:
        """Close the connections."""
        if not self.closed:
            self._leave()
            self._stop_reading_ahead()
        super().close()

    def _verify(self, data: bytes) -> None:
        if self._position != self._hashed:
            return
        self._hash.update(data)
        self._hashed += len(data)
        if self._hashed == self.size and self._hash.hexdigest() != self._source.digest.partition(":")[2]:
            raise IntegrityError(
                f"Digest mismatch: {self._source.digest} has other bytes. The registry's copy may be corrupt.",
                digest=self._source.digest,
            )

    def _read(self, count: int) -> bytes:
        ahead = self._reading_ahead()
        return self._read_range(count) if ahead is None else ahead.read(count)

    def _reading_ahead(self) -> ReadAhead | None:
        """Return what reads ahead from the position, if the reader reads in order."""
        if self._ahead is not None and self._ahead.position != self._position:
            self._stop_reading_ahead()
        takes_ranges = self._body is None or self._body_end < self.size
        # The first range shows whether the server takes ranges.
        in_order = _SMALLEST_RANGE if self._is_read_whole else _IN_ORDER
        if self._ahead is None and self._in_order >= in_order and takes_ranges:
            self._leave()
            self._ahead = ReadAhead(
                self._source, self._position, self.size, self._connections, is_read_whole=self._is_read_whole
            )
        return self._ahead

    def _stop_reading_ahead(self) -> None:
        if self._ahead is not None:
            self._ahead.close()
        self._ahead = None

    def _read_range(self, count: int) -> bytes:
        """Read the next bytes over one connection, with retries."""
        while True:
            try:
                body = self._body_at_position()
                data = body.read(min(count, self._body_end - self._position))
                if not data:
                    raise DownloadError("the answer is too short")  # noqa: TRY301
            except DownloadError as error:
                self._leave(error)
                self._attempts.failed(error)
            else:
                self._attempts.succeeded()
                self._body_position += len(data)
                return data

    def _body_at_position(self) -> Body:
        """Return an answer whose next byte is the one at the position."""
        ahead = self._position - self._body_position
        if self._body is None or self._position >= self._body_end or not 0 <= ahead <= _NEAR:
            self._leave()
            return self._request(min(self._position + self._range, self.size) - 1)
        self._skip(self._body, ahead)
        return self._body

    def _request(self, last: int) -> Body:
        """Request the bytes from the position on, and skip earlier ones if the server ignores ranges."""
        body = self._open.enter_context(self._source.open(self._position, last))
        self._body = body
        self._body_position = body.first
        self._body_end = last + 1 if body.takes_ranges else self.size
        self._range = min(2 * self._range, _LARGEST_RANGE)
        self._skip(body, self._position - body.first)
        return body

    def _skip(self, body: Body, count: int) -> None:
        while count:
            skipped = len(body.read(min(count, _NEAR)))
            if not skipped:
                raise DownloadError("the answer is too short")
            self._body_position += skipped
            count -= skipped

    def _leave(self, error: BaseException | None = None) -> None:
        """Close the open answer; the source learns of an error in it."""
        opened, self._open, self._body = self._open, ExitStack(), None
        if error is None:
            opened.close()
            return
        try:
            opened.__exit__(type(error), error, error.__traceback__)
        except DownloadError:
            return
