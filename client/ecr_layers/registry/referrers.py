"""Referrers of images: signatures, SBOMs and attestations that name an image as their subject.

They come from the referrers API, or without it from the referrers tag schema
(https://github.com/opencontainers/distribution-spec/blob/main/spec.md#referrers-tag-schema), and from the tags that
cosign uses (https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus

from ecr_layers.errors import ClientError, ServiceError
from ecr_layers.oci.manifests import OCI_INDEX, Descriptor, Manifest
from ecr_layers.oci.references import ImageReference, Repository
from ecr_layers.registry.api import Api, unexpected_answer
from ecr_layers.registry.images import Images
from ecr_layers.transfer.parallel import in_parallel

DEEPEST_REFERRER = 4
"""How many artifacts, each referring to the next, are followed: the signature of an SBOM of an image is the second."""

MOST_REFERRERS = 1000
"""Most referrers of an image, its parts and its referrers."""

MOST_PAGES = 100
"""Most pages of referrers of one manifest."""

_COSIGN_SUFFIXES = ("sig", "att", "sbom")
_NEXT_PAGE = re.compile(r'<(/v2/[^>]*)>; *rel="?next"?')


@dataclass(frozen=True, slots=True)
class Referrer:
    """An artifact that refers to an image.

    Attributes:
        descriptor: Its manifest.
        subject: The digest of the manifest that it refers to.
        tag: Cosign's tag of it; None for a referrer by its subject.
    """

    descriptor: Descriptor
    subject: str
    tag: str | None = None


class Referrers:
    """Lists referrers. May be used from several threads.

    Args:
        api: The service.
        images: Reads manifests.
    """

    def __init__(self, api: Api, images: Images) -> None:
        self._api = api
        self._images = images

    def find(self, repository: Repository, digests: Iterable[str]) -> list[Referrer]:
        """Return what refers to manifests, and what refers to that, each once.

        Args:
            repository: The repository.
            digests: The digests of the manifests.

        Raises:
            ClientError: If there are too many.
            ServiceError: If the service refuses something.
        """
        found: list[Referrer] = []
        level = list(digests)
        seen = set(level)
        for _ in range(DEEPEST_REFERRER):
            new: dict[str, Referrer] = {}
            for referrers in in_parallel(lambda digest: self._of(repository, digest), level):
                new |= {each.descriptor.digest: each for each in referrers if each.descriptor.digest not in seen}
            found += new.values()
            if len(found) > MOST_REFERRERS:
                raise ClientError(f"The image has over {MOST_REFERRERS} referrers.", code="too-many-referrers")
            level = list(new)
            seen |= new.keys()
        return found

    def _of(self, repository: Repository, digest: str) -> list[Referrer]:
        """Return what refers to one manifest."""
        by_subject = [Referrer(each, digest) for each in self._by_subject(repository, digest)]
        tags = [f"{_tag(digest)}.{suffix}" for suffix in _COSIGN_SUFFIXES]
        manifests = in_parallel(lambda tag: self._tagged(repository, tag), tags)
        by_tag = [Referrer(_described(each), digest, tag) for tag, each in zip(tags, manifests, strict=True) if each]
        return [*by_subject, *by_tag]

    def _by_subject(self, repository: Repository, digest: str) -> Sequence[Descriptor]:
        try:
            return list(self._pages(f"/v2/{repository}/referrers/{digest}"))
        except ServiceError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
        index = self._tagged(repository, _tag(digest))
        return index.manifests if index else ()

    def _pages(self, path: str) -> Iterator[Descriptor]:
        for _ in range(MOST_PAGES):
            answer = self._api.get(path, accept=OCI_INDEX)
            yield from Manifest.parse(answer.content, OCI_INDEX).manifests
            link = _NEXT_PAGE.search(answer.headers.get("Link", ""))
            if link is None:
                return
            path = link[1]
        raise unexpected_answer()

    def _tagged(self, repository: Repository, tag: str) -> Manifest | None:
        """Return the manifest with a tag; None if there is none."""
        try:
            return self._images.read_manifest(ImageReference(repository, tag))
        except ServiceError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return None


def _tag(digest: str) -> str:
    """Return the tag of the referrers tag schema for a digest."""
    algorithm, _, encoded = digest.partition(":")
    return f"{algorithm}-{encoded[:64]}"


def _described(manifest: Manifest) -> Descriptor:
    """Describe an artifact of cosign's by the type of its first layer; its config is an image's."""
    first = next((layer.media_type for layer in manifest.layers), None)
    return replace(manifest.descriptor, artifact_type=first)
