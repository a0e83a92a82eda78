"""Requests to S3 for ranges of a blob's bytes. No download URL gets into an error."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from urllib.parse import urljoin, urlsplit

from ecr_layers.transfer.rates import PIECE, RateLimit
from ecr_layers.transfer.retries import RETRYABLE_STATUSES, retry_after
from ecr_layers.transfer.transport import Answer, Transport, TransportError

BLOCK = 256 * 1024
"""How many bytes are read at once."""

MOST_REDIRECTS = 3
"""How many redirects are followed."""

_CONTENT_RANGE = re.compile(r"bytes (?:(?P<first>[0-9]{1,18})-(?P<last>[0-9]{1,18})|\*)/(?P<size>[0-9]{1,18}|\*)")
_CODE = re.compile(rb"<Code>(?P<code>[A-Za-z0-9.]{1,80})</Code>")
# S3's codes for a URL whose credentials have expired:
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
_EXPIRED = frozenset({"ExpiredToken", "RequestTimeTooSkewed", "TokenRefreshRequired"})


class DownloadError(Exception):
    """A request for bytes failed; the message has no URL.

    Attributes:
        can_pass: Whether the same request can succeed later.
        is_refused: Whether the URL was refused, for a reason that may not apply to a new one.
        retry_after: Seconds that the server asks to wait; None if it doesn't say.
        code: S3's error code, such as `AccessDenied`; None without one.
        request_id: S3's request id; None without one.
    """

    def __init__(
        self,
        message: str,
        *,
        can_pass: bool = True,
        is_refused: bool = False,
        retry_after: float | None = None,
        code: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.can_pass = can_pass
        self.is_refused = is_refused
        self.retry_after = retry_after
        self.code = code
        self.request_id = request_id


class Body:
    """The bytes of a range.

    Attributes:
        first: Offset of the first byte in the blob: 0 if the server ignored the range and sends the whole blob.
        size: The size of the whole blob in bytes; None if the server doesn't say.
        takes_ranges: Whether the server sends the requested range.
    """

    def __init__(
        self, answer: Answer, first: int, size: int | None, limit: RateLimit | None, *, takes_ranges: bool
    ) -> None:
        self._answer = answer
        self._limit = limit
        self.first = first
        self.size = size
        self.takes_ranges = takes_ranges

    def read(self, count: int) -> bytes:
        """Return the next bytes: as many as requested, or fewer at the end.

        Raises:
            DownloadError: If the connection breaks, stalls or is too slow.
        """
        with _errors():
            return self._answer.read(count) if self._limit is None else b"".join(self._pieces(count, self._limit))

    def _pieces(self, count: int, limit: RateLimit) -> Iterator[bytes]:
        while count:
            wanted = min(count, PIECE)
            limit.wait(wanted)
            piece = self._answer.read(wanted)
            yield piece
            # Fewer bytes than requested are the last.
            count = count - wanted if len(piece) == wanted else 0

    def stop(self) -> None:
        """End a `read` in another thread at once, with an error or with fewer bytes."""
        self._answer.stop()


class Downloads:
    """Requests for ranges, wherever download URLs lead. May be used from several threads.

    Args:
        transport: The connections.
        allows_http: Whether download URLs may be plain HTTP, as those of a local service are.
        limit: Limits the rate of all downloads together.
    """

    def __init__(self, transport: Transport, *, allows_http: bool, limit: RateLimit | None = None) -> None:
        self._transport = transport
        self._limit = limit
        self._schemes = {"https", "http"} if allows_http else {"https"}

    @contextmanager
    def open(self, url: str, first: int, last: int, *, on_new_connection: bool = False) -> Iterator[Body]:
        """Request a range of a blob.

        Args:
            url: The download URL.
            first: Offset of the first byte.
            last: Offset of the last byte; it may be beyond the blob's end.
            on_new_connection: Whether to open a new connection.

        Raises:
            DownloadError: If it isn't answered, or breaks off while it is read.
        """
        headers = {"Range": f"bytes={first}-{last}", "Accept-Encoding": "identity"}
        for _ in range(MOST_REDIRECTS + 1):
            if urlsplit(url).scheme not in self._schemes:
                raise DownloadError("the download URL isn't HTTPS", can_pass=False)
            with (
                _errors(),
                self._transport.request("GET", url, headers, on_new_connection=on_new_connection) as answer,
            ):
                location = answer.headers.get("Location")
                if answer.status not in {301, 302, 303, 307, 308} or not location:
                    yield _body(answer, first, last, self._limit)
                    return
                target = urljoin(url, location)
            if urlsplit(target).scheme != urlsplit(url).scheme:
                raise DownloadError("a redirect leads to another scheme", can_pass=False)
            url = target
        raise DownloadError(f"there are more than {MOST_REDIRECTS} redirects", can_pass=False)


def _body(answer: Answer, first: int, last: int, limit: RateLimit | None) -> Body:
    content_range = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if answer.status == HTTPStatus.PARTIAL_CONTENT:
        if content_range is None or content_range["first"] != str(first) or int(content_range["last"]) > last:
            raise DownloadError("S3 returned another range than the requested one")
        size = content_range["size"]
        return Body(answer, first, int(size) if size != "*" else None, limit, takes_ranges=True)
    if answer.status == HTTPStatus.OK:
        length = answer.headers.get("Content-Length", "")
        return Body(answer, 0, int(length) if length.isdecimal() else None, limit, takes_ranges=False)
    if answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and content_range:
        if content_range["size"] == "0":
            # The answer for an empty blob, which has no first byte.
            return Body(answer, 0, 0, limit, takes_ranges=True)
        raise DownloadError(f"the blob ends after {content_range['size']} bytes in S3", can_pass=False)
    raise _refusal(answer)


def _refusal(answer: Answer) -> DownloadError:
    match = _CODE.search(answer.read(4096))
    code = match["code"].decode() if match else None
    is_refused = answer.status in {401, 403} or code in _EXPIRED
    return DownloadError(
        f"S3 answered {answer.status}{f' {code}' if code else ''}",
        can_pass=is_refused or answer.status in RETRYABLE_STATUSES,
        is_refused=is_refused,
        retry_after=retry_after(answer.headers),
        code=code,
        request_id=_word(answer.headers.get("x-amz-request-id")),
    )


def _word(value: str | None) -> str | None:
    return value if value and len(value) <= 100 and value.isascii() and value.isalnum() else None


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except TransportError as error:
        raise DownloadError(error.problem.value) from None
