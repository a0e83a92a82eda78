"""The JSON routes of the function URL: from a request to the answer.

Whatever goes wrong is raised and becomes problem details (RFC 9457) in one place, `_problem`.
"""

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aws_lambda_powertools.event_handler import LambdaFunctionUrlResolver, Response
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel

from layer_resolver.errors import (
    INVALID_PARAMETER,
    METHOD_NOT_ALLOWED,
    NOT_ENABLED,
    ROUTE_NOT_FOUND,
    UNSUPPORTED_EVENT,
    ResolverError,
    as_resolver_error,
)
from layer_resolver.images import ImageReader, StoredManifest
from layer_resolver.manifests import batch_of_manifest, digest_for_platform, index_refused
from layer_resolver.models import (
    INDEX_MEDIA_TYPES,
    MANIFEST_MEDIA_TYPES,
    DigestedImageRequest,
    DownloadUrlRequest,
    DownloadUrlsRequest,
    FunctionUrlEvent,
    ImageDownloadUrls,
    LayerBatch,
    ManifestRepository,
    TaggedImageRequest,
)
from layer_resolver.observability import Invocation
from layer_resolver.openapi import openapi_document
from layer_resolver.resolver import Deadline, LayerUrlResolver
from layer_resolver.settings import Settings
from layer_resolver.validation import parse_request

# No cache on the way may keep an answer: it holds a secret, or is an error that passes.
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def is_function_url_event(event: object) -> bool:
    """Tell whether an event is a request to the function URL."""
    return isinstance(event, Mapping) and "rawPath" in event and "requestContext" in event


@dataclass(frozen=True, slots=True)
class _Exchange:
    """One request while it is answered."""

    request: FunctionUrlEvent
    deadline: Deadline
    invocation: Invocation


class HttpApi:
    """Answers requests to the function URL, one at a time, as Lambda gives them.

    Args:
        resolver: Gives the download URLs.
        images: Reads manifests.
        settings: What the operator has opted into.
    """

    _exchange: _Exchange

    def __init__(self, resolver: LayerUrlResolver, images: ImageReader, settings: Settings) -> None:
        self._resolver = resolver
        self._images = images
        self._settings = settings
        self._app = LambdaFunctionUrlResolver(debug=False)
        self._routes: dict[str, dict[str, Callable[[], Response[str]]]] = {
            "/download-url": {"GET": self._get_download_url, "POST": self._post_download_url},
            "/download-urls": {"POST": self._post_download_urls},
            "/images/download-urls": {"GET": self._get_image_download_urls},
            "/openapi.json": {"GET": self._get_openapi},
            "/healthz": {"GET": self._get_health},
        }
        for path, methods in self._routes.items():
            if "GET" in methods:
                # HEAD is GET without the body (RFC 9110, section 9.3.2); leaving the body out is the platform's part.
                methods["HEAD"] = methods["GET"]
            for method, answer in methods.items():
                self._app.route(path, method=method)(answer)
        self._app.not_found(self._refuse_route)
        self._app.exception_handler(Exception)(self._problem)

    def handle(
        self, event: Mapping[str, Any], context: LambdaContext, deadline: Deadline, invocation: Invocation
    ) -> dict[str, Any]:
        """Answer one request.

        Args:
            event: The function URL's event, payload format 2.0.
            context: The context that Lambda gave.
            deadline: When the answer has to be there.
            invocation: Takes down what was done.

        Returns:
            The response in payload format 2.0. Whatever goes wrong is answered with problem details.
        """
        try:
            request = parse_request(dict(event), FunctionUrlEvent)
        except ResolverError as error:
            refusal = ResolverError(UNSUPPORTED_EVENT, f"{UNSUPPORTED_EVENT.advice} {error.detail}")
            invocation.status, invocation.error = refusal.kind.http_status, refusal
            response = _problem_response(refusal, context.aws_request_id)
            return {"statusCode": response.status_code, "headers": response.headers, "body": response.body}
        self._exchange = _Exchange(request, deadline, invocation)
        method = request.request_context.http.method.upper()
        if method in self._routes.get(request.raw_path, ()):
            invocation.route = f"{method} {request.raw_path}"
        answer: dict[str, Any] = self._app.resolve(request.model_dump(), context)
        invocation.status = answer["statusCode"]
        return answer

    def _get_download_url(self) -> Response[str]:
        return self._one(parse_request(self._query(), DownloadUrlRequest).batch())

    def _post_download_url(self) -> Response[str]:
        return self._one(parse_request(self._body(), DownloadUrlRequest).batch())

    def _post_download_urls(self) -> Response[str]:
        content_type = self._content_type()
        if content_type in MANIFEST_MEDIA_TYPES:
            return self._many(self._batch_of_manifest(content_type))
        if content_type in INDEX_MEDIA_TYPES:
            raise index_refused(self._body())
        if self._query():
            raise ResolverError(
                INVALID_PARAMETER,
                "A request by digests has its fields in the body and no query. To post an image manifest, set "
                f"Content-Type to its media type, one of {', '.join(MANIFEST_MEDIA_TYPES)}.",
            )
        return self._many(parse_request(self._body(), DownloadUrlsRequest).batch())

    def _get_image_download_urls(self) -> Response[str]:
        query = self._query()
        request: DigestedImageRequest | TaggedImageRequest
        if "imageDigest" in query:
            request = parse_request(query, DigestedImageRequest)
        else:
            request = parse_request(query, TaggedImageRequest)
        if not self._settings.image_pull:
            raise ResolverError(NOT_ENABLED, "This service does not read images. Ask its operator to set imagePull.")
        exchange = self._exchange
        exchange.invocation.image = f"{request.repository_name} {request.reference}"
        manifest = self._manifest(request)
        batch = batch_of_manifest(manifest.content.decode(), None, request.repository())
        exchange.invocation.batch = batch
        result, exchange.invocation.failures = self._resolver.resolve(batch, exchange.deadline)
        exchange.invocation.resolved = len(result.download_urls)
        return _json_response(
            ImageDownloadUrls(
                image_digest=manifest.digest,
                image_manifest=manifest.content.decode(),
                image_manifest_media_type=manifest.media_type,
                download_urls=result.download_urls,
                failures=result.failures,
            )
        )

    def _manifest(self, request: TaggedImageRequest | DigestedImageRequest) -> StoredManifest:
        """Return the image manifest that is asked for: for an index, that of the platform."""
        repository, deadline = request.repository(), self._exchange.deadline
        manifest = self._images.manifest(repository, request.reference, deadline)
        if manifest.media_type not in INDEX_MEDIA_TYPES:
            return manifest
        return self._images.manifest(repository, digest_for_platform(manifest, request.platform), deadline)

    def _get_openapi(self) -> Response[str]:
        return _json_response(openapi_document())

    def _get_health(self) -> Response[str]:
        return _json_response({"status": "ok"})

    def _one(self, batch: LayerBatch) -> Response[str]:
        invocation = self._exchange.invocation
        invocation.batch = batch
        try:
            download_url = self._resolver.resolve_one(batch, self._exchange.deadline)
        except ResolverError as error:
            invocation.failures = [error]
            raise
        invocation.resolved = 1
        return _json_response(download_url)

    def _many(self, batch: LayerBatch) -> Response[str]:
        invocation = self._exchange.invocation
        invocation.batch = batch
        result, invocation.failures = self._resolver.resolve(batch, self._exchange.deadline)
        invocation.resolved = len(result.download_urls)
        return _json_response(result)

    def _batch_of_manifest(self, content_type: str) -> LayerBatch:
        repository = parse_request(self._query(), ManifestRepository)
        return batch_of_manifest(self._body(), content_type, repository)

    def _query(self) -> dict[str, str]:
        return self._exchange.request.query_string_parameters or {}

    def _content_type(self) -> str:
        headers = {name.lower(): value for name, value in self._exchange.request.headers.items()}
        return headers.get("content-type", "").partition(";")[0].strip().lower()

    def _body(self) -> str:
        request = self._exchange.request
        if not request.body:
            raise ResolverError(INVALID_PARAMETER, "The request has no body. Post a JSON document.")
        if not request.is_base64_encoded:
            return request.body
        try:
            return base64.b64decode(request.body, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise ResolverError(INVALID_PARAMETER, "The body is not UTF-8 text. Post a JSON document.") from None

    def _refuse_route(self, _: Exception) -> Response[str]:
        methods = self._routes.get(self._exchange.request.raw_path)
        if methods is None:
            return self._problem(ResolverError(ROUTE_NOT_FOUND))
        response = self._problem(ResolverError(METHOD_NOT_ALLOWED))
        response.headers["Allow"] = ", ".join(sorted(methods))
        return response

    def _problem(self, exception: Exception) -> Response[str]:
        error = as_resolver_error(exception)
        self._exchange.invocation.error = error
        return _problem_response(error, self._exchange.request.request_context.request_id)


def problem_details(error: ResolverError, request_id: str) -> dict[str, Any]:
    """Return an error as a problem details object (RFC 9457).

    Args:
        error: The error.
        request_id: The id under which the log has the request.
    """
    return {
        "type": f"urn:problem-type:ecr-layer-resolver:{error.kind.code}",
        "title": error.kind.title,
        "status": error.kind.http_status,
        "detail": error.detail,
        "code": error.kind.code,
        "retryable": error.kind.retryable,
        "requestId": request_id,
        **error.extensions,
    }


def _problem_response(error: ResolverError, request_id: str) -> Response[str]:
    headers: dict[str, str | list[str]] = {**_HEADERS}
    if error.kind.retry_after_seconds is not None:
        headers["Retry-After"] = str(error.kind.retry_after_seconds)
    return Response(
        status_code=error.kind.http_status,
        content_type="application/problem+json",
        body=_json(problem_details(error, request_id)),
        headers=headers,
    )


def _json_response(content: BaseModel | dict[str, Any]) -> Response[str]:
    body = content.model_dump_json() if isinstance(content, BaseModel) else _json(content)
    return Response(status_code=200, content_type="application/json", body=body, headers={**_HEADERS})


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, separators=(",", ":"))
