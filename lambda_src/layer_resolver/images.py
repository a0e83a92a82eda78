"""Reads manifests, tags and referrers from ECR.

Needs permissions beyond the one that the function has by default: `ecr:BatchGetImage`, and `ecr:ListImages` for tags.
Knows nothing of HTTP or events.
"""

import re
import time
from bisect import bisect_right
from collections.abc import Callable
from typing import Any, NamedTuple

from botocore.exceptions import ClientError
from cachetools import TTLCache

from layer_resolver.blobs import digest_of
from layer_resolver.ecr import Ecr
from layer_resolver.errors import (
    IMAGE_NOT_FOUND,
    INVALID_PAGE_TOKEN,
    INVALID_PARAMETER,
    MANIFEST_DIGEST_MISMATCH,
    SERVER_ERROR,
    ResolverError,
    Subject,
    UnreadableAnswerError,
    error_kind,
)
from layer_resolver.invocation import Invocation
from layer_resolver.models import (
    IMAGE_TAG,
    INDEX_MEDIA_TYPES,
    LAYER_DIGEST,
    MANIFEST_MEDIA_TYPES,
    MEDIA_TYPE,
    Repository,
    StoredManifest,
)

SECONDS_OF_LISTING = 60.0
"""How long a list of tags is kept for its further pages."""

CACHED_LISTINGS = 4
"""How many lists of tags are kept; one of 100,000 tags is about 10 MB."""

_MEDIA_TYPES = [*MANIFEST_MEDIA_TYPES, *INDEX_MEDIA_TYPES]
_ARTIFACT_TYPE = re.compile(r"[!-~]{1,255}")
_PAGE_TOKEN = re.compile(r"[!-~]{1,4096}")
_REFERRERS_A_PAGE = 50
_LARGEST_SIZE = 2**63 - 1


class Referrers(NamedTuple):
    """A page of what refers to an image.

    Attributes:
        descriptors: Their descriptors, as they stand in an image index.
        next_token: ECR's token of the next page, None on the last page.
    """

    descriptors: list[dict[str, Any]]
    next_token: str | None


class ImageReader:
    """Reads what a repository has besides blobs.

    Args:
        ecr: The door to ECR.
        uptime: Tells the time of a clock that is never set back, in seconds.
    """

    def __init__(self, ecr: Ecr, uptime: Callable[[], float] = time.monotonic) -> None:
        self._ecr = ecr
        self._listings: TTLCache[Repository, list[str]] = TTLCache(CACHED_LISTINGS, SECONDS_OF_LISTING, timer=uptime)

    def manifest(self, repository: Repository, reference: str, invocation: Invocation) -> StoredManifest:
        """Return the manifest or index that a tag or a well-formed digest names.

        Raises:
            ResolverError: If there is no such image, or its bytes do not match its digest.
        """
        image_id = _image_id(repository, reference)
        subject = Subject(repository, "image", reference)
        answer = self._ecr.call(
            "batch_get_image",
            subject,
            invocation,
            imageIds=[image_id],
            acceptedMediaTypes=_MEDIA_TYPES,
        )
        images = _list_of_structures(answer, "images", subject)
        if not images:
            failures = _list_of_structures({"failures": [], **answer}, "failures", subject)
            raise _not_given(failures, subject)
        manifest = _checked_manifest(images[0], subject, reference)
        invocation.image_digest = manifest.digest
        return manifest

    def images_among(self, repository: Repository, digests: list[str], invocation: Invocation) -> set[str]:
        """Return which of some digests, up to 100, are those of images.

        Raises:
            ResolverError: If ECR does not say.
        """
        subject = Subject(repository)
        image_ids = [{"imageDigest": digest} for digest in digests]
        answer = self._ecr.call(
            "batch_get_image", subject, invocation, imageIds=image_ids, acceptedMediaTypes=_MEDIA_TYPES
        )
        found = [image.get("imageId") for image in _list_of_structures(answer, "images", subject)]
        return {str(each.get("imageDigest")) for each in found if isinstance(each, dict)}

    def tags(self, repository: Repository, after: str, invocation: Invocation) -> list[str]:
        """Return the tags of a repository that come after one, in lexical order.

        The list is read from ECR as a whole, which has it in no order, and kept for the pages that follow the first.

        Args:
            repository: The repository.
            after: The last tag of the page before; empty for the first page, for which ECR is asked.
            invocation: The invocation that asks.

        Raises:
            ResolverError: If ECR does not give them.
        """
        tags = self._listings.get(repository) if after else None
        if tags is None:
            tags = self._list_tags(repository, invocation)
            self._listings[repository] = tags
        return tags[bisect_right(tags, after) :]

    def referrers(
        self, repository: Repository, digest: str, types: list[str], token: str | None, invocation: Invocation
    ) -> Referrers:
        """Return a page of the manifests whose subject is the image with this digest.

        Args:
            repository: The repository.
            digest: The image's digest; there need not be such an image.
            types: The artifact types that they may have, none for any.
            token: Where the page begins, None for the first.
            invocation: The invocation that asks.

        Raises:
            ResolverError: If ECR does not give them.
        """
        subject = Subject(repository, "image", digest)
        parameters: dict[str, Any] = {"subjectId": {"imageDigest": digest}, "maxResults": _REFERRERS_A_PAGE}
        if types:
            parameters["filter"] = {"artifactTypes": types}
        if token is not None:
            parameters["nextToken"] = token
        try:
            answer = self._ecr.call("list_image_referrers", subject, invocation, **parameters)
        except ResolverError as error:
            # Repository and digest have been checked, so what ECR refuses is the token.
            if token is not None and error.kind is INVALID_PARAMETER:
                raise ResolverError(INVALID_PAGE_TOKEN) from error
            raise
        descriptors = [_descriptor(each, subject) for each in _list_of_structures(answer, "referrers", subject)]
        return Referrers(descriptors, _next_token(answer, subject))

    def _list_tags(self, repository: Repository, invocation: Invocation) -> list[str]:
        subject = Subject(repository)
        tags: set[str] = set()
        token: dict[str, str] = {}
        while True:
            page = self._ecr.call(
                "list_images", subject, invocation, filter={"tagStatus": "TAGGED"}, maxResults=1000, **token
            )
            for image in _list_of_structures(page, "imageIds", subject):
                tag = image.get("imageTag")
                if not IMAGE_TAG.admits(tag):
                    raise _unreadable(subject, "imageTag")
                tags.add(str(tag))
            next_token = _next_token(page, subject)
            if next_token is None:
                return sorted(tags)
            token = {"nextToken": next_token}


def is_page_token(token: str) -> bool:
    """Tell whether a text can be the token of a page."""
    return _PAGE_TOKEN.fullmatch(token) is not None


def _image_id(repository: Repository, reference: str) -> dict[str, str]:
    if ":" in reference:
        return {"imageDigest": reference}
    if not IMAGE_TAG.admits(reference):
        # What can't be a tag names no image; ECR need not be asked.
        raise ResolverError.about(Subject(repository, "image"), IMAGE_NOT_FOUND)
    return {"imageTag": reference}


def _checked_manifest(image: dict[str, Any], subject: Subject, reference: str) -> StoredManifest:
    content, media_type = image.get("imageManifest"), image.get("imageManifestMediaType")
    image_id = image.get("imageId")
    if not isinstance(content, str) or not isinstance(image_id, dict):
        raise _unreadable(subject, "imageManifest or imageId")
    if not isinstance(media_type, str) or not MEDIA_TYPE.admits(media_type):
        raise _unreadable(subject, "imageManifestMediaType")
    digest = image_id.get("imageDigest")
    try:
        stored = content.encode()
    except UnicodeEncodeError:
        unreadable = _unreadable(subject, "imageManifest")
        raise unreadable from unreadable.__cause__
    if not isinstance(digest, str) or digest_of(stored, digest) != digest:
        raise ResolverError.about(subject, MANIFEST_DIGEST_MISMATCH)
    # What ECR gives for a tag need not be one, and a set takes no lists.
    if reference not in (digest, image_id.get("imageTag")):
        raise ResolverError.about(subject, MANIFEST_DIGEST_MISMATCH)
    return StoredManifest(stored, media_type, digest)


def _not_given(failures: list[dict[str, Any]], subject: Subject) -> ResolverError:
    """Return the error for an image that ECR does not give; ECR's reason is its cause, which the log has."""
    if not failures:
        return ResolverError.about(subject, IMAGE_NOT_FOUND)
    failure = failures[0]
    cause = ClientError(
        {"Error": {"Code": failure.get("failureCode", ""), "Message": str(failure.get("failureReason", ""))}},
        "BatchGetImage",
    )
    return ResolverError.about(subject, error_kind(cause), cause)


def _descriptor(referrer: dict[str, Any], subject: Subject) -> dict[str, Any]:
    """Return what ECR says of a referrer as a descriptor of an image index, or raise if it can't be one."""
    digest, media_type, size = referrer.get("digest"), referrer.get("mediaType"), referrer.get("size")
    artifact_type, annotations = referrer.get("artifactType"), referrer.get("annotations") or {}
    is_readable = bool(
        LAYER_DIGEST.admits(digest)
        and MEDIA_TYPE.admits(media_type)
        and type(size) is int
        and 0 <= size <= _LARGEST_SIZE
        # Clients name types of artifacts freely.
        and (not artifact_type or (isinstance(artifact_type, str) and _ARTIFACT_TYPE.fullmatch(artifact_type)))
        and isinstance(annotations, dict)
        and all(isinstance(text, str) and _is_text(text) for pair in annotations.items() for text in pair)
    )
    if not is_readable:
        raise _unreadable(subject, "referrers")
    descriptor = {"mediaType": media_type, "digest": digest, "size": size}
    if artifact_type:
        descriptor["artifactType"] = artifact_type
    if annotations:
        descriptor["annotations"] = annotations
    return descriptor


def _list_of_structures(answer: dict[str, Any], name: str, subject: Subject) -> list[dict[str, Any]]:
    # An answer has its list even if that is empty; one without it was cut short.
    items = answer.get(name)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise _unreadable(subject, name)
    return items


def _is_text(value: str) -> bool:
    """Tell whether a string is Unicode text; JSON can spell half of a character."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _next_token(answer: dict[str, Any], subject: Subject) -> str | None:
    token = answer.get("nextToken") or None
    if token is not None and not (isinstance(token, str) and is_page_token(token)):
        raise _unreadable(subject, "nextToken")
    return token


def _unreadable(subject: Subject, name: str) -> ResolverError:
    return ResolverError.about(subject, SERVER_ERROR, UnreadableAnswerError(f"{name} is not what ECR answers"))
