"""Finds out what images consist of, before anything is downloaded or written."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ecr_layers.oci.conversion import as_oci
from ecr_layers.oci.manifests import Descriptor, Manifest
from ecr_layers.oci.references import Repository
from ecr_layers.registry.referrers import Referrer
from ecr_layers.registry.service import Service
from ecr_layers.store.layout import ImageName, LayoutIndex
from ecr_layers.transfer.parallel import in_parallel


@dataclass(frozen=True, slots=True)
class WantedImage:
    """An image to save.

    Attributes:
        repository: Its repository.
        root: Its manifest or index.
        name: Its names in a layout; None for none.
        tags: Its names in a Docker archive.
    """

    repository: Repository
    root: Manifest
    name: ImageName | None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What an image consists of.

    Attributes:
        image: The image.
        root: Its manifest or index in the layout, which differs from the image's if that is Docker's.
        manifests: The manifests that the layout's index leads to.
        originals: The manifests as the registry has them, some of which may be Docker's.
        blobs: All blobs to get.
        foreign: The digests of foreign layers that the registry doesn't have.
        referrers: Its signatures and other artifacts, with their names in the layout.
    """

    image: WantedImage
    root: Manifest
    manifests: tuple[Manifest, ...]
    originals: tuple[Manifest, ...]
    blobs: tuple[Descriptor, ...]
    foreign: tuple[str, ...]
    referrers: tuple[tuple[Descriptor, ImageName | None], ...]

    def add_to(self, index: LayoutIndex) -> str | None:
        """Add the complete image to a layout's index, and return its name there."""
        name = index.add(self.root.descriptor, self.image.name)
        if self.referrers:
            # They refer to the original.
            index.add(self.image.root.descriptor, None)
        for descriptor, of_referrer in self.referrers:
            index.add(descriptor, of_referrer)
        return name


@dataclass(frozen=True, slots=True)
class Planner:
    """Reads the manifests of images.

    Attributes:
        service: The service.
        with_referrers: Whether an image's referrers belong to it.
        have: The blobs to leave out, with their sizes, because the receiver of a delta has them.
    """

    service: Service
    with_referrers: bool
    have: Mapping[str, int]

    def plan(self, image: WantedImage) -> Plan:
        """Return what an image consists of.

        Raises:
            ClientError: If a manifest can't be read.
        """
        images, repository = self.service.images, image.repository
        own = images.read_all(repository, image.root)
        converted = as_oci(own)
        referrers = self._referrers(repository, own)
        roots = in_parallel(lambda each: images.read_entry(repository, each.descriptor), referrers)
        attached = [manifest for root in roots for manifest in images.read_all(repository, root)]
        blobs = {blob.digest: blob for manifest in (*own, *attached) for blob in manifest.blobs}
        absent = self.service.layers.absent(repository, [blob.digest for blob in blobs.values() if blob.urls])
        return Plan(
            image,
            # The root is the last, because it isn't an entry of any other.
            converted[-1],
            tuple({each.digest: each for each in (*converted, *attached)}.values()),
            tuple(own),
            tuple(each for each in blobs.values() if each.digest not in absent and not self._is_had(each)),
            tuple(digest for digest in blobs if digest in absent),
            tuple((each.descriptor, self._name(repository, each)) for each in referrers),
        )

    def _referrers(self, repository: Repository, manifests: Iterable[Manifest]) -> list[Referrer]:
        if not self.with_referrers:
            return []
        return self.service.referrers.find(repository, [each.digest for each in manifests])

    def _name(self, repository: Repository, referrer: Referrer) -> ImageName | None:
        return ImageName.of_tag(self.service.host, repository, referrer.tag) if referrer.tag else None

    def _is_had(self, blob: Descriptor) -> bool:
        return self.have.get(blob.digest) == blob.size
