"""Download URLs of layers and configs, from the service."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from ecr_layers.errors import ClientError, ServiceError, one_line
from ecr_layers.oci.references import Repository, checked_digest
from ecr_layers.registry.api import Api, unexpected_answer
from ecr_layers.transfer.parallel import in_parallel
from ecr_layers.transfer.retries import Attempts, Retries
from ecr_layers.transfer.source import DownloadUrl

LAYERS_A_REQUEST = 500
"""Most layers of one request; the service accepts no more."""

NO_LAYER = frozenset({"LayersNotFoundException", "LayerInaccessibleException"})
"""ECR's codes for a digest that isn't a layer's, but may be an image's."""


class Layers:
    """Resolves layers. May be used from several threads.

    Args:
        api: The service.
        retries: How long to go on trying.
    """

    def __init__(self, api: Api, retries: Retries) -> None:
        self._api = api
        self._retries = retries
        self._takes_posts = True

    def resolve(self, repository: Repository, digests: Iterable[str]) -> list[DownloadUrl]:
        """Return the download URLs of layers and configs.

        Args:
            repository: The repository.
            digests: Their digests, any number.

        Returns:
            One URL for each digest, in their order; a repeated digest has one.

        Raises:
            ServiceError: If the service refuses one of them.
            UsageError: If a digest is malformed.
        """
        wanted = list(dict.fromkeys(checked_digest(digest) for digest in digests))
        batches = [wanted[start : start + LAYERS_A_REQUEST] for start in range(0, len(wanted), LAYERS_A_REQUEST)]
        return [url for batch in batches for url in self._batch(repository, batch)]

    def absent(self, repository: Repository, digests: Iterable[str]) -> set[str]:
        """Return the digests that the registry doesn't have.

        Raises:
            ServiceError: If the service doesn't say.
        """

        def is_absent(digest: str) -> bool:
            try:
                self.resolve(repository, [digest])
            except ServiceError as error:
                if error.code not in NO_LAYER:
                    raise
                return True
            return False

        wanted = list(digests)
        return {digest for digest, absent in zip(wanted, in_parallel(is_absent, wanted), strict=True) if absent}

    def _batch(self, repository: Repository, digests: Sequence[str]) -> list[DownloadUrl]:
        if self._takes_posts and len(digests) > 1:
            try:
                return self._by_post(repository, digests)
            except ServiceError as error:
                # A domain in front of the service accepts only GET and HEAD.
                if error.status != HTTPStatus.METHOD_NOT_ALLOWED:
                    raise
                self._takes_posts = False
        if len(digests) == 1:
            return [self._one(repository, digests[0])]
        return in_parallel(lambda digest: self._one(repository, digest), digests)

    def _one(self, repository: Repository, digest: str) -> DownloadUrl:
        try:
            answer = self._api.get("/download-url", {**_parameters(repository), "layerDigest": digest})
        except ServiceError as error:
            raise self._explained(error, repository, digest) from None
        return _download_url(answer.json())

    def _by_post(self, repository: Repository, digests: Sequence[str]) -> list[DownloadUrl]:
        found: dict[str, DownloadUrl] = {}
        attempts = Attempts(self._retries)
        while True:
            missing = [digest for digest in digests if digest not in found]
            answer = self._api.post("/download-urls", {**_parameters(repository), "layerDigests": missing}).json()
            found |= {url.digest: url for url in map(_download_url, _objects(answer, "downloadUrls"))}
            failures = {str(each.get("layerDigest")): _failure(each) for each in _objects(answer, "failures")}
            final = next(((digest, error) for digest, error in failures.items() if not error.is_retryable), None)
            if final is not None:
                raise self._explained(final[1], repository, final[0])
            if all(digest in found for digest in digests):
                return [found[digest] for digest in digests]
            error = next(iter(failures.values()), unexpected_answer())
            if not failures or not attempts.wait(str(error)):
                raise error

    def _explained(self, error: ServiceError, repository: Repository, digest: str) -> ServiceError:
        """Return an error about a layer, with its digest, and with the remedy if it is an image."""
        if error.code in NO_LAYER and self._is_image(repository, digest):
            message = f"{digest} is an image's digest, not a layer's: use {repository}@{digest}"
            return ServiceError(message, code="image-not-layer", status=error.status)
        if digest in str(error) or error.status is not None:
            return error
        return ServiceError(f"{digest}: {error}", code=error.code, is_retryable=error.is_retryable)

    def _is_image(self, repository: Repository, digest: str) -> bool:
        try:
            self._api.get(f"/v2/{repository}/manifests/{digest}", accept="*/*")
        except ClientError:
            return False
        return True


def _parameters(repository: Repository) -> dict[str, str]:
    parameters = {"repositoryName": repository.name}
    return parameters if repository.registry_id is None else {**parameters, "registryId": repository.registry_id}


def _objects(answer: dict[str, Any], name: str) -> list[dict[str, Any]]:
    entries = answer.get(name)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise unexpected_answer()
    return entries


def _download_url(entry: dict[str, Any]) -> DownloadUrl:
    url, digest, expires_at = entry.get("downloadUrl"), entry.get("layerDigest"), entry.get("expiresAt")
    if not isinstance(url, str) or not isinstance(digest, str):
        raise unexpected_answer()
    try:
        expiry = None if expires_at is None else datetime.fromisoformat(str(expires_at)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise unexpected_answer() from None
    return DownloadUrl(digest, url, expiry)


def _failure(entry: dict[str, Any]) -> ServiceError:
    return ServiceError(
        one_line(str(entry.get("message"))),
        code=str(entry.get("code")),
        is_retryable=entry.get("retryable") is True,
    )
