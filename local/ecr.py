"""Local ECR: ECR's AWS JSON 1.1 protocol over OCI image layouts, for the actions that the function can need.

Requests and answers are held against botocore's service model, so that what works here fits the real service. Besides
ECR's own `POST /` it has, for tests and benchmarks:

- `PUT /_faults` with a JSON list of faults (see faults.py), `DELETE /_faults`;
- `GET /_calls`: the latest calls, as a JSON list of `{"action", "parameters"}`, and `DELETE /_calls`.
"""

import asyncio
import hashlib
import json
import re
import uuid
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import botocore.session
from botocore.model import ListShape, Shape, StructureShape
from botocore.validate import ParamValidator
from pydantic import TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ecr_layers.oci.manifests import Manifest
from local.faults import Fault, Faults
from local.oci_layout import OciLayout
from local.server import ClosedConnection

ACCOUNT_ID = "123456789012"

_CALLS_KEPT = 100_000
_TARGET_PREFIX = "AmazonEC2ContainerRegistry_V20150921."
_MODEL = botocore.session.get_session().get_service_model("ecr")
_FAULTS = TypeAdapter(list[Fault])
_LONGEST_MESSAGE = 2000

Item = TypeVar("Item")


def is_repository_name(name: str) -> bool:
    """Tell whether ECR takes `name` for the name of a repository."""
    constraints = _MODEL.shape_for("RepositoryName").metadata
    has_length = constraints["min"] <= len(name) <= constraints["max"]
    return has_length and re.fullmatch(constraints["pattern"], name) is not None


class EcrError(Exception):
    """An error of the ECR API, with ECR's message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class LocalEcr:
    """The registry of one account, and of others with the same images."""

    def __init__(
        self,
        repositories: Mapping[str, OciLayout],
        download_url: Callable[[str], str],
        latency_seconds: float = 0.0,
        registries: Iterable[str] = (),
    ) -> None:
        self._registries = frozenset({ACCOUNT_ID, *registries})
        self.faults = Faults()
        self.calls: deque[dict[str, Any]] = deque(maxlen=_CALLS_KEPT)
        self._repositories = dict(repositories)
        self._download_url = download_url
        self._latency_seconds = latency_seconds
        self._actions: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "GetDownloadUrlForLayer": self._get_download_url_for_layer,
            "BatchGetImage": self._batch_get_image,
            "ListImages": self._list_images,
            "ListImageReferrers": self._list_image_referrers,
            "DescribeRepositories": self._describe_repositories,
        }

    def app(self) -> Starlette:
        """Return the application that speaks for the registry over HTTP."""
        return Starlette(
            routes=[
                Route("/", self._answer, methods=["POST"]),
                Route("/_faults", self._put_faults, methods=["PUT", "DELETE"]),
                Route("/_calls", self._show_calls, methods=["GET", "DELETE"]),
            ]
        )

    async def _answer(self, request: Request) -> Response:
        await asyncio.sleep(self._latency_seconds)
        try:
            action, parameters = await _read_call(request, self._actions)
        except EcrError as error:
            return _error_response(error)
        self.calls.append({"action": action, "parameters": parameters})
        fault = self.faults.take(parameters.get("layerDigest"))
        if fault is not None:
            await _delay(request, fault.delay_seconds)
            faulty = _fault_response(fault)
            if faulty is not None:
                return faulty
        try:
            _check_input(action, parameters)
            result = self._actions[action](parameters)
        except EcrError as error:
            return _error_response(error)
        # A list in an answer may be empty; the model shares the least length of its shape with requests.
        filled = {name: value for name, value in result.items() if value != []}
        _check_shape(filled, _MODEL.shape_for(f"{action}Response"))
        return _aws_json(result, 200)

    async def _put_faults(self, request: Request) -> Response:
        try:
            faults = _FAULTS.validate_json(await request.body()) if request.method == "PUT" else []
        except ValidationError as error:
            return PlainTextResponse(f"{error}\n", 400)
        self.faults.put(*faults)
        return Response(status_code=204)

    async def _show_calls(self, request: Request) -> Response:
        calls = list(self.calls)
        if request.method == "DELETE":
            self.calls.clear()
        return JSONResponse(calls)

    def _layout(self, parameters: dict[str, Any]) -> OciLayout:
        name, registry_id = parameters["repositoryName"], parameters.get("registryId", ACCOUNT_ID)
        if registry_id not in self._registries or name not in self._repositories:
            raise EcrError(
                "RepositoryNotFoundException",
                f"The repository with name '{name}' does not exist in the registry with id '{registry_id}'",
            )
        return self._repositories[name]

    def _get_download_url_for_layer(self, parameters: dict[str, Any]) -> dict[str, Any]:
        layout, digest = self._layout(parameters), parameters["layerDigest"]
        if digest in layout.referenced_blobs:
            return {"downloadUrl": self._download_url(digest), "layerDigest": digest}
        if digest not in layout.manifests and layout.has_blob(digest):
            raise EcrError("LayerInaccessibleException", f"The layer '{digest}' is not referenced by an image")
        raise EcrError(
            "LayersNotFoundException",
            f"The layer with digest '{digest}' does not exist in the repository with name "
            f"'{parameters['repositoryName']}' in the registry with id '{ACCOUNT_ID}'",
        )

    def _batch_get_image(self, parameters: dict[str, Any]) -> dict[str, Any]:
        layout = self._layout(parameters)
        images, failures = [], []
        for image_id in parameters["imageIds"]:
            digest, failure = _find_image(layout, image_id)
            if digest is None:
                failures.append({"imageId": image_id, **failure})
                continue
            manifest = layout.manifests[digest]
            images.append(
                {
                    "registryId": ACCOUNT_ID,
                    "repositoryName": parameters["repositoryName"],
                    "imageId": {**image_id, "imageDigest": digest},
                    "imageManifest": manifest.content.decode(),
                    "imageManifestMediaType": manifest.media_type,
                }
            )
        return {"images": images, "failures": failures}

    def _list_images(self, parameters: dict[str, Any]) -> dict[str, Any]:
        images, status = _images(self._layout(parameters)), parameters.get("filter", {}).get("tagStatus", "ANY")
        if status != "ANY":
            images = [image for image in images if ("imageTag" in image) is (status == "TAGGED")]
        page, token = _page(images, parameters)
        return {"imageIds": page} | token

    def _list_image_referrers(self, parameters: dict[str, Any]) -> dict[str, Any]:
        found = self._layout(parameters).referrers.get(parameters["subjectId"]["imageDigest"], [])
        types = parameters.get("filter", {}).get("artifactTypes")
        referrers = [_referrer(manifest) for manifest in found]
        if types:
            referrers = [referrer for referrer in referrers if referrer.get("artifactType") in types]
        page, token = _page(referrers, parameters, default=20)
        return {"referrers": page} | token

    def _describe_repositories(self, parameters: dict[str, Any]) -> dict[str, Any]:
        page, token = _page(list(self._repositories), parameters)
        return {"repositories": [{"repositoryName": name, "registryId": ACCOUNT_ID} for name in page]} | token


def _images(layout: OciLayout) -> list[dict[str, str]]:
    """Return the tagged images, in no order, as ECR gives them, and then the others."""
    tags = sorted(layout.tags.items(), key=lambda item: hashlib.sha256(item[0].encode()).digest())
    untagged = layout.manifests.keys() - layout.tags.values()
    return [
        *({"imageTag": tag, "imageDigest": digest} for tag, digest in tags),
        *({"imageDigest": digest} for digest in sorted(untagged)),
    ]


def _referrer(manifest: Manifest) -> dict[str, Any]:
    """Return what refers to an image.

    Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers
    """
    config_type = manifest.config.media_type if manifest.config else None
    artifact_type = json.loads(manifest.content).get("artifactType") or config_type
    return {
        "digest": manifest.digest,
        "mediaType": manifest.media_type,
        "size": len(manifest.content),
        "artifactStatus": "ACTIVE",
        **({"artifactType": artifact_type} if artifact_type else {}),
        **({"annotations": dict(manifest.annotations)} if manifest.annotations else {}),
    }


def _page(
    items: Sequence[Item], parameters: dict[str, Any], default: int = 100
) -> tuple[Sequence[Item], dict[str, str]]:
    """Return the page that was asked for, and the token of the next one if there is one."""
    token = parameters.get("nextToken", "0")
    if not re.fullmatch("[0-9]{1,9}", token):
        raise EcrError(
            "InvalidParameterException", "Invalid parameter at 'nextToken': it is not one that this registry gave"
        )
    start = int(token)
    end = start + parameters.get("maxResults", default)
    return items[start:end], {"nextToken": str(end)} if end < len(items) else {}


def _find_image(layout: OciLayout, image_id: dict[str, str]) -> tuple[str | None, dict[str, str]]:
    """Return the digest of an image, or None and why there is none."""
    tag, digest = image_id.get("imageTag"), image_id.get("imageDigest")
    if tag is None and digest is None:
        return None, {"failureCode": "MissingDigestAndTag", "failureReason": "Neither digest nor tag was given"}
    found = layout.tags.get(tag) if tag is not None else digest
    if found not in layout.manifests:
        return None, {"failureCode": "ImageNotFound", "failureReason": "Requested image not found"}
    if digest not in {None, found}:
        return None, {"failureCode": "ImageTagDoesNotMatchDigest", "failureReason": "Tag names another image"}
    return found, {}


async def _read_call(request: Request, actions: Container[str]) -> tuple[str, dict[str, Any]]:
    """Return the action of a request, one of those that there are, and its parameters."""
    authorization = request.headers.get("authorization", "")
    if not re.match(r"AWS4-HMAC-SHA256 Credential=[^/]+/\d{8}/[^/]+/ecr/aws4_request,", authorization):
        raise EcrError("MissingAuthenticationTokenException", "Missing Authentication Token")
    action = request.headers.get("x-amz-target", "").removeprefix(_TARGET_PREFIX)
    if action not in actions:
        raise EcrError("UnknownOperationException", "The local ECR does not have this action.")
    try:
        parameters = await request.json()
    except (ValueError, RecursionError):
        parameters = None
    if not isinstance(parameters, dict):
        raise EcrError("SerializationException", "The body is not a JSON object.")
    return action, parameters


def _check_input(action: str, parameters: dict[str, Any]) -> None:
    shape = _MODEL.shape_for(f"{action}Request")
    report = ParamValidator().validate(parameters, shape)
    problems = [report.generate_report()] if report.has_errors() else list(_broken_constraints("", parameters, shape))
    if problems:
        raise EcrError("InvalidParameterException", f"Invalid parameter: {'; '.join(problems)}"[:_LONGEST_MESSAGE])


def _broken_constraints(name: str, value: Any, shape: Shape) -> Iterator[str]:
    """Yield the patterns, maxima and enumerations that a value of the right type breaks; botocore checks none."""
    problem = _broken_constraint(value, shape)
    if problem is not None:
        yield f"'{name}' {problem}"
    elif isinstance(shape, StructureShape):
        for member, inner in shape.members.items():
            if member in value:
                yield from _broken_constraints(member, value[member], inner)
    elif isinstance(shape, ListShape):
        for item in value:
            yield from _broken_constraints(name, item, shape.member)


def _broken_constraint(value: Any, shape: Shape) -> str | None:
    pattern, maximum, choices = (shape.metadata.get(each) for each in ("pattern", "max", "enum"))
    if maximum is not None and (value if isinstance(value, int) else len(value)) > maximum:
        return f"is over the maximum of {maximum}"
    if pattern and not re.fullmatch(pattern, value):
        return f"failed to satisfy the constraint '{pattern}'"
    if choices and value not in choices:
        return f"is not one of {', '.join(choices)}"
    return None


def _check_shape(document: dict[str, Any], shape: Shape) -> None:
    """Fail on an answer that the real service could not give: it would be a bug of ours."""
    report = ParamValidator().validate(document, shape)
    if report.has_errors():
        raise AssertionError(report.generate_report())


async def _delay(request: Request, seconds: float) -> None:
    """Wait, but no longer than the caller does."""
    with suppress(TimeoutError):
        await asyncio.wait_for(request.receive(), seconds)


def _fault_response(fault: Fault) -> Response | None:
    """Return the answer of a fault, None if it only delays the true one."""
    if fault.close_connection:
        return ClosedConnection()
    if fault.body is not None:
        return HTMLResponse(fault.body, fault.status or 503)
    if fault.error is not None:
        return _error_response(EcrError(fault.error, fault.message), fault.status)
    return None


def _error_response(error: EcrError, status: int | None = None) -> Response:
    document = {"__type": error.code, "message": str(error)}
    # A fault may be called like any shape of the model; ECR's own errors have the form that the model gives them.
    if error.code in _MODEL.shape_names and _MODEL.shape_for(error.code).metadata.get("exception"):
        _check_shape({"message": str(error)}, _MODEL.shape_for(error.code))
    return _aws_json(document, status or (500 if error.code == "ServerException" else 400))


def _aws_json(document: dict[str, Any], status: int) -> Response:
    return JSONResponse(document, status, {"x-amzn-RequestId": str(uuid.uuid4())}, "application/x-amz-json-1.1")
