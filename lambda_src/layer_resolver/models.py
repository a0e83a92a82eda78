"""Names, requests and results, the same for every trigger.

Field names on the wire are ECR's own (`repositoryName`, `layerDigest`, `registryId`); in the code they are in snake
case. Everything is plain data, checked by the rules that stand in its types; validation.py applies them. The models of
documents with a depth, manifests and indexes, are in manifests.py.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, NamedTuple

MAXIMUM_LAYERS = 500
"""How many layers one request may ask for. A result of that many is about 1 MB, well below Lambda's 6 MB."""

MANIFEST_MEDIA_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
INDEX_MEDIA_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)


@dataclass(frozen=True)
class Rule:
    """What a string has to be: in code, in words, and by example.

    Attributes:
        pattern: A regular expression for the whole of it. It takes time in proportion to its input.
        words: What the pattern means, behind "must be".
        description: What the string is for.
        example: One that is right.
        shortest: The least length.
        longest: The greatest length; what is longer is refused before the pattern is tried.
    """

    pattern: str
    words: str
    description: str
    example: str
    shortest: int = 1
    longest: int = 300

    def admits(self, value: object) -> bool:
        """Tell whether a value is as the rule says."""
        return (
            isinstance(value, str)
            and self.shortest <= len(value) <= self.longest
            and self._compiled.fullmatch(value) is not None
        )

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self.pattern, re.ASCII)


@dataclass(frozen=True)
class ListRule:
    """What a list of strings has to be.

    Attributes:
        item: The rule of each string.
        words: How many there may be, in words.
        description: What the list is for.
        longest: How many strings there may be; at least one is needed.
    """

    item: Rule
    words: str
    description: str
    longest: int


# A name is repeated parts joined by one separator. The API reference and botocore's service model differ in the
# separators; what either admits is admitted here: ".", "_", "__" and runs of "-". Sources:
# https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetDownloadUrlForLayer.html and botocore's ecr model.
_NAME_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"

REPOSITORY_NAME = Rule(
    pattern=rf"{_NAME_PART}(?:/{_NAME_PART})*",
    words="2 to 256 lower-case letters and digits, in parts that are joined by one '.', one or two '_', any number of "
    "'-', or one '/', such as team/app",
    description="Name of the repository.",
    example="team/app",
    shortest=2,
    longest=256,
)
REGISTRY_ID = Rule(
    pattern=r"[0-9]{12}",
    words="an AWS account id, twelve digits",
    description="AWS account id of the registry. Without it, the account of the service itself.",
    example="123456789012",
)
LAYER_DIGEST = Rule(
    pattern=r"[a-zA-Z0-9\-_+.]+:[a-fA-F0-9]+",
    words="an algorithm, ':' and hexadecimal digits, such as 'sha256:' and 64 digits",
    description="Digest of the layer.",
    example="sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
)
IMAGE_DIGEST = Rule(
    pattern=LAYER_DIGEST.pattern,
    words=LAYER_DIGEST.words,
    description="Digest of the image's manifest.",
    example=LAYER_DIGEST.example,
)
# OCI Image Specification, "Registered Algorithms": what a digest under /v2 can be.
REGISTERED_DIGEST = Rule(
    pattern=r"sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}",
    words="'sha256:' and 64, or 'sha512:' and 128, lower-case hexadecimal digits",
    description="Digest of a blob or manifest.",
    example=LAYER_DIGEST.example,
)
# OCI Distribution Specification, "Pulling manifests".
IMAGE_TAG = Rule(
    pattern=r"[a-zA-Z0-9_][a-zA-Z0-9._-]*",
    words="a tag: up to 128 letters, digits, '_', '.' and '-', not beginning with '.' or '-'",
    description="Tag of the image.",
    example="latest",
    longest=128,
)
PLATFORM = Rule(
    pattern=r"[a-z0-9_.-]+(?:/[a-z0-9_.-]+){1,2}",
    words="an operating system and an architecture, such as linux/arm64",
    description="Platform to pick from an image index: operating system, architecture, and variant if it has one.",
    example="linux/arm64",
)
# RFC 6838, section 4.2: what a media type's names can be.
MEDIA_TYPE = Rule(
    pattern=r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}",
    words="a media type",
    description="Media type of a document.",
    example="application/vnd.oci.image.manifest.v1+json",
)
_FLAG = Rule(
    pattern=r"true|false",
    words="true or false",
    description="Whether the environment variables are part of the answer.",
    example="true",
)
_DOCUMENT = Rule(
    pattern=r"(?s:.*)",
    words="the text of an image manifest",
    description="The image manifest itself, as a string.",
    example="{}",
    longest=4 * 1024 * 1024,
)
_DIGESTS = ListRule(
    item=LAYER_DIGEST,
    words=f"a list of 1 to {MAXIMUM_LAYERS} digests",
    description=f"1 to {MAXIMUM_LAYERS} digests. One that is given twice is answered once.",
    longest=MAXIMUM_LAYERS,
)

RepositoryName = Annotated[str, REPOSITORY_NAME]
RegistryId = Annotated[str, REGISTRY_ID]
LayerDigest = Annotated[str, LAYER_DIGEST]
ImageDigest = Annotated[str, IMAGE_DIGEST]
ImageTag = Annotated[str, IMAGE_TAG]
PlatformName = Annotated[str, PLATFORM]
Flag = Annotated[str, _FLAG]
Document = Annotated[str, _DOCUMENT]
LayerDigests = Annotated[list[str], _DIGESTS]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """A repository; without the registry's id it is one of the function's own account."""

    repository_name: RepositoryName
    registry_id: RegistryId | None = None

    @property
    def repository(self) -> "Repository":
        """The repository alone, of requests that name more than that."""
        return Repository(repository_name=self.repository_name, registry_id=self.registry_id)

    def parameters(self) -> dict[str, Any]:
        """Return the parameters that name the repository in calls to ECR."""
        if self.registry_id is None:
            return {"repositoryName": self.repository_name}
        return {"repositoryName": self.repository_name, "registryId": self.registry_id}


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadUrlRequest(Repository):
    """Asks for the download URL of one layer."""

    layer_digest: LayerDigest


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadUrlsRequest(Repository):
    """Asks for the download URLs of layers of one repository by their digests."""

    layer_digests: LayerDigests


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageManifestRequest(Repository):
    """Asks for the download URLs of an image's config and layers by its manifest."""

    image_manifest: Document


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedImageRequest(Repository):
    """Asks for everything that it takes to download an image, by its tag."""

    image_tag: ImageTag
    platform: PlatformName | None = None

    @property
    def reference(self) -> str:
        """What names the image in its repository."""
        return self.image_tag


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestedImageRequest(Repository):
    """Asks for everything that it takes to download an image, by its digest."""

    image_digest: ImageDigest
    platform: PlatformName | None = None

    @property
    def reference(self) -> str:
        """What names the image in its repository."""
        return self.image_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedConfigRequest(TaggedImageRequest):
    """Asks for what an image's config says, by the image's tag."""

    include_env: Flag | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestedConfigRequest(DigestedImageRequest):
    """Asks for what an image's config says, by the image's digest."""

    include_env: Flag | None = None


class Layer(NamedTuple):
    """One blob to resolve.

    Attributes:
        digest: Its digest.
        media_type: Its media type, if a manifest said so.
        size: Its size in bytes, if a manifest said so.
        is_foreign: Whether its manifest says that it is kept elsewhere than in the registry.
    """

    digest: str
    media_type: str | None = None
    size: int | None = None
    is_foreign: bool = False


class LayerBatch(NamedTuple):
    """Blobs of one repository, in the order of the request, each digest once."""

    repository: Repository
    layers: tuple[Layer, ...]

    @classmethod
    def of(cls, repository: Repository, layers: Iterable[Layer]) -> "LayerBatch":
        """Return the batch of these layers; of layers with the same digest the first is kept."""
        unique: dict[str, Layer] = {}
        for layer in layers:
            unique.setdefault(layer.digest, layer)
        return cls(repository, tuple(unique.values()))

    @classmethod
    def of_digests(cls, repository: Repository, digests: Iterable[str]) -> "LayerBatch":
        """Return the batch of the layers with these digests."""
        return cls.of(repository, (Layer(digest) for digest in digests))


class StoredManifest(NamedTuple):
    """A manifest or an index as it is stored.

    Attributes:
        content: Its bytes, exactly as stored.
        media_type: Its media type.
        digest: The digest of its bytes.
    """

    content: bytes
    media_type: str
    digest: str

    @property
    def is_index(self) -> bool:
        """Whether it names manifests, one for each platform, and has no layers of its own."""
        return self.media_type in INDEX_MEDIA_TYPES


@dataclass(frozen=True, slots=True)
class DownloadUrl:
    """A layer's download URL. The URL is a secret: who has it can download the layer until it expires.

    Attributes:
        layer: The layer.
        url: The pre-signed URL.
        expires_at: When it expires (RFC 3339, UTC), None if it does not say.
    """

    layer: Layer
    url: str = field(repr=False)
    expires_at: str | None

    def wire(self) -> dict[str, Any]:
        """Return it as it is answered."""
        answer = {"downloadUrl": self.url, "layerDigest": self.layer.digest, "expiresAt": self.expires_at}
        if self.layer.media_type is None or self.layer.size is None:
            return answer
        return {**answer, "mediaType": self.layer.media_type, "size": self.layer.size}


def field_name(name: str) -> str:
    """Return a name in snake case as it is on the wire: `layerDigest` for `layer_digest`."""
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)
