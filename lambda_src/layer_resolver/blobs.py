"""Looks at blobs in S3 by their download URL: any blob's size, and the content of an image's config.

A pre-signed URL is signed for GET, so S3 refuses HEAD on it. A GET of the first byte returns the size as well. Configs
are the only blobs that pass through the function.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from botocore.httpsession import ProxyConfiguration, get_cert_path
from botocore.utils import get_environ_proxies
from cachetools import LRUCache
from urllib3 import PoolManager, ProxyManager, Timeout
from urllib3.exceptions import HTTPError

from layer_resolver import errors
from layer_resolver.calls import CONNECTION_SECONDS, Calls, Deadline, Moment, OutOfTimeError, check_time
from layer_resolver.download_urls import UrlRefusedError
from layer_resolver.errors import ResolverError, Subject

ATTEMPTS = 3
"""How often one look at S3 is tried."""

CONNECT_SECONDS, READ_SECONDS = 2.0, 3.0
"""How long one attempt may take to connect, and to send the next bytes of its answer."""

CACHED_SIZES = 10_000
"""How many sizes are kept. The content behind a digest never changes, so they don't expire."""

CACHED_CONFIG_BYTES = 8 * 1024 * 1024
"""How many bytes of configs are kept, whatever their number."""

LARGEST_CONFIG = 4 * 1024 * 1024
"""The largest config, in bytes: as large as ECR allows a manifest."""

_TRANSIENT = frozenset({500, 502, 503, 504})
# 403 for a signature too old or wrong, 400 for an expired session token; source:
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList
_REFUSALS = frozenset({400, 401, 403})
_CONTENT_RANGE = re.compile(r"bytes (?:0-0|\*)/([0-9]{1,19})")


class _Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    content: bytes


class BlobReader:
    """Reads sizes and configs; one invocation at a time uses it.

    Both methods raise `UrlRefusedError` if S3 refuses the URL, and `ResolverError` if it doesn't return the size or the
    config before the deadline.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._s3 = _S3()
        self._sizes: LRUCache[str, int] = LRUCache(CACHED_SIZES)
        self._configs: LRUCache[str, bytes] = LRUCache(CACHED_CONFIG_BYTES, getsizeof=len)

    def size(self, blob: Subject, download_url: str, deadline: Deadline) -> int:
        """Return the size of a blob in bytes."""
        digest = str(blob.name)
        if digest in self._sizes:
            return self._sizes[digest]
        size = _size_of(self._get(blob, download_url, deadline, {"Range": "bytes=0-0"}, most_bytes=1))
        if size is None:
            raise ResolverError(errors.BLOB_UNREADABLE, subject=blob)
        self._sizes[digest] = size
        return size

    def config(self, blob: Subject, download_url: str, deadline: Deadline) -> bytes:
        """Return the content of an image's config, which matches its digest."""
        digest = str(blob.name)
        if digest in self._configs:
            return self._configs[digest]
        answer = self._get(blob, download_url, deadline, {}, most_bytes=LARGEST_CONFIG)
        if len(answer.content) > LARGEST_CONFIG:
            detail = f"The config {digest} is larger than 4 MB. Download it with GET /download-url."
            raise ResolverError(errors.UNSUPPORTED_IMAGE, detail, subject=blob)
        if answer.status != 200 or digest_of(answer.content, digest) != digest:
            raise ResolverError(errors.BLOB_UNREADABLE, subject=blob)
        self._configs[digest] = answer.content
        return answer.content

    def _get(
        self, blob: Subject, url: str, deadline: Deadline, headers: Mapping[str, str], *, most_bytes: int
    ) -> _Answer:
        try:
            answer = self._calls.run(deadline, lambda: self._s3.get(url, headers, most_bytes))
        except (HTTPError, OSError, OutOfTimeError) as error:
            raise ResolverError(errors.TIMED_OUT, "S3 did not answer in time. Try again.", subject=blob) from error
        if answer.status in _REFUSALS:
            raise UrlRefusedError
        return answer


class _S3:
    """Gets what download URLs lead to, without following redirects; the environment names proxy and CA bundle.

    urllib3 keeps one connection to each host, so if that is dead, the next attempt opens a new one.
    """

    def __init__(self) -> None:
        self._managers: dict[str | None, PoolManager] = {}
        self._opened = Moment.now()

    def get(self, url: str, headers: Mapping[str, str], most_bytes: int) -> _Answer:
        """Return the answer with no more of its body than `most_bytes` and one byte.

        Raises:
            urllib3.exceptions.HTTPError: If there is no answer after `ATTEMPTS`.
            OutOfTimeError: If the invocation is over before another attempt.
        """
        if Moment.now().since(self._opened) > CONNECTION_SECONDS:
            self._opened = Moment.now()
            for manager in list(self._managers.values()):
                manager.clear()
        attempts = 0
        while True:
            attempts += 1
            try:
                answer = self._try(url, headers, most_bytes)
            except HTTPError as error:
                if attempts == ATTEMPTS or errors.is_certificate_refused(error):
                    raise
            else:
                if attempts == ATTEMPTS or answer.status not in _TRANSIENT:
                    return answer

    def _try(self, url: str, headers: Mapping[str, str], most_bytes: int) -> _Answer:
        check_time()
        response = self._manager(url).request(
            "GET",
            url,
            headers={"Accept-Encoding": "identity", **headers},
            preload_content=False,
            redirect=False,
            retries=False,
        )
        try:
            # http.client takes any 1xx but 100 for the answer, and leaves the real one in the connection.
            if response.status < 200:
                raise HTTPError(f"status {response.status}")
            return _Answer(response.status, response.headers, response.read(most_bytes + 1, decode_content=False))
        finally:
            # A connection that was read to the end of its answer is back in the pool already.
            response.close()

    def _manager(self, url: str) -> PoolManager:
        proxies = ProxyConfiguration(get_environ_proxies(url))
        proxy = proxies.proxy_url_for(url)
        if proxy not in self._managers:
            bundle = os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE") or get_cert_path(True)
            timeout = Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
            options: dict[str, Any] = {"timeout": timeout, "ca_certs": bundle}
            self._managers[proxy] = (
                ProxyManager(proxy, proxy_headers=proxies.proxy_headers_for(proxy), **options)
                if proxy
                else PoolManager(**options)
            )
        return self._managers[proxy]


def digest_of(content: bytes, digest: str) -> str | None:
    """Return the digest of `content` in the algorithm of another digest; None for an unknown algorithm."""
    algorithm = digest.partition(":")[0]
    if algorithm not in {"sha256", "sha512"}:
        return None
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def _size_of(answer: _Answer) -> int | None:
    if answer.status == 200:
        # A server without support for ranges sends the whole blob.
        length = answer.headers.get("Content-Length", "")
        return int(length) if re.fullmatch(r"[0-9]{1,19}", length) else None
    # S3 answers 416 for an empty object, which has no first byte.
    match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    return int(match[1]) if match and answer.status in {206, 416} else None
