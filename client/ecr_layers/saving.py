"""Downloads images and layers into directories and archives, every blob verified."""

import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from ecr_layers.errors import ClientError
from ecr_layers.oci.conversion import as_oci
from ecr_layers.oci.manifests import Descriptor, Manifest
from ecr_layers.oci.references import Repository
from ecr_layers.registry.service import Service
from ecr_layers.store.docker_archive import checked_config, is_docker_archive_of, write_docker_archive
from ecr_layers.store.layout import ImageName, add_image, check_index
from ecr_layers.store.target import (
    check_space,
    has_digest,
    is_there,
    locked,
    new_file,
    path_of,
    target_errors,
    write_file,
)
from ecr_layers.store.workspace import remove, workspace
from ecr_layers.transfer.blob_file import allocated, discard
from ecr_layers.transfer.blobs import Blob, BlobState
from ecr_layers.transfer.loader import Loader, too_large
from ecr_layers.transfer.parallel import in_parallel

_MOST_VERIFYING = 4


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a blob.

    Attributes:
        digest: Its digest.
        size: Its size in bytes; None until it is known.
        loaded: How many of its bytes the target has; while an existing file is verified, how many are verified.
        state: Its state.
    """

    digest: str
    size: int | None
    loaded: int
    state: BlobState


ProgressCallback = Callable[[Progress], None]
"""Gets the progress of each blob that has made some, about ten times a second, in the thread that saves."""


@dataclass(frozen=True, slots=True)
class Saved:
    """The result of a download.

    Attributes:
        output: The directory or file; None for an open file.
        digest: The digest of the image's manifest or index in the registry; None for single layers.
        name: The image's name in the layout; None without.
        blobs: The digests of all blobs in the target.
        loaded_bytes: How many bytes were downloaded.
        present_bytes: How many bytes the target had.
        foreign: The digests of foreign layers, which the registry doesn't have, so they were left out.
    """

    output: Path | None
    digest: str | None
    blobs: tuple[str, ...]
    loaded_bytes: int
    present_bytes: int
    name: str | None = None
    foreign: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SaveOptions:
    """Options of all downloads.

    Attributes:
        max_bytes: Largest blob that is accepted, in bytes; None for any.
        is_quick: Whether existing blobs are checked by their sizes only, not by their digests.
        progress: Gets the progress.
        on_wait: Called before waiting for another process with the same target.
    """

    max_bytes: int | None = None
    is_quick: bool = False
    progress: ProgressCallback = field(default=lambda _: None)
    on_wait: Callable[[], None] = field(default=lambda: None)


def save_image(
    service: Service,
    repository: Repository,
    root: Manifest,
    name: ImageName | None,
    directory: Path,
    options: SaveOptions,
) -> Saved:
    """Save an image, or all images of an index, in an OCI image layout.

    Docker manifests are written as OCI's, because tools that read layouts expect those, and kept beside them.

    Args:
        service: The service.
        repository: The image's repository.
        root: Its manifest or index.
        name: Its names in the layout; None for none.
        directory: The layout; it may have other images.
        options: The options.

    Raises:
        ClientError: If it can't be saved.
    """
    with _callbacks_apart(options) as apart, target_errors(directory), locked(directory, apart.on_wait):
        check_index(directory)
        manifests = service.images.read_all(repository, root)
        written = as_oci(manifests)
        kept, foreign = _without_absent(service, repository, manifests)
        blobs = directory / "blobs"
        amounts = _load(service, repository, blobs, [(blob.digest, blob.size) for blob in kept], apart)
        for manifest in {each.digest: each for each in (*manifests, *written)}.values():
            write_file(path_of(blobs, manifest.digest), manifest.content)
        # The root is the last, because it isn't an entry of any other.
        reference = add_image(directory, written[-1].descriptor, name)
        return Saved(directory, root.digest, tuple(blob.digest for blob in kept), *amounts, reference, foreign)


def save_docker_archive(
    service: Service,
    repository: Repository,
    image: Manifest,
    names: Sequence[str],
    target: Path,
    options: SaveOptions,
) -> Saved:
    """Save an image in an archive for `docker load`.

    Until it is complete, the blobs are in a directory beside it, `TARGET.partial`, from which a later call resumes. An
    archive that has the image stays as it is.

    Args:
        service: The service.
        repository: The image's repository.
        image: Its manifest.
        names: Its names with tags.
        target: The archive.
        options: The options.

    Raises:
        ClientError: If it can't be saved, or not in such an archive.
    """
    digests = tuple(blob.digest for blob in image.blobs)
    _check_archivable(service, repository, image)
    with (
        _callbacks_apart(options) as apart,
        target_errors(target),
        workspace(target, apart.on_wait) as directory,
    ):
        if is_docker_archive_of(image, names, target):
            remove(directory, digests)
            return Saved(target, image.digest, digests, 0, sum(blob.size for blob in image.blobs))
        archive = sum(blob.size for blob in image.blobs)
        amounts = _load(service, repository, directory, _sizes(image), apart, further_bytes=archive)
        with new_file(target) as file:
            write_docker_archive(directory, image, names, file)
        remove(directory, digests)
    return Saved(target, image.digest, digests, *amounts)


def stream_docker_archive(
    service: Service,
    repository: Repository,
    image: Manifest,
    names: Sequence[str],
    file: BinaryIO,
    options: SaveOptions,
) -> Saved:
    """Write an archive for `docker load` to an open file, such as a pipe. The blobs are in a temporary directory.

    Raises:
        ClientError: If the image can't be downloaded, or not be in such an archive.
        OSError: If the file can't be written.
    """
    _check_archivable(service, repository, image)
    with tempfile.TemporaryDirectory(prefix="ecr-layers-") as name:
        directory = Path(name)
        with _callbacks_apart(options) as apart, target_errors(directory):
            amounts = _load(service, repository, directory, _sizes(image), apart)
        write_docker_archive(directory, image, names, file)
    return Saved(None, image.digest, tuple(blob.digest for blob in image.blobs), *amounts)


def save_layers(
    service: Service, repository: Repository, digests: Sequence[str], directory: Path, options: SaveOptions
) -> Saved:
    """Save layers or configs in a directory, as `sha256/…`.

    Args:
        service: The service.
        repository: Their repository.
        digests: Their digests, checked.
        directory: The directory.
        options: The options.

    Raises:
        ClientError: If one can't be saved.
    """
    wanted = tuple(dict.fromkeys(digests))
    with _callbacks_apart(options) as apart, target_errors(directory), locked(directory, apart.on_wait):
        amounts = _load(service, repository, directory, [(digest, None) for digest in wanted], apart)
    return Saved(directory, None, wanted, *amounts)


def _without_absent(
    service: Service, repository: Repository, manifests: Sequence[Manifest]
) -> tuple[list[Descriptor], tuple[str, ...]]:
    """Return the blobs to download, and the digests of foreign layers that the registry doesn't have."""
    blobs = {blob.digest: blob for manifest in manifests for blob in manifest.blobs}
    absent = service.layers.absent(repository, [blob.digest for blob in blobs.values() if blob.urls])
    kept = [blob for blob in blobs.values() if blob.digest not in absent]
    return kept, tuple(digest for digest in blobs if digest in absent)


def _check_archivable(service: Service, repository: Repository, image: Manifest) -> None:
    checked_config(image)
    for digest in service.layers.absent(repository, [layer.digest for layer in image.layers if layer.urls]):
        raise ClientError(
            f"The registry doesn't have the foreign layer {digest}, so the archive would be incomplete.",
            code="not-archivable",
        )


def _sizes(image: Manifest) -> list[tuple[str, int | None]]:
    return [(blob.digest, blob.size) for blob in image.blobs]


def _load(
    service: Service,
    repository: Repository,
    directory: Path,
    wanted: Sequence[tuple[str, int | None]],
    options: SaveOptions,
    *,
    further_bytes: int = 0,
) -> tuple[int, int]:
    """Download missing blobs, and return how many bytes were downloaded and how many were present."""
    for digest, size in wanted:
        if options.max_bytes is not None and size is not None and size > options.max_bytes:
            raise too_large(digest, size, options.max_bytes)
    urls = service.urls(repository)
    blobs = [
        Blob(service.source(digest, urls), path_of(directory, digest), size, options.max_bytes)
        for digest, size in wanted
    ]
    reporter = _Reporter(blobs, options.progress)
    reporter.report()
    _find_present(blobs, reporter.report, is_quick=options.is_quick)
    missing = [blob for blob in blobs if blob.state is not BlobState.PRESENT]
    needed = sum(max(0, (blob.size or 0) - allocated(blob.path)) for blob in missing)
    check_space(directory, needed + further_bytes)
    if missing:
        urls.resolve(blob.digest for blob in missing)
        Loader(missing, service.transfers).run(reporter.report)
    loaded = sum((blob.size or 0) - blob.found for blob in missing)
    return loaded, sum(blob.size or 0 for blob in blobs) - loaded


def _find_present(blobs: Sequence[Blob], report: Callable[[], None], *, is_quick: bool) -> None:
    """Find the blobs that the target has, and verify them."""
    stopped = threading.Event()

    def find(blob: Blob) -> None:
        def on_read(count: int) -> bool:
            blob.verified = count
            return stopped.is_set()

        if not is_there(blob.path, blob.size):
            return
        blob.state = BlobState.VERIFYING
        if is_quick or has_digest(blob.path, blob.digest, on_read):
            blob.size, blob.state = blob.path.stat().st_size, BlobState.PRESENT
            # An earlier run may have ended between naming the blob and removing its journal.
            discard(blob.path)
        else:
            blob.state = BlobState.WAITING

    try:
        in_parallel(find, blobs, threads=min(_MOST_VERIFYING, os.cpu_count() or 1), on_tick=report)
    finally:
        stopped.set()
    report()


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


class _CallbackError(Exception):
    """Carries a callback's OSError past what takes it for one of the target."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error


@contextmanager
def _callbacks_apart(options: SaveOptions) -> Iterator[SaveOptions]:
    """Return options whose callbacks' errors can't be mistaken for the target's, and reach the caller as they are."""

    def progress(now: Progress) -> None:
        try:
            options.progress(now)
        except OSError as error:
            raise _CallbackError(error) from None

    def on_wait() -> None:
        try:
            options.on_wait()
        except OSError as error:
            raise _CallbackError(error) from None

    try:
        yield SaveOptions(options.max_bytes, options.is_quick, progress, on_wait)
    except _CallbackError as failed:
        raise failed.error from None
