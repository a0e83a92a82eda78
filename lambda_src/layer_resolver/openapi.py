"""The OpenAPI 3.1 document of the JSON routes, made from the request models and the error table.

Powertools' own generator is not used: it does not describe one route with bodies of several media types, and its
validation answers before the error table is asked.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from layer_resolver.errors import (
    ACCESS_DENIED,
    ERROR_TABLE,
    IMAGE_NOT_FOUND,
    INTERNAL_ERROR,
    INVALID_PARAMETER,
    LAYER_INACCESSIBLE,
    LAYERS_NOT_FOUND,
    MANIFEST_DIGEST_MISMATCH,
    NOT_ENABLED,
    REPOSITORY_NOT_FOUND,
    SERVER_ERROR,
    THROTTLED,
    TIMED_OUT,
    UPSTREAM_IMAGE_UNAVAILABLE,
    UPSTREAM_LAYER_UNAVAILABLE,
    ErrorKind,
)
from layer_resolver.models import (
    MANIFEST_MEDIA_TYPES,
    DigestedImageRequest,
    DownloadUrl,
    DownloadUrlRequest,
    DownloadUrlsRequest,
    DownloadUrlsResult,
    ImageDownloadUrls,
    ImageManifest,
    ManifestRepository,
    TaggedImageRequest,
)

API_VERSION = "1.0.0"

_PROBLEM = {
    "type": "object",
    "description": "Problem details (RFC 9457).",
    "required": ["type", "title", "status", "detail", "code", "retryable", "requestId"],
    "properties": {
        "type": {"type": "string", "format": "uri", "description": "Names the kind of problem."},
        "title": {"type": "string", "description": "Short summary of the kind of problem."},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "What is wrong and what to do."},
        "code": {"type": "string", "enum": [kind.code for kind in ERROR_TABLE]},
        "retryable": {"type": "boolean", "description": "Whether the same request can succeed later."},
        "requestId": {"type": "string", "description": "Under this id the operator finds the request in the log."},
        "manifests": {
            "type": "array",
            "items": {"type": "object"},
            "description": "For an image index that was posted: the manifests that it names, as it describes them.",
        },
        "platforms": {
            "type": "array",
            "items": {"type": "string"},
            "description": "For an image index without an image of the platform: the platforms that it has images of.",
        },
    },
}
_HEADERS = {
    "Cache-Control": {"schema": {"const": "no-store"}, "required": True},
    "X-Content-Type-Options": {"schema": {"const": "nosniff"}, "required": True},
}
# Which errors an operation can answer with. Those of single layers of a batch are in its `failures` instead.
_SERVICE_ERRORS = (INTERNAL_ERROR,)
_BATCH_ERRORS = (INVALID_PARAMETER, INTERNAL_ERROR)
_CALL_ERRORS = (
    INVALID_PARAMETER,
    REPOSITORY_NOT_FOUND,
    SERVER_ERROR,
    THROTTLED,
    ACCESS_DENIED,
    TIMED_OUT,
    INTERNAL_ERROR,
)
_LAYER_ERRORS = (*_CALL_ERRORS, LAYERS_NOT_FOUND, LAYER_INACCESSIBLE, UPSTREAM_LAYER_UNAVAILABLE)
_IMAGE_ERRORS = (
    *_CALL_ERRORS,
    IMAGE_NOT_FOUND,
    UPSTREAM_IMAGE_UNAVAILABLE,
    MANIFEST_DIGEST_MISMATCH,
    NOT_ENABLED,
)


@cache
def openapi_document() -> dict[str, Any]:
    """Return the document, with `/` as its only server: it describes the function URL that it was asked of."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ECR Layer Resolver",
            "version": API_VERSION,
            "description": "Pre-signed download URLs of image layers in Amazon ECR.",
        },
        "servers": [{"url": "/"}],
        "paths": {
            "/download-url": {
                **_get(
                    "getDownloadUrl",
                    "The download URL of one layer",
                    _ref(DownloadUrl),
                    DownloadUrlRequest,
                    _LAYER_ERRORS,
                ),
                "post": {
                    "operationId": "postDownloadUrl",
                    "summary": "The download URL of one layer",
                    "requestBody": _request_body({"application/json": _ref(DownloadUrlRequest)}),
                    "responses": _responses(_ref(DownloadUrl), _LAYER_ERRORS),
                },
            },
            "/download-urls": {
                "post": {
                    "operationId": "postDownloadUrls",
                    "summary": "The download URLs of many layers of one repository, by their digests",
                    "requestBody": _request_body({"application/json": _ref(DownloadUrlsRequest)}),
                    "responses": _responses(_ref(DownloadUrlsResult), _BATCH_ERRORS),
                }
            },
            # The same route: the fragment only tells the two forms of its request apart. OpenAPI has no other way to
            # say that the query belongs to some media types of the body and not to others.
            "/download-urls#manifest": {
                "post": {
                    "operationId": "postImageManifest",
                    "summary": "The download URLs of the config and all layers of an image, by its manifest",
                    "parameters": _query_parameters(ManifestRepository),
                    "requestBody": _request_body(
                        {media_type: _manifest_schema(media_type) for media_type in MANIFEST_MEDIA_TYPES}
                    ),
                    "responses": _responses(_ref(DownloadUrlsResult), _BATCH_ERRORS),
                }
            },
            "/images/download-urls": _get(
                "getImageDownloadUrls",
                "The manifest of an image by its tag, with the download URLs of its config and all layers. For the "
                "operator to turn on; for an image index, the platform has to be named",
                _ref(ImageDownloadUrls),
                TaggedImageRequest,
                _IMAGE_ERRORS,
            ),
            "/images/download-urls#digest": _get(
                "getImageDownloadUrlsByDigest",
                "The same for an image by its digest",
                _ref(ImageDownloadUrls),
                DigestedImageRequest,
                _IMAGE_ERRORS,
            ),
            "/openapi.json": _get("getOpenapi", "This document", {"type": "object"}),
            "/healthz": _get("getHealth", "Whether the function runs; asks nothing of AWS", {"type": "object"}),
        },
        "components": {"schemas": _schemas()},
    }


def _schemas() -> dict[str, Any]:
    models = [
        (DownloadUrlRequest, "validation"),
        (DownloadUrlsRequest, "validation"),
        (ImageManifest, "validation"),
        (DownloadUrl, "serialization"),
        (DownloadUrlsResult, "serialization"),
        (ImageDownloadUrls, "serialization"),
    ]
    _, document = models_json_schema(models, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    schemas: dict[str, Any] = document["$defs"]
    return {**schemas, "Problem": _PROBLEM}


def _ref(model: type[BaseModel]) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _manifest_schema(media_type: str) -> dict[str, Any]:
    return {"allOf": [_ref(ImageManifest), {"properties": {"mediaType": {"enum": [media_type, None]}}}]}


def _get(
    operation_id: str,
    summary: str,
    schema: dict[str, Any],
    query: type[BaseModel] | None = None,
    errors: Iterable[ErrorKind] = _SERVICE_ERRORS,
) -> dict[str, Any]:
    """Return the GET operation of a path, and HEAD, which answers the same without a body."""
    operation = {"summary": summary, "parameters": _query_parameters(query) if query else []}
    responses = _responses(schema, errors)
    return {
        "get": {"operationId": operation_id, **operation, "responses": responses},
        "head": {
            "operationId": f"{operation_id}Head",
            **operation,
            "responses": {status: _without_content(answer) for status, answer in responses.items()},
        },
    }


def _query_parameters(model: type[BaseModel]) -> list[dict[str, Any]]:
    schema = model.model_json_schema()
    return [
        {
            "name": name,
            "in": "query",
            "required": name in schema["required"],
            # An absent parameter is simply not there, so null is no value of it.
            "schema": next(choice for choice in field.get("anyOf", [field]) if choice.get("type") != "null"),
        }
        for name, field in schema["properties"].items()
    ]


def _request_body(schemas: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {"required": True, "content": {media_type: {"schema": schema} for media_type, schema in schemas.items()}}


def _responses(schema: dict[str, Any], errors: Iterable[ErrorKind]) -> dict[str, Any]:
    """Return the answers of an operation: the one with `schema`, and one for each status of `errors`."""
    by_status: dict[int, list[ErrorKind]] = {}
    for kind in errors:
        by_status.setdefault(kind.http_status, []).append(kind)
    return {
        "200": {
            "description": "The answer.",
            "headers": _HEADERS,
            "content": {"application/json": {"schema": schema}},
        },
        **{str(status): _problem_response(kinds) for status, kinds in sorted(by_status.items())},
    }


def _problem_response(kinds: list[ErrorKind]) -> dict[str, Any]:
    headers = dict(_HEADERS)
    if any(kind.retry_after_seconds is not None for kind in kinds):
        headers["Retry-After"] = {"description": "Seconds to wait.", "required": True, "schema": {"type": "string"}}
    return {
        "description": "; ".join(f"{kind.code}: {kind.title}" for kind in kinds),
        "headers": headers,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def _without_content(response: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in response.items() if name != "content"}
