"""Manifests and indexes: what they name, and the choice of a platform. No input or output.

They may come from anybody, so nothing in them is trusted: a digest is of sha256 or sha512, a size is a whole number.

Source: https://github.com/opencontainers/image-spec/blob/main/manifest.md
"""

import json
import platform as machine
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ecr_layers.errors import ClientError, IntegrityError, UsageError
from ecr_layers.oci.references import hasher, is_digest

LARGEST_MANIFEST = 4 * 1024 * 1024
"""How many bytes a manifest or an index may have, as in ECR:
https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html"""

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST_MEDIA_TYPES = (OCI_MANIFEST, "application/vnd.docker.distribution.manifest.v2+json")
INDEX_MEDIA_TYPES = (OCI_INDEX, "application/vnd.docker.distribution.manifest.list.v2+json")

# What an architecture without a variant means: https://github.com/containerd/platforms (normalizeArch).
_DEFAULT_VARIANTS = frozenset({("amd64", "v1"), ("arm", "v7"), ("arm64", "v8")})
# Names that Python has for architectures, and those that images have.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386", "i386": "386"}
_LISTED = 10


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image runs on.

    Attributes:
        os: The operating system, such as `linux`.
        architecture: The architecture, such as `arm64`.
        variant: The variant of the architecture; the one that the architecture has by default is the same as None.
    """

    os: str
    architecture: str
    variant: str | None = None

    def __post_init__(self) -> None:
        if (self.architecture, self.variant) in _DEFAULT_VARIANTS or not self.variant:
            object.__setattr__(self, "variant", None)

    @classmethod
    def parse(cls, text: str) -> "Platform":
        """Return the platform that a user wrote, such as `linux/arm64` or `linux/arm/v6`.

        Raises:
            UsageError: If it is not a platform.
        """
        parts = text.split("/")
        if len(parts) not in {2, 3} or not all(part.isprintable() and part for part in parts):
            raise UsageError(f"{text!r} is no platform. One is an operating system and an architecture: linux/arm64.")
        return cls(*parts)

    @classmethod
    def of_this_machine(cls) -> "Platform":
        """Return Linux on this machine's architecture, which is what a container here runs on."""
        architecture = machine.machine().lower()
        return cls("linux", _ARCHITECTURES.get(architecture, architecture))

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A blob or a manifest, as another document refers to it.

    Attributes:
        digest: Its digest, of sha256 or sha512.
        size: Its size in bytes.
        media_type: Its media type.
        urls: Where a foreign layer is, which the registry does not keep; empty for any other.
        platform: The platform of an index's entry, None if it does not say.
        annotations: What else is said about it.
    """

    digest: str
    size: int
    media_type: str
    urls: tuple[str, ...] = ()
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_index(self) -> bool:
        """Whether it is an index."""
        return self.media_type in INDEX_MEDIA_TYPES

    @property
    def is_foreign(self) -> bool:
        """Whether it is kept elsewhere than in the registry."""
        return bool(self.urls)


@dataclass(frozen=True, slots=True)
class Manifest:
    """An image's manifest, or an index, as it is stored.

    Attributes:
        content: Its very bytes.
        media_type: Its media type.
        digest: The digest of its bytes.
        config: The image's config; None for an index, and for an old artifact without one.
        layers: The image's layers, the lowest first; empty for an index.
        manifests: The entries of an index; empty for an image.
    """

    content: bytes = field(repr=False)
    media_type: str
    digest: str
    config: Descriptor | None
    layers: tuple[Descriptor, ...]
    manifests: tuple[Descriptor, ...]

    @classmethod
    def parse(cls, content: bytes, media_type: str | None = None, digest: str | None = None) -> "Manifest":
        """Read a manifest or an index.

        Args:
            content: Its bytes.
            media_type: What the registry says that it is; without it, what the document says of itself.
            digest: The digest that it has to have; without it, its sha256.

        Raises:
            IntegrityError: If it does not have that digest.
            ClientError: If it is neither a manifest nor an index.
        """
        computed = hasher(digest or "sha256:")
        computed.update(content)
        algorithm = (digest or "sha256:").partition(":")[0]
        found = f"{algorithm}:{computed.hexdigest()}"
        if digest is not None and found != digest:
            raise IntegrityError(f"The manifest {digest} was answered with other bytes, which are {found}. Try again.")
        document = _object(content)
        said = document.get("mediaType")
        media_type = media_type or (said if isinstance(said, str) else None) or _guessed(document)
        if media_type in INDEX_MEDIA_TYPES:
            return cls(content, media_type, found, None, (), _descriptors(document, "manifests"))
        layers = _descriptors(document, "layers" if "layers" in document else "blobs")
        config = _descriptor(document["config"]) if "config" in document else None
        if config is None and "blobs" not in document:
            raise ClientError(f"{found} is a manifest of the type {media_type!r}, which has no config and layers.")
        return cls(content, media_type, found, config, layers, ())

    @property
    def is_index(self) -> bool:
        """Whether it names manifests and has no layers of its own."""
        return self.media_type in INDEX_MEDIA_TYPES

    @property
    def descriptor(self) -> Descriptor:
        """What another document would refer to it with."""
        return Descriptor(self.digest, len(self.content), self.media_type)

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """The config and the layers, each digest once."""
        every = (*((self.config,) if self.config else ()), *self.layers)
        return tuple({each.digest: each for each in reversed(every)}.values())[::-1]

    @property
    def platforms(self) -> tuple[Platform, ...]:
        """The platforms that an index has images for. Attestations, of `unknown/unknown`, do not count.

        Source: https://docs.docker.com/build/metadata/attestations/attestation-storage/
        """
        return tuple(dict.fromkeys(each.platform for each in self.manifests if _runs(each) and each.platform))

    def entries_for(self, platform: Platform | None) -> tuple[Descriptor, ...]:
        """Return the entries of an index that are, or may lead to, an image for a platform, the likeliest first.

        Args:
            platform: The platform; None for the only image of an index, or else the one for this machine.
        """
        images = [each for each in self.manifests if not each.is_index and _runs(each)]
        if platform is None and len(images) == 1:
            return (images[0],)
        wanted = platform or Platform.of_this_machine()
        right = [each for each in self.manifests if each.platform == wanted]
        nested = [each for each in self.manifests if each.is_index and each.platform is None]
        return (*right, *nested)


def platforms_in_words(platforms: tuple[Platform, ...]) -> str:
    """Return the platforms of an index for a message."""
    names = [str(each) for each in platforms][:_LISTED]
    more = f" and {len(platforms) - len(names)} more" if len(platforms) > len(names) else ""
    return f"{', '.join(names)}{more}" if names else "none that is named"


def _runs(entry: Descriptor) -> bool:
    return entry.platform is None or entry.platform.os != "unknown"


def _object(content: bytes) -> dict[str, Any]:
    if len(content) > LARGEST_MANIFEST:
        raise ClientError(f"The manifest has {len(content)} bytes, and may have {LARGEST_MANIFEST}.")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise ClientError("The manifest is not JSON. Give the image's manifest as the registry has it.") from None
    if not isinstance(document, dict) or document.get("schemaVersion") not in (2, None):
        raise ClientError("The manifest is of no kind that is known here: an OCI or Docker manifest (schema 2) is.")
    return document


def _guessed(document: dict[str, Any]) -> str:
    """Return the media type of a document that does not say: OCI's, whose `mediaType` may be left out."""
    return OCI_INDEX if "manifests" in document else OCI_MANIFEST


def _descriptors(document: dict[str, Any], name: str) -> tuple[Descriptor, ...]:
    entries = document.get(name)
    if entries is None:
        entries = []
    if not isinstance(entries, list):
        raise ClientError(f"The manifest's {name} is not a list.")
    return tuple(_descriptor(entry) for entry in entries)


def _descriptor(entry: object) -> Descriptor:
    if not isinstance(entry, dict):
        raise ClientError("The manifest has a descriptor that is no object.")
    digest, size, media_type = entry.get("digest"), entry.get("size"), entry.get("mediaType")
    if not isinstance(digest, str) or not is_digest(digest):
        raise ClientError("The manifest names a blob by something else than a sha256 or sha512 digest.")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 2**63:
        raise ClientError(f"The manifest does not say the size of {digest}.")
    urls = entry.get("urls")
    annotations = entry.get("annotations")
    return Descriptor(
        digest,
        size,
        media_type if isinstance(media_type, str) else "",
        tuple(map(str, urls)) if isinstance(urls, list) else (),
        _platform(entry.get("platform")),
        {str(name): str(value) for name, value in annotations.items()} if isinstance(annotations, dict) else {},
    )


def _platform(entry: object) -> Platform | None:
    if not isinstance(entry, dict):
        return None
    names = [entry.get("os"), entry.get("architecture"), entry.get("variant")]
    os, architecture, variant = (name if isinstance(name, str) and name.isprintable() else None for name in names)
    return Platform(os, architecture, variant) if os and architecture else None
