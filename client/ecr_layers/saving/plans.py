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

# What cosign looks for: https://github.com/sigstore/cosign/blob/main/pkg/oci/layout/index.go
_COSIGN_KIND = "kind"
_COSIGN_IMAGE, _COSIGN_INDEX = "dev.cosignproject.cosign/image", "dev.cosignproject.cosign/imageIndex"
_COSIGN_KINDS = {"sig": "dev.cosignproject.cosign/sigs", "att": "dev.cosignproject.cosign/atts"}


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
class AttachedArtifact:
    """A referrer as an entry of a layout's index.

    Attributes:
        descriptor: Its manifest.
        name: Its names; None without a tag.
        annotations: Its other annotations.
    """

    descriptor: Descriptor
    name: ImageName | None
    annotations: Mapping[str, str]


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
        referrers: Its signatures and other artifacts.
    """

    image: WantedImage
    root: Manifest
    manifests: tuple[Manifest, ...]
    originals: tuple[Manifest, ...]
    blobs: tuple[Descriptor, ...]
    foreign: tuple[str, ...]
    referrers: tuple[AttachedArtifact, ...]

    def add_to(self, index: LayoutIndex) -> str | None:
        """Add the complete image to a layout's index, and return its name there."""
        if not self.referrers:
            return index.add(self.root.descriptor, self.image.name)
        # `cosign verify --local-image` takes a layout for one image.
        index.remove_annotation(_COSIGN_KIND)
        original = self.image.root
        kind = {_COSIGN_KIND: _COSIGN_INDEX if original.is_index else _COSIGN_IMAGE}
        name = index.add(self.root.descriptor, self.image.name, kind if original.digest == self.root.digest else None)
        # The referrers refer to the original.
        index.add(original.descriptor, None, kind)
        for each in self.referrers:
            index.add(each.descriptor, each.name, each.annotations)
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
            tuple(self._attached(image, each) for each in referrers),
        )

    def _referrers(self, repository: Repository, manifests: Iterable[Manifest]) -> list[Referrer]:
        if not self.with_referrers:
            return []
        return self.service.referrers.find(repository, [each.digest for each in manifests])

    def _attached(self, image: WantedImage, referrer: Referrer) -> AttachedArtifact:
        if referrer.tag is None:
            return AttachedArtifact(referrer.descriptor, None, {})
        name = ImageName.of_tag(self.service.host, image.repository, referrer.tag)
        kind = _COSIGN_KINDS.get(referrer.tag.rpartition(".")[2]) if referrer.subject == image.root.digest else None
        return AttachedArtifact(referrer.descriptor, name, {_COSIGN_KIND: kind} if kind else {})

    def _is_had(self, blob: Descriptor) -> bool:
        return self.have.get(blob.digest) == blob.size
