"""Requests to S3 for the bytes of blobs.

httpx takes several times the processor time of urllib3 for bulk bytes, which botocore brings along; so the service is
asked by httpx, and S3 by urllib3. Nothing here names a download URL, in an error or elsewhere.
"""

import logging
import re
import ssl
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import urllib3
from urllib3.exceptions import HTTPError

from ecr_layers.transfer.hosts import LOOPBACK
from ecr_layers.transfer.retries import RETRYABLE_STATUSES, retry_after

BLOCK = 256 * 1024
"""How many bytes are read at once."""

MOST_REDIRECTS = 3
"""How many redirects are followed."""

_CONNECT_TIMEOUT, _READ_TIMEOUT = 10.0, 20.0
_CONTENT_RANGE = re.compile(r"bytes (?:(?P<first>[0-9]{1,18})-(?P<last>[0-9]{1,18})|\*)/(?P<size>[0-9]{1,18}|\*)")
# S3 says so of a URL that was signed with credentials that are no longer valid:
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
_EXPIRED = re.compile(rb"<Code>(?:ExpiredToken|RequestTimeTooSkewed|TokenRefreshRequired)</Code>")


class DownloadError(Exception):
    """A request for bytes failed; the message has no URL in it.

    Attributes:
        can_pass: Whether the same request can succeed later.
        is_refused: Whether the URL has expired, or is refused for another reason that a new one may not have.
        retry_after: How long to wait, in seconds, None if the server does not say.
    """

    def __init__(
        self, message: str, *, can_pass: bool = True, is_refused: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.can_pass = can_pass
        self.is_refused = is_refused
        self.retry_after = retry_after


class Body:
    """The answer to a request for bytes.

    Attributes:
        first: The place in the blob of its first byte: 0, if the server gives the whole blob and takes no ranges.
        size: The size of the whole blob in bytes, None if the server does not say.
        takes_ranges: Whether the server has given the range that it was asked for.
    """

    def __init__(self, response: urllib3.BaseHTTPResponse, first: int, size: int | None, *, takes_ranges: bool) -> None:
        self._response = response
        self.first = first
        self.size = size
        self.takes_ranges = takes_ranges

    def read(self, count: int) -> bytes:
        """Return the next bytes: as many as are asked for, or fewer at the end.

        Raises:
            DownloadError: If the connection breaks, or is closed before the end.
        """
        with _errors():
            return self._response.read(count, decode_content=False)

    def stop(self) -> None:
        """Let a `read` in another thread end at once, with an error or with fewer bytes."""
        # It may have ended by itself, and its connection be back in the pool.
        try:
            self._response.shutdown()
        except (RuntimeError, ValueError, OSError):
            return


class Downloads:
    """Connections to wherever download URLs lead to. May be used from several threads.

    Args:
        allows_http: Whether a download URL may be without TLS: that is so for a service on this machine.
        connections: How many connections are kept open.
        read_timeout: After how many seconds without a byte a connection is given up.
    """

    def __init__(self, *, allows_http: bool, connections: int = 32, read_timeout: float = _READ_TIMEOUT) -> None:
        self._schemes = {"https", "http"} if allows_http else {"https"}
        self._connections = connections
        self._timeout = urllib3.Timeout(connect=_CONNECT_TIMEOUT, read=read_timeout)
        self._tls: ssl.SSLContext | None = None
        self._pools: dict[str | None, urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections that are not in use."""
        for pool in self._pools.values():
            pool.clear()

    @contextmanager
    def open(self, url: str, first: int, last: int, *, on_new_connection: bool = False) -> Iterator[Body]:
        """Ask for a range of a blob's bytes.

        Args:
            url: The download URL.
            first: The place of the first byte.
            last: The place of the last byte; it may be behind the blob's end.
            on_new_connection: Whether no connection may be used that has been used before.

        Raises:
            DownloadError: If the bytes are not given, also while they are read.
        """
        pool = self._new_pool(url) if on_new_connection else self._pool(url)
        response = self._request(pool, url, {"Range": f"bytes={first}-{last}", "Accept-Encoding": "identity"})
        try:
            yield _body(response, first, last)
        finally:
            # What has not been read to its end can't be used for another request.
            response.close()
            response.release_conn()
            if on_new_connection:
                pool.clear()

    def _request(self, pool: urllib3.PoolManager, url: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        for _ in range(MOST_REDIRECTS + 1):
            self._check(url)
            with _errors():
                response = pool.request(
                    "GET", url, headers=headers, preload_content=False, redirect=False, retries=False
                )
            location = response.headers.get("Location")
            if response.status not in {301, 302, 303, 307, 308} or not location:
                return response
            response.close()
            target = urljoin(url, location)
            if urlsplit(target).scheme != urlsplit(url).scheme:
                raise DownloadError("a redirect leads to another scheme, which is not followed", can_pass=False)
            url = target
        raise DownloadError(f"more than {MOST_REDIRECTS} redirects follow one another", can_pass=False)

    def _check(self, url: str) -> None:
        if urlsplit(url).scheme not in self._schemes:
            raise DownloadError("the download URL is not HTTPS, as it has to be", can_pass=False)

    def _pool(self, url: str) -> urllib3.PoolManager:
        with self._lock:
            proxy = _proxy(url)
            if proxy not in self._pools:
                self._pools[proxy] = self._new_pool(url)
            return self._pools[proxy]

    def _new_pool(self, url: str) -> urllib3.PoolManager:
        if self._tls is None and url.startswith("https:"):
            self._tls = httpx.create_ssl_context()
        proxy = _proxy(url)
        options: dict[str, Any] = {"maxsize": self._connections, "timeout": self._timeout, "ssl_context": self._tls}
        return urllib3.PoolManager(**options) if proxy is None else urllib3.ProxyManager(proxy, **options)


def _proxy(url: str) -> str | None:
    """Return the proxy that the environment names for a URL, None for none."""
    parts = urlsplit(url)
    if parts.hostname in LOOPBACK or urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    proxy = urllib.request.getproxies().get(parts.scheme)
    return proxy if proxy is not None and proxy.startswith(("http://", "https://")) else None


def _body(response: urllib3.BaseHTTPResponse, first: int, last: int) -> Body:
    status = response.status
    content_range = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if status == HTTPStatus.PARTIAL_CONTENT:
        if content_range is None or content_range["first"] != str(first) or int(content_range["last"]) > last:
            raise DownloadError("S3 answered with another range than it was asked for")
        size = content_range["size"]
        return Body(response, first, int(size) if size != "*" else None, takes_ranges=True)
    if status == HTTPStatus.OK:
        length = response.headers.get("Content-Length", "")
        return Body(response, 0, int(length) if length.isdecimal() else None, takes_ranges=False)
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and content_range and content_range["size"] == "0":
        # That is how the empty blob is answered, which has no first byte.
        return Body(response, 0, 0, takes_ranges=True)
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and content_range:
        size = content_range["size"]
        raise DownloadError(f"it has {size} bytes in S3, and others behind them were asked for", can_pass=False)
    raise _refusal(response)


def _refusal(response: urllib3.BaseHTTPResponse) -> DownloadError:
    status = response.status
    with _errors():
        beginning = response.read(4096, decode_content=False)
    is_refused = status in {401, 403} or (status == HTTPStatus.BAD_REQUEST and _EXPIRED.search(beginning) is not None)
    return DownloadError(
        f"S3 answered {status}",
        can_pass=is_refused or status in RETRYABLE_STATUSES,
        is_refused=is_refused,
        retry_after=retry_after(response.headers),
    )


@contextmanager
def _errors() -> Iterator[None]:
    """Turn urllib3's errors, which quote URLs, into those of this module."""
    try:
        yield
    except HTTPError as error:
        raise DownloadError(_in_words(error)) from None
    except (OSError, ValueError) as error:
        raise DownloadError(f"the connection failed ({type(error).__name__})") from None


def _in_words(error: HTTPError) -> str:
    name = type(error).__name__
    if "Timeout" in name:
        return "S3 did not answer in time"
    if name == "SSLError":
        return "the connection's certificate or encryption is not in order"
    return f"the connection broke ({name})"


class _WithoutQueries(logging.Filter):
    """Takes the queries of URLs out of what urllib3 logs at the level DEBUG: they are secrets."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(_QUERY.sub("?…", each) if isinstance(each, str) else each for each in record.args)
        return True


_QUERY = re.compile(r"\?\S*")
logging.getLogger("urllib3.connectionpool").addFilter(_WithoutQueries())
