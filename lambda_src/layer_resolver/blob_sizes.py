"""Finds out how large a blob is, from S3, by the download URL.

A pre-signed URL is signed for GET, so S3 refuses a HEAD of it; a GET of one byte tells the size of the whole. The URL
is a secret: nothing that is raised here names it.
"""

import re

import urllib3
from cachetools import LRUCache

from layer_resolver.errors import BLOB_UNREADABLE, TIMED_OUT, OutOfTimeError, ResolverError
from layer_resolver.resolver import Deadline, call_within

CACHED_SIZES = 10_000
"""How many sizes are kept. What has a digest never changes, so they do not expire."""

_ATTEMPTS = 3
_ATTEMPT_SECONDS = 4.0

_CONTENT_RANGE = re.compile(r"bytes (?:0-0|\*)/(\d+)")


class BlobSizes:
    """Sizes of blobs; used by one invocation at a time."""

    def __init__(self) -> None:
        self._http = urllib3.PoolManager(cert_reqs="CERT_REQUIRED")
        self._sizes: LRUCache[str, int] = LRUCache(CACHED_SIZES)

    def size(self, digest: str, download_url: str, deadline: Deadline) -> int:
        """Return the size of a blob in bytes.

        Args:
            digest: The blob's digest.
            download_url: Where it is to be had.
            deadline: When the answer has to be there.

        Raises:
            ResolverError: If S3 does not tell, or not in time.
        """
        known = self._sizes.get(digest)
        if known is not None:
            return known
        size = self._ask(download_url, deadline)
        if size is None:
            raise ResolverError(BLOB_UNREADABLE)
        self._sizes[digest] = size
        return size

    def _ask(self, url: str, deadline: Deadline) -> int | None:
        seconds = deadline.remaining() / _ATTEMPTS
        if not seconds:
            raise ResolverError(TIMED_OUT)
        try:
            # urllib3's time-outs are for single reads, which an answer that trickles in never exceeds.
            response = call_within(deadline, lambda: self._get_first_byte(url, min(_ATTEMPT_SECONDS, seconds)))
        except (urllib3.exceptions.HTTPError, OutOfTimeError):
            raise ResolverError(TIMED_OUT) from None
        # A server that does not know ranges sends it all; nobody reads it.
        response.close()
        return _size_of(response)

    def _get_first_byte(self, url: str, seconds: float) -> urllib3.BaseHTTPResponse:
        return self._http.request(
            "GET",
            url,
            headers={"Range": "bytes=0-0", "Accept-Encoding": "identity"},
            redirect=False,
            preload_content=False,
            timeout=urllib3.Timeout(total=seconds),
            retries=urllib3.Retry(
                _ATTEMPTS - 1,
                redirect=0,
                status_forcelist=(500, 502, 503, 504),
                raise_on_status=False,
                backoff_factor=0.1,
                # It may ask for more time than the invocation has.
                respect_retry_after_header=False,
            ),
        )


def _size_of(response: urllib3.BaseHTTPResponse) -> int | None:
    if response.status == 200:
        length = response.headers.get("Content-Length", "")
        return int(length) if length.isdecimal() else None
    # 416 is how S3 answers for an empty object, which has no first byte.
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return int(match[1]) if match and response.status in {206, 416} else None
