"""Requests and results, the same for every trigger.

Field names on the wire are ECR's own (`repositoryName`, `layerDigest`, `registryId`); in the code they are in snake
case. Unknown fields of a request are refused, because a misspelt `registryId` would quietly name another registry.
"""

import re
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

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

# A name is repeated parts joined by one separator. The API reference and botocore's service model differ in the
# separators; what either admits is admitted here: ".", "_", "__" and runs of "-". Sources:
# https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetDownloadUrlForLayer.html and botocore's ecr model.
_NAME_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"

# In words, for the descriptions of the fields and for the messages about values that break a rule.
REPOSITORY_NAME_RULE = (
    "2 to 256 lower-case letters and digits, in parts that are joined by one '.', one or two '_', any number of '-', "
    "or one '/'"
)
LAYER_DIGEST = re.compile(r"^[a-zA-Z0-9\-_+.]+:[a-fA-F0-9]+$", re.ASCII)
LAYER_DIGEST_RULE = "an algorithm, ':' and hexadecimal digits, such as 'sha256:' and 64 digits"

RegistryId = Annotated[
    str,
    Field(
        pattern=r"^[0-9]{12}$",
        description="AWS account id of the registry, twelve digits. Without it, the account of the service itself.",
        examples=["123456789012"],
    ),
]
RepositoryName = Annotated[
    str,
    Field(
        pattern=rf"^(?:{_NAME_PART}/)*{_NAME_PART}$",
        min_length=2,
        max_length=256,
        description=f"Name of the repository: {REPOSITORY_NAME_RULE}.",
        examples=["team/app"],
    ),
]
LayerDigest = Annotated[
    str,
    Field(
        pattern=LAYER_DIGEST.pattern,
        description=f"Digest of the layer: {LAYER_DIGEST_RULE}.",
        examples=["sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"],
    ),
]

ImageTag = Annotated[
    str,
    Field(pattern=r"^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$", description="Tag of the image.", examples=["latest"]),
]
PlatformName = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9_.-]+(?:/[a-z0-9_.-]+){1,2}$",
        description="Platform to pick from an image index: operating system, architecture, and variant if it has one.",
        examples=["linux/arm64"],
    ),
]


def _whole(number: object) -> object:
    """Return 2.0 as 2, which in JSON is the same number, and anything else as it is."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


WholeNumber = BeforeValidator(_whole)
# The bounds stand first: pydantic leaves those behind a validator out of the JSON schema.
BlobSize = Annotated[int, Field(ge=0, le=2**63 - 1, description="Size of the blob in bytes."), WholeNumber]


class WireModel(BaseModel):
    """Base of everything that is read or written: camel case on the wire, no conversion between JSON types."""

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, serialize_by_alias=True, strict=True, frozen=True
    )


class RequestModel(WireModel):
    """Base of the requests: an unknown field is an error."""

    model_config = ConfigDict(extra="forbid")


class Layer(BaseModel):
    """One blob to resolve; media type and size are known if a manifest named it."""

    model_config = ConfigDict(frozen=True)

    digest: str
    media_type: str | None = None
    size: int | None = None
    is_foreign: bool = False


class LayerBatch(BaseModel):
    """Blobs of one repository, in the order of the request, each digest once."""

    model_config = ConfigDict(frozen=True)

    registry_id: str | None
    repository_name: str
    layers: tuple[Layer, ...]

    @classmethod
    def of(cls, registry_id: str | None, repository_name: str, layers: list[Layer]) -> "LayerBatch":
        """Return the batch of these layers; of layers with the same digest the first is kept."""
        unique: dict[str, Layer] = {}
        for layer in layers:
            unique.setdefault(layer.digest, layer)
        return cls(registry_id=registry_id, repository_name=repository_name, layers=tuple(unique.values()))


class DownloadUrlRequest(RequestModel):
    """Asks for the download URL of one layer."""

    registry_id: RegistryId | None = None
    repository_name: RepositoryName
    layer_digest: LayerDigest

    def batch(self) -> LayerBatch:
        """Return what is to be resolved."""
        return LayerBatch.of(self.registry_id, self.repository_name, [Layer(digest=self.layer_digest)])


class DownloadUrlsRequest(RequestModel):
    """Asks for the download URLs of layers of one repository by their digests."""

    registry_id: RegistryId | None = None
    repository_name: RepositoryName
    layer_digests: Annotated[
        list[LayerDigest],
        Field(
            min_length=1,
            max_length=MAXIMUM_LAYERS,
            description=f"1 to {MAXIMUM_LAYERS} digests. One that is given twice is answered once.",
        ),
    ]

    def batch(self) -> LayerBatch:
        """Return what is to be resolved."""
        layers = [Layer(digest=digest) for digest in self.layer_digests]
        return LayerBatch.of(self.registry_id, self.repository_name, layers)


class ManifestRepository(RequestModel):
    """The repository of a posted manifest; a manifest itself does not say where it is kept."""

    registry_id: RegistryId | None = None
    repository_name: RepositoryName


class ImageRequest(ManifestRepository):
    """Asks for everything that it takes to download an image."""

    platform: PlatformName | None = None

    def repository(self) -> ManifestRepository:
        """Return where the image is."""
        return ManifestRepository(registry_id=self.registry_id, repository_name=self.repository_name)


class TaggedImageRequest(ImageRequest):
    """Asks for an image by its tag."""

    image_tag: ImageTag

    @property
    def reference(self) -> str:
        """What names the image in its repository."""
        return self.image_tag


class DigestedImageRequest(ImageRequest):
    """Asks for an image by its digest."""

    image_digest: LayerDigest

    @property
    def reference(self) -> str:
        """What names the image in its repository."""
        return self.image_digest


class ImageManifestRequest(ManifestRepository):
    """Asks for the download URLs of an image's config and layers by its manifest."""

    image_manifest: Annotated[str, Field(description="The image manifest itself, as a string.")]


class ImagePush(BaseModel):
    """The part of the detail of an `ECR Image Action` that is used; ECR's names have hyphens here.

    Source: https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-eventbridge.html
    """

    model_config = ConfigDict(alias_generator=lambda name: name.replace("_", "-"), frozen=True)

    action_type: Literal["PUSH"]
    result: Literal["SUCCESS"]
    repository_name: RepositoryName
    image_digest: LayerDigest


class MediaType(WireModel):
    """The media type that a document of the OCI Image Specification may say that it has."""

    media_type: str | None = None


class Descriptor(WireModel):
    """Content descriptor of a blob (OCI Image Specification, "OCI Content Descriptors")."""

    media_type: str
    digest: LayerDigest
    size: BlobSize
    urls: Annotated[
        list[str] | None,
        Field(description="Where a foreign layer is to be had; the registry does not have it."),
    ] = None

    def layer(self) -> Layer:
        """Return the blob that the descriptor describes."""
        return Layer(digest=self.digest, media_type=self.media_type, size=self.size, is_foreign=bool(self.urls))


class ImageManifest(WireModel):
    """Image manifest: an OCI image manifest, or Docker's image manifest version 2, schema 2."""

    schema_version: Annotated[Literal[2], WholeNumber]
    media_type: str | None = None
    config: Descriptor
    layers: Annotated[list[Descriptor], Field(max_length=MAXIMUM_LAYERS - 1)]

    def batch(self, repository: ManifestRepository) -> LayerBatch:
        """Return the config and the layers, in this order, as blobs of `repository`."""
        layers = [descriptor.layer() for descriptor in (self.config, *self.layers)]
        return LayerBatch.of(repository.registry_id, repository.repository_name, layers)


class Platform(WireModel):
    """The platform that an image is for."""

    architecture: str
    os: str
    variant: str | None = None

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


class IndexEntry(WireModel):
    """One image of an index."""

    media_type: str
    digest: LayerDigest
    size: BlobSize
    platform: Platform | None = None


class ImageIndex(WireModel):
    """Image index or Docker manifest list: names a manifest for each platform and has no layers of its own."""

    manifests: list[IndexEntry]


class DownloadUrl(WireModel):
    """A layer's download URL. The URL is a secret: who has it can download the layer until it expires."""

    download_url: Annotated[str, Field(description="Pre-signed URL, to be used with GET. A secret.")]
    layer_digest: LayerDigest
    expires_at: Annotated[
        AwareDatetime | None,
        Field(description="When the URL expires (RFC 3339, UTC); null if the URL does not say."),
    ]


class BlobDownloadUrl(DownloadUrl):
    """A download URL with the blob's media type and size in bytes, which the posted manifest gave."""

    media_type: str
    size: int


class Failure(WireModel):
    """Why one layer of a batch has no download URL."""

    layer_digest: LayerDigest
    code: Annotated[str, Field(description="ECR's exception name, or a name of the service's own.")]
    message: Annotated[str, Field(description="What is wrong and what to do.")]
    retryable: Annotated[bool, Field(description="Whether the same request can succeed later.")]


class DownloadUrlsResult(WireModel):
    """What a batch came to: each layer is in one of the two lists, in the order of the request."""

    download_urls: list[BlobDownloadUrl | DownloadUrl]
    failures: list[Failure]


class ImageDownloadUrls(DownloadUrlsResult):
    """Everything that it takes to download an image: its manifest, and its config and layers as blobs."""

    image_digest: Annotated[str, Field(description="Digest of the manifest.")]
    image_manifest: Annotated[str, Field(description="The manifest itself, as a string: its very bytes.")]
    image_manifest_media_type: str


class EventResult(DownloadUrlsResult):
    """What an event came to: a batch's result, with the id of the event, or else of the invocation."""

    request_id: str


class FunctionUrlHttp(WireModel):
    """The request line of a function URL request."""

    method: str


class FunctionUrlContext(WireModel):
    """The part of a function URL event's `requestContext` that is used."""

    http: FunctionUrlHttp
    request_id: str = ""
    stage: Literal["$default"] = "$default"


class FunctionUrlEvent(WireModel):
    """The part of a function URL event (payload format 2.0) that is used.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
    """

    raw_path: str
    headers: dict[str, str] = {}
    query_string_parameters: dict[str, str] | None = None
    request_context: FunctionUrlContext
    body: str | None = None
    is_base64_encoded: bool = False
