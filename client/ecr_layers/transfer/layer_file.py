"""A layer in the registry as a file that is open for reading: what is read is asked for, by ranges."""

import io
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ecr_layers.errors import IntegrityError
from ecr_layers.oci.references import hasher
from ecr_layers.transfer.downloads import Body, DownloadError
from ecr_layers.transfer.source import Attempts, BlobSource

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from ecr_layers.transfer.retries import Retries

_SMALLEST_RANGE, _LARGEST_RANGE = 256 * 1024, 32 * 1024 * 1024
# What lies so near ahead is read and left, rather than asked for anew.
_NEAR = 256 * 1024


class LayerFile(io.RawIOBase):
    """A layer's bytes. Bytes that are read one after another are asked for in ever larger ranges.

    If all of them are read in their order, the digest is verified at the end; otherwise it can't be.

    Args:
        source: Where the bytes come from.
        retries: How often a request is made again.
        size: The layer's size in bytes; without it, the first answer says.

    Attributes:
        size: The layer's size in bytes.

    Raises:
        TransferError: If the size is not known and can't be asked for.
    """

    def __init__(self, source: BlobSource, retries: "Retries", size: int | None = None) -> None:
        super().__init__()
        self._source = source
        self._attempts = Attempts(retries, source.digest)
        self._position = 0
        self._range = _SMALLEST_RANGE
        self._hash = hasher(source.digest)
        self._hashed = 0
        self._open = ExitStack()
        self._body: Body | None = None
        self._body_position = self._body_end = 0
        self.size = size if size is not None else self._ask_for_size()

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, and return it; nothing is asked for before the next read.

        Raises:
            ValueError: If there is no such place.
        """
        position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if position < 0:
            raise ValueError(f"There is no byte {position}.")
        if position != self._position:
            self._range = _SMALLEST_RANGE
        self._position = position
        return position

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Read the next bytes into a buffer and return how many there were, 0 at the end.

        Raises:
            TransferError: If they are not given, though they were asked for again.
            IntegrityError: If the whole layer has been read in order and does not have its digest or size.
        """
        view = memoryview(buffer).cast("B")
        count = min(len(view), self.size - self._position)
        if count <= 0:
            return 0
        data = self._read(count)
        view[: len(data)] = data
        self._verify(data)
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        """Close the connection."""
        if not self.closed:
            self._leave()
        super().close()

    def _verify(self, data: bytes) -> None:
        if self._position != self._hashed:
            return
        self._hash.update(data)
        self._hashed += len(data)
        if self._hashed == self.size and self._hash.hexdigest() != self._source.digest.partition(":")[2]:
            raise IntegrityError(f"What was read of {self._source.digest} does not have that digest. Read it again.")

    def _read(self, count: int) -> bytes:
        """Read the next bytes, as often as it takes."""
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
        """Return the answer whose next byte is the one to be read."""
        ahead = self._position - self._body_position
        if self._body is None or self._position >= self._body_end or not 0 <= ahead <= _NEAR:
            self._leave()
            return self._ask(min(self._position + self._range, self.size) - 1)
        self._skip(self._body, ahead)
        return self._body

    def _ask(self, last: int) -> Body:
        """Ask for the bytes from the position on, and read what the server sends before them if it takes no ranges."""
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

    def _ask_for_size(self) -> int:
        while True:
            try:
                with self._source.open(0, 0) as body:
                    # Else the connection could not be used again.
                    body.read(1)
                    if body.size is None:
                        raise DownloadError("S3 does not say how many bytes it has", can_pass=False)  # noqa: TRY301
                    return body.size
            except DownloadError as error:
                self._attempts.failed(error)

    def _leave(self, error: BaseException | None = None) -> None:
        """Close the answer that is open; the source learns of an error in it."""
        opened, self._open, self._body = self._open, ExitStack(), None
        if error is None:
            opened.close()
            return
        try:
            opened.__exit__(type(error), error, error.__traceback__)
        except DownloadError:
            return
