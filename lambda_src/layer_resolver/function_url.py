"""The front for HTTP: parses a request, calls its route's handler, and wraps the response for Lambda.

http_api.py and registry_api.py have the routes, and give errors their format. Knows nothing of ECR.
"""

# ruff: noqa: N815 - the fields of Lambda's events are in camel case.

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote

from aws_lambda_powertools.utilities.parser import ValidationError, parse
from aws_lambda_powertools.utilities.parser.models import LambdaFunctionUrlModel, RequestContextV2
from pydantic import BaseModel

from layer_resolver import errors
from layer_resolver.callers import PUBLIC, caller_of
from layer_resolver.errors import ResolverError
from layer_resolver.invocation import Invocation
from layer_resolver.models import described

LARGEST_ANSWER_BYTES = 6 * 1024 * 1024 - 64 * 1024
"""The largest response as JSON: Lambda's 6 MB, beyond which callers get a bare 502, less a margin."""

LARGEST_BODY_BYTES = 1024 * 1024
"""The largest body of a request, in bytes."""

LONGEST_PATH = 8 * 1024
"""The longest path, in characters: much more than a repository's name, 256, and a digest."""

# Responses aren't cacheable unless they say so: they hold secrets, or errors that will pass.
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class _Http(BaseModel):
    """Accepts any method. Powertools' model accepts seven, and raises AttributeError for an address that isn't text."""

    method: str
    sourceIp: str = ""


class _RequestContext(RequestContextV2):
    """Makes optional what API Gateway always sends, and Powertools' model requires."""

    accountId: str = ""
    apiId: str = ""
    domainName: str = ""
    domainPrefix: str = ""
    requestId: str = ""
    routeKey: str = ""
    stage: str = ""
    time: str = ""
    timeEpoch: Any = None
    http: _Http  # type: ignore[assignment]


class Request(LambdaFunctionUrlModel):
    """A request to the function URL.

    Lambda has decoded the query, and joined values of one name by commas there and in the headers.
    Source: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
    """

    version: str = ""
    routeKey: str = ""
    rawQueryString: str = ""
    headers: dict[str, str] | None = None  # type: ignore[assignment]
    requestContext: _RequestContext
    body: str | None = None

    @property
    def method(self) -> str:
        """The method, in upper case."""
        return self.requestContext.http.method.upper()

    @property
    def query(self) -> Mapping[str, str]:
        """The parameters of the query."""
        return self.queryStringParameters or {}

    @property
    def path(self) -> str:
        """The decoded path; empty, which matches no route, if it is too long or not UTF-8."""
        if len(self.rawPath) > LONGEST_PATH:
            return ""
        try:
            return unquote(self.rawPath, errors="strict")
        except UnicodeDecodeError:
            return ""

    @property
    def first_part(self) -> str:
        """The first part of the path, decoded; empty if there is none."""
        before, _, path = self.rawPath.partition("/")
        return "" if before else unquote(path.partition("/")[0])

    @property
    def content_type(self) -> str:
        """The body's media type, in lower case and without parameters; empty if there is none."""
        return self.header("content-type").partition(";")[0].strip().lower()

    def header(self, name: str) -> str:
        """Return a header's value by its name in lower case, an empty string if there is none."""
        return next((value for each, value in (self.headers or {}).items() if each.lower() == name), "")

    def text(self, longest: int = LARGEST_BODY_BYTES) -> str:
        """Return the body, of at most `longest` bytes.

        Raises:
            ResolverError: `errors.INVALID_PARAMETER`, if there is no body or it isn't text; `errors.REQUEST_TOO_LARGE`.
        """
        if not self.body:
            raise ResolverError(errors.INVALID_PARAMETER, "The request has no body. Post a JSON document.")
        try:
            content = base64.b64decode(self.body, validate=True) if self.isBase64Encoded else self.body.encode()
            text = content.decode()
        except ValueError:
            raise ResolverError(errors.INVALID_PARAMETER, "The body isn't UTF-8 text. Post a JSON document.") from None
        if len(content) > longest:
            raise ResolverError(errors.REQUEST_TOO_LARGE)
        return text


class Response(NamedTuple):
    """An answer over HTTP, with the headers beside those that every answer has."""

    status: int
    headers: Mapping[str, str]
    body: str = ""

    @classmethod
    def json(
        cls, content: Mapping[str, Any], headers: Mapping[str, str] | None = None, *, status: int = 200
    ) -> "Response":
        """Return the answer whose body is a JSON document; `headers` may name another media type."""
        body = json.dumps(content, separators=(",", ":"))
        return cls(status, {"Content-Type": "application/json", **(headers or {})}, body)


class Route:
    """A route: its path, and a handler for each method.

    A part of the template in angle brackets matches one part of a path, and `<name>` one or more, because repositories'
    names have slashes. HEAD is GET without the body (RFC 9110, section 9.3.2), unless the route has its own; the
    platform leaves the body out.
    """

    def __init__(self, template: str, handlers: Mapping[str, Callable[..., Response]]) -> None:
        self.template = template
        self.handlers = {"HEAD": handlers["GET"], **handlers} if "GET" in handlers else handlers
        pattern = re.sub(r"<(?!name>)(\w+)>", r"(?P<\1>[^/]+)", re.escape(template))
        self._pattern = re.compile(pattern.replace("<name>", "(?P<name>.+)"), re.DOTALL)

    def match(self, path: str) -> dict[str, str] | None:
        """Return the path's parts by their names in the template; None if it is another route's path."""
        found = self._pattern.fullmatch(path)
        return found.groupdict() if found else None


class Api(Protocol):
    """One of the APIs behind the function URL.

    Attributes:
        headers: The headers of each of its answers.
        advice: Messages for an unknown route or method by the row's code, in place of the row's own.
        routes: Its routes; the first that matches answers.
    """

    headers: Mapping[str, str] = {}
    advice: Mapping[str, str] = {}
    routes: Sequence[Route]

    def error_answer(self, error: ResolverError, request_id: str) -> Response:
        """Return an error in the form of this API."""


class FunctionUrl:
    """Answers requests, one at a time, as Lambda passes them on.

    Args:
        apis: The APIs by the first part of their paths; the one without a name has all other paths.
        edge_distribution_arn: The CloudFront distribution in front of the function URL, if there is one.
    """

    def __init__(self, apis: Mapping[str, Api], edge_distribution_arn: str | None = None) -> None:
        self._apis = apis
        self._edge_distribution_arn = edge_distribution_arn

    def answer(self, event: dict[str, Any], invocation: Invocation) -> dict[str, Any]:
        """Return the response in payload format 2.0 to one request, whatever goes wrong."""
        invocation.trigger, invocation.caller = "http", PUBLIC
        api = self._apis[""]
        try:
            request = self._parse(event, invocation)
            api = self._apis.get(request.first_part, api)
            payload = _payload(api, _answer(api, request, invocation))
        except Exception as cause:
            error = invocation.error = errors.as_resolver_error(cause)
            invocation.resolved = ()
            payload = _payload(api, api.error_answer(error, invocation.request_id), _headers_of(error))
        invocation.status = payload["statusCode"]
        return payload

    def _parse(self, event: dict[str, Any], invocation: Invocation) -> Request:
        """Return the request in an event, and record who sent it."""
        try:
            request = parse(event=event, model=Request)
        except ValidationError as error:
            detail = f"{errors.UNSUPPORTED_EVENT.advice} Of this request, {described(error, Request)}"
            raise ResolverError(errors.UNSUPPORTED_EVENT, detail) from None
        context = request.requestContext
        iam = context.authorizer.iam if context.authorizer else None
        caller = caller_of(
            iam.userArn if iam else None, context.http.sourceIp, request.header, self._edge_distribution_arn
        )
        invocation.caller = caller._replace(is_verified=context.requestId == invocation.request_id)
        invocation.identify(context.requestId)
        return request


def _answer(api: Api, request: Request, invocation: Invocation) -> Response:
    path = request.path
    for route in api.routes:
        parts = route.match(path)
        if parts is None:
            continue
        handler = route.handlers.get(request.method)
        if handler is None:
            allowed = ", ".join(sorted(route.handlers))
            detail = api.advice.get(errors.METHOD_NOT_ALLOWED.code)
            raise ResolverError(errors.METHOD_NOT_ALLOWED, detail, headers={"Allow": allowed})
        invocation.route = f"{request.method} {route.template}"
        response = handler(request, invocation, **parts)
        if request.method == "HEAD":
            # The platform leaves out the body, which has the download URLs or the manifest.
            invocation.resolved, invocation.gives_image = (), False
        return response
    raise ResolverError(errors.ROUTE_NOT_FOUND, api.advice.get(errors.ROUTE_NOT_FOUND.code))


def _headers_of(error: ResolverError) -> Mapping[str, str]:
    seconds = error.kind.retry_after_seconds
    return error.headers if seconds is None else {**error.headers, "Retry-After": str(seconds)}


def _payload(api: Api, response: Response, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return an answer in payload format 2.0; every answer passes here.

    Raises:
        ResolverError: If it is larger than Lambda takes, or a header has a value that no header can have.
    """
    all_headers = {**_HEADERS, **api.headers, **response.headers, **(headers or {})}
    if not re.fullmatch("[ -~]*", "".join(all_headers.values())):
        raise ResolverError(errors.INTERNAL_ERROR)
    body = response.body
    # Escaping takes at most six characters for one, so most answers need not be measured.
    if len(body) * 6 > LARGEST_ANSWER_BYTES and len(json.dumps(body)) > LARGEST_ANSWER_BYTES:
        raise ResolverError(errors.RESULT_TOO_LARGE)
    return {"statusCode": response.status, "headers": all_headers, "body": body}
