"""From the name of an image, or the digests of layers, to verified files in a directory."""

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ecr_layers.errors import ClientError, TargetError, UsageError
from ecr_layers.oci.conversion import as_oci
from ecr_layers.oci.manifests import LARGEST_MANIFEST, Descriptor, Manifest
from ecr_layers.oci.references import ImageReference, Repository
from ecr_layers.store.docker_archive import checked_config, is_docker_archive_of, write_docker_archive
from ecr_layers.store.layout import (
    add_image,
    check_index,
    is_there,
    locked,
    path_of,
    target_errors,
    write_file,
)
from ecr_layers.transfer.blob_file import allocated, discard
from ecr_layers.transfer.loader import Blob, BlobState, Loader, TransferSettings, too_large
from ecr_layers.transfer.parallel import in_parallel
from ecr_layers.transfer.source import BlobSource

if TYPE_CHECKING:
    from ecr_layers.client import Service
    from ecr_layers.transfer.downloads import Downloads

MOST_MANIFESTS = 1000
"""How many manifests an index, and the indexes in it, may name."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a blob is.

    Attributes:
        digest: Its digest.
        size: Its size in bytes, None as long as it is not known.
        loaded: How many bytes of it are in the target.
        state: Whether it is waiting, loading, finished, or was present before.
    """

    digest: str
    size: int | None
    loaded: int
    state: BlobState


ProgressCallback = Callable[[Progress], None]
"""Gets the progress of each blob that has made some, about ten times a second, in the thread that fetches."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a fetch has brought.

    Attributes:
        output: The directory or file that was written.
        digest: The digest of the image's manifest or index in the registry; None if layers were fetched by their
            digests.
        blobs: The digests of all blobs that are in the target.
        loaded_bytes: How many bytes were loaded.
        present_bytes: How many bytes were in the target already.
        foreign: The digests of foreign layers, which the registry does not have, so that they were left out.
    """

    output: Path
    digest: str | None
    blobs: tuple[str, ...]
    loaded_bytes: int
    present_bytes: int
    foreign: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """What is common to all fetches.

    Attributes:
        max_bytes: How many bytes a blob may have, None for any number.
        progress: Gets the progress.
        on_wait: Called if another run has the target, before it is waited for.
    """

    max_bytes: int | None = None
    progress: ProgressCallback = lambda _: None
    on_wait: Callable[[], None] = lambda: None


class Fetcher:
    """Fetches from one repository.

    Args:
        service: The service.
        downloads: The connections to S3.
        settings: How blobs are loaded.
        repository: The repository.
        options: What is common to all fetches.
    """

    def __init__(
        self,
        service: "Service",
        downloads: "Downloads",
        settings: TransferSettings,
        repository: Repository,
        options: FetchOptions,
    ) -> None:
        self._service = service
        self._downloads = downloads
        self._settings = settings
        self._repository = repository
        self._options = options

    def image(self, root: Manifest, tag: str | None, directory: Path) -> Fetched:
        """Fetch an image, or all images of an index, into an OCI image layout.

        Manifests of Docker's are written as OCI's, because tools that read a layout look for those; the originals are
        there as well.

        Args:
            root: The image's manifest, or the index.
            tag: Its tag in the layout, None for none.
            directory: The layout; there may be other images in it.

        Raises:
            ClientError: If it can't be fetched.
        """
        with target_errors(directory), locked(directory, self._options.on_wait):
            return self._image(root, tag, directory)

    def docker_archive(self, image: Manifest, reference: ImageReference, target: Path) -> Fetched:
        """Fetch an image into an archive for `docker load`.

        Until it is written, the blobs are in a directory beside it, `TARGET.layout`, from which a later call goes on.
        An archive that has the image already stays as it is.

        Args:
            image: The image's manifest.
            reference: What the image is called; its tag gets into the archive.
            target: The archive.

        Raises:
            ClientError: If it can't be fetched, or not be in such an archive.
        """
        checked_config(image)
        layout = target.with_name(f"{target.name}.layout")
        names = (f"{reference.repository}:{reference.tag}",) if reference.tag else ()
        digests = tuple(blob.digest for blob in image.blobs)
        with target_errors(target), locked(layout, self._options.on_wait):
            if is_docker_archive_of(image, names, target):
                shutil.rmtree(layout)
                return Fetched(target, image.digest, digests, 0, sum(blob.size for blob in image.blobs))
            fetched = self._image(image, reference.tag, layout)
            write_docker_archive(layout, image, names, target)
            shutil.rmtree(layout)
        return replace(fetched, output=target)

    def _image(self, root: Manifest, tag: str | None, directory: Path) -> Fetched:
        check_index(directory)
        manifests = self._all_manifests(root)
        descriptors = {blob.digest: blob for manifest in manifests for blob in manifest.blobs}
        kept = [blob for blob in descriptors.values() if not blob.is_foreign]
        fetched = self._load(directory / "blobs", [(blob.digest, blob.size) for blob in kept])
        written = as_oci(manifests)
        for digest, content in {each.digest: each.content for each in (*manifests, *written)}.items():
            if not is_there(path_of(directory / "blobs", digest), len(content)):
                write_file(path_of(directory / "blobs", digest), content)
        # The root is the last: it is named by none of the others.
        add_image(directory, written[-1].descriptor, tag)
        foreign = tuple(digest for digest, blob in descriptors.items() if blob.is_foreign)
        return Fetched(directory, root.digest, tuple(blob.digest for blob in kept), *fetched, foreign)

    def blobs(self, digests: Sequence[str], directory: Path) -> Fetched:
        """Fetch layers or configs into a directory of blobs.

        Args:
            digests: Their digests, which have been checked.
            directory: The directory; a blob is `sha256/…` in it.

        Raises:
            ClientError: If one can't be fetched.
        """
        wanted = list(dict.fromkeys(digests))
        with target_errors(directory), locked(directory, self._options.on_wait):
            fetched = self._load(directory, [(digest, None) for digest in wanted])
        return Fetched(directory, None, tuple(wanted), *fetched)

    def _all_manifests(self, root: Manifest) -> list[Manifest]:
        """Return a manifest, and if it is an index, all that it leads to; those that are named by others come first."""
        levels, seen, level = [[root]], {root.digest}, [root]
        while entries := _new_entries(level, seen):
            if len(seen) > MOST_MANIFESTS:
                raise ClientError(f"{root.digest} names more than {MOST_MANIFESTS} manifests. Name a --platform.")
            level = in_parallel(lambda entry: self._service.read_entry(self._repository, entry), entries)
            levels.append(level)
        return [manifest for level in reversed(levels) for manifest in level]

    def _load(self, directory: Path, wanted: Sequence[tuple[str, int | None]]) -> tuple[int, int]:
        """Load what is not there yet, and return how many bytes were loaded and how many were there."""
        for digest, size in wanted:
            if self._options.max_bytes is not None and size is not None and size > self._options.max_bytes:
                raise too_large(digest, size, self._options.max_bytes)
        urls = self._service.download_urls(self._repository)
        blobs = [
            Blob(BlobSource(digest, urls, self._downloads), path_of(directory, digest), size, self._options.max_bytes)
            for digest, size in wanted
        ]
        reporter = _Reporter(blobs, self._options.progress)
        reporter.report()
        for blob in blobs:
            if is_there(blob.path, blob.size):
                blob.size, blob.state = blob.path.stat().st_size, BlobState.PRESENT
                # A run that was killed when the blob had got its name may have left its journal.
                discard(blob.path)
        missing = [blob for blob in blobs if blob.state is not BlobState.PRESENT]
        reporter.report()
        if missing:
            _check_space(directory, missing)
            urls.resolve(blob.digest for blob in missing)
            Loader(missing, self._settings, self._service.retries).run(reporter.report)
        loaded = sum((blob.size or 0) - blob.found for blob in missing)
        return loaded, sum(blob.size or 0 for blob in blobs) - loaded


class _Reporter:
    """Reports the progress of those blobs that have made some."""

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


def image_to_fetch(service: "Service", reference: ImageReference, platform: str | None, *, is_one: bool) -> Manifest:
    """Return what a user means by the name of an image.

    Args:
        service: The service.
        reference: The image's name.
        platform: The platform of the image to take from an index, None if the user names none.
        is_one: Whether it has to be one image; otherwise an index is taken as a whole if no platform is named.

    Raises:
        ClientError: If it is not there.
    """
    return service.find_image(reference, platform) if platform or is_one else service.read_manifest(reference)


def read_manifest_file(path: Path, reference: ImageReference) -> Manifest:
    """Read the manifest of an image from a file.

    Args:
        path: The file.
        reference: The image; if it has a digest, the file has to have it.

    Raises:
        UsageError: If it can't be read, or is that of an index.
        ClientError: If it is no manifest.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_MANIFEST + 1)
    except OSError as error:
        raise UsageError(f"The manifest can't be read from {path}: {error.strerror}.") from None
    manifest = Manifest.parse(content, None, reference.digest)
    if manifest.is_index:
        raise UsageError(f"{path} is an image index, which has no layers. Give the manifest of the image in it.")
    return manifest


def _new_entries(manifests: Iterable[Manifest], seen: set[str]) -> list[Descriptor]:
    """Return what indexes name and has not been seen, each once."""
    new = {entry.digest: entry for manifest in manifests for entry in manifest.manifests if entry.digest not in seen}
    seen |= new.keys()
    return list(new.values())


def _check_space(directory: Path, blobs: Sequence[Blob]) -> None:
    """Refuse to begin what can't fit.

    Raises:
        TargetError: If there is less space than the blobs need.
    """
    existing = next(each for each in (directory, *directory.parents) if each.exists())
    disk = os.statvfs(existing)
    free = disk.f_bavail * disk.f_frsize
    needed = sum(max(0, (blob.size or 0) - allocated(blob.path)) for blob in blobs)
    if disk.f_blocks and needed > free:
        raise TargetError(f"{existing} has {free} bytes free, and {needed} are to be loaded. Make space.")
