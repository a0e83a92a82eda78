"""Saves images in an image layout. Archives are written from one."""

from collections.abc import Sequence
from pathlib import Path

from ecr_layers.oci.references import Repository
from ecr_layers.registry.service import Service
from ecr_layers.saving.blobs import Amounts, BlobDirectory, WantedBlob
from ecr_layers.saving.options import Saved, SaveOptions, callbacks_apart
from ecr_layers.saving.plans import Plan
from ecr_layers.store.layout import LayoutIndex
from ecr_layers.store.target import locked, path_of, target_errors, write_file


class LayoutSaver:
    """Saves images in one layout. Docker manifests are written as OCI's, and kept beside them.

    Args:
        service: The service.
        directory: The layout, locked by the caller; it may have other images.
        options: The options.

    Attributes:
        index: The layout's index.

    Raises:
        ClientError: If the existing index is malformed.
    """

    def __init__(self, service: Service, directory: Path, options: SaveOptions) -> None:
        self.index = LayoutIndex.read(directory)
        self._directory = directory
        self._blobs = BlobDirectory(service, directory / "blobs", options)

    def save(self, plans: Sequence[Plan], *, further_bytes: int = 0) -> tuple[Saved, ...]:
        """Save images, all their blobs at the same time.

        Args:
            plans: The images.
            further_bytes: How many bytes the caller is going to write on the same disk besides.

        Raises:
            ClientError: If a blob can't be downloaded.
            OSError: If something can't be written.
        """
        wanted: dict[str, WantedBlob] = {}
        for plan in plans:
            for blob in plan.blobs:
                wanted.setdefault(blob.digest, WantedBlob(plan.image.repository, blob.digest, blob.size))
        amounts = dict(self._blobs.get(tuple(wanted.values()), further_bytes=further_bytes))
        return tuple(self._finish(plan, amounts) for plan in plans)

    def _finish(self, plan: Plan, amounts: dict[str, Amounts]) -> Saved:
        """Add an image whose blobs are there to the layout."""
        for manifest in (*plan.originals, *plan.manifests):
            write_file(path_of(self._directory / "blobs", manifest.digest), manifest.content)
        name = plan.add_to(self.index)
        self.index.write(self._directory)
        own = [amounts[blob.digest] for blob in plan.blobs]
        # The next image that has one of these finds it.
        amounts |= {blob.digest: Amounts(0, blob.size) for blob in plan.blobs}
        return Saved(
            self._directory,
            plan.image.root.digest,
            tuple(blob.digest for blob in plan.blobs),
            sum(each.loaded for each in own),
            sum(each.present for each in own),
            name,
            plan.foreign,
            tuple(each.descriptor.digest for each in plan.referrers),
        )


def save_layout(service: Service, plans: Sequence[Plan], directory: Path, options: SaveOptions) -> tuple[Saved, ...]:
    """Save images in a layout.

    Args:
        service: The service.
        plans: The images.
        directory: The layout; it may have other images.
        options: The options.

    Raises:
        ClientError: If one can't be saved.
    """
    with callbacks_apart(options) as apart, target_errors(directory), locked(directory, apart["on_wait"]):
        return LayoutSaver(service, directory, apart).save(plans)


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
    with callbacks_apart(options) as apart, target_errors(directory), locked(directory, apart["on_wait"]):
        blobs = [WantedBlob(repository, digest, None) for digest in wanted]
        amounts = BlobDirectory(service, directory, apart).get(blobs).values()
    loaded, present = sum(each.loaded for each in amounts), sum(each.present for each in amounts)
    return Saved(directory, None, wanted, loaded, present)
