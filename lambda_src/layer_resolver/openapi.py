"""The OpenAPI 3.1 document of all routes, made from the rules of the requests and the error table.

Powertools' own generator is not used: it does not describe one route with bodies of several media types, and its
validation answers before the error table is asked.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from layer_resolver import __version__
from layer_resolver.errors import ERROR_TABLE, NOT_ENABLED, ErrorKind, Place
from layer_resolver.manifests import ImageManifest
from layer_resolver.models import (
    IMAGE_TAG,
    INDEX_MEDIA_TYPES,
    LAYER_DIGEST,
    MANIFEST_MEDIA_TYPES,
    REGISTERED_DIGEST,
    REPOSITORY_NAME,
    DigestedConfigRequest,
    DigestedImageRequest,
    DownloadUrlRequest,
    DownloadUrlsRequest,
    Repository,
    Rule,
    TaggedConfigRequest,
    TaggedImageRequest,
)
from layer_resolver.validation import RequestField, request_fields

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_DIGEST: Schema = {"type": "string", "pattern": f"^{LAYER_DIGEST.pattern}$"}
_SIZE: Schema = {"type": "integer", "minimum": 0, "description": "In bytes."}


def _object(description: str, required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    return {
        "type": "object",
        "description": description,
        "required": list(required),
        "properties": {**required, **(optional or {})},
    }


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _list_of(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


_DOWNLOAD_URL = _object(
    "A layer's download URL. The URL is a secret: who has it can download the layer until it expires.",
    {
        "downloadUrl": {"type": "string", "description": "Pre-signed URL, to be used with GET. A secret."},
        "layerDigest": _DIGEST,
        "expiresAt": {
            **_or_null({"type": "string", "format": "date-time"}),
            "description": "When the URL expires (RFC 3339, UTC); null if the URL does not say.",
        },
    },
    {
        "mediaType": {"type": "string", "description": "The blob's media type, if a manifest named it."},
        "size": {**_SIZE, "description": "The blob's size in bytes, if a manifest named it."},
    },
)
_FAILURE = _object(
    "Why one layer of a batch has no download URL.",
    {
        "layerDigest": _DIGEST,
        "code": {"type": "string", "description": "ECR's exception name, or a name of the service's own."},
        "message": {"type": "string", "description": "What is wrong and what to do."},
        "retryable": {"type": "boolean", "description": "Whether the same request can succeed later."},
    },
)
_RESULT_MEMBERS = {
    "downloadUrls": _list_of({"$ref": "#/components/schemas/DownloadUrl"}),
    "failures": _list_of({"$ref": "#/components/schemas/Failure"}),
}
_REQUEST_ID = {
    "requestId": {"type": "string", "description": "The id under which the operator finds the request in the log."}
}
_CONFIG_MEMBERS = {
    "imageDigest": _DIGEST,
    "platform": _or_null(_TEXT),
    "created": _or_null(_TEXT),
    "labels": {"type": "object", "additionalProperties": _TEXT},
    "entrypoint": _or_null(_list_of(_TEXT)),
    "cmd": _or_null(_list_of(_TEXT)),
    "workingDir": _or_null(_TEXT),
    "user": _or_null(_TEXT),
    "exposedPorts": _list_of(_TEXT),
    "layers": _list_of(_object("One layer.", {"digest": _DIGEST, "size": _SIZE, "mediaType": _TEXT})),
}
_PROBLEM = _object(
    "Problem details (RFC 9457).",
    {
        "type": {"type": "string", "format": "uri", "description": "Names the kind of problem."},
        "title": {"type": "string", "description": "Short summary of the kind of problem."},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "What is wrong and what to do."},
        "code": {"type": "string", "enum": sorted(ERROR_TABLE)},
        "retryable": {"type": "boolean", "description": "Whether the same request can succeed later."},
        **_REQUEST_ID,
    },
    {
        "manifests": {
            **_list_of({"type": "object"}),
            "description": "For an image index that was posted: the first of the manifests that it names.",
        },
        "platforms": {
            **_list_of(_TEXT),
            "description": "For an image index without an image of the platform: the first of those that it has.",
        },
    },
)
_REGISTRY_ERRORS = _object(
    'Errors in the form of the OCI Distribution Specification, section "Error Codes".',
    {
        "errors": {
            **_list_of(
                _object(
                    "One error.",
                    {
                        "code": {
                            "type": "string",
                            "enum": sorted({kind.registry_code for kind in ERROR_TABLE.values()}),
                        },
                        "message": {"type": "string", "description": "What is wrong and what to do."},
                        "detail": _object(
                            "What the JSON routes would say.",
                            {"code": _TEXT, "retryable": {"type": "boolean"}, **_REQUEST_ID},
                        ),
                    },
                )
            ),
            "minItems": 1,
        }
    },
)
_SCHEMAS: dict[str, Schema] = {
    "DownloadUrl": _DOWNLOAD_URL,
    "Failure": _FAILURE,
    "DownloadUrlsResult": _object(
        "The result of a batch: each layer is in one of the two lists, in the order of the request.",
        _RESULT_MEMBERS,
        _REQUEST_ID,
    ),
    "ImageDownloadUrls": _object(
        "Everything that it takes to download an image: its manifest, and its config and layers as blobs.",
        {
            **_RESULT_MEMBERS,
            "imageDigest": {**_DIGEST, "description": "Digest of the manifest."},
            "imageManifest": {"type": "string", "description": "The manifest itself as a string, byte for byte."},
            "imageManifestMediaType": _TEXT,
        },
        _REQUEST_ID,
    ),
    "ImageConfig": _object("What an image's config says.", _CONFIG_MEMBERS, {"env": _list_of(_TEXT)}),
    "Problem": _PROBLEM,
    "RegistryErrors": _REGISTRY_ERRORS,
}


def _header(description: str, *, required: bool = True) -> Schema:
    return {"description": description, "required": required, "schema": _TEXT}


_HEADERS: Schema = {
    "Cache-Control": {"schema": _TEXT, "required": True},
    "X-Content-Type-Options": {"schema": {"const": "nosniff"}, "required": True},
}
_REGISTRY_HEADERS: Schema = {
    **_HEADERS,
    "Docker-Distribution-Api-Version": {"schema": {"const": "registry/2.0"}, "required": True},
}
_DIGEST_HEADER: Schema = {"Docker-Content-Digest": {"schema": _DIGEST, "required": True}}
_LINK_HEADER: Schema = {"Link": _header("Where the next page is, if there is one.", required=False)}


@cache
def openapi_document() -> dict[str, Any]:
    """Return the document, with `/` as its only server: it describes the function URL that it was asked of."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ECR Layer Resolver",
            "version": __version__,
            "description": "Pre-signed download URLs of image layers in Amazon ECR.",
        },
        "servers": [{"url": "/"}],
        "paths": {**_json_paths(), **_registry_paths()},
        "components": {"schemas": {**_SCHEMAS, **_request_schemas(), **_manifest_schemas()}},
    }


def errors_of(*places: Place) -> list[ErrorKind]:
    """Return the rows of the error table that can arise in one of these places."""
    return [kind for kind in ERROR_TABLE.values() if not kind.arises_in.isdisjoint(places)]


def _json_paths() -> dict[str, Any]:
    layer = errors_of("request", "call", "layer")
    posted_layer = errors_of("request", "body", "call", "layer")
    batch = errors_of("request", "body")
    image = errors_of("request", "call", "image", "config")
    return {
        "/download-url": {
            **_get("getDownloadUrl", "The download URL of one layer", "DownloadUrl", DownloadUrlRequest, layer),
            "post": {
                "operationId": "postDownloadUrl",
                "summary": "The download URL of one layer",
                "requestBody": _request_body({"application/json": _ref("DownloadUrlRequest")}),
                "responses": _responses(_ref("DownloadUrl"), posted_layer),
            },
        },
        "/download-urls": {
            "post": {
                "operationId": "postDownloadUrls",
                "summary": "The download URLs of many layers of one repository, by their digests",
                "requestBody": _request_body({"application/json": _ref("DownloadUrlsRequest")}),
                "responses": _responses(_ref("DownloadUrlsResult"), batch),
            }
        },
        # The same route: the fragment only tells the two forms of its request apart. OpenAPI has no other way to
        # say that the query belongs to some media types of the body and not to others.
        "/download-urls#manifest": {
            "post": {
                "operationId": "postImageManifest",
                "summary": "The download URLs of the config and all layers of an image, by its manifest",
                "parameters": _query_parameters(Repository),
                "requestBody": _request_body(
                    {media_type: _manifest_schema(media_type) for media_type in MANIFEST_MEDIA_TYPES}
                ),
                "responses": _responses(_ref("DownloadUrlsResult"), batch),
            }
        },
        "/images/download-urls": _get(
            "getImageDownloadUrls",
            "The manifest of an image by its tag, with the download URLs of its config and all layers. For the "
            "operator to turn on; for an image index, name the platform",
            "ImageDownloadUrls",
            TaggedImageRequest,
            image,
        ),
        "/images/download-urls#digest": _get(
            "getImageDownloadUrlsByDigest",
            "The same for an image by its digest",
            "ImageDownloadUrls",
            DigestedImageRequest,
            image,
        ),
        "/images/config": _get(
            "getImageConfig",
            "What the config of an image says, by its tag. For the operator to turn on",
            "ImageConfig",
            TaggedConfigRequest,
            [*image, *errors_of("layer", "blob")],
        ),
        "/images/config#digest": _get(
            "getImageConfigByDigest",
            "The same for an image by its digest",
            "ImageConfig",
            DigestedConfigRequest,
            [*image, *errors_of("layer", "blob")],
        ),
        "/openapi.json": _get("getOpenapi", "This document", None),
        "/healthz": _get("getHealth", "Whether the function runs; makes no call to AWS", None),
    }


def _registry_paths() -> dict[str, Any]:
    call: tuple[Place, ...] = ("request", "call")
    document = {"type": "object"}
    images = dict.fromkeys((*MANIFEST_MEDIA_TYPES, *INDEX_MEDIA_TYPES), document)
    blob = _registry(
        "Blob", "Where to download a blob; with HEAD, its size", {}, errors_of(*call, "digest", "layer", "blob")
    )
    blob["get"]["responses"]["307"] = {
        "description": "Location has the download URL.",
        "headers": {**_REGISTRY_HEADERS, **_DIGEST_HEADER, "Location": _header("The download URL, a secret.")},
    }
    del blob["get"]["responses"]["200"]
    blob["head"]["responses"]["200"]["headers"] |= {
        **_DIGEST_HEADER,
        "Content-Length": {"schema": _SIZE, "required": True},
        "Accept-Ranges": {"schema": {"const": "bytes"}, "required": True},
    }
    tagged = {**_DIGEST_HEADER, "ETag": _header("The digest, in quotation marks.")}
    manifest = _registry("Manifest", "A manifest or an index", images, errors_of(*call, "digest", "image"), tagged)
    for operation in manifest.values():
        operation["responses"]["304"] = {
            "description": "If-None-Match has its digest.",
            "headers": {**_REGISTRY_HEADERS, **tagged},
        }
    name = _path_parameter(
        "name",
        # One letter alone is not a name, whatever the pattern says.
        f"(?=.{{{REPOSITORY_NAME.shortest}}}){REPOSITORY_NAME.pattern}",
        "Name of the repository; its slashes may be percent-encoded.",
    )
    digest = _path_parameter("digest", REGISTERED_DIGEST.pattern, REGISTERED_DIGEST.description)
    reference = _path_parameter("reference", f"{IMAGE_TAG.pattern}|{REGISTERED_DIGEST.pattern}", "Tag or digest.")
    json_document = {"application/json": document}
    tags = _registry("Tags", "The tags of a repository", json_document, errors_of(*call, "tags"), _LINK_HEADER)
    index = {INDEX_MEDIA_TYPES[0]: document}
    filters = {"OCI-Filters-Applied": _header("artifactType, if there was such a filter.", required=False)}
    referrers = _registry(
        "Referrers",
        "What refers to an image, page by page",
        index,
        errors_of(*call, "digest", "image", "referrers"),
        {**_LINK_HEADER, **filters},
    )
    catalog = _registry("Catalog", "Repositories are not listed", {}, [NOT_ENABLED, *errors_of("request")])
    for operation in catalog.values():
        del operation["responses"]["200"]
    return {
        "/v2/": _registry("Version", "Whether this is a registry", json_document, errors_of("request")),
        "/v2/_catalog": catalog,
        "/v2/{name}/blobs/{digest}": _with_parameters(blob, name, digest),
        "/v2/{name}/manifests/{reference}": _with_parameters(manifest, name, reference),
        "/v2/{name}/tags/list": _with_parameters(
            tags,
            name,
            _query_parameter("n", "[0-9]+", "How many tags to return; no page has more than 1,000."),
            _query_parameter("last", "[!-~]*", "The tag behind which the page begins."),
        ),
        "/v2/{name}/referrers/{digest}": _with_parameters(
            referrers,
            name,
            digest,
            _query_parameter(
                "artifactType",
                "[!-~]{1,255}",
                "The artifact type to filter by; several parameters are a filter by any of them.",
            ),
            _query_parameter(
                "nextToken", "[!-~]{1,4096}", "Token of the page, from the Link header of the page before."
            ),
        ),
    }


def _registry(
    noun: str,
    summary: str,
    content: Mapping[str, Schema],
    errors: Iterable[ErrorKind],
    headers: Mapping[str, Schema] | None = None,
) -> Schema:
    """Return the GET operation of a path under /v2, and HEAD, which answers the same without a body."""
    success: Schema = {"description": "The answer.", "headers": {**_REGISTRY_HEADERS, **(headers or {})}}
    if content:
        success["content"] = {media_type: {"schema": schema} for media_type, schema in content.items()}
    responses = {"200": success, **_registry_responses(errors)}
    without_content = {status: _without_content(answer) for status, answer in responses.items()}
    return {
        "get": {"operationId": f"registryGet{noun}", "summary": summary, "responses": responses},
        "head": {"operationId": f"registryHead{noun}", "summary": summary, "responses": without_content},
    }


def _with_parameters(operations: Schema, *parameters: Schema) -> Schema:
    return {method: {**operation, "parameters": list(parameters)} for method, operation in operations.items()}


def _path_parameter(name: str, pattern: str, description: str) -> Schema:
    schema = {"type": "string", "pattern": f"^(?:{pattern})$", "maxLength": REPOSITORY_NAME.longest}
    return {"name": name, "in": "path", "required": True, "description": description, "schema": schema}


def _query_parameter(name: str, pattern: str, description: str) -> Schema:
    schema = {"type": "string", "pattern": f"^(?:{pattern})$"}
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


def _registry_responses(errors: Iterable[ErrorKind]) -> Schema:
    by_status: dict[int, list[ErrorKind]] = {}
    for kind in errors:
        by_status.setdefault(kind.registry_http_status, []).append(kind)
    return {
        str(status): _error_response(kinds, "application/json", "RegistryErrors", _REGISTRY_HEADERS)
        for status, kinds in sorted(by_status.items())
    }


def _request_schemas() -> dict[str, Schema]:
    return {
        model.__name__: {
            "type": "object",
            "description": (model.__doc__ or "").strip(),
            "properties": {name: _field_schema(field) for name, field in request_fields(model).items()},
            "required": [name for name, field in request_fields(model).items() if field.is_required],
            "additionalProperties": False,
        }
        for model in (DownloadUrlRequest, DownloadUrlsRequest)
    }


def _field_schema(field: RequestField) -> Schema:
    rule = field.rule
    if isinstance(rule, Rule):
        schema = _rule_schema(rule)
        return schema if field.is_required else _or_null(schema)
    return {
        "type": "array",
        "items": _rule_schema(rule.item),
        "minItems": 1,
        "maxItems": rule.longest,
        "description": rule.description,
    }


def _rule_schema(rule: Rule) -> Schema:
    return {
        "type": "string",
        "pattern": f"^(?:{rule.pattern})$",
        "minLength": rule.shortest,
        "maxLength": rule.longest,
        "description": f"{rule.description} It must be {rule.words}.",
        "examples": [rule.example],
    }


def _manifest_schemas() -> dict[str, Schema]:
    document = ImageManifest.model_json_schema(ref_template="#/components/schemas/{model}")
    definitions: dict[str, Schema] = document.pop("$defs")
    return {**definitions, "ImageManifest": document}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _manifest_schema(media_type: str) -> Schema:
    return {"allOf": [_ref("ImageManifest"), {"properties": {"mediaType": {"enum": [media_type, None]}}}]}


def _get(
    operation_id: str,
    summary: str,
    schema: str | None,
    query: type[Any] | None = None,
    errors: Iterable[ErrorKind] = (),
) -> Schema:
    """Return the GET operation of a path, and HEAD, which answers the same without a body."""
    operation = {"summary": summary, "parameters": _query_parameters(query) if query else []}
    responses = _responses(_ref(schema) if schema else {"type": "object"}, errors or errors_of("request"))
    return {
        "get": {"operationId": operation_id, **operation, "responses": responses},
        "head": {
            "operationId": f"{operation_id}Head",
            **operation,
            "responses": {status: _without_content(answer) for status, answer in responses.items()},
        },
    }


def _query_parameters(model: Any) -> list[Schema]:
    return [
        {
            "name": name,
            "in": "query",
            "required": field.is_required,
            # A parameter of a query is left out rather than null.
            "schema": _rule_schema(field.rule),
        }
        for name, field in request_fields(model).items()
        if isinstance(field.rule, Rule)
    ]


def _request_body(schemas: Mapping[str, Schema]) -> Schema:
    return {"required": True, "content": {media_type: {"schema": schema} for media_type, schema in schemas.items()}}


def _responses(schema: Schema, errors: Iterable[ErrorKind]) -> Schema:
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
        **{
            str(status): _error_response(kinds, "application/problem+json", "Problem", _HEADERS)
            for status, kinds in sorted(by_status.items())
        },
    }


def _error_response(
    kinds: list[ErrorKind], media_type: str, schema: str, headers_of_all: Mapping[str, Schema]
) -> Schema:
    headers = dict(headers_of_all)
    if any(kind.retry_after_seconds is not None for kind in kinds):
        required = all(kind.retry_after_seconds is not None for kind in kinds)
        headers["Retry-After"] = {"description": "Seconds to wait.", "required": required, "schema": _TEXT}
    return {
        "description": "; ".join(dict.fromkeys(f"{kind.code}: {kind.title}" for kind in kinds)),
        "headers": headers,
        "content": {media_type: {"schema": _ref(schema)}},
    }


def _without_content(response: Schema) -> Schema:
    return {name: value for name, value in response.items() if name != "content"}
