"""Where the bytes of one blob come from: its download URL, renewed when it is refused, and the attempts to read it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ecr_layers.errors import TransferError
from ecr_layers.transfer.downloads import Body, DownloadError, Downloads

if TYPE_CHECKING:
    from ecr_layers.client import DownloadUrl, DownloadUrls
    from ecr_layers.transfer.retries import Retries


class BlobSource:
    """The bytes of one blob. May be used from several threads.

    Args:
        digest: The blob's digest.
        urls: Where its download URL comes from.
        downloads: The connections.

    Attributes:
        digest: The blob's digest.
    """

    def __init__(self, digest: str, urls: "DownloadUrls", downloads: Downloads) -> None:
        self.digest = digest
        self._urls = urls
        self._downloads = downloads
        self._lock = threading.Lock()
        self._refused: DownloadUrl | None = None

    @contextmanager
    def open(self, first: int, last: int, *, on_new_connection: bool = False) -> Iterator[Body]:
        """Ask for a range of bytes; see `Downloads.open`.

        Raises:
            DownloadError: If they are not given. If the URL was refused, the next request is made with a new one.
            ServiceError: If the service does not give a download URL.
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


class Attempts:
    """Counts the failures since something succeeded, and waits between them.

    Args:
        retries: How often a request is made again.
        digest: The blob that it is about.
        sleep: Waits for a number of seconds; the one of `retries` if there is none.
    """

    def __init__(self, retries: "Retries", digest: str, sleep: Callable[[float], object] | None = None) -> None:
        self._retries = retries
        self._sleep = sleep or retries.sleep
        self._digest = digest
        self._failed = 0

    def succeeded(self) -> None:
        """Forget the failures."""
        self._failed = 0

    def failed(self, error: DownloadError) -> None:
        """Wait until it is time for the next attempt.

        Raises:
            TransferError: If there is to be none.
        """
        self._failed += 1
        wait = self._retries.wait(self._failed, error.retry_after) if error.can_pass else None
        if wait is None:
            tried = f", {self._failed} times in a row" if self._failed > 1 else ""
            raise TransferError(
                f"{self._digest} could not be loaded: {error}{tried}. Run the command again; it goes on where it is."
                if error.can_pass
                else f"{self._digest} can't be loaded: {error}."
            )
        # A URL that has expired is the first time no reason to wait: there is a new one.
        if not (error.is_refused and self._failed == 1):
            self._sleep(wait)
