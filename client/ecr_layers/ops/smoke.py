"""Checks a deployed service from outside, with the operator's AWS credentials.

It downloads one byte, and prints no download URL.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from ecr_layers.errors import UsageError, one_line

ABSENT_DIGEST = f"sha256:{'0' * 64}"
_MANIFEST_MEDIA_TYPES = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
]


class SmokeError(UsageError):
    """The checks can't run."""

    default_code = "no-layer"


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that the service should resolve.

    Attributes:
        repository: Name of the repository.
        digest: Digest of the layer.
        image: Tag or digest of an image in the repository; None if it isn't known.
    """

    repository: str
    digest: str
    image: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check.

    Attributes:
        mark: `ok`, `skip` if it couldn't run, `warn` for a problem that the operator can't fix, or `FAIL`.
        text: The problem, empty without one.
    """

    mark: str
    text: str = ""


WELL = Finding("ok")

# Tried with answers to HEAD of length 0 and without a length; docs/registry.md has the versions.
_AFFECTED_BY_BLOBS = (
    "docker-registry as a pull-through cache can't mirror blobs then. Not affected are crane, oras, regctl, helm, "
    "skopeo, podman, buildah and containerd: they take a blob's size from the manifest"
)
_AFFECTED_BY_NO_LENGTH = (
    "docker-registry as a pull-through cache finds no image then, and `oras resolve` fails. Not affected are crane, "
    "regctl, helm, skopeo, podman, buildah and containerd"
)
_AFFECTED_BY_WRONG_LENGTH = (
    "containerd pulls nothing then. Not affected are crane, oras, regctl, helm, skopeo, podman, buildah, and "
    "docker-registry as a pull-through cache"
)


def find_layer(ecr: Any, repository: str | None = None) -> Layer:
    """Return a layer of any image that the operator can see in ECR.

    Args:
        ecr: botocore's ECR client. It needs `ecr:ListImages` and `ecr:BatchGetImage`, and `ecr:DescribeRepositories`
            unless the repository is named.
        repository: The repository to look in; by default all of the registry's.

    Raises:
        SmokeError: If there is none, or ECR doesn't answer.
    """
    try:
        names = [repository] if repository else _repositories(ecr)
        layer = next((layer for name in names for layer in _layers(ecr, name)), None)
    except (BotoCoreError, ClientError) as error:
        raise SmokeError(f"Can't find a layer in ECR to resolve: {one_line(str(error))}") from None
    if layer is None:
        raise SmokeError("ECR has no image. Push one.")
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
                    # The registry need not have a foreign layer.
                    if not layer.get("urls"):
                        yield Layer(repository, layer["digest"], image["imageId"]["imageDigest"])


class SmokeTest:
    """The checks of one service.

    Args:
        url: Its function URL.
        layer: A layer that it should resolve.
        client: Sends the requests.
        auth: Signs the requests.
        is_public: Whether the function URL answers unsigned requests.
    """

    def __init__(self, url: str, layer: Layer, client: httpx.Client, auth: httpx.Auth, *, is_public: bool) -> None:
        self._url = url.rstrip("/")
        self._layer = layer
        self._client = client
        self._auth = auth
        self._is_public = is_public

    def run(self, console: Console) -> bool:
        """Run all checks, print their results, and return whether none failed."""
        results = [self._check(console, name, check) for name, check in self.checks()]
        return all(results)

    def checks(self) -> list[tuple[str, Callable[[], Finding]]]:
        """Return the checks, each with its name."""
        return [
            ("health", self._health),
            ("an unsigned request", self._unsigned_request),
            ("a layer", self._layer_is_resolved),
            ("an error's form", self._error),
            ("HEAD", self._head),
            ("HEAD of a blob", self._head_of_blob),
            ("HEAD of a manifest", self._head_of_manifest),
        ]

    def _check(self, console: Console, name: str, check: Callable[[], Finding]) -> bool:
        try:
            found = check()
        except httpx.HTTPError as error:
            found = Finding("FAIL", f"the request failed: {type(error).__name__}")
        except (ValueError, KeyError, TypeError):
            found = Finding("FAIL", "the answer isn't the API's")
        # Untrusted text has no markup.
        console.print(f"{found.mark:4}  {name}{f': {found.text}' if found.text else ''}", markup=False, soft_wrap=True)
        return found.mark != "FAIL"

    def _get(self, path: str, **query: str) -> httpx.Response:
        return self._client.get(f"{self._url}{path}", params=query, auth=self._auth)

    def _head_for(self, path: str) -> httpx.Response:
        return self._client.head(f"{self._url}{path}", auth=self._auth)

    def _health(self) -> Finding:
        return _with_status(self._get("/healthz"), 200)

    def _unsigned_request(self) -> Finding:
        return _with_status(self._client.get(f"{self._url}/healthz", auth=None), 200 if self._is_public else 403)

    def _layer_is_resolved(self) -> Finding:
        answer = self._get("/download-url", repositoryName=self._layer.repository, layerDigest=self._layer.digest)
        if answer.status_code != httpx.codes.OK:
            return _with_status(answer, 200)
        first_byte = self._first_byte(answer)
        if first_byte.status_code != httpx.codes.PARTIAL_CONTENT or len(first_byte.content) != 1:
            return Finding("FAIL", f"S3 answered the request for its first byte with {first_byte.status_code}")
        return WELL

    def _first_byte(self, answer: httpx.Response) -> httpx.Response:
        return self._client.get(answer.json()["downloadUrl"], headers={"Range": "bytes=0-0"}, auth=None)

    def _head_of_blob(self) -> Finding:
        url = self._get("/download-url", repositoryName=self._layer.repository, layerDigest=self._layer.digest)
        size = self._first_byte(url).headers.get("Content-Range", "").rpartition("/")[2]
        answer = self._head_for(f"/v2/{self._layer.repository}/blobs/{self._layer.digest}")
        return _with_length(answer, size, lambda _: _AFFECTED_BY_BLOBS)

    def _head_of_manifest(self) -> Finding:
        if self._layer.image is None:
            return Finding("skip", "no image is known")
        path = f"/v2/{self._layer.repository}/manifests/{self._layer.image}"
        manifest = self._get(path)
        if manifest.status_code == httpx.codes.FORBIDDEN and "NotEnabled" in manifest.text:
            return Finding("skip", "imagePull isn't set, so registry clients get only blobs")
        if manifest.status_code != httpx.codes.OK:
            return _with_status(manifest, 200)
        digest = f"sha256:{hashlib.sha256(manifest.content).hexdigest()}"
        if manifest.headers.get("Docker-Content-Digest") != digest:
            return Finding("FAIL", f"the manifest has the digest {digest}, and another Docker-Content-Digest")
        return _with_length(
            self._head_for(path),
            str(len(manifest.content)),
            lambda length: _AFFECTED_BY_NO_LENGTH if length is None else _AFFECTED_BY_WRONG_LENGTH,
        )

    def _error(self) -> Finding:
        answer = self._get("/download-url", repositoryName=self._layer.repository, layerDigest=ABSENT_DIGEST)
        if answer.status_code != httpx.codes.NOT_FOUND:
            return _with_status(answer, 404)
        media_type = answer.headers.get("Content-Type")
        if media_type != "application/problem+json":
            return Finding("FAIL", f"its Content-Type is {media_type}, expected application/problem+json")
        code = answer.json()["code"]
        if code != "LayersNotFoundException":
            return Finding("FAIL", f"its code is {code}, expected LayersNotFoundException")
        return WELL

    def _head(self) -> Finding:
        expected = len(self._get("/healthz").content)
        return _with_length(self._head_for("/healthz"), str(expected), lambda _: "No registry client is affected")


def _with_status(answer: httpx.Response, expected: int) -> Finding:
    """Compare an answer's status; the problem details say more, if there are any."""
    if answer.status_code == expected:
        return WELL
    try:
        detail = f": {answer.json()['detail']}"
    except (ValueError, KeyError, TypeError):
        detail = ""
    return Finding("FAIL", f"answered {answer.status_code}, expected {expected}{detail}")


def _with_length(answer: httpx.Response, expected: str, affected: Callable[[str | None], str]) -> Finding:
    """Compare the length in an answer to HEAD; the finding lists the affected clients.

    Function URLs are reported to rename the header, which operators can't change:
    https://github.com/cargo-lambda/cargo-lambda/issues/862.
    """
    if answer.status_code != httpx.codes.OK:
        return Finding("FAIL", f"answered {answer.status_code}, expected 200")
    found = answer.headers.get("Content-Length")
    if found == expected:
        return WELL
    problem = f"Content-Length is {found}, expected {expected}"
    if answer.headers.get("x-amzn-remapped-content-length") != expected:
        return Finding("FAIL", f"{problem}. {affected(found)}.")
    renamed = "the function URL renamed the right one to x-amzn-remapped-content-length"
    return Finding("warn", f"{problem}: {renamed}. {affected(found)}.")
