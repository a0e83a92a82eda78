"""Reads manifests and tags from ECR.

Needs permissions beyond the one that the function has by default: `ecr:BatchGetImage`, and `ecr:ListImages` for tags.
Knows nothing of HTTP or events.
"""

import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from layer_resolver.errors import (
    IMAGE_NOT_FOUND,
    INVALID_DIGEST,
    MANIFEST_DIGEST_MISMATCH,
    ResolverError,
    error_kind,
)
from layer_resolver.models import (
    INDEX_MEDIA_TYPES,
    LAYER_DIGEST,
    LAYER_DIGEST_RULE,
    MANIFEST_MEDIA_TYPES,
    ManifestRepository,
)
from layer_resolver.resolver import Deadline, EcrClient, call_within

# OCI Distribution Specification, "Pulling manifests".
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest or an index as it is stored.

    Attributes:
        content: Its very bytes.
        media_type: Its media type.
        digest: The digest of its bytes.
    """

    content: bytes
    media_type: str
    digest: str


class ImageReader:
    """Reads what a repository has beside blobs.

    Args:
        client: The ECR client.
        record_call: Told the duration in seconds of each call to ECR, its retries included.
    """

    def __init__(self, client: EcrClient, record_call: Callable[[float], None] = lambda _: None) -> None:
        self._client = client
        self._record_call = record_call

    def manifest(self, repository: ManifestRepository, reference: str, deadline: Deadline) -> StoredManifest:
        """Return the manifest or index that a tag or a digest names.

        Raises:
            ResolverError: If there is none, or its bytes do not have the digest that they should.
        """
        parameters = {
            **_registry(repository),
            "imageIds": [_image_id(repository, reference)],
            "acceptedMediaTypes": [*MANIFEST_MEDIA_TYPES, *INDEX_MEDIA_TYPES],
        }
        answer = self._call(self._client.batch_get_image, parameters, repository, reference, deadline)
        if not answer["images"]:
            raise _not_given(answer.get("failures", []), repository, reference)
        image = answer["images"][0]
        manifest = StoredManifest(
            content=image["imageManifest"].encode(),
            media_type=image["imageManifestMediaType"],
            digest=image["imageId"]["imageDigest"],
        )
        is_named = reference in {image["imageId"].get("imageTag"), manifest.digest}
        if not is_named or _digest_of(manifest.content, manifest.digest) != manifest.digest:
            raise ResolverError.about_layer(MANIFEST_DIGEST_MISMATCH, repository.repository_name, reference)
        return manifest

    def tags(self, repository: ManifestRepository, deadline: Deadline) -> list[str]:
        """Return all tags of a repository, in lexical order.

        Raises:
            ResolverError: If ECR does not give them.
        """
        tags: set[str] = set()
        token: dict[str, str] = {}
        while True:
            parameters = {**_registry(repository), "filter": {"tagStatus": "TAGGED"}, "maxResults": 1000, **token}
            page = self._call(self._client.list_images, parameters, repository, "tags", deadline)
            tags.update(image["imageTag"] for image in page["imageIds"])
            if not page.get("nextToken"):
                return sorted(tags)
            token = {"nextToken": page["nextToken"]}

    def _call(
        self,
        action: Callable[..., Any],
        parameters: dict[str, Any],
        repository: ManifestRepository,
        reference: str,
        deadline: Deadline,
    ) -> Any:
        started = time.monotonic()
        try:
            return call_within(deadline, lambda: action(**parameters))
        except Exception as cause:
            raise ResolverError.about_layer(error_kind(cause), repository.repository_name, reference) from cause
        finally:
            self._record_call(time.monotonic() - started)


def _registry(repository: ManifestRepository) -> dict[str, str]:
    named = {"repositoryName": repository.repository_name}
    return named if repository.registry_id is None else named | {"registryId": repository.registry_id}


def _image_id(repository: ManifestRepository, reference: str) -> dict[str, str]:
    if ":" in reference:
        if not LAYER_DIGEST.fullmatch(reference):
            raise ResolverError(INVALID_DIGEST, f"The digest must be {LAYER_DIGEST_RULE}.")
        return {"imageDigest": reference}
    if not _TAG.fullmatch(reference):
        # What can't be a tag names no image; ECR need not be asked.
        raise ResolverError.about_layer(IMAGE_NOT_FOUND, repository.repository_name, reference)
    return {"imageTag": reference}


def _not_given(failures: list[dict[str, Any]], repository: ManifestRepository, reference: str) -> ResolverError:
    """Return the error for an image that ECR does not give; ECR's reason is its cause, which the log has."""
    if not failures:
        return ResolverError.about_layer(IMAGE_NOT_FOUND, repository.repository_name, reference)
    failure = failures[0]
    cause = ClientError(
        {"Error": {"Code": failure["failureCode"], "Message": failure.get("failureReason", "")}}, "BatchGetImage"
    )
    error = ResolverError.about_layer(error_kind(cause), repository.repository_name, reference)
    error.__cause__ = cause
    return error


def _digest_of(content: bytes, digest: str) -> str | None:
    """Return the digest of `content` in the algorithm of another one, None if there is no such algorithm."""
    algorithm = digest.partition(":")[0]
    if algorithm not in {"sha256", "sha512"}:
        return None
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"
