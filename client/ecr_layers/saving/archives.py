"""Saves images in archives. Their blobs come to a layout first, from which a later call resumes."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from ecr_layers.errors import ClientError, UsageError
from ecr_layers.registry.service import Service
from ecr_layers.saving.images import LayoutSaver
from ecr_layers.saving.options import Saved, SaveOptions, callbacks_apart
from ecr_layers.saving.plans import Plan
from ecr_layers.store.docker_archive import TaggedImage, checked_config, is_docker_archive_of, write_docker_archive
from ecr_layers.store.layout import LayoutIndex
from ecr_layers.store.oci_archive import is_oci_archive_of, write_oci_archive
from ecr_layers.store.target import new_file, target_errors
from ecr_layers.store.workspace import workspace


@dataclass(frozen=True, slots=True)
class ArchiveFormat:
    """A format of archives.

    Attributes:
        check: Raises a ClientError if an image can't be in such an archive.
        is_there: Tells whether a file is such an archive of images.
        write: Writes images of a layout to an open file.
    """

    check: Callable[[Plan], object]
    is_there: Callable[[Sequence[Plan], Path], bool]
    write: Callable[[Path, Sequence[Plan], BinaryIO], None]


@dataclass(frozen=True, slots=True)
class ArchiveSaver:
    """Saves images in archives of a format. An image that can't be in one is an error before anything is downloaded.

    Attributes:
        service: The service.
        archive: The format.
        options: The options.
    """

    service: Service
    archive: ArchiveFormat
    options: SaveOptions

    def save(self, plans: Sequence[Plan], target: Path) -> tuple[Saved, ...]:
        """Save images in an archive, which stays as it is if it has them.

        Until it is complete, the blobs are in `TARGET.partial`.

        Raises:
            ClientError: If an image can't be saved, or not in such an archive.
        """
        self._check(plans)
        with (
            callbacks_apart(self.options) as options,
            target_errors(target),
            workspace(target, options["on_wait"]) as directory,
        ):
            if self.archive.is_there(plans, target):
                return tuple(_present(plan, target) for plan in plans)
            saver = LayoutSaver(self.service, directory, options)
            saved = saver.save(plans, further_bytes=sum(blob.size for plan in plans for blob in plan.blobs))
            with new_file(target) as file:
                self.archive.write(directory, plans, file)
        return tuple(replace(each, output=target) for each in saved)

    def stream(self, plans: Sequence[Plan], file: BinaryIO) -> tuple[Saved, ...]:
        """Write an archive to an open file, such as a pipe. The blobs are in a temporary directory.

        Raises:
            ClientError: If an image can't be saved, or not in such an archive.
            OSError: If the file can't be written.
        """
        self._check(plans)
        with tempfile.TemporaryDirectory(prefix="ecr-layers-") as name:
            directory = Path(name)
            with callbacks_apart(self.options) as options, target_errors(directory):
                saved = LayoutSaver(self.service, directory, options).save(plans)
            self.archive.write(directory, plans, file)
        return tuple(replace(each, output=None) for each in saved)

    def _check(self, plans: Sequence[Plan]) -> None:
        for plan in plans:
            self.archive.check(plan)


def _present(plan: Plan, target: Path) -> Saved:
    digests, size = tuple(blob.digest for blob in plan.blobs), sum(blob.size for blob in plan.blobs)
    return Saved(target, plan.image.root.digest, digests, 0, size)


def _check_docker(plan: Plan) -> None:
    if plan.image.root.is_index:
        raise UsageError("A Docker archive holds no index. Choose one platform.", code="not-archivable")
    checked_config(plan.image.root)
    for digest in plan.foreign:
        raise ClientError(
            f"The registry doesn't have the foreign layer {digest}, so the archive would be incomplete.",
            code="not-archivable",
        )


def _tagged(plans: Sequence[Plan]) -> list[TaggedImage]:
    return [TaggedImage(plan.image.root, plan.image.tags) for plan in plans]


def _is_oci_archive(plans: Sequence[Plan], path: Path) -> bool:
    index = LayoutIndex(None, str(path))
    for plan in plans:
        plan.add_to(index)
    manifests = (manifest.descriptor for plan in plans for manifest in plan.manifests)
    return is_oci_archive_of(index, (*manifests, *(blob for plan in plans for blob in plan.blobs)), path)


DOCKER = ArchiveFormat(
    _check_docker,
    lambda plans, path: is_docker_archive_of(_tagged(plans), path),
    lambda layout, plans, file: write_docker_archive(layout / "blobs", _tagged(plans), file),
)
"""What `docker load` reads."""

OCI = ArchiveFormat(lambda _: None, _is_oci_archive, lambda layout, _, file: write_oci_archive(layout, file))
"""An image layout in a tar file."""
