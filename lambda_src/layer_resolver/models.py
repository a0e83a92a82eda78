"""Requests, results, manifests, indexes and configs as pydantic models, and how they are read.

Names on the wire are ECR's own, in camel case; in the code they are in snake case. All triggers share these models, and
scripts/openapi.py writes openapi.json from them.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel, to_pascal
from pydantic_core import ErrorDetails

from layer_resolver.errors import INVALID_PARAMETER, UNSUPPORTED_IMAGE, Repository, ResolverError, Subject

Model = TypeVar("Model", bound=BaseModel)

MAXIMUM_LAYERS = 500
"""How many layers one request may name. A result of that many is about 1 MB, well below Lambda's 6 MB."""

MOST_JSON_VALUES = 100_000
"""How many values a JSON document may have. An index of 4 MB has fewer, unless it is an attack."""

DESCRIBED_PROBLEMS = 5
"""How many problems one message names; a batch can have hundreds."""

# Describing a problem takes pydantic a hundred times as long as validating the value.
_MOST_PROBLEMS = 1000
_LONGEST_QUOTED = 100

MANIFEST_MEDIA_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
INDEX_MEDIA_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)

# A name is parts joined by one separator. The API reference and botocore's service model differ in the separators; what
# either admits is admitted here: ".", "_", "__" and runs of "-". Sources:
# https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetDownloadUrlForLayer.html and botocore's ecr model.
_NAME_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_REPOSITORY_NAME = rf"^{_NAME_PART}(?:/{_NAME_PART})*$"
_REGISTRY_ID = r"^[0-9]{12}$"
_DIGEST = r"^[a-zA-Z0-9\-_+.]+:[a-fA-F0-9]+$"
# OCI Distribution Specification, "Pulling manifests".
_IMAGE_TAG = r"^[a-zA-Z0-9_][a-zA-Z0-9._-]*$"
# As containerd writes platforms, with the version of Windows in parentheses: https://github.com/containerd/platforms
_PLATFORM = r"^[A-Za-z0-9_.-]+(?:\([A-Za-z0-9_.%+-]*\))?(?:/[A-Za-z0-9_.-]+){1,2}$"

_WORDS = {
    _REPOSITORY_NAME: "2 to 256 lower-case letters and digits, in parts joined by one '.', one or two '_', any number "
    "of '-', or one '/', such as team/app",
    _REGISTRY_ID: "an AWS account id, twelve digits",
    _DIGEST: "an algorithm, ':' and hexadecimal digits, such as 'sha256:' and 64 digits",
    _IMAGE_TAG: "a tag: letters, digits, '_', '.' and '-', not beginning with '.' or '-'",
    _PLATFORM: "an operating system and an architecture, such as linux/arm64",
}
"""What each pattern means, after "must be"."""

REGISTERED_DIGEST = r"sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}"
"""What a digest under `/v2` can be: OCI Image Specification, "Registered Algorithms"."""

# RFC 6838, section 4.2.
_MEDIA_TYPE = r"^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}$"

LONGEST_DIGEST = 300
"""The longest digest, in characters."""


def _matcher(pattern: str, longest: int) -> Callable[[str], bool]:
    compiled = re.compile(pattern, re.ASCII)
    # "$" alone would match before a line break at the end.
    return lambda text: len(text) <= longest and compiled.fullmatch(text) is not None


is_digest = _matcher(_DIGEST, LONGEST_DIGEST)
is_registered_digest = _matcher(REGISTERED_DIGEST, LONGEST_DIGEST)
is_tag = _matcher(_IMAGE_TAG, 128)
is_registry_id = _matcher(_REGISTRY_ID, 12)
is_quotable_media_type = _matcher(_MEDIA_TYPE, _LONGEST_QUOTED)
is_quotable_platform = _matcher(_PLATFORM, _LONGEST_QUOTED)

RepositoryName = Annotated[
    str,
    Field(pattern=_REPOSITORY_NAME, min_length=2, max_length=256),
    Field(description="Repository's name.", examples=["team/app"]),
]
RegistryId = Annotated[
    str,
    Field(pattern=_REGISTRY_ID, examples=["123456789012"]),
    Field(description="AWS account id of the registry; the service's own account by default."),
]
Digest = Annotated[
    str,
    Field(pattern=_DIGEST, max_length=LONGEST_DIGEST, description="Algorithm, ':' and hexadecimal digits."),
    Field(examples=["sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"]),
]
ImageTag = Annotated[str, Field(pattern=_IMAGE_TAG, max_length=128, description="Image's tag.", examples=["latest"])]
MediaTypeName = Annotated[str, Field(pattern=_MEDIA_TYPE)]
PlatformName = Annotated[
    str,
    Field(pattern=_PLATFORM, max_length=300, examples=["linux/arm64"]),
    Field(description="Platform to choose from an image index: operating system, architecture, and variant if any."),
]


def _whole(number: object) -> object:
    """Return 2.0 as 2, the same number in JSON, and anything else as it is."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


# The bounds stand first: pydantic leaves those behind a validator out of the JSON schema.
BlobSize = Annotated[int, Field(ge=0, le=2**63 - 1, description="Size of the blob in bytes."), BeforeValidator(_whole)]


class Document(BaseModel):
    """Base of what is read: camel case in JSON, no conversion between JSON's types."""

    model_config = ConfigDict(alias_generator=to_camel, strict=True, frozen=True, defer_build=True)


# Requests


class RepositoryRequest(Document):
    """Names a repository."""

    model_config = ConfigDict(extra="forbid")

    repository_name: RepositoryName
    registry_id: RegistryId | None = None

    @property
    def repository(self) -> Repository:
        """The repository."""
        return Repository(self.repository_name, self.registry_id)


class DownloadUrlRequest(RepositoryRequest):
    """Asks for the download URL of one layer."""

    model_config = ConfigDict(defer_build=False)  # the most common request

    layer_digest: Digest


class DownloadUrlsRequest(RepositoryRequest):
    """Asks for the download URLs of layers of one repository by their digests."""

    layer_digests: Annotated[
        list[Digest],
        Field(min_length=1, max_length=MAXIMUM_LAYERS, description="A digest given twice is answered once."),
    ]


class ImageManifestRequest(RepositoryRequest):
    """Asks for the download URLs of an image's config and layers by its manifest."""

    image_manifest: Annotated[str, Field(max_length=4 * 1024 * 1024, description="The image manifest, as a string.")]


class ImageRequest(RepositoryRequest):
    """Asks for everything it takes to download an image, named by either its tag or its digest."""

    image_tag: ImageTag | None = None
    image_digest: Annotated[Digest | None, Field(description="Digest of the image's manifest.")] = None
    platform: PlatformName | None = None

    @model_validator(mode="after")
    def _name_it_once(self) -> Self:
        if (self.image_tag is None) == (self.image_digest is None):
            raise ValueError("Name the image by either imageTag or imageDigest")
        return self

    @property
    def reference(self) -> str:
        """What names the image in its repository."""
        return self.image_tag or self.image_digest or ""


class ImageConfigRequest(ImageRequest):
    """Asks what an image's config says."""

    include_env: Annotated[
        Literal["true", "false"] | None, Field(description="Whether to include environment variables.")
    ] = None


# Results


class Result(BaseModel):
    """Base of what is answered."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, frozen=True, defer_build=True)

    def wire(self) -> dict[str, Any]:
        """Return the JSON body, without optional fields that aren't set."""
        return self.model_dump(by_alias=True, exclude_unset=True)


ChosenPlatform = Annotated[str | None, Field(description="The platform chosen from an image index.")]


class DownloadUrl(Result):
    """A layer's download URL. The URL is a secret: anyone who has it can download the layer until it expires."""

    model_config = ConfigDict(defer_build=False)  # in most answers

    download_url: Annotated[str, Field(repr=False, description="Pre-signed URL for GET. A secret.")]
    layer_digest: Digest
    expires_at: Annotated[
        str | None,
        Field(
            description="When the URL expires (RFC 3339, UTC); null if it doesn't say.",
            json_schema_extra={"format": "date-time"},
        ),
    ]
    media_type: Annotated[str | None, Field(description="The blob's media type, if a manifest names it.")] = None
    size: BlobSize | None = None


class Failure(Result):
    """Why one layer of a batch has no download URL."""

    layer_digest: Digest
    code: Annotated[str, Field(description="ECR's exception name, or a name of the service's own.")]
    message: Annotated[str, Field(description="What is wrong and what to do.")]
    retryable: Annotated[bool, Field(description="Whether the same request can succeed later.")]


class DownloadUrlsResult(Result):
    """The result of a batch: each layer is in one of the two lists, in the order of the request."""

    download_urls: list[DownloadUrl]
    failures: list[Failure]
    request_id: Annotated[str | None, Field(description="The request's id in the operator's log.")] = None


class ConfigLayer(Result):
    """One layer of an image."""

    digest: Digest
    size: BlobSize
    media_type: str


class ImageConfigResult(Result):
    """What an image's config says."""

    image_digest: Digest
    platform: str | None
    created: str | None
    labels: dict[str, str]
    entrypoint: list[str] | None
    cmd: list[str] | None
    working_dir: str | None
    user: str | None
    exposed_ports: list[str]
    layers: list[ConfigLayer]
    env: list[str] | None = None
    image_platform: ChosenPlatform = None


# Documents of the OCI Image Specification


class Descriptor(Document):
    """Content descriptor of a blob (OCI Image Specification, "OCI Content Descriptors")."""

    media_type: Annotated[str, Field(max_length=255)]
    digest: Digest
    size: BlobSize
    urls: Annotated[list[str] | None, Field(description="Where a foreign layer can be downloaded.")] = None


class ImageManifest(Document):
    """Image manifest: an OCI image manifest, or Docker's image manifest version 2, schema 2."""

    schema_version: Annotated[Literal[2], BeforeValidator(_whole)]
    media_type: str | None = None
    config: Descriptor
    layers: Annotated[list[Descriptor], BeforeValidator(lambda layers: [] if layers is None else layers)] = []


class PostedManifest(ImageManifest):
    """An image manifest that a caller sends."""

    layers: Annotated[list[Descriptor], Field(max_length=MAXIMUM_LAYERS - 1)]


class MediaType(Document):
    """The media type that a document says it has."""

    media_type: str | None = None


class Platform(Document):
    """The platform that an image is for."""

    architecture: str
    os: str
    variant: str | None = None
    os_version: Annotated[str | None, Field(alias="os.version")] = None
    os_features: Annotated[list[str] | None, Field(alias="os.features")] = None


class IndexEntry(Document):
    """One manifest of an index."""

    media_type: str
    digest: Digest
    size: BlobSize
    artifact_type: str | None = None
    platform: Platform | None = None


class ImageIndex(Document):
    """Image index or Docker manifest list: names a manifest for each platform and has no layers of its own."""

    manifests: list[IndexEntry]


class ExecutionConfig(Document):
    """What a container of an image starts with; names begin with a capital letter, as Docker's do."""

    model_config = ConfigDict(alias_generator=to_pascal)

    user: str | None = None
    exposed_ports: dict[str, Any] | None = None
    env: list[str] | None = None
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    working_dir: str | None = None
    labels: dict[str, str] | None = None


class ImageConfig(Document):
    """The part of an image's config that is answered (OCI Image Specification, "Image Configuration")."""

    architecture: str | None = None
    os: str | None = None
    variant: str | None = None
    created: str | None = None
    config: ExecutionConfig | None = None


# What the modules pass on to each other


class LayerBatch(NamedTuple):
    """Blobs of one repository, in the order of the request, each once, with what a manifest says of it."""

    repository: Repository
    layers: Mapping[Subject, Descriptor | None]

    @classmethod
    def of_digests(cls, repository: Repository, digests: Iterable[str]) -> "LayerBatch":
        """Return the batch of the layers with these digests."""
        return cls(repository, {Subject(repository, "layer", digest): None for digest in digests})

    @classmethod
    def of_manifest(cls, repository: Repository, manifest: ImageManifest) -> "LayerBatch":
        """Return the batch of an image's config and layers; of descriptors with the same digest, the first counts."""
        layers: dict[Subject, Descriptor | None] = {}
        for descriptor in (manifest.config, *manifest.layers):
            layers.setdefault(Subject(repository, "layer", descriptor.digest), descriptor)
        return cls(repository, layers)


class StoredManifest(NamedTuple):
    """A manifest or an index, byte for byte as it is stored; its subject is the image by its digest."""

    content: bytes
    media_type: str
    subject: Subject

    @property
    def digest(self) -> str:
        """The digest of the content."""
        return str(self.subject.name)

    @property
    def is_index(self) -> bool:
        """Whether it names manifests and has no layers of its own."""
        return self.media_type in INDEX_MEDIA_TYPES

    def read(self, model: type[Model]) -> Model:
        """Return the content as an instance of its model; see `parse_stored`."""
        return parse_stored(self.content, model, self.subject, "index" if self.is_index else "manifest")


# Reading


def build_validators() -> None:
    """Build the validators of all models, which would be built on first use."""
    models = [Document, Result]
    for model in models:
        model.model_rebuild()
        models += model.__subclasses__()


def parse_request(data: Mapping[str, Any] | str | bytes, model: type[Model]) -> Model:
    """Return a request's fields, or the text of a JSON document, as an instance of `model`.

    Raises:
        ResolverError: `INVALID_PARAMETER`, with a message that names what is wrong.
    """
    try:
        if isinstance(data, Mapping):
            return model.model_validate(data)
        _check_number_of_values(data)
        return model.model_validate_json(data)
    except ValidationError as error:
        raise ResolverError(INVALID_PARAMETER, described(error, model)) from None


def parse_stored(content: bytes, model: type[Model], subject: Subject, noun: str) -> Model:
    """Return a document that the registry has, such as an image's "manifest", as an instance of `model`.

    Raises:
        ResolverError: `UNSUPPORTED_IMAGE`, with a message that names what is wrong.
    """
    try:
        return parse_request(content, model)
    except ResolverError as error:
        detail = f"Can't read the {noun} of {subject}: {error.detail}"
        raise ResolverError(UNSUPPORTED_IMAGE, detail, subject=subject) from None


def parse_json(text: str) -> dict[str, Any]:
    """Return the JSON object that a request's text is.

    Raises:
        ResolverError: `INVALID_PARAMETER`, if it isn't one, repeats a member, or has too many values.
    """
    _check_number_of_values(text)
    try:
        document = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        detail = f"The request is not JSON: {error.msg} at line {error.lineno} column {error.colno}."
    except (ValueError, RecursionError):
        detail = "The request has a number too large or values nested too deep."
    else:
        if isinstance(document, dict):
            return document
        detail = "The request must be a JSON object."
    raise ResolverError(INVALID_PARAMETER, detail)


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) != len(members):
        raise ResolverError(INVALID_PARAMETER, "The request has a field twice. Send each once.")
    return found


def _check_number_of_values(document: str | bytes) -> None:
    """Refuse a JSON document that may have more than `MOST_JSON_VALUES`, without reading it.

    Every value but a container's first follows a comma, and the first a bracket. Commas within strings count too.
    """
    signs = (b",", b"[", b"{") if isinstance(document, bytes) else (",", "[", "{")
    if sum(map(document.count, signs)) > MOST_JSON_VALUES:  # type: ignore[arg-type]
        raise ResolverError(INVALID_PARAMETER, f"The document has more than {MOST_JSON_VALUES} values.")


# pydantic's kinds of errors; those not listed here come with words of our own.
_PROBLEMS = {
    "missing": "is missing",
    "model_type": "must be a JSON object",
    "model_attributes_type": "must be a JSON object",
    "dict_type": "must be a JSON object",
    "list_type": "must be a list",
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
    "literal_error": "must be {expected}",
    "too_short": "must have at least {min_length} entry",
    "too_long": "must have at most {max_length} entries",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
}
# Tokens have digits; of the fields' names, only isBase64Encoded does.
_FIELD_NAME = re.compile(r"[A-Za-z](?:[A-Za-z._-]|64){0,63}")


def described(error: ValidationError, model: type[BaseModel]) -> str:
    """Return what is wrong with a document: each field and what it has to be, never its value.

    What a caller sends by mistake may be a secret, and so may the name of an unknown field.
    """
    if error.error_count() > _MOST_PROBLEMS:
        return f"The document is wrong in {error.error_count()} places."
    problems = error.errors(include_url=False, include_input=False)
    named = [_describe(problem, model) for problem in problems[:DESCRIBED_PROBLEMS]]
    if len(problems) > len(named):
        named.append(f"and {len(problems) - len(named)} more")
    return "; ".join(named) + "."


def _describe(problem: ErrorDetails, model: type[BaseModel]) -> str:
    kind, location, context = problem["type"], _location(problem["loc"]), problem.get("ctx", {})
    if kind == "json_invalid":
        return f"The document is not JSON: {context['error']}"
    if kind == "extra_forbidden":
        known = ", ".join(field.alias or name for name, field in model.model_fields.items())
        return f"{location} is not a field of this request; its fields are {known}"
    if kind == "string_pattern_mismatch":
        return f"{location} must be {_WORDS[context['pattern']]}"
    if kind == "value_error" and not problem["loc"]:
        return str(context["error"])
    return f"{location} {_PROBLEMS.get(kind, 'is invalid').format(**context)}"


def _location(parts: tuple[int | str, ...]) -> str:
    """Return a place in a JSON document, such as `layers[2].digest`."""
    path = ""
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            # A name of another form may be anything, even a secret.
            path += f".{part if _FIELD_NAME.fullmatch(part) else '(a name that is not shown)'}"
    return path.removeprefix(".") or "The document"
