"""CloudFront in front of the function URL: runs the functions in `infra/edge/`, and signs what they admit.

What CloudFront does to requests and answers is modelled as far as it is documented:
https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/RequestAndResponseBehaviorCustomOrigin.html
"""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from botocore.credentials import Credentials
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ecr_layers.ops.http_auth import FunctionUrlAuth
from local.aws import REGION
from local.edge_cache import KEY_HEADERS, EdgeCache
from local.edge_layers import PREFIX, request_to_s3
from local.key_value_store import KeyValueStore
from local.server import LOCALHOST, running
from local.viewer_event import Headers, apply_response, headers_of, pairs_of, response_event, target_of, viewer_event
from local.viewer_function import ViewerFunction, ViewerFunctionError, source_of

CALLER = Credentials("ASIALOCALEDGEXXXXXXX", "local-edge-secret", "local/edge/session/token==")
"""Credentials that the edge signs with, instead of CloudFront's own principal."""

CALLER_ARN = "arn:aws:sts::856369053181:assumed-role/OriginAccessControlRole/OriginAccessSession"
"""What a function URL calls CloudFront, as is reported; AWS does not document it."""

ACCOUNT, DISTRIBUTION_ARN = "123456789012", "arn:aws:cloudfront::123456789012:distribution/ELOCALEDGE"
"""Whose distribution this is, and which, as CloudFront tells the function URL."""

# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/cloudfront-limits.html
_LONGEST_URL, _LARGEST_REQUEST = 8192, 32768
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_TIMEOUT_SECONDS = 30.0
_NAME = "d111111abcdef8.cloudfront.net"

FORWARDED_TO_CACHED_PATHS = frozenset({"x-ecr-layers-rule", "x-ecr-layers-token", "x-ecr-layers-token-id"})
"""The headers that go on where answers are cached, beside the cache key: nothing else changes the answer."""

FORWARDED_HEADERS = FORWARDED_TO_CACHED_PATHS | {"accept", "if-none-match", "origin", "x-ecr-layers-host"}
"""The headers that go on, as the origin request policy of infra/edge.py has it. The client's Authorization is not among
them: CloudFront signs in its place."""

FORWARDED_TO_TOKEN = frozenset({"x-ecr-layers-authorization", "x-ecr-layers-host"})
"""The same for the token exchange."""

TOKEN_PATH = "/token"  # noqa: S105 (a path)
# The server here has its own clock and name.
_NOT_ANSWERED = frozenset(
    {"connection", "date", "keep-alive", "server", "trailer", "transfer-encoding", "upgrade", "via"}
)


@dataclass(frozen=True, slots=True)
class EdgeConfiguration:
    """How a deployment has its edge.

    Attributes:
        realm: What a challenge calls the registry.
        public_repositories: The repositories that need no token.
        allowed_origins: The origins that web pages may ask from.
        cache_seconds: For how long the edge answers manifests by digest and blob redirects itself.
        layers_origin: The URL of the S3 whose layers the edge serves; None if clients go to S3.
        exchange_origin: The function URL of the token exchange; None without trust rules.
        catalog: The repositories that `/v2/_catalog` lists.
    """

    realm: str = "registry"
    public_repositories: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    cache_seconds: int = 0
    layers_origin: str | None = None
    exchange_origin: str | None = None
    catalog: tuple[str, ...] = ()

    def of_function(self) -> dict[str, Any]:
        """Return what stands in the functions, as `configuration` of infra/edge.py has it."""
        return {
            "realm": self.realm,
            "publicRepositories": self.public_repositories,
            "allowedOrigins": self.allowed_origins,
            "catalog": self.catalog,
            "tokenScheme": "http" if self.exchange_origin else "",
        }


class GeneratedError(Exception):
    """A function answers instead of the origin."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        super().__init__(answer["statusCode"])
        self.answer = answer


class Edge:
    """A distribution in front of a function URL whose auth is AWS_IAM."""

    def __init__(
        self,
        origin: str,
        functions: Mapping[str, ViewerFunction],
        store: KeyValueStore,
        client: httpx.Client,
        configuration: EdgeConfiguration,
    ) -> None:
        self._origin = origin
        self._functions = functions
        self._store = store
        self._client = client
        self._layers_origin, self._exchange_origin = configuration.layers_origin, configuration.exchange_origin
        self._cache = EdgeCache(configuration.cache_seconds)
        self._auth = FunctionUrlAuth(CALLER, REGION)

    def app(self) -> ASGIApp:
        """Return the application that is the distribution."""

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope, receive)
            refusal = await self._refusal(request)
            response = refusal if refusal is not None else await run_in_threadpool(self._answer, request)
            response.headers["via"] = f"1.1 {_NAME} (CloudFront)"
            response.headers["x-amz-cf-id"] = secrets.token_urlsafe(40)
            response.headers["x-amz-cf-pop"] = "LOCAL"
            await response(scope, receive, send)

        return app

    async def _refusal(self, request: Request) -> Response | None:
        """Return what CloudFront answers by itself, before any function."""
        target = target_of(request)
        size = len(target) + sum(len(name) + len(value) + 4 for name, value in request.headers.raw)
        if len(target) > _LONGEST_URL or size > _LARGEST_REQUEST:
            return _own_answer(413, "Request Entity Too Large", {"connection": "close"})
        body = await request.body()
        if request.method not in _METHODS or (request.method == "GET" and body):
            return _own_answer(403, "Bad request. We can't connect to the server for this app or website at this time.")
        return None

    def _answer(self, request: Request) -> Response:
        try:
            return self._answer_by_path(request, viewer_event(request, _NAME))
        except GeneratedError as generated:
            return _generated(request.method, generated.answer)
        except ViewerFunctionError:
            return _own_answer(503, "The function failed.", {"x-cache": "FunctionExecutionError from cloudfront"})
        except httpx.TimeoutException:
            return _own_answer(504, "The origin does not answer in time.")
        except httpx.TransportError:
            return _own_answer(502, "The origin can't be reached.")

    def _answer_by_path(self, request: Request, event: Mapping[str, Any]) -> Response:
        path = request.url.path
        if self._layers_origin is not None and path.startswith(PREFIX):
            return self._answer_layer(self._layers_origin, request, event)
        if self._exchange_origin is not None and path == TOKEN_PATH:
            return self._answer_token(self._exchange_origin, request, event)
        returned = self._call("viewer_request", event)
        response = self._of_cache_or_origin(request, event["request"], returned)
        if response.status_code < httpx.codes.BAD_REQUEST:
            answered = response_event({**event, "request": returned}, response)
            apply_response(self._functions["viewer_response"].call(answered, {}), response)
        return response

    def _call(self, name: str, event: Mapping[str, Any]) -> dict[str, Any]:
        """Return the request that a function lets through.

        Raises:
            GeneratedError: If it answers by itself.
            ViewerFunctionError: If it fails.
        """
        returned = self._functions[name].call(event, self._store.snapshot())
        if "statusCode" in returned:
            raise GeneratedError(returned)
        return returned

    def _answer_layer(self, origin: str, request: Request, event: Mapping[str, Any]) -> Response:
        returned = self._call("layers_request", event)
        target = target_of(request, event["request"], returned)
        answer = self._client.send(request_to_s3(request.method, origin, target, returned["headers"]), stream=True)
        response = StreamingResponse(answer.iter_raw(), answer.status_code, background=BackgroundTask(answer.close))
        return _with_headers(response, answer)

    def _answer_token(self, origin: str, request: Request, event: Mapping[str, Any]) -> Response:
        headers = pairs_of(self._call("token_request", event)["headers"])
        forwarded = [(name, value) for name, value in headers if name in FORWARDED_TO_TOKEN]
        return self._of_origin(request, origin, target_of(request), forwarded)

    def _of_cache_or_origin(self, request: Request, sent: Mapping[str, Any], returned: Mapping[str, Any]) -> Response:
        target = target_of(request, sent, returned)
        headers = pairs_of(returned["headers"])
        if self._layers_origin is None:
            # Then neither policy names it.
            headers = [(name, value) for name, value in headers if name != "x-ecr-layers-host"]
        if (kept := self._cache.get(request.method, target, headers)) is not None:
            return kept
        forwarded, path = FORWARDED_HEADERS, target
        if self._cache.is_cached(request.method, target):
            forwarded, path = FORWARDED_TO_CACHED_PATHS | KEY_HEADERS, target.partition("?")[0]
        response = self._of_origin(request, self._origin, path, [each for each in headers if each[0] in forwarded])
        self._cache.put(request.method, target, headers, response)
        return response

    def _of_origin(self, request: Request, origin: str, target: str, headers: Headers) -> Response:
        answer = self._client.send(_to_origin(request, origin, target, headers), auth=self._auth)
        response = _with_headers(Response(answer.content, answer.status_code), answer)
        response.headers["strict-transport-security"] = "max-age=31536000"
        return response


@dataclass(frozen=True, slots=True)
class RunningEdge:
    """A running edge, its KeyValueStore, and the endpoint of the store's API."""

    url: str
    store: KeyValueStore
    store_url: str


@contextmanager
def local_edge(
    origin: str,
    configuration: EdgeConfiguration = EdgeConfiguration(),
    *,
    port: int = 0,
) -> Iterator[RunningEdge]:
    """Run an edge in front of a function URL while the context lasts.

    Args:
        origin: The function URL, which takes what `CALLER` signs.
        configuration: How it is to be.
        port: Its port on 127.0.0.1; 0 takes any that is free.

    Raises:
        PortError: If the port can't be listened on.
    """
    names = [
        "viewer_request",
        "viewer_response",
        *(["layers_request"] if configuration.layers_origin else []),
        *(["token_request"] if configuration.exchange_origin else []),
    ]
    store = KeyValueStore()
    with ExitStack() as stack:
        client = stack.enter_context(httpx.Client(trust_env=False))
        functions = {
            name: stack.enter_context(ViewerFunction(source_of(name, configuration.of_function()))) for name in names
        }
        edge = Edge(origin, functions, store, client, configuration)
        store_url = stack.enter_context(running(store.app(), host=LOCALHOST))
        yield RunningEdge(stack.enter_context(running(edge.app(), port=port)), store, store_url)


def _to_origin(request: Request, origin: str, target: str, headers: Headers) -> httpx.Request:
    client = request.client
    address = (client.host, client.port) if client else ("", 0)
    before = "".join(f"{value}, " for name, value in headers_of(request) if name == "x-forwarded-for")
    own = [
        ("cloudfront-viewer-address", f"{address[0]}:{address[1]}"),
        ("user-agent", "Amazon CloudFront"),
        ("via", f"{request.scope['http_version']} {_NAME} (CloudFront)"),
        ("x-amz-source-account", ACCOUNT),
        ("x-amz-source-arn", DISTRIBUTION_ARN),
        ("x-amz-cf-id", secrets.token_urlsafe(40)),
        ("x-forwarded-for", f"{before}{address[0]}"),
    ]
    return httpx.Request(
        request.method,
        httpx.URL(origin).copy_with(raw_path=target.encode("latin-1")),
        # The URL has dot segments resolved; this goes out as it came in.
        extensions={"target": target.encode("latin-1"), "timeout": httpx.Timeout(_TIMEOUT_SECONDS).as_dict()},
        # As they came in, whatever bytes those are.
        headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in (*headers, *own)],
    )


def _own_answer(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(f"{message}\n", status, {"x-cache": "Error from cloudfront", **(headers or {})}, "text/plain")


def _generated(method: str, answer: Mapping[str, Any]) -> Response:
    """Return the response that a function generated instead of the origin.

    Source: https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/functions-event-structure.html
    """
    response = Response(
        answer.get("body", {}).get("data"),
        answer["statusCode"],
        {"x-cache": "FunctionGeneratedResponse from cloudfront"},
    )
    if method == "HEAD":
        response.body = b""
    if response.status_code == httpx.codes.NO_CONTENT:
        del response.headers["content-length"]
    for name, value in pairs_of(answer.get("headers", {})):
        response.headers.append(name, value)
    return response


def _with_headers(response: Response, answer: httpx.Response) -> Response:
    """Return a response with the headers of the origin's answer."""
    # As they are, and the length too: that of a HEAD's answer has no body to be made from.
    response.raw_headers = [
        (name.lower(), value) for name, value in answer.headers.raw if name.decode().lower() not in _NOT_ANSWERED
    ]
    response.headers["x-cache"] = f"{'Error' if answer.is_error else 'Miss'} from cloudfront"
    return response
