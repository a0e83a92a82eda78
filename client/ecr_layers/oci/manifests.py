"""Manifests and indexes: what they list, and the choice of an image for a platform. No input or output.

They are untrusted: digests are sha256 or sha512, sizes are whole numbers.

Source: https://github.com/opencontainers/image-spec/blob/main/manifest.md
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ecr_layers.errors import ClientError, IntegrityError
from ecr_layers.oci.config import CONFIG_MEDIA_TYPES
from ecr_layers.oci.documents import mapping, read_object, text, text_map, texts
from ecr_layers.oci.platforms import Platform
from ecr_layers.oci.references import digest_of, is_digest

LARGEST_MANIFEST = 4 * 1024 * 1024
"""Largest manifest or index, in bytes, as in ECR:
https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html"""

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST_MEDIA_TYPES = (OCI_MANIFEST, "application/vnd.docker.distribution.manifest.v2+json")
INDEX_MEDIA_TYPES = (OCI_INDEX, "application/vnd.docker.distribution.manifest.list.v2+json")
# BuildKit's attestations: https://docs.docker.com/build/metadata/attestations/attestation-storage/
_ATTESTATION = "vnd.docker.reference.type"


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A blob or a manifest, as another document refers to it.

    Attributes:
        digest: Its digest, sha256 or sha512.
        size: Its size in bytes.
        media_type: Its media type, empty if the document doesn't say.
        urls: Other places of a foreign layer, which the registry may or may not have.
        platform: The platform of an index's entry; None if it doesn't say.
        annotations: The annotations.
        artifact_type: The type of an artifact; None for an image or a blob.
    """

    digest: str
    size: int
    media_type: str
    urls: tuple[str, ...] = ()
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str | None = None

    @classmethod
    def parse(cls, entry: object) -> "Descriptor":
        """Read a descriptor.

        Raises:
            ClientError: If it is malformed.
        """
        if not isinstance(entry, dict):
            raise _malformed("The manifest has a descriptor that isn't an object.")
        digest, size, media_type = entry.get("digest"), entry.get("size"), entry.get("mediaType")
        if not isinstance(digest, str) or not is_digest(digest):
            raise _malformed("The manifest has a descriptor without a sha256 or sha512 digest.")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 2**63:
            raise _malformed(f"The manifest doesn't say the size of {digest}.")
        if media_type is not None and not isinstance(media_type, str):
            raise _malformed(f"The manifest's mediaType of {digest} isn't a text.")
        return cls(
            digest,
            size,
            media_type or "",
            texts(entry.get("urls")) or (),
            _platform(entry.get("platform")),
            text_map(entry.get("annotations")),
            text(entry.get("artifactType")),
        )

    @property
    def is_index(self) -> bool:
        """Whether it is an index."""
        return self.media_type in INDEX_MEDIA_TYPES

    @property
    def is_image(self) -> bool:
        """Whether an index's entry is an image, as far as the index says: neither index, artifact nor attestation."""
        is_artifact = self.artifact_type is not None and self.artifact_type not in CONFIG_MEDIA_TYPES
        is_attestation = _ATTESTATION in self.annotations or (
            self.platform is not None and self.platform.os == "unknown"
        )
        return not (self.is_index or is_artifact or is_attestation)


@dataclass(frozen=True, slots=True)
class Manifest:
    """An image's manifest, or an index, as it is stored.

    Attributes:
        content: The bytes.
        media_type: Its media type.
        digest: The digest of the bytes.
        config: The image's config; None for an index, and for an old artifact without one.
        layers: The image's layers, the lowest first; empty for an index.
        manifests: The entries of an index; empty for an image.
        annotations: The annotations.
    """

    content: bytes = field(repr=False)
    media_type: str
    digest: str
    config: Descriptor | None
    layers: tuple[Descriptor, ...]
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, content: bytes, media_type: str | None = None, digest: str | None = None) -> "Manifest":
        """Read a manifest or an index.

        Args:
            content: The bytes.
            media_type: The media type that the registry says; the document's own by default.
            digest: The expected digest; by default, its sha256 is computed.

        Raises:
            IntegrityError: If it doesn't have that digest.
            ClientError: If it is neither a manifest nor an index.
        """
        found = digest_of(content, digest or "sha256:")
        if digest is not None and found != digest:
            raise IntegrityError(f"Digest mismatch: the manifest {digest} has the digest {found}. Try again.")
        document = _document(content)
        media_type = media_type or text(document.get("mediaType")) or _guessed(document)
        annotations = text_map(document.get("annotations"))
        if media_type in INDEX_MEDIA_TYPES:
            return cls(content, media_type, found, None, (), _descriptors(document, "manifests"), annotations)
        layers = _descriptors(document, "layers" if "layers" in document else "blobs")
        config = Descriptor.parse(document["config"]) if "config" in document else None
        if config is None and "blobs" not in document:
            raise _malformed(f"The manifest {found} of the type {media_type!r} has no config and layers.")
        return cls(content, media_type, found, config, layers, (), annotations)

    @property
    def is_index(self) -> bool:
        """Whether it lists manifests and has no layers itself."""
        return self.media_type in INDEX_MEDIA_TYPES

    @property
    def descriptor(self) -> Descriptor:
        """A descriptor that refers to it."""
        return Descriptor(self.digest, len(self.content), self.media_type)

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """The config and the layers, each digest once."""
        every = (*((self.config,) if self.config else ()), *self.layers)
        return tuple({each.digest: each for each in reversed(every)}.values())[::-1]

    @property
    def platforms(self) -> tuple[Platform, ...]:
        """The platforms of an index's images, each once."""
        return tuple(dict.fromkeys(each.platform for each in self.manifests if each.is_image and each.platform))

    def entries_for(self, platform: Platform | None) -> tuple[Descriptor, ...]:
        """Return the entries of an index that are, or may lead to, an image for a platform, the likeliest first.

        Entries that don't say their platform come last.

        Args:
            platform: The platform; None for the only image of an index, or else the one for this machine.
        """
        images = [each for each in self.manifests if each.is_image]
        if platform is None and len(images) == 1:
            return (images[0],)
        wanted = (platform or Platform.of_this_machine()).runs
        right = [each for place in wanted for each in self.manifests if each.platform == place and _leads(each)]
        nested = [each for each in self.manifests if each.is_index and each.platform is None]
        return (*right, *nested, *(each for each in images if each.platform is None))


def _leads(entry: Descriptor) -> bool:
    return entry.is_image or entry.is_index


def _document(content: bytes) -> dict[str, Any]:
    if len(content) > LARGEST_MANIFEST:
        raise _malformed(f"The manifest has {len(content)} bytes; at most {LARGEST_MANIFEST} are supported.")
    document = read_object(content, "The manifest")
    if document.get("schemaVersion") not in (2, None):
        raise _malformed("Unsupported manifest type. Supported are OCI and Docker manifests (schema 2).")
    return document


def _guessed(document: Mapping[str, Any]) -> str:
    """Return the media type of an OCI document, which may leave it out."""
    return OCI_INDEX if "manifests" in document else OCI_MANIFEST


def _descriptors(document: Mapping[str, Any], name: str) -> tuple[Descriptor, ...]:
    entries = document.get(name)
    if entries is None:
        return ()
    if not isinstance(entries, list):
        raise _malformed(f"The manifest's {name} isn't a list.")
    return tuple(map(Descriptor.parse, entries))


def _platform(entry: object) -> Platform | None:
    names = (text(mapping(entry).get(name)) for name in ("os", "architecture", "variant"))
    os, architecture, variant = (name if name and name.isprintable() else None for name in names)
    return Platform(os, architecture, variant) if os and architecture else None


def _malformed(message: str) -> ClientError:
    return ClientError(message, code="malformed-document")
