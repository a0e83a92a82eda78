"""Reads manifests, tags and referrers from ECR.

Needs permissions beyond the function's default one: `ecr:BatchGetImage`, and `ecr:ListImages` for tags. Knows nothing
of HTTP or events.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Annotated, Any, NamedTuple

from botocore.exceptions import ClientError
from cachetools import LRUCache
from pydantic import Field, StringConstraints, ValidationError

from layer_resolver import errors, models, platforms
from layer_resolver.blobs import digest_of
from layer_resolver.calls import Moment
from layer_resolver.ecr import Ecr
from layer_resolver.errors import Repository, ResolverError, Subject
from layer_resolver.invocation import Invocation
from layer_resolver.models import (
    Document,
    ImageConfigResult,
    ImageIndex,
    ImageManifest,
    IndexEntry,
    StoredManifest,
    is_quotable_media_type,
    is_quotable_platform,
    parse_stored,
)

SECONDS_OF_LISTING = 60.0
"""How long a list of tags is kept for its further pages."""

CACHED_LISTINGS = 4
"""How many lists of tags are kept; one of 100,000 tags is about 10 MB."""

IMAGE_DIGEST_ADVICE = "Use it as imageDigest with GET /images/download-urls."
"""What to do with an image's digest where a layer's is expected."""

DEEPEST_INDEX = 4
"""How many indexes, each naming the next, may lead to an image."""

_NEXT_PAGE = r"^[!-~]{0,4096}$"
_MEDIA_TYPES = [*models.MANIFEST_MEDIA_TYPES, *models.INDEX_MEDIA_TYPES]
_REFERRERS_A_PAGE = 50

# Media types of an image's config. All but the first two are what old versions of Docker wrote by mistake, and Docker
# still accepts: https://github.com/docker/distribution/issues/1621.
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


# ECR's answers. Each has its list even if that is empty; an answer without it was cut short.

# With a bound, pydantic also refuses text that isn't Unicode.
_Text = Annotated[str, StringConstraints(max_length=4 * 1024 * 1024)]
_PageToken = Annotated[str, StringConstraints(pattern=_NEXT_PAGE)]


class _ImageId(Document):
    image_digest: str | None = None
    image_tag: str | None = None


class _Image(Document):
    repository_name: str | None = None
    registry_id: str | None = None
    image_id: _ImageId
    image_manifest: _Text
    image_manifest_media_type: models.MediaTypeName


class _ImageFailure(Document):
    failure_code: str = ""


class _Images(Document):
    images: list[_Image]
    failures: list[_ImageFailure] = Field(default_factory=list)


class _TaggedImage(Document):
    image_tag: models.ImageTag


class _TagsPage(Document):
    image_ids: list[_TaggedImage]
    next_token: _PageToken | None = None


class _Referrer(Document):
    media_type: models.MediaTypeName
    digest: models.Digest
    size: models.BlobSize
    # Clients name types of artifacts freely.
    artifact_type: Annotated[str, StringConstraints(pattern=r"^[!-~]{0,255}$")] | None = None
    annotations: dict[_Text, _Text] | None = None


class _ReferrersPage(Document):
    referrers: list[_Referrer]
    next_token: _PageToken | None = None


class Referrers(NamedTuple):
    """A page of an image's referrers, as descriptors of an image index, and ECR's token of the next page."""

    descriptors: list[dict[str, Any]]
    next_token: str | None


class ImageReader:
    """Reads what a repository has besides blobs, if it is enabled (`imagePull`).

    Its methods raise `ResolverError` with a row of the error table if ECR doesn't return it.
    """

    def __init__(self, ecr: Ecr, *, is_enabled: bool, now: Callable[[], Moment] = Moment.now) -> None:
        self._ecr = ecr
        self.is_enabled = is_enabled
        self._now = now
        self._listings: LRUCache[Repository, tuple[list[str], Moment]] = LRUCache(CACHED_LISTINGS)

    def manifest(self, repository: Repository, reference: str, invocation: Invocation) -> StoredManifest:
        """Return the manifest or index that a tag or a well-formed digest names.

        Raises:
            ResolverError: If there is no such image, or its bytes don't match its digest.
        """
        invocation.record_image(repository, reference)
        subject = Subject(repository, "image", reference)
        found = self._batch_get_image([_image_id(repository, reference)], subject, invocation)
        if not found.images:
            raise _not_given(found.failures, subject)
        manifest = _checked_manifest(found.images[0], subject)
        invocation.image_digest = manifest.digest
        return manifest

    def image(
        self, repository: Repository, reference: str, platform: str | None, invocation: Invocation
    ) -> tuple[StoredManifest, str | None]:
        """Return an image manifest, and the platform that was chosen if an index led to it.

        Raises:
            ResolverError: If there is no such image, or none for the platform.
        """
        chosen = None
        for _ in range(DEEPEST_INDEX + 1):
            manifest = self.manifest(repository, reference, invocation)
            if not manifest.is_index:
                return manifest, chosen
            reference, named = _choose(manifest, platform)
            chosen = named or chosen
        raise ResolverError(
            errors.INVALID_PARAMETER,
            f"The image is behind more than {DEEPEST_INDEX} indexes. Ask for it by its imageDigest.",
        )

    def explain_missing(
        self,
        repository: Repository,
        failures: Iterable[ResolverError],
        invocation: Invocation,
        advice: str = IMAGE_DIGEST_ADVICE,
    ) -> None:
        """Say so, with advice, in the message of each layer that wasn't found because its digest is an image's.

        ECR is asked once, for the first ten, and only with `imagePull`, which permits it.
        """
        absent = {
            str(error.subject.name): error
            for error in failures
            if error.kind in {errors.LAYERS_NOT_FOUND, errors.LAYER_INACCESSIBLE} and error.subject is not None
        }
        digests = [digest for digest in absent if models.is_registered_digest(digest)][: errors.LISTED_ENTRIES]
        if not digests or not self.is_enabled:
            return
        image_ids = [{"imageDigest": digest} for digest in digests]
        with suppress(ResolverError):
            found = self._batch_get_image(image_ids, Subject(repository), invocation)
            for digest in {str(image.image_id.image_digest) for image in found.images} & absent.keys():
                absent[digest].detail = f"{digest} is an image's digest, not a layer's. {advice}"

    def tags(self, repository: Repository, after: str, invocation: Invocation) -> list[str]:
        """Return a repository's tags in lexical order, from the one `after` the previous page's last.

        ECR lists them in no order, so the list is read whole for the first page, and kept for the others.
        """
        kept = self._listings.get(repository) if after else None
        if kept is None or self._now().since(kept[1]) > SECONDS_OF_LISTING:
            kept = self._listings[repository] = self._list_tags(repository, invocation), self._now()
        tags, _ = kept
        return tags[bisect_right(tags, after) :]

    def referrers(
        self, repository: Repository, digest: str, types: list[str], token: str | None, invocation: Invocation
    ) -> Referrers:
        """Return a page of the manifests whose subject is the image with this digest, which need not exist.

        `types` are the artifact types to filter by, none for any; the page is the first without a `token`.
        """
        if token is not None and not re.fullmatch(_NEXT_PAGE, token):
            raise ResolverError(errors.INVALID_PAGE_TOKEN)
        subject = Subject(repository, "image", digest)
        parameters: dict[str, Any] = {"subjectId": {"imageDigest": digest}, "maxResults": _REFERRERS_A_PAGE}
        if types:
            parameters["filter"] = {"artifactTypes": types}
        if token is not None:
            parameters["nextToken"] = token
        try:
            answer = self._ecr.list_image_referrers(subject, invocation, **parameters)
        except ResolverError as error:
            # Repository and digest have been checked, so ECR refuses the token.
            if token is not None and error.kind is errors.INVALID_PARAMETER:
                raise ResolverError(errors.INVALID_PAGE_TOKEN) from error
            raise
        page = _read(answer, _ReferrersPage, subject)
        descriptors = [each.model_dump(by_alias=True, exclude_defaults=True) for each in page.referrers]
        return Referrers(descriptors, page.next_token or None)

    def _batch_get_image(self, image_ids: list[dict[str, str]], subject: Subject, invocation: Invocation) -> _Images:
        answer = self._ecr.batch_get_image(subject, invocation, imageIds=image_ids, acceptedMediaTypes=_MEDIA_TYPES)
        return _read(answer, _Images, subject)

    def _list_tags(self, repository: Repository, invocation: Invocation) -> list[str]:
        subject = Subject(repository)
        tags: set[str] = set()
        token: dict[str, str] = {}
        while True:
            answer = self._ecr.list_images(
                subject, invocation, filter={"tagStatus": "TAGGED"}, maxResults=1000, **token
            )
            page = _read(answer, _TagsPage, subject)
            tags.update(each.image_tag for each in page.image_ids)
            if not page.next_token:
                return sorted(tags)
            token = {"nextToken": page.next_token}


def index_refused(document: str) -> ResolverError:
    """Return the error for a posted image index, with the manifests that could be posted instead.

    Raises:
        ResolverError: `errors.INVALID_PARAMETER`, if it isn't an image index either.
    """
    entries = models.parse_request(document, ImageIndex).manifests
    listed = entries[: errors.LISTED_ENTRIES]
    named = [f"{each.digest} ({_platform_of(each) or 'no platform'})" for each in listed]
    if len(entries) > len(listed):
        named.append(f"and {len(entries) - len(listed)} more")
    return ResolverError(
        errors.INVALID_PARAMETER,
        "This is an image index, which has no layers of its own. Choose a platform and post its image manifest: "
        f"{', '.join(named) or 'this index names none'}.",
        extensions={"manifests": [_quoted_entry(each) for each in listed]},
    )


def manifest_with_config(manifest: StoredManifest) -> ImageManifest:
    """Return the manifest of an image that has an image's config.

    Raises:
        ResolverError: `errors.UNSUPPORTED_IMAGE`, if it is another kind of artifact, such as a chart or a signature.
    """
    image = manifest.read(ImageManifest)
    media_type = image.config.media_type
    if media_type in _CONFIG_MEDIA_TYPES:
        return image
    raise ResolverError(
        errors.UNSUPPORTED_IMAGE,
        f"{manifest.subject} has no image config: it is an artifact, whose config has the media type "
        f"{media_type if is_quotable_media_type(media_type) else '(not shown)'}. GET /images/download-urls returns "
        "its manifest and blobs.",
        subject=manifest.subject,
    )


def config_result(manifest: ImageManifest, content: bytes, subject: Subject, *, include_env: bool) -> ImageConfigResult:
    """Return what an image's config says; environment variables only on demand, as some images have secrets there.

    Raises:
        ResolverError: `errors.UNSUPPORTED_IMAGE`, if the content isn't an image's config.
    """
    image = parse_stored(content, models.ImageConfig, subject, "config")
    config = image.config or models.ExecutionConfig()
    environment = {"env": config.env or []} if include_env else {}
    return ImageConfigResult.model_validate(
        {
            **config.model_dump(include={"entrypoint", "cmd", "working_dir", "user"}),
            **environment,
            "image_digest": subject.name,
            "platform": "/".join(part for part in (image.os, image.architecture, image.variant) if part) or None,
            "created": image.created,
            "labels": config.labels or {},
            "exposed_ports": sorted(config.exposed_ports or {}),
            "layers": [each.model_dump(include={"digest", "size", "media_type"}) for each in manifest.layers],
        }
    )


def _choose(index: StoredManifest, platform: str | None) -> tuple[str, str | None]:
    """Return the digest of an index's entry for a platform, and that entry's platform."""
    entries = index.read(ImageIndex).manifests
    try:
        entry = platforms.choose(entries, platform)
    except platforms.PlatformNotFoundError as error:
        raise _platform_refused(index.digest, platform, error.platforms) from None
    return entry.digest, _platform_of(entry)


def _platform_refused(digest: str, platform: str | None, names: list[str]) -> ResolverError:
    problem = "is an image index: name a platform" if platform is None else f"has no image for {platform}"
    listed = [name for name in names if is_quotable_platform(name)][: errors.LISTED_ENTRIES]
    more = f" and {len(names) - len(listed)} more" if len(names) > len(listed) else ""
    advice = f"It has {', '.join(listed)}{more}" if listed else "Its entries name no platform: ask by imageDigest"
    return ResolverError(errors.INVALID_PARAMETER, f"{digest} {problem}. {advice}.", extensions={"platforms": listed})


def _platform_of(entry: IndexEntry) -> str | None:
    """Return the name of an entry's platform if it may be quoted."""
    name = platforms.name_of(entry.platform) if entry.platform is not None else ""
    return name if is_quotable_platform(name) else None


def _quoted_entry(entry: IndexEntry) -> dict[str, Any]:
    """Return an entry of a posted index without texts that may not be quoted."""
    quoted: dict[str, Any] = {"digest": entry.digest, "size": entry.size}
    if is_quotable_media_type(entry.media_type):
        quoted["mediaType"] = entry.media_type
    if entry.platform is not None and _platform_of(entry):
        named = {"os", "architecture", "variant"}
        quoted["platform"] = entry.platform.model_dump(include=named, exclude_none=True)
    return quoted


def _image_id(repository: Repository, reference: str) -> dict[str, str]:
    if ":" in reference:
        return {"imageDigest": reference}
    if not models.is_tag(reference):
        # Such a reference names no image; ECR need not be asked.
        raise ResolverError.about(Subject(repository, "image"), errors.IMAGE_NOT_FOUND)
    return {"imageTag": reference}


def _checked_manifest(image: _Image, subject: Subject) -> StoredManifest:
    """Return the manifest of an answer that is about the image that was asked for."""
    repository = subject.repository
    stored, digest = image.image_manifest.encode(), image.image_id.image_digest
    names = {repository.repository_name, image.repository_name} - {None}
    registries = {repository.registry_id, image.registry_id} - {None}
    if len(names) > 1 or len(registries) > 1:
        raise errors.unreadable_answer(subject, "repositoryName is another one")
    if digest is None or digest_of(stored, digest) != digest or subject.name not in {digest, image.image_id.image_tag}:
        raise ResolverError.about(subject, errors.MANIFEST_DIGEST_MISMATCH)
    return StoredManifest(stored, image.image_manifest_media_type, subject._replace(name=digest))


def _not_given(failures: list[_ImageFailure], subject: Subject) -> ResolverError:
    """Return the error for an image that ECR doesn't return; ECR's reason is its cause, for the log."""
    if not failures:
        return ResolverError.about(subject, errors.IMAGE_NOT_FOUND)
    cause = ClientError({"Error": {"Code": failures[0].failure_code}}, "BatchGetImage")
    return ResolverError.about(subject, errors.error_kind(cause), cause)


def _read(answer: dict[str, Any], model: type[models.Model], subject: Subject) -> models.Model:
    """Return an answer of ECR's as a model; what ECR never answers is its failure."""
    try:
        return model.model_validate(answer)
    except ValidationError as error:
        unreadable = errors.UnreadableAnswerError()
        unreadable.__cause__ = error
        raise ResolverError.about(subject, errors.SERVER_ERROR, unreadable) from unreadable
