"""Checks a deployed service from outside, with the credentials of the operator who has just deployed it.

Downloads one byte. Prints no download URL.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from ecr_layers.errors import UsageError

ABSENT_DIGEST = f"sha256:{'0' * 64}"
_MANIFEST_MEDIA_TYPES = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
]


class SmokeError(UsageError):
    """The checks can't be made; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that the service should be able to resolve.

    Attributes:
        repository: Name of the repository.
        digest: Digest of the layer.
    """

    repository: str
    digest: str


def find_layer(ecr: Any, repository: str | None = None) -> Layer:
    """Return a layer of any image that the caller can see in ECR.

    Args:
        ecr: botocore's ECR client. It needs `ecr:ListImages` and `ecr:BatchGetImage`, and `ecr:DescribeRepositories`
            unless the repository is named.
        repository: The repository to look in; without it, all of the registry's.

    Raises:
        SmokeError: If there is none, or ECR does not tell.
    """
    try:
        names = [repository] if repository else _repositories(ecr)
        layer = next((layer for name in names for layer in _layers(ecr, name)), None)
    except (BotoCoreError, ClientError) as error:
        raise SmokeError(
            f"No layer to resolve could be looked up in ECR: {error}. Name one: REPOSITORY=… DIGEST=…"
        ) from None
    if layer is None:
        raise SmokeError("No image was found in ECR. Push one, or name a layer: REPOSITORY=… DIGEST=…")
    return layer


def _repositories(ecr: Any) -> Iterator[str]:
    for page in ecr.get_paginator("describe_repositories").paginate():
        yield from (repository["repositoryName"] for repository in page["repositories"])


def _layers(ecr: Any, repository: str) -> Iterator[Layer]:
    for page in ecr.get_paginator("list_images").paginate(repositoryName=repository):
        for image_id in page["imageIds"]:
            answer = ecr.batch_get_image(
                repositoryName=repository, imageIds=[image_id], acceptedMediaTypes=_MANIFEST_MEDIA_TYPES
            )
            for image in answer["images"]:
                for layer in json.loads(image["imageManifest"]).get("layers", []):
                    yield Layer(repository, layer["digest"])


class SmokeTest:
    """The checks of one service.

    Args:
        url: Its function URL.
        layer: A layer that it should be able to resolve.
        client: Sends the requests.
        auth: Signs those that are to be let through.
        is_public: Whether the function URL answers unsigned requests.
    """

    def __init__(self, url: str, layer: Layer, client: httpx.Client, auth: httpx.Auth, *, is_public: bool) -> None:
        self._url = url.rstrip("/")
        self._layer = layer
        self._client = client
        self._auth = auth
        self._is_public = is_public

    def run(self, console: Console) -> bool:
        """Make all checks, print what each found, and return whether all is well."""
        checks: list[tuple[str, Callable[[], str | None]]] = [
            ("health", self._health),
            ("an unsigned request", self._unsigned_request),
            ("a layer", self._layer_is_resolved),
            ("an error's form", self._error),
            ("HEAD", self._head),
            ("HEAD of a blob", self._head_of_blob),
        ]
        results = [self._check(console, name, check) for name, check in checks]
        return all(results)

    def _check(self, console: Console, name: str, check: Callable[[], str | None]) -> bool:
        try:
            problem = check()
        except httpx.HTTPError as error:
            problem = f"the request failed: {type(error).__name__}"
        except (ValueError, KeyError, TypeError):
            problem = "the answer is not of the form that the API has"
        console.print(f"{'ok  ' if problem is None else 'FAIL'}  {name}{f': {problem}' if problem else ''}")
        return problem is None

    def _get(self, path: str, **query: str) -> httpx.Response:
        return self._client.get(f"{self._url}{path}", params=query, auth=self._auth)

    def _health(self) -> str | None:
        answer = self._get("/healthz")
        return None if answer.status_code == httpx.codes.OK else _unexpected(answer, 200)

    def _unsigned_request(self) -> str | None:
        answer = self._client.get(f"{self._url}/healthz", auth=None)
        expected = 200 if self._is_public else 403
        return None if answer.status_code == expected else _unexpected(answer, expected)

    def _layer_is_resolved(self) -> str | None:
        answer = self._get("/download-url", repositoryName=self._layer.repository, layerDigest=self._layer.digest)
        if answer.status_code != httpx.codes.OK:
            return _unexpected(answer, 200)
        first_byte = self._client.get(answer.json()["downloadUrl"], headers={"Range": "bytes=0-0"}, auth=None)
        if first_byte.status_code != httpx.codes.PARTIAL_CONTENT or len(first_byte.content) != 1:
            return f"S3 answered the request for its first byte with {first_byte.status_code}"
        return None

    def _head_of_blob(self) -> str | None:
        url = self._get("/download-url", repositoryName=self._layer.repository, layerDigest=self._layer.digest)
        first_byte = self._client.get(url.json()["downloadUrl"], headers={"Range": "bytes=0-0"}, auth=None)
        size = first_byte.headers.get("Content-Range", "").rpartition("/")[2]
        answer = self._client.head(
            f"{self._url}/v2/{self._layer.repository}/blobs/{self._layer.digest}", auth=self._auth
        )
        if answer.status_code != httpx.codes.OK:
            return f"answered {answer.status_code} and not 200"
        found = answer.headers.get("Content-Length")
        return None if found == size else f"Content-Length is {found} and not {size}"

    def _error(self) -> str | None:
        answer = self._get("/download-url", repositoryName=self._layer.repository, layerDigest=ABSENT_DIGEST)
        if answer.status_code != httpx.codes.NOT_FOUND:
            return _unexpected(answer, 404)
        if answer.headers.get("Content-Type") != "application/problem+json":
            return f"its Content-Type is {answer.headers.get('Content-Type')} and not application/problem+json"
        code = answer.json()["code"]
        return None if code == "LayersNotFoundException" else f"its code is {code} and not LayersNotFoundException"

    def _head(self) -> str | None:
        answer = self._client.head(f"{self._url}/healthz", auth=self._auth)
        if answer.status_code != httpx.codes.OK:
            return f"answered {answer.status_code} and not 200"
        expected, found = str(len(self._get("/healthz").content)), answer.headers.get("Content-Length")
        return None if found == expected else f"Content-Length is {found} and not {expected}"


def _unexpected(answer: httpx.Response, expected: int) -> str:
    """Return what is wrong with an answer's status, in the words of its problem details if it has any."""
    try:
        detail = f": {answer.json()['detail']}"
    except (ValueError, KeyError, TypeError):
        detail = ""
    return f"answered {answer.status_code} and not {expected}{detail}"
