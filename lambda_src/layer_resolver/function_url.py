"""The front for HTTP: parses a request, finds its route, and renders the answer or the error.

http_api.py and registry_api.py hold their routes and their form of an error. Knows nothing of ECR.
"""

import base64
import binascii
import json
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
"""The largest answer as JSON: Lambda's 6 MB, beyond which callers get a bare 502, less room for its record."""

LARGEST_BODY = 1024 * 1024
"""The largest body of a request, in bytes."""

LONGEST_PATH = 8 * 1024
"""The longest path, in characters: much more than a repository's name, 256, and a digest."""

# No cache may keep an answer that doesn't allow it: it holds a secret, or an error that will pass.
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_PRINTABLE = bytes(range(0x20, 0x7F))


class _Http(BaseModel):
    """Powertools' model knows seven methods, and fails on an address that isn't text."""

    method: str
    sourceIp: str = ""  # noqa: N815


class _RequestContext(RequestContextV2):
    """Requires less than Powertools' model."""

    accountId: str = ""  # noqa: N815
    apiId: str = ""  # noqa: N815
    domainName: str = ""  # noqa: N815
    domainPrefix: str = ""  # noqa: N815
    requestId: str = ""  # noqa: N815
    routeKey: str = ""  # noqa: N815
    stage: str = ""
    time: str = ""
    timeEpoch: Any = None  # noqa: N815
    http: _Http  # type: ignore[assignment]


class FunctionUrlEvent(LambdaFunctionUrlModel):
    """A function URL's event.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
    """

    version: str = ""
    routeKey: str = ""  # noqa: N815
    rawQueryString: str = ""  # noqa: N815
    headers: dict[str, str] | None = None  # type: ignore[assignment]
    requestContext: _RequestContext  # noqa: N815
    body: str | None = None


class Request(NamedTuple):
    """A request to the function URL: its method in upper case, names of headers in lower case.

    Lambda has decoded the query, and joined values of one name by commas there and in the headers.
    """

    method: str
    raw_path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    invocation: Invocation
    encoded_body: str
    is_base64: bool

    @classmethod
    def of(
        cls, event: Mapping[str, Any], invocation: Invocation, edge_distribution_arn: str | None = None
    ) -> "Request":
        """Return the request in an event of a function URL, and record who sent it.

        Raises:
            ResolverError: `errors.UNSUPPORTED_EVENT`, if it isn't such an event.
        """
        try:
            parsed = parse(event=dict(event), model=FunctionUrlEvent)
        except ValidationError as error:
            detail = f"{errors.UNSUPPORTED_EVENT.advice} Of this request, {described(error, FunctionUrlEvent)}"
            raise ResolverError(errors.UNSUPPORTED_EVENT, detail) from None
        context = parsed.requestContext
        headers = {name.lower(): value for name, value in (parsed.headers or {}).items()}
        iam = context.authorizer.iam if context.authorizer else None
        caller = caller_of(
            iam.userArn if iam else None,
            context.http.sourceIp,
            lambda name: headers.get(name, ""),
            edge_distribution_arn,
        )
        invocation.caller = caller._replace(is_verified=context.requestId == invocation.lambda_request_id)
        invocation.identify(context.requestId)
        return cls(
            method=context.http.method.upper(),
            raw_path=parsed.rawPath,
            query=parsed.queryStringParameters or {},
            headers=headers,
            invocation=invocation,
            encoded_body=parsed.body or "",
            is_base64=parsed.isBase64Encoded is True,
        )

    @property
    def path(self) -> str:
        """The decoded path; empty, which matches no route, if it is too long or not UTF-8."""
        if len(self.raw_path) > LONGEST_PATH:
            return ""
        try:
            return unquote(self.raw_path, errors="strict")
        except UnicodeDecodeError:
            return ""

    @property
    def first_part(self) -> str:
        """The first part of the path, decoded; empty if there is none."""
        before, _, path = self.raw_path.partition("/")
        return "" if before else unquote(path.partition("/")[0])

    def header(self, name: str) -> str:
        """Return a header's value by its name in lower case, an empty string if there is none."""
        return self.headers.get(name, "")

    @property
    def content_type(self) -> str:
        """The body's media type, in lower case and without parameters; empty if there is none."""
        return self.header("content-type").partition(";")[0].strip().lower()

    def text(self, longest: int = LARGEST_BODY) -> str:
        """Return the body, of at most `longest` bytes.

        Raises:
            ResolverError: `errors.INVALID_PARAMETER`, if there is no body or it isn't text; `errors.REQUEST_TOO_LARGE`.
        """
        if not self.encoded_body:
            raise ResolverError(errors.INVALID_PARAMETER, "The request has no body. Post a JSON document.")
        try:
            encoded = self.encoded_body
            content = base64.b64decode(encoded, validate=True) if self.is_base64 else encoded.encode()
            text = content.decode()
        except (binascii.Error, ValueError):
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
    def json(cls, content: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> "Response":
        """Return the answer whose body is a JSON document."""
        return cls(200, {"Content-Type": "application/json", **(headers or {})}, to_json(content))


Answer = Callable[..., Response]


class Route:
    """A route: its paths, and the function that answers each method.

    A part of the template in angle brackets matches one part of a path, and `<name>` one or more, because repositories'
    names have slashes. Parts are compared from the end, so a name may contain a route's words.

    Args:
        template: The path, such as `/v2/<name>/blobs/<digest>`.
        answers: The function that answers each method. HEAD is GET without the body (RFC 9110, section 9.3.2), unless
            it has its own; the platform leaves the body out.
    """

    def __init__(self, template: str, answers: Mapping[str, Answer]) -> None:
        self.template = template
        self.answers = {"HEAD": answers["GET"], **answers} if "GET" in answers else dict(answers)
        before, _, after = template.partition("<name>")
        self._before = before
        self._after = after.split("/")[1:]
        self.has_name = "<name>" in template

    def match(self, path: str) -> dict[str, str] | None:
        """Return the path's parts by their names in the template; None if it is another route's path."""
        if not self.has_name:
            return {} if path == self.template else None
        if not path.startswith(self._before):
            return None
        parts = path.removeprefix(self._before).rsplit("/", len(self._after))
        if len(parts) <= len(self._after) or not parts[0]:
            return None
        found = {"name": parts[0]}
        for expected, part in zip(self._after, parts[1:], strict=True):
            if expected.startswith("<") and part:
                found[expected[1:-1]] = part
            elif part != expected:
                return None
        return found


class Api(Protocol):
    """One of the APIs behind the function URL."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of each of its answers."""

    @property
    def routes(self) -> Sequence[Route]:
        """Its routes; the first that matches answers."""

    @property
    def advice(self) -> Mapping[str, str]:
        """Messages for an unknown route or method by the row's code, in place of the row's own."""

    def error_status(self, error: ResolverError) -> int:
        """Return an error's status in this API."""

    def error_body(self, error: ResolverError, request_id: str) -> tuple[str, Mapping[str, Any]]:
        """Return an error's media type and body."""


class FunctionUrl:
    """Answers requests, one at a time, as Lambda passes them on.

    Args:
        apis: The APIs by the first part of their paths; the one without a name has all other paths.
        edge_distribution_arn: The CloudFront distribution in front of the function URL, if there is one.
    """

    def __init__(self, apis: Mapping[str, Api], edge_distribution_arn: str | None = None) -> None:
        self._apis = apis
        self._edge_distribution_arn = edge_distribution_arn

    def answer(self, event: Mapping[str, Any], invocation: Invocation) -> dict[str, Any]:
        """Return the response in payload format 2.0 to one request, whatever goes wrong."""
        invocation.trigger, invocation.caller = "http", PUBLIC
        api = self._apis[""]
        try:
            request = Request.of(event, invocation, self._edge_distribution_arn)
            api = self._apis.get(request.first_part, api)
            payload = _payload(api, _routed(api, request))
        except Exception as cause:
            invocation.error, invocation.resolved = errors.as_resolver_error(cause), ()
            payload = _payload(api, _error_response(api, invocation.error, invocation))
        invocation.status = payload["statusCode"]
        return payload


def to_json(content: Mapping[str, Any]) -> str:
    """Return a JSON document, without spaces."""
    return json.dumps(content, separators=(",", ":"))


def _routed(api: Api, request: Request) -> Response:
    path = request.path
    for route in api.routes:
        parts = route.match(path)
        if parts is None:
            continue
        answer = route.answers.get(request.method)
        if answer is None:
            allowed = ", ".join(sorted(route.answers))
            detail = api.advice.get(errors.METHOD_NOT_ALLOWED.code)
            raise ResolverError(errors.METHOD_NOT_ALLOWED, detail, headers={"Allow": allowed})
        request.invocation.route = f"{request.method} {route.template}"
        response = answer(request, **parts)
        if request.method == "HEAD":
            # The platform leaves out the body, which has the download URLs or the manifest.
            request.invocation.resolved, request.invocation.gives_image = (), False
        return response
    raise ResolverError(errors.ROUTE_NOT_FOUND, api.advice.get(errors.ROUTE_NOT_FOUND.code))


def _error_response(api: Api, error: ResolverError, invocation: Invocation) -> Response:
    media_type, content = api.error_body(error, invocation.request_id)
    headers = {"Content-Type": media_type, **error.headers}
    if error.kind.retry_after_seconds is not None:
        headers["Retry-After"] = str(error.kind.retry_after_seconds)
    return Response(api.error_status(error), headers, to_json(content))


def _payload(api: Api, response: Response) -> dict[str, Any]:
    """Return an answer in payload format 2.0; every answer passes here.

    Raises:
        ResolverError: If it is larger than Lambda takes, or a header has a value that no header can have.
    """
    headers = {**_HEADERS, **api.headers, **response.headers}
    values = "".join(headers.values())
    if not values.isascii() or values.encode().translate(None, _PRINTABLE):
        raise ResolverError(errors.INTERNAL_ERROR)
    body = response.body
    # Escaping takes at most six characters for one, so most answers need not be measured.
    if len(body) * 6 > LARGEST_ANSWER_BYTES and len(json.dumps(body)) > LARGEST_ANSWER_BYTES:
        raise ResolverError(errors.RESULT_TOO_LARGE)
    return {"statusCode": response.status, "headers": headers, "body": body}
