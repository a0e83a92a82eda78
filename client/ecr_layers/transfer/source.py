"""The bytes of one blob, wherever its download URL leads. A refused URL is renewed."""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ecr_layers.errors import TransferError
from ecr_layers.transfer.downloads import Body, DownloadError, Downloads
from ecr_layers.transfer.retries import Attempts, Retries
from ecr_layers.transfer.transport import Clock

# A URL that is about to expire isn't used for a new request.
_SHORTEST_LIFE = timedelta(seconds=15)
# The service returns the same URL for half its lifetime, and S3 has no reason to accept it later.
_MOST_REFUSALS = 5


@dataclass(frozen=True, slots=True)
class DownloadUrl:
    """A layer's download URL. It is a secret: anyone who has it can download the layer until it expires.

    Attributes:
        digest: The layer's digest.
        url: The pre-signed URL.
        expires_at: When it expires; None if it doesn't say.
    """

    digest: str
    url: str = field(repr=False)
    expires_at: datetime | None

    def is_valid(self, now: datetime) -> bool:
        """Tell whether it can be used for a new request."""
        return self.expires_at is None or self.expires_at - now > _SHORTEST_LIFE


class DownloadUrls:
    """Download URLs of one repository's layers. Each is kept until it expires or is refused.

    Args:
        resolve: Returns the URLs of digests, in their order.
        clock: Tells whether a URL has expired.
    """

    def __init__(self, resolve: Callable[[Sequence[str]], list[DownloadUrl]], clock: Clock) -> None:
        self._resolve = resolve
        self._clock = clock
        self._urls: dict[str, DownloadUrl] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def resolve(self, digests: Iterable[str]) -> None:
        """Resolve many at once.

        Raises:
            ServiceError: If the service refuses one of them.
        """
        self._urls |= {url.digest: url for url in self._resolve(list(digests))}

    def get(self, digest: str, refused: DownloadUrl | None = None) -> DownloadUrl:
        """Return a layer's download URL.

        Args:
            digest: The layer's digest.
            refused: An earlier URL that S3 refused. If another thread has renewed it, the new one is returned.

        Raises:
            ServiceError: If the service refuses it.
        """
        with self._one_at_a_time(digest):
            url = self._urls.get(digest)
            if url is None or url is refused or not url.is_valid(self._clock.now()):
                (url,) = self._resolve([digest])
                self._urls[digest] = url
            return url

    @contextlib.contextmanager
    def _one_at_a_time(self, digest: str) -> Iterator[None]:
        with self._lock:
            lock = self._locks.setdefault(digest, threading.Lock())
        with lock:
            yield


class BlobSource:
    """The bytes of one blob. May be used from several threads.

    Args:
        digest: The blob's digest.
        urls: Returns its download URL.
        downloads: Requests its bytes.
        retries: How long to go on trying.

    Attributes:
        digest: The blob's digest.
    """

    def __init__(self, digest: str, urls: DownloadUrls, downloads: Downloads, retries: Retries) -> None:
        self.digest = digest
        self._urls = urls
        self._downloads = downloads
        self._retries = retries
        self._lock = threading.Lock()
        self._refused: DownloadUrl | None = None

    @contextmanager
    def open(self, first: int, last: int, *, on_new_connection: bool = False) -> Iterator[Body]:
        """Request a range of bytes; see `Downloads.open`.

        Raises:
            DownloadError: If it isn't answered. After a refused URL, the next request uses a new one.
            ServiceError: If the service refuses a download URL.
        """
        with self._lock:
            refused = self._refused
        url = self._urls.get(self.digest, refused)
        try:
            with self._downloads.open(url.url, first, last, on_new_connection=on_new_connection) as body:
                yield body
        except DownloadError as error:
            if error.is_refused:
                with self._lock:
                    self._refused = url
            raise

    def attempts(self, sleep: Callable[[float], object] | None = None) -> "BlobAttempts":
        """Return a counter of failed attempts to read it."""
        return BlobAttempts(self.digest, self._retries, sleep)

    def ask_for_size(self, attempts: "BlobAttempts", is_stopped: Callable[[], bool] = lambda: False) -> int:
        """Return its size in bytes, as S3 says it.

        Raises:
            DownloadError: If nobody waits for it anymore.
            TransferError: If S3 doesn't say it, despite retries.
        """
        while True:
            try:
                with self.open(0, 0) as body:
                    if body.takes_ranges:
                        # A connection can be used again only if its answer was read.
                        body.read(1)
                    if body.size is None:
                        raise DownloadError("S3 doesn't say its size", can_pass=False)  # noqa: TRY301
                    return body.size
            except DownloadError as error:
                attempts.failed(error)
                if is_stopped():
                    raise


class BlobAttempts:
    """Counts failed attempts to read a blob since something was read, and waits between them.

    Args:
        digest: The blob.
        retries: How long to go on trying.
        sleep: Waits for a number of seconds; by default as `retries` says.
    """

    def __init__(self, digest: str, retries: Retries, sleep: Callable[[float], object] | None = None) -> None:
        self._digest = digest
        self._attempts = Attempts(retries, sleep)
        self._refusals = 0

    def succeeded(self) -> None:
        """Forget the failures."""
        self._attempts.succeeded()
        self._refusals = 0

    def failed(self, error: DownloadError) -> None:
        """Wait until it is time for the next attempt.

        Raises:
            TransferError: If there is none.
        """
        self._refusals += error.is_refused
        # The first refusal is usually an expired URL, and its successor is valid at once.
        is_first = error.is_refused and self._refusals == 1
        is_final = not error.can_pass or self._refusals >= _MOST_REFUSALS
        reason = f"{self._digest}: {error}"
        if is_final or not self._attempts.wait(reason, error.retry_after, at_once=is_first):
            times = self._attempts.failed + is_final
            tried = f" ({times} times in a row)" if times > 1 else ""
            raise TransferError(
                f"{self._digest} couldn't be downloaded: {error}{tried}.",
                code="url-refused" if error.is_refused else None,
                digest=self._digest,
                s3_code=error.code,
                s3_request_id=error.request_id,
                can_resume=error.can_pass,
            )
