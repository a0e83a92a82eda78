"""Models of manifest, index, descriptor and config, and the choice of a platform. No input or output.

This module loads pydantic, which takes longer than all of the function's own code: it is imported where a document has
to be read, and not before.
"""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from layer_resolver.errors import INVALID_PARAMETER, LISTED_ENTRIES, UNSUPPORTED_IMAGE, ResolverError, Subject
from layer_resolver.models import (
    INDEX_MEDIA_TYPES,
    LAYER_DIGEST,
    MAXIMUM_LAYERS,
    MEDIA_TYPE,
    PLATFORM,
    Layer,
    LayerBatch,
    Repository,
    Rule,
    StoredManifest,
)
from layer_resolver.validation import check_number_of_values, described

# What an architecture without a variant means: https://github.com/containerd/platforms (normalizeArch).
_DEFAULT_VARIANTS = ("/amd64/v1", "/arm/v7", "/arm64/v8")
_LONGEST_SHOWN = 100

# A problem that pydantic reports takes a hundred times as long as the value that it is about.
_MOST_PROBLEMS = 1000

# Media types that the config of an image has. All but the first two are what old versions of Docker wrote by mistake,
# and Docker still takes for images: https://github.com/docker/distribution/issues/1621.
_CONFIG_MEDIA_TYPES = frozenset(
    {
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.docker.container.image.v1+json",
        "application/octet-stream",
        "application/json",
        "text/html",
        "",
    }
)

Model = TypeVar("Model", bound=BaseModel)


def _checked_digest(value: str) -> str:
    if not LAYER_DIGEST.admits(value):
        raise ValueError(f"must be {LAYER_DIGEST.words}")
    return value


def _whole(number: object) -> object:
    """Return 2.0 as 2, which in JSON is the same number, and anything else as it is."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


WholeNumber = BeforeValidator(_whole)
Digest = Annotated[
    str,
    AfterValidator(_checked_digest),
    # The words of the rule are clearer than pydantic's own about a pattern.
    Field(description=LAYER_DIGEST.description, json_schema_extra={"pattern": f"^{LAYER_DIGEST.pattern}$"}),
]
# The bounds stand first: pydantic leaves those behind a validator out of the JSON schema.
BlobSize = Annotated[int, Field(ge=0, le=2**63 - 1, description="Size of the blob in bytes."), WholeNumber]


class Document(BaseModel):
    """Base of what is read: camel case in JSON, no conversion between JSON types."""

    model_config = ConfigDict(alias_generator=to_camel, strict=True, frozen=True)


class MediaType(Document):
    """The media type that a document of the OCI Image Specification may say that it has."""

    media_type: str | None = None


class Descriptor(Document):
    """Content descriptor of a blob (OCI Image Specification, "OCI Content Descriptors")."""

    media_type: Annotated[str, Field(max_length=255)]
    digest: Digest
    size: BlobSize
    urls: Annotated[
        list[str] | None,
        Field(description="Where a foreign layer can be downloaded; the registry does not have it."),
    ] = None

    def layer(self) -> Layer:
        """Return the blob that the descriptor describes."""
        return Layer(self.digest, self.media_type, self.size, is_foreign=bool(self.urls))


class ImageManifest(Document):
    """Image manifest: an OCI image manifest, or Docker's image manifest version 2, schema 2."""

    schema_version: Annotated[Literal[2], WholeNumber]
    media_type: str | None = None
    config: Descriptor
    layers: Annotated[list[Descriptor], Field(max_length=MAXIMUM_LAYERS - 1)]


class Platform(Document):
    """The platform that an image is for."""

    architecture: str
    os: str
    variant: str | None = None

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


class IndexEntry(Document):
    """One manifest of an index."""

    media_type: str
    digest: Digest
    size: BlobSize
    platform: Platform | None = None


class ImageIndex(Document):
    """Image index or Docker manifest list: names a manifest for each platform and has no layers of its own."""

    manifests: list[IndexEntry]


class ExecutionConfig(Document):
    """What a container of an image starts with; the names are those of Docker, with a capital first letter."""

    model_config = ConfigDict(alias_generator=lambda name: "".join(part.capitalize() for part in name.split("_")))

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


def parse_document(document: str | bytes, model: type[Model]) -> Model:
    """Return the text of a JSON document as an instance of `model`.

    Raises:
        ResolverError: `INVALID_PARAMETER`, with a message that says what is wrong and does not repeat values.
    """
    check_number_of_values(document)
    try:
        return model.model_validate_json(document)
    except ValidationError as error:
        if error.error_count() > _MOST_PROBLEMS:
            raise ResolverError(INVALID_PARAMETER, f"The document is wrong in {error.error_count()} places.") from None
        # The cause holds the values, so it must not go on to the log.
        raise ResolverError(INVALID_PARAMETER, described(error)) from None


def batch_of_manifest(document: str | bytes, media_type: str | None, repository: Repository) -> LayerBatch:
    """Return the config and the layers of an image manifest as a batch.

    Args:
        document: The manifest, as JSON.
        media_type: The media type that it was sent with, None if it came without one.
        repository: Where its blobs are.

    Raises:
        ResolverError: `INVALID_PARAMETER`, if it is not an image manifest or says that it has another media type.
    """
    manifest = parse_document(document, ImageManifest)
    if media_type is not None and manifest.media_type not in {None, media_type}:
        # A document that is read as one type here and as another elsewhere is a known attack (CVE-2021-41190).
        raise ResolverError(
            INVALID_PARAMETER, "mediaType of the manifest and Content-Type of the request differ. Make them agree."
        )
    return LayerBatch.of(repository, (descriptor.layer() for descriptor in (manifest.config, *manifest.layers)))


def parse_stored(content: bytes, model: type[Model], subject: Subject, noun: str) -> Model:
    """Return a document that the registry has as an instance of `model`.

    Args:
        content: The document.
        model: Its model.
        subject: The image that it is of, for the error.
        noun: What the document is to the image, such as "manifest".

    Raises:
        ResolverError: `UNSUPPORTED_IMAGE`, with a message that says what is wrong and does not repeat values.
    """
    try:
        return parse_document(content, model)
    except ResolverError as error:
        raise ResolverError(
            UNSUPPORTED_IMAGE, f"The {noun} of {subject} can't be read: {error.detail}", subject=subject
        ) from None


def batch_of_image(manifest: StoredManifest, subject: Subject) -> LayerBatch:
    """Return the config and the layers of an image that the registry has as a batch.

    Raises:
        ResolverError: `UNSUPPORTED_IMAGE`, if its manifest is not an image manifest.
    """
    image = parse_stored(manifest.content, ImageManifest, subject, "manifest")
    return LayerBatch.of(subject.repository, (descriptor.layer() for descriptor in (image.config, *image.layers)))


def manifest_with_config(manifest: StoredManifest, subject: Subject) -> ImageManifest:
    """Return the manifest of an image that has an image's config.

    Raises:
        ResolverError: `UNSUPPORTED_IMAGE`, if it is an artifact of another kind, such as a chart or a signature.
    """
    image = parse_stored(manifest.content, ImageManifest, subject, "manifest")
    if image.config.media_type not in _CONFIG_MEDIA_TYPES:
        raise ResolverError(
            UNSUPPORTED_IMAGE,
            f"There is no image config in {subject}: it is an artifact, whose config has the media type "
            f"{_quoted(image.config.media_type)}. GET /images/download-urls gives its manifest and blobs.",
            subject=subject,
        )
    return image


def config_answer(manifest: StoredManifest, content: bytes, subject: Subject, *, include_env: bool) -> dict[str, Any]:
    """Return what an image's config says, as it is answered.

    Args:
        manifest: The image's manifest, which `manifest_with_config` has accepted.
        content: The config, as it is stored.
        subject: The image.
        include_env: Whether the environment variables are part of it; some images have secrets there.

    Raises:
        ResolverError: `UNSUPPORTED_IMAGE`, if the content is not an image's config.
    """
    image = parse_stored(content, ImageConfig, subject, "config")
    layers = parse_stored(manifest.content, ImageManifest, subject, "manifest").layers
    config = image.config or ExecutionConfig()
    platform = "/".join(part for part in (image.os, image.architecture, image.variant) if part)
    answer = {
        "imageDigest": manifest.digest,
        "platform": platform or None,
        "created": image.created,
        "labels": config.labels or {},
        "entrypoint": config.entrypoint,
        "cmd": config.cmd,
        "workingDir": config.working_dir,
        "user": config.user,
        "exposedPorts": sorted(config.exposed_ports or {}),
        "layers": [{"digest": each.digest, "size": each.size, "mediaType": each.media_type} for each in layers],
    }
    return {**answer, "env": config.env or []} if include_env else answer


def media_type_of(document: str) -> str | None:
    """Return the media type that a manifest or index says that it has, None if it does not say."""
    return parse_document(document, MediaType).media_type


def index_refused(document: str) -> ResolverError:
    """Return the error for an image index, with the manifests that could be sent instead.

    Raises:
        ResolverError: `INVALID_PARAMETER`, if it is not an image index either.
    """
    entries = parse_document(document, ImageIndex).manifests
    listed = entries[:LISTED_ENTRIES]
    named = [f"{entry.digest} ({_shown(entry.platform) or 'no platform'})" for entry in listed]
    if len(entries) > len(listed):
        named.append(f"and {len(entries) - len(listed)} more")
    return ResolverError(
        INVALID_PARAMETER,
        "This is an image index, which has no layers of its own. Pick a platform and post its image manifest: "
        f"{', '.join(named) or 'this index names none'}.",
        extensions={"manifests": [_described_entry(entry) for entry in listed]},
    )


def digest_for_platform(index: StoredManifest, platform: str | None, subject: Subject) -> str:
    """Return the digest of the manifest, or further index, that an image index has for a platform.

    Args:
        index: The image index.
        platform: The platform, such as `linux/arm64` or `linux/arm/v7`; None if the caller named none. One without a
            variant is the same as with the variant that its architecture has by default.
        subject: The index, for errors.

    Raises:
        ResolverError: `INVALID_PARAMETER`, with the platforms that there are, if there is no such manifest;
            `UNSUPPORTED_IMAGE`, if it is not an image index.
    """
    entries = parse_stored(index.content, ImageIndex, subject, "index").manifests
    # Attestations of BuildKit's are entries of the platform unknown/unknown, and not images:
    # https://docs.docker.com/build/metadata/attestations/attestation-storage/
    platforms = {
        str(entry.platform): entry.digest
        for entry in reversed(entries)
        if entry.platform is not None and entry.platform.os != "unknown"
    }
    digest = _digest_of_platform(platforms, platform) or _digest_without_platform(entries, platform, platforms)
    if digest is None:
        raise _platform_refused(index.digest, platform, platforms)
    return digest


def _digest_of_platform(platforms: dict[str, str], platform: str | None) -> str | None:
    if platform is None:
        return None
    in_short = {_in_short(name): digest for name, digest in platforms.items()}
    return platforms.get(platform) or in_short.get(_in_short(platform))


def _digest_without_platform(entries: list[IndexEntry], platform: str | None, platforms: dict[str, str]) -> str | None:
    """Return the digest of the entry that may be meant although it does not say for which platform it is.

    It is the only one of an index that names no platform at all, or the only further index.
    """
    unnamed = [entry for entry in entries if entry.platform is None]
    if platforms:
        unnamed = [entry for entry in unnamed if platform is not None and entry.media_type in INDEX_MEDIA_TYPES]
    return unnamed[0].digest if len(unnamed) == 1 else None


def _platform_refused(digest: str, platform: str | None, platforms: dict[str, str]) -> ResolverError:
    problem = "is an image index: name a platform" if platform is None else f"has no image for {platform}"
    named = sorted(name for name in platforms if _is_shown(name, PLATFORM))
    listed = named[:LISTED_ENTRIES]
    more = f" and {len(platforms) - len(listed)} more" if len(platforms) > len(listed) else ""
    if not listed:
        advice = "Its entries name no platform: ask for one of them by its imageDigest"
    else:
        advice = f"It has {', '.join(listed)}{more}"
    return ResolverError(INVALID_PARAMETER, f"{digest} {problem}. {advice}.", extensions={"platforms": listed})


def _described_entry(entry: IndexEntry) -> dict[str, Any]:
    """Return an entry of an index without what is not quoted."""
    left_out = set()
    if not _is_shown(entry.media_type, MEDIA_TYPE):
        left_out.add("media_type")
    if _shown(entry.platform) is None:
        left_out.add("platform")
    return entry.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=left_out)


def _in_short(platform: str) -> str:
    """Return a platform without the variant that its architecture has by default."""
    return platform.rpartition("/")[0] if platform.endswith(_DEFAULT_VARIANTS) else platform


def _shown(platform: Platform | None) -> str | None:
    """Return a platform as it is quoted, None if there is none or it is not."""
    return str(platform) if platform is not None and _is_shown(str(platform), PLATFORM) else None


def _quoted(media_type: str) -> str:
    return media_type if _is_shown(media_type, MEDIA_TYPE) else "(one that is not shown)"


def _is_shown(text: str, rule: Rule) -> bool:
    """Tell whether a text is quoted: what is not as its rule says may be anything, a secret too."""
    return len(text) <= _LONGEST_SHOWN and rule.admits(text)
