"""Writes openapi.json, which the function serves: the OpenAPI 3.1 document of the JSON routes.

Its schemas come from the pydantic models, its errors from the error table.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

import layer_resolver
from layer_resolver.errors import ERROR_TABLE, ErrorKind, Place
from layer_resolver.models import (
    MANIFEST_MEDIA_TYPES,
    ChosenPlatform,
    Digest,
    DownloadUrl,
    DownloadUrlRequest,
    DownloadUrlsRequest,
    DownloadUrlsResult,
    ImageConfigRequest,
    ImageConfigResult,
    ImageRequest,
    PostedManifest,
    RepositoryRequest,
    Result,
)

PATH = Path(layer_resolver.__file__).parent / "openapi.json"

_DESCRIPTION = """\
Pre-signed download URLs of image layers in Amazon ECR.

The service is also a read-only registry: `/v2` follows the \
[OCI Distribution Specification](https://github.com/opencontainers/distribution-spec/blob/main/spec.md), which \
describes those routes."""

_ONE_REFERENCE = "Give either imageTag or imageDigest, not both. The operator must enable imagePull."

# Where a JSON route can fail.
_PLACES: frozenset[Place] = frozenset({"request", "body", "call", "layer", "image", "blob", "config", "route"})

_TEXT = {"type": "string"}
_HEADERS = {
    "Cache-Control": {"required": True, "schema": _TEXT},
    "X-Content-Type-Options": {"required": True, "schema": {"const": "nosniff"}},
}


def errors_of(*places: Place) -> list[ErrorKind]:
    """Return the rows of the error table that can arise in one of these places."""
    return [kind for kind in ERROR_TABLE.values() if not kind.arises_in.isdisjoint(places)]


class Problem(Result):
    """Problem details (RFC 9457)."""

    type: Annotated[str, Field(description="Names the kind of problem.", json_schema_extra={"format": "uri"})]
    title: Annotated[str, Field(description="Short summary of the kind of problem.")]
    status: Annotated[int, Field(ge=400, le=599)]
    detail: Annotated[str, Field(description="What is wrong and what to do.")]
    code: Annotated[str, Field(json_schema_extra={"enum": [kind.code for kind in errors_of(*_PLACES)]})]
    retryable: Annotated[bool, Field(description="Whether the same request can succeed later.")]
    request_id: Annotated[str, Field(description="The request's id in the operator's log.")]
    manifests: Annotated[
        list[dict[str, Any]] | None, Field(description="The first manifests of a posted image index.")
    ] = None
    platforms: Annotated[
        list[str] | None, Field(description="The first platforms of an index without an image for the requested one.")
    ] = None


class ImageDownloadUrls(DownloadUrlsResult):
    """An image's manifest, and the download URLs of its config and layers."""

    image_digest: Digest
    image_manifest: Annotated[str, Field(description="The manifest, byte for byte.")]
    image_manifest_media_type: str
    image_platform: ChosenPlatform = None


_MODELS: tuple[tuple[type[BaseModel], JsonSchemaMode], ...] = (
    (DownloadUrlRequest, "validation"),
    (DownloadUrlsRequest, "validation"),
    (PostedManifest, "validation"),
    (DownloadUrl, "serialization"),
    (DownloadUrlsResult, "serialization"),
    (ImageDownloadUrls, "serialization"),
    (ImageConfigResult, "serialization"),
    (Problem, "serialization"),
)


class _Schemas(GenerateJsonSchema):
    """Leaves out titles, which only repeat the names, and defaults, which are all null."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        inner = schema["schema"]
        # An answer leaves out an unset field, and a query can't say null.
        if self.mode == "serialization" and inner["type"] == "nullable":
            inner = inner["schema"]
        return self.generate_inner(inner)


def openapi_document() -> dict[str, Any]:
    """Return the document, whose only server is the one that serves it."""
    _, schemas = models_json_schema(_MODELS, ref_template="#/components/schemas/{model}", schema_generator=_Schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ECR Layer Resolver",
            "version": layer_resolver.__version__,
            "description": _DESCRIPTION,
        },
        "servers": [{"url": "/"}],
        "paths": _paths(),
        "components": {"schemas": schemas["$defs"]},
    }


def _paths() -> dict[str, Any]:
    anywhere, batch = errors_of("request"), errors_of("request", "body")
    return {
        "/download-url": {
            **_get(
                "getDownloadUrl",
                "The download URL of one layer",
                _ref(DownloadUrl),
                errors_of("request", "call", "layer"),
                parameters=_query(DownloadUrlRequest),
            ),
            "post": _operation(
                "postDownloadUrl",
                "The download URL of one layer",
                _ref(DownloadUrl),
                errors_of("request", "body", "call", "layer"),
                requestBody=_body({"application/json": _ref(DownloadUrlRequest)}),
            ),
        },
        "/download-urls": {
            "post": _operation(
                "postDownloadUrls",
                "The download URLs of layers of one repository by their digests",
                _ref(DownloadUrlsResult),
                batch,
                description="Answers 200 whatever its layers' failures are, even if all of them fail.",
                requestBody=_body({"application/json": _ref(DownloadUrlsRequest)}),
            ),
        },
        # The same route: OpenAPI can't tie a query to the body's media type, but a fragment makes another path.
        "/download-urls#manifest": {
            "post": _operation(
                "postImageManifest",
                "The download URLs of an image's config and layers by its manifest",
                _ref(DownloadUrlsResult),
                batch,
                parameters=_query(RepositoryRequest),
                requestBody=_body({media_type: _manifest(media_type) for media_type in MANIFEST_MEDIA_TYPES}),
            ),
        },
        "/images/download-urls": _get(
            "getImageDownloadUrls",
            "An image's manifest, and the download URLs of its config and layers",
            _ref(ImageDownloadUrls),
            errors_of("request", "call", "image", "config"),
            description=_ONE_REFERENCE,
            parameters=_query(ImageRequest),
        ),
        "/images/config": _get(
            "getImageConfig",
            "What an image's config says",
            _ref(ImageConfigResult),
            errors_of("request", "call", "image", "config", "layer", "blob"),
            description=_ONE_REFERENCE,
            parameters=_query(ImageConfigRequest),
        ),
        "/openapi.json": _get("getOpenapi", "This document", {"type": "object"}, anywhere),
        "/healthz": _get("getHealth", "Whether the function runs; makes no call to AWS", {"type": "object"}, anywhere),
    }


def _get(
    operation_id: str, summary: str, schema: JsonSchemaValue, errors: list[ErrorKind], **more: Any
) -> dict[str, Any]:
    """Return a path's GET, and its HEAD, which answers the same without content."""
    operation = _operation(operation_id, summary, schema, errors, **more)
    answers = {
        status: {name: value for name, value in answer.items() if name != "content"}
        for status, answer in operation["responses"].items()
    }
    return {"get": operation, "head": {**operation, "operationId": f"{operation_id}Head", "responses": answers}}


def _operation(
    operation_id: str, summary: str, schema: JsonSchemaValue, errors: Iterable[ErrorKind], **more: Any
) -> dict[str, Any]:
    by_status: dict[int, list[ErrorKind]] = {}
    for kind in errors:
        by_status.setdefault(kind.http_status, []).append(kind)
    answer = {"description": "The answer.", "headers": _HEADERS, "content": {"application/json": {"schema": schema}}}
    failures = {str(status): _problem(kinds) for status, kinds in sorted(by_status.items())}
    return {"operationId": operation_id, "summary": summary, **more, "responses": {"200": answer, **failures}}


def _problem(kinds: list[ErrorKind]) -> dict[str, Any]:
    waits = [kind.retry_after_seconds is not None for kind in kinds]
    retry_after = {"description": "Seconds to wait.", "required": all(waits), "schema": _TEXT}
    return {
        "description": "; ".join(f"{kind.code}: {kind.title}" for kind in kinds),
        "headers": {**_HEADERS, "Retry-After": retry_after} if any(waits) else _HEADERS,
        "content": {"application/problem+json": {"schema": _ref(Problem)}},
    }


def _query(model: type[BaseModel]) -> list[dict[str, Any]]:
    schema = model.model_json_schema(schema_generator=_Schemas, mode="serialization")
    return [
        {"name": name, "in": "query", "required": name in schema["required"], "schema": field}
        for name, field in schema["properties"].items()
    ]


def _body(schemas: Mapping[str, JsonSchemaValue]) -> dict[str, Any]:
    return {"required": True, "content": {key: {"schema": schema} for key, schema in schemas.items()}}


def _manifest(media_type: str) -> JsonSchemaValue:
    return {"allOf": [_ref(PostedManifest), {"properties": {"mediaType": {"enum": [media_type, None]}}}]}


def _ref(model: type[BaseModel]) -> JsonSchemaValue:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def main() -> None:
    """Write the document."""
    PATH.write_text(json.dumps(openapi_document(), separators=(",", ":")) + "\n")
    print(PATH.name, file=sys.stderr)


if __name__ == "__main__":
    main()
