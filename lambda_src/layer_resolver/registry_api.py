"""The routes of a read-only OCI Distribution registry, under `/v2`: from a request to the answer.

docs/registry.md describes them. Whatever goes wrong is raised and becomes the error body of the specification
(https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes) in one place, `_error_answer`.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

from aws_lambda_powertools.utilities.typing import LambdaContext

from layer_resolver.blob_sizes import BlobSizes
from layer_resolver.errors import (
    IMAGE_NOT_FOUND,
    INVALID_DIGEST,
    INVALID_PAGINATION,
    METHOD_NOT_ALLOWED,
    NOT_ENABLED,
    ROUTE_NOT_FOUND,
    ResolverError,
    as_resolver_error,
)
from layer_resolver.images import ImageReader
from layer_resolver.models import (
    LAYER_DIGEST,
    LAYER_DIGEST_RULE,
    FunctionUrlEvent,
    Layer,
    LayerBatch,
    ManifestRepository,
)
from layer_resolver.observability import Invocation
from layer_resolver.resolver import Deadline, LayerUrlResolver
from layer_resolver.settings import Settings
from layer_resolver.validation import parse_request

_HEADERS = {
    "Docker-Distribution-Api-Version": "registry/2.0",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}


def is_registry_request(event: Mapping[str, Any]) -> bool:
    """Tell whether a request to the function URL is one for the registry."""
    return re.match(r"/v2(?:/|$)", str(event["rawPath"])) is not None


@dataclass(frozen=True, slots=True)
class _Exchange:
    """One request while it is answered."""

    query: Mapping[str, str]
    headers: Mapping[str, str]
    deadline: Deadline
    invocation: Invocation


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""

    def payload(self) -> dict[str, Any]:
        """Return the answer in payload format 2.0."""
        return {"statusCode": self.status, "headers": {**_HEADERS, **self.headers}, "body": self.body}


_Handler = Callable[..., _Answer]


@dataclass(frozen=True, slots=True)
class _Route:
    """A route: how it is called in the log, its paths, and who answers each method."""

    template: str
    path: re.Pattern[str]
    handlers: Mapping[str, _Handler]


class RegistryApi:
    """Answers requests under `/v2`, one at a time, as Lambda gives them.

    Args:
        resolver: Gives the download URLs of blobs.
        images: Reads manifests and tags.
        settings: What the operator has opted into.
    """

    def __init__(self, resolver: LayerUrlResolver, images: ImageReader, settings: Settings) -> None:
        self._resolver = resolver
        self._images = images
        self._settings = settings
        self._blob_sizes = BlobSizes()
        # A name has any number of slashes, and a part of it may be called "blobs": the last one counts.
        self._routes = (
            _route("/v2/", r"/v2/?", GET=self._version, HEAD=self._version),
            _route("/v2/_catalog", r"/v2/_catalog", GET=self._catalog, HEAD=self._catalog),
            _route(
                "/v2/<name>/blobs/<digest>",
                r"/v2/(?P<name>.+)/blobs/(?P<digest>(?!uploads$)[^/]+)",
                GET=self._get_blob,
                HEAD=self._head_blob,
            ),
            _route(
                "/v2/<name>/manifests/<reference>",
                r"/v2/(?P<name>.+)/manifests/(?P<reference>[^/]+)",
                GET=self._manifest,
                HEAD=self._manifest,
            ),
            _route("/v2/<name>/tags/list", r"/v2/(?P<name>.+)/tags/list", GET=self._tags, HEAD=self._tags),
            _route(
                "/v2/<name>/referrers/<digest>",
                r"/v2/(?P<name>.+)/referrers/(?P<digest>[^/]+)",
                GET=self._referrers,
                HEAD=self._referrers,
            ),
            _route("/v2/<name>/blobs/uploads/", r"/v2/(?P<name>.+)/blobs/uploads(?:/[^/]*)?"),
        )

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
            The response in payload format 2.0. Whatever goes wrong is answered with the error body of the OCI
            Distribution Specification.
        """
        try:
            request = parse_request(dict(event), FunctionUrlEvent)
            answer = self._answer(request, deadline, invocation)
        except Exception as cause:
            error = as_resolver_error(cause)
            invocation.error = error
            answer = _error_answer(error, context.aws_request_id)
        invocation.status = answer.status
        return answer.payload()

    def _answer(self, request: FunctionUrlEvent, deadline: Deadline, invocation: Invocation) -> _Answer:
        path = _decoded(request.raw_path)
        method = request.request_context.http.method.upper()
        for route in self._routes:
            match = route.path.fullmatch(path)
            if match is None:
                continue
            if method not in route.handlers:
                raise ResolverError(METHOD_NOT_ALLOWED, headers={"Allow": ", ".join(route.handlers)})
            invocation.route = f"{method} {route.template}"
            headers = {name.lower(): value for name, value in request.headers.items()}
            exchange = _Exchange(request.query_string_parameters or {}, headers, deadline, invocation)
            return route.handlers[method](exchange, **match.groupdict())
        raise ResolverError(ROUTE_NOT_FOUND)

    def _version(self, _: _Exchange) -> _Answer:
        return _Answer(200, {"Content-Type": "application/json"}, "{}")

    def _get_blob(self, exchange: _Exchange, name: str, digest: str) -> _Answer:
        url = self._download_url(exchange, name, digest)
        return _Answer(307, {"Location": url, "Docker-Content-Digest": digest})

    def _head_blob(self, exchange: _Exchange, name: str, digest: str) -> _Answer:
        url = self._download_url(exchange, name, digest)
        size = self._blob_sizes.size(digest, url, exchange.deadline)
        return _Answer(
            200,
            {
                "Content-Length": str(size),
                "Content-Type": "application/octet-stream",
                "Docker-Content-Digest": digest,
                "Accept-Ranges": "bytes",
            },
        )

    def _download_url(self, exchange: _Exchange, name: str, digest: str) -> str:
        repository = self._repository(name)
        if not LAYER_DIGEST.fullmatch(digest):
            raise ResolverError(INVALID_DIGEST, f"The digest must be {LAYER_DIGEST_RULE}.")
        batch = LayerBatch.of(repository.registry_id, repository.repository_name, [Layer(digest=digest)])
        invocation = exchange.invocation
        invocation.batch = batch
        try:
            url = self._resolver.resolve_one(batch, exchange.deadline).download_url
        except ResolverError as error:
            invocation.failures = [error]
            raise
        invocation.resolved = 1
        return url

    def _manifest(self, exchange: _Exchange, name: str, reference: str) -> _Answer:
        """Return a manifest; for HEAD too with its body, from which the platform takes the length."""
        repository = self._repository(name)
        if not self._settings.image_pull:
            raise ResolverError(NOT_ENABLED, "This registry gives out blobs only. Ask its operator to set imagePull.")
        exchange.invocation.image = f"{repository.repository_name} {reference}"
        manifest = self._images.manifest(repository, reference, exchange.deadline)
        if not _accepts(exchange.headers.get("accept", ""), manifest.media_type):
            raise ResolverError(
                IMAGE_NOT_FOUND, f"{reference} is of the media type {manifest.media_type}, which is not in Accept."
            )
        headers = {"Content-Type": manifest.media_type, "Docker-Content-Digest": manifest.digest}
        return _Answer(200, headers, manifest.content.decode())

    def _tags(self, exchange: _Exchange, name: str) -> _Answer:
        repository = self._repository(name)
        if not self._settings.list_tags:
            raise ResolverError(NOT_ENABLED, "This registry does not list tags. Ask its operator to set listTags.")
        count, last = _pagination(exchange.query)
        tags = [tag for tag in self._images.tags(repository, exchange.deadline) if tag > last]
        page = tags if count is None else tags[:count]
        headers = {"Content-Type": "application/json"}
        if page and len(page) < len(tags):
            headers["Link"] = f'</v2/{name}/tags/list?n={count}&last={quote(page[-1])}>; rel="next"'
        return _Answer(200, headers, json.dumps({"name": name, "tags": page}))

    def _referrers(self, _: _Exchange, name: str, digest: str) -> _Answer:  # noqa: ARG002
        # An empty index would claim that there are none, which nobody has looked up.
        raise ResolverError(NOT_ENABLED, "This registry does not list referrers.")

    def _catalog(self, _: _Exchange) -> _Answer:
        raise ResolverError(NOT_ENABLED, "This registry does not list its repositories.")

    def _repository(self, name: str) -> ManifestRepository:
        """Return the repository that a path names, with the registry in front of it if the operator allows that one."""
        first, _, rest = name.partition("/")
        if rest and first in self._settings.allowed_registries:
            return parse_request({"registryId": first, "repositoryName": rest}, ManifestRepository)
        return parse_request({"repositoryName": name}, ManifestRepository)


def _route(template: str, path: str, **handlers: _Handler) -> _Route:
    return _Route(template, re.compile(path), handlers)


def _decoded(path: str) -> str:
    try:
        return unquote(path, errors="strict")
    except UnicodeDecodeError:
        raise ResolverError(ROUTE_NOT_FOUND) from None


def _accepts(accept: str, media_type: str) -> bool:
    """Tell whether a client takes a media type; no Accept header means that it takes any (RFC 9110, section 12.5.1)."""
    ranges = [part.strip() for part in accept.lower().split(",") if part.strip()]
    accepted = {each.partition(";")[0].strip() for each in ranges if not re.search(r";\s*q=0(\.0*)?\s*(;|$)", each)}
    return not ranges or not accepted.isdisjoint({media_type.lower(), "application/*", "*/*"})


def _pagination(query: Mapping[str, str]) -> tuple[int | None, str]:
    """Return how many tags are asked for, None for all, and the tag behind which they begin."""
    count, last = query.get("n"), query.get("last", "")
    if count is None:
        return None, last
    if not re.fullmatch(r"[0-9]{1,9}", count):
        raise ResolverError(INVALID_PAGINATION)
    return int(count), last


def _error_answer(error: ResolverError, request_id: str) -> _Answer:
    headers = {"Content-Type": "application/json", **error.headers}
    if error.kind.retry_after_seconds is not None:
        headers["Retry-After"] = str(error.kind.retry_after_seconds)
    detail = {"code": error.kind.code, "retryable": error.kind.retryable, "requestId": request_id}
    body = {"errors": [{"code": error.kind.registry_code, "message": error.detail, "detail": detail}]}
    return _Answer(error.kind.registry_http_status, headers, json.dumps(body))
