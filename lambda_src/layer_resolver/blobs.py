"""Looks at blobs in S3, by their download URL: the size of any blob, and the content of an image's config.

A pre-signed URL is signed for GET, so S3 refuses a HEAD on it; a GET of the first byte tells the size as well and needs
no further permission. Configs are the one exception to the rule that no blob goes through the function.
"""

import hashlib
import re

from cachetools import LRUCache

from layer_resolver.download_urls import UrlRefusedError
from layer_resolver.errors import BLOB_UNREADABLE, TIMED_OUT, UNSUPPORTED_IMAGE, ResolverError, Subject
from layer_resolver.network import Answer, AnswerTooLargeError, Deadline, HttpClient, RequestFailedError

CACHED_SIZES = 10_000
"""How many sizes are kept. The content behind a digest never changes, so they do not expire."""

CACHED_CONFIGS = 50
"""How many configs are kept; most have a few kilobytes."""

LARGEST_CONFIG = 4 * 1024 * 1024
"""How many bytes a config may have: as many as ECR allows a manifest."""

_TOO_LARGE = "The config {} has more than the 4 MB that this service reads. Download it with GET /download-url."
_ATTEMPTS = 3
_ATTEMPT_SECONDS = 3.0
_CONNECTIONS = 2
_HEADERS = {"Accept-Encoding": "identity"}
_TRIED_AGAIN = frozenset({500, 502, 503, 504})
# 403 for a signature that is too old or wrong, 400 for a session token that has expired; source:
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html#ErrorCodeList
_REFUSALS = frozenset({400, 401, 403})
_CONTENT_RANGE = re.compile(r"bytes (?:0-0|\*)/([0-9]{1,19})")


class BlobReader:
    """Reads sizes and configs; used by one invocation at a time."""

    def __init__(self) -> None:
        self._http = HttpClient(_CONNECTIONS)
        self._sizes: LRUCache[str, int] = LRUCache(CACHED_SIZES)
        self._configs: LRUCache[str, bytes] = LRUCache(CACHED_CONFIGS)

    def size(self, subject: Subject, download_url: str, deadline: Deadline) -> int:
        """Return the size of a blob in bytes.

        Args:
            subject: The blob, for its digest and for errors.
            download_url: Its download URL.
            deadline: When the answer has to be there.

        Raises:
            UrlRefusedError: If S3 refuses the URL.
            ResolverError: If S3 does not say, or not in time.
        """
        known = self._sizes.get(str(subject.name))
        if known is not None:
            return known
        answer = self._get(subject, download_url, deadline, {"Range": "bytes=0-0"}, most_bytes=0)
        size = _size_of(answer)
        if size is None:
            raise ResolverError(BLOB_UNREADABLE, subject=subject)
        self._sizes[str(subject.name)] = size
        return size

    def config(self, subject: Subject, download_url: str, deadline: Deadline) -> bytes:
        """Return the content of an image's config, whose digest has been checked.

        Args:
            subject: The config, for its digest and for errors.
            download_url: Its download URL.
            deadline: When the answer has to be there.

        Raises:
            UrlRefusedError: If S3 refuses the URL.
            ResolverError: If S3 does not give it, or not in time, or gives something else.
        """
        digest = str(subject.name)
        known = self._configs.get(digest)
        if known is not None:
            return known
        answer = self._get(subject, download_url, deadline, {}, most_bytes=LARGEST_CONFIG)
        if answer.status != 200 or digest_of(answer.content, digest) != digest:
            raise ResolverError(BLOB_UNREADABLE, subject=subject)
        self._configs[digest] = answer.content
        return answer.content

    def _get(
        self, subject: Subject, url: str, deadline: Deadline, headers: dict[str, str], *, most_bytes: int
    ) -> Answer:
        answer: Answer | None = None
        for attempts_left in range(_ATTEMPTS, 0, -1):
            # What is left is shared by the attempts, so that one that hangs leaves time for another.
            share = deadline.within(min(_ATTEMPT_SECONDS, deadline.remaining() / attempts_left))
            try:
                answer = self._http.request("GET", url, {**_HEADERS, **headers}, share, most_bytes=most_bytes)
            except RequestFailedError:
                continue
            except AnswerTooLargeError as error:
                raise ResolverError(UNSUPPORTED_IMAGE, _TOO_LARGE.format(subject.name), subject=subject) from error
            if answer.status not in _TRIED_AGAIN:
                break
        if answer is None:
            raise ResolverError(TIMED_OUT, "S3 did not answer in time. Try again.", subject=subject)
        if answer.status in _REFUSALS:
            raise UrlRefusedError
        return answer


def digest_of(content: bytes, digest: str) -> str | None:
    """Return the digest of `content` in the algorithm of another digest, None if that algorithm is not known."""
    algorithm = digest.partition(":")[0]
    if algorithm not in {"sha256", "sha512"}:
        return None
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def _size_of(answer: Answer) -> int | None:
    if answer.status == 200:
        # A server without support for ranges sends the whole blob, which is not read.
        length = answer.headers.get("content-length", "")
        return int(length) if re.fullmatch(r"[0-9]{1,19}", length) else None
    # 416 is how S3 answers for an empty object, which has no first byte.
    match = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
    return int(match[1]) if match and answer.status in {206, 416} else None
