"""The formats of images, and the one function that saves them."""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Protocol

from ecr_layers.errors import UsageError
from ecr_layers.oci.manifests import Manifest
from ecr_layers.oci.references import ImageReference
from ecr_layers.registry.service import Service
from ecr_layers.saving.archives import DOCKER, OCI, ArchiveSaver
from ecr_layers.saving.images import save_layout
from ecr_layers.saving.options import Saved, SaveOptions
from ecr_layers.saving.plans import Planner, WantedImage
from ecr_layers.store.layout import ImageName
from ecr_layers.store.reading import LayoutFiles


class Format(StrEnum):
    """What images are saved as.

    Attributes:
        OCI: An OCI image layout, which is a directory.
        OCI_ARCHIVE: The same in a tar file.
        DOCKER_ARCHIVE: An archive for `docker load`.
    """

    OCI = "oci"
    OCI_ARCHIVE = "oci-archive"
    DOCKER_ARCHIVE = "docker-archive"


class ResolvedImage(Protocol):
    """An image's name, and the manifest or index that it stands for."""

    reference: ImageReference
    manifest: Manifest


def save_images(  # noqa: PLR0913, PLR0917 (its callers have keywords)
    service: Service,
    images: Sequence[ResolvedImage],
    target: str | Path | BinaryIO,
    kind: Format,
    options: SaveOptions,
    name: str | None = None,
    have: Iterable[ResolvedImage | str | Path] = (),
) -> tuple[Saved, ...]:
    """Save images; see `Client.save`."""
    if name is not None and len(images) != 1:
        raise UsageError("Only one image can be given a name.", code="invalid-arguments")
    planner = Planner(service, options.get("referrers", False), _sizes(service, have))
    plans = [planner.plan(_wanted(service, image, name)) for image in images]
    if kind is not Format.OCI:
        saver = ArchiveSaver(service, OCI if kind is Format.OCI_ARCHIVE else DOCKER, options)
        return saver.save(plans, Path(target)) if isinstance(target, str | Path) else saver.stream(plans, target)
    if not isinstance(target, str | Path):
        raise UsageError("An image layout is a directory. Only archives can be streamed.", code="invalid-arguments")
    return save_layout(service, plans, Path(target), options)


def _wanted(service: Service, image: ResolvedImage, name: str | None) -> WantedImage:
    reference = image.reference
    if name is not None:
        return WantedImage(reference.repository, image.manifest, ImageName.parse(name), (name,))
    # The tag may belong to another digest by now.
    if reference.tag is None or reference.digest is not None:
        return WantedImage(reference.repository, image.manifest, None)
    found = ImageName.of_tag(service.host, reference.repository, reference.tag)
    return WantedImage(reference.repository, image.manifest, found, (found.short, found.full))


def _sizes(service: Service, bases: Iterable[ResolvedImage | str | Path]) -> Mapping[str, int]:
    """Return the sizes of the blobs of images and layouts by their digests."""
    found: dict[str, int] = {}
    for base in bases:
        if isinstance(base, str | Path):
            files = LayoutFiles(Path(base))
            found |= {blob.digest: blob.size for blob in files.reachable() if files.has(blob)}
            continue
        manifests = service.images.read_all(base.reference.repository, base.manifest)
        found |= {blob.digest: blob.size for manifest in manifests for blob in manifest.blobs}
    return found
