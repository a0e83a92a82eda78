"""Gets blobs into a directory: those that it has are verified, the others downloaded."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecr_layers.oci.references import Repository
from ecr_layers.registry.service import Service
from ecr_layers.saving.options import Progress, ProgressCallback, SaveOptions
from ecr_layers.store.cache import CACHE_BYTES, BlobCache
from ecr_layers.store.target import check_space, has_digest, is_there, path_of
from ecr_layers.transfer.blob_file import allocated, discard
from ecr_layers.transfer.blobs import Blob, BlobState
from ecr_layers.transfer.loader import Loader, too_large
from ecr_layers.transfer.parallel import in_parallel

_MOST_VERIFYING = 4


@dataclass(frozen=True, slots=True)
class WantedBlob:
    """A blob to get.

    Attributes:
        repository: A repository that has it.
        digest: Its digest.
        size: Its size in bytes; None if it isn't known.
    """

    repository: Repository
    digest: str
    size: int | None


@dataclass(frozen=True, slots=True)
class Amounts:
    """How many bytes of a blob were downloaded, and how many the target had."""

    loaded: int
    present: int


class BlobDirectory:
    """A directory of verified blobs, which is like `blobs` in an image layout.

    Args:
        service: Where missing blobs come from.
        directory: The directory, locked by the caller.
        options: The options.
    """

    def __init__(self, service: Service, directory: Path, options: SaveOptions) -> None:
        self._service = service
        self._directory = directory
        self._options = options
        cache = options.get("cache")
        self._cache = BlobCache(Path(cache), options.get("cache_bytes", CACHE_BYTES)) if cache else None
        # Those of an earlier call aren't verified again.
        self._verified: set[str] = set()

    def get(self, wanted: Sequence[WantedBlob], *, further_bytes: int = 0) -> Mapping[str, Amounts]:
        """Get blobs.

        Args:
            wanted: The blobs, each once.
            further_bytes: How many bytes the caller is going to write on the same disk besides.

        Returns:
            The amounts by digest.

        Raises:
            ClientError: If one can't be downloaded, or is over the size limit.
            OSError: If one can't be written.
        """
        limit = self._options.get("max_bytes")
        for each in wanted:
            if limit is not None and each.size is not None and each.size > limit:
                raise too_large(each.digest, each.size, limit)
        urls = {each.repository: self._service.urls(each.repository) for each in wanted}
        blobs = [
            Blob(self._service.source(each.digest, urls[each.repository]), self._path(each.digest), each.size, limit)
            for each in wanted
        ]
        reporter = _Reporter(blobs, self._options.get("progress", lambda _: None))
        reporter.report()
        self._find_present(blobs, reporter.report)
        missing = [blob for blob in blobs if blob.state is not BlobState.PRESENT]
        needed = sum(max(0, (blob.size or 0) - allocated(blob.path)) for blob in missing)
        check_space(self._directory, needed + further_bytes)
        if missing:
            absent = {blob.digest for blob in missing}
            for repository, of_repository in urls.items():
                of_repository.resolve(
                    each.digest for each in wanted if each.repository == repository and each.digest in absent
                )
            Loader(missing, self._service.transfers).run(reporter.report)
        self._verified |= {blob.digest for blob in blobs}
        self._fill_cache(blobs)
        return {blob.digest: _amounts(blob) for blob in blobs}

    def _path(self, digest: str) -> Path:
        return path_of(self._directory, digest)

    def _fill_cache(self, blobs: Sequence[Blob]) -> None:
        if self._cache is None:
            return
        for blob in blobs:
            self._cache.add(blob.digest, blob.path)
        self._cache.trim()

    def _take(self, blob: Blob) -> bool:
        """Take a blob from the cache if it is there."""
        return self._cache is not None and self._cache.take(blob.digest, blob.size, blob.path)

    def _is_trusted(self, blob: Blob) -> bool:
        return self._options.get("is_quick", False) or blob.digest in self._verified

    def _find_present(self, blobs: Sequence[Blob], report: Callable[[], None]) -> None:
        """Find the blobs that the directory has, and verify them."""
        stopped = threading.Event()

        def find(blob: Blob) -> None:
            def on_read(count: int) -> bool:
                blob.verified = count
                return stopped.is_set()

            is_cached = not is_there(blob.path, blob.size)
            if is_cached and not self._take(blob):
                return
            blob.state = BlobState.VERIFYING
            if (self._is_trusted(blob) and not is_cached) or _has_digest(blob, on_read):
                blob.size, blob.state = blob.path.stat().st_size, BlobState.PRESENT
                # An earlier run may have ended between naming the blob and removing its journal.
                discard(blob.path)
                return
            blob.state = BlobState.WAITING
            if is_cached and self._cache is not None and not stopped.is_set():
                self._cache.remove(blob.digest)

        try:
            in_parallel(find, blobs, threads=min(_MOST_VERIFYING, os.cpu_count() or 1), on_tick=report)
        finally:
            stopped.set()
        report()


def _has_digest(blob: Blob, on_read: Callable[[int], bool]) -> bool:
    with blob.path.open("rb") as file:
        return has_digest(file, blob.digest, on_read)


def _amounts(blob: Blob) -> Amounts:
    size = blob.size or 0
    loaded = 0 if blob.state is BlobState.PRESENT else size - blob.found
    return Amounts(loaded, size - loaded)


class _Reporter:
    """Reports the progress of blobs that have made some."""

    def __init__(self, blobs: Sequence[Blob], progress: ProgressCallback) -> None:
        self._blobs = blobs
        self._progress = progress
        self._reported: dict[str, Progress] = {}

    def report(self) -> None:
        for blob in self._blobs:
            now = Progress(blob.digest, blob.size, blob.loaded, blob.state)
            if self._reported.get(blob.digest) != now:
                self._reported[blob.digest] = now
                self._progress(now)
