"""The one front for HTTP: reads a request, finds its route, and renders the answer or what went wrong.

The APIs behind it (http_api.py, registry_api.py) hold their routes and their own way to write an error, and nothing
else. Knows nothing of ECR.
"""

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote

from layer_resolver.callers import caller_of
from layer_resolver.errors import (
    INTERNAL_ERROR,
    INVALID_PARAMETER,
    METHOD_NOT_ALLOWED,
    REQUEST_TOO_LARGE,
    RESULT_TOO_LARGE,
    ROUTE_NOT_FOUND,
    UNSUPPORTED_EVENT,
    ResolverError,
    as_resolver_error,
)
from layer_resolver.invocation import Invocation

LARGEST_ANSWER_BYTES = 6 * 1024 * 1024 - 64 * 1024
"""How large an answer may be as JSON: Lambda's 6 MB, beyond which callers get a bare 502, less room for its record."""

LARGEST_ERROR_BYTES = 16 * 1024
"""How large the body of an error may be."""

LARGEST_BODY = 1024 * 1024
"""How many characters the body of a request may have."""

LONGEST_PATH = 8 * 1024
"""How many characters a path may have: much more than a repository's name, 256, and a digest."""

# No cache may keep an answer that does not allow it: it holds a secret, or an error that will pass.
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_encode = json.JSONEncoder(separators=(",", ":")).encode
_PRINTABLE = bytes(range(0x20, 0x7F))


class Request(NamedTuple):
    """A request to the function URL.

    Attributes:
        method: The HTTP method, in upper case.
        raw_path: The path as it was sent.
        query: The decoded parameters of the query; values of one name are joined by commas.
        headers: The headers, whose names the platform gives in lower case; values of one name are joined by commas.
        invocation: The invocation that answers it: its deadline, and what is recorded of it.
        encoded_body: The body as the event has it; `text` decodes it.
        is_base64: Whether that is base64.
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
        """Return the request that an event of a function URL is, payload format 2.0.

        Source: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads

        Args:
            event: The event.
            invocation: The invocation, which records the caller.
            edge_distribution_arn: The CloudFront distribution in front of the function URL, if there is one.

        Raises:
            ResolverError: `UNSUPPORTED_EVENT`, if it is not such an event.
        """
        context = _structure(event, "requestContext")
        http = _structure(context, "http")
        invocation.identify(_text(context, "requestId"))
        request = cls(
            method=_text(http, "method").upper(),
            raw_path=_text(event, "rawPath"),
            query=_texts(event, "queryStringParameters"),
            headers=_texts(event, "headers"),
            invocation=invocation,
            encoded_body=_text(event, "body"),
            is_base64=event.get("isBase64Encoded") is True,
        )
        caller = caller_of(context, request.header, edge_distribution_arn)
        invocation.caller_kind, invocation.caller, invocation.source_ip = caller.kind, caller.name, caller.source_ip
        return request

    @property
    def path(self) -> str:
        """The path, decoded; empty, which matches no route, if it is too long or not UTF-8."""
        if len(self.raw_path) > LONGEST_PATH:
            return ""
        if "%" not in self.raw_path:
            return self.raw_path
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
        """Return the value of a header by its name in lower case, an empty string if there is none."""
        value = self.headers.get(name)
        if value is None:
            value = next((value for each, value in self.headers.items() if each.lower() == name), None)
        return value or ""

    @property
    def content_type(self) -> str:
        """The media type of the body, in lower case and without parameters; empty if there is none."""
        return self.header("content-type").partition(";")[0].strip().lower()

    def text(self, longest: int = LARGEST_BODY) -> str:
        """Return the body.

        Args:
            longest: How many bytes it may have.

        Raises:
            ResolverError: `INVALID_PARAMETER`, if there is no body or it is not text; `REQUEST_TOO_LARGE`.
        """
        if not self.encoded_body:
            raise ResolverError(INVALID_PARAMETER, "The request has no body. Post a JSON document.")
        encoded = self.encoded_body
        try:
            content = base64.b64decode(encoded, validate=True) if self.is_base64 else encoded.encode()
            text = content.decode()
        except (binascii.Error, ValueError):
            raise ResolverError(INVALID_PARAMETER, "The body is not UTF-8 text. Post a JSON document.") from None
        if len(content) > longest:
            raise ResolverError(REQUEST_TOO_LARGE)
        return text


class Response(NamedTuple):
    """An answer over HTTP.

    Attributes:
        status: Its status.
        headers: Its headers, beside those that every answer has.
        body: Its body.
    """

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

    A part of the template in angle brackets matches one part of a path, which has no slash, except `<name>`: it matches
    one part or more, because the name of a repository has slashes. Parts are compared from the end, so a repository may
    have the words of a route in its name.

    Args:
        template: The path, such as `/v2/<name>/blobs/<digest>`.
        answers: The function that answers each method. HEAD is GET without the body (RFC 9110, section 9.3.2), unless
            it has its own; leaving the body out is the platform's part.
    """

    def __init__(self, template: str, answers: Mapping[str, Answer]) -> None:
        self.template = template
        self.answers = {"HEAD": answers["GET"], **answers} if "GET" in answers else dict(answers)
        before, _, after = template.partition("<name>")
        self._before = before
        self._after = after.split("/")[1:]
        self.has_name = "<name>" in template

    def match(self, path: str) -> dict[str, str] | None:
        """Return the parts of a path that the template has names for, None if the path is not of this route."""
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
    """One of the APIs that share the function URL."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that each of its answers has."""

    @property
    def routes(self) -> Sequence[Route]:
        """Its routes; the first that matches answers."""

    @property
    def advice(self) -> Mapping[str, str]:
        """Messages for an unknown route or method, by the row's code, which take the place of the row's own."""

    def error_status(self, error: ResolverError) -> int:
        """Return the status that an error has in this API."""

    def error_body(self, error: ResolverError, request_id: str) -> tuple[str, Mapping[str, Any]]:
        """Return an error's media type, and its body."""


class FunctionUrl:
    """Answers requests, one at a time, as Lambda gives them.

    Args:
        apis: The APIs by the first part of their paths; the one without a name has all other paths.
        edge_distribution_arn: The CloudFront distribution in front of the function URL, if there is one.
    """

    def __init__(self, apis: Mapping[str, Api], edge_distribution_arn: str | None = None) -> None:
        self._apis = apis
        self._edge_distribution_arn = edge_distribution_arn

    def answer(self, event: Mapping[str, Any], invocation: Invocation) -> dict[str, Any]:
        """Answer one request.

        Args:
            event: The function URL's event, payload format 2.0.
            invocation: Where it is recorded.

        Returns:
            The response in payload format 2.0. Whatever goes wrong is answered, and nothing raised.
        """
        invocation.trigger, invocation.caller_kind = "http", "public"
        api = self._apis[""]
        try:
            request = Request.of(event, invocation, self._edge_distribution_arn)
            api = self._apis.get(request.first_part, api)
            payload = _payload(api, _routed(api, request))
        except Exception as cause:
            invocation.error = as_resolver_error(cause)
            payload = _payload(api, _error_response(api, invocation.error, invocation))
        invocation.status = payload["statusCode"]
        return payload


def to_json(content: Mapping[str, Any]) -> str:
    """Return a JSON document, without spaces."""
    return _encode(content)


def _routed(api: Api, request: Request) -> Response:
    path = request.path
    for route in api.routes:
        parts = route.match(path)
        if parts is None:
            continue
        answer = route.answers.get(request.method)
        if answer is None:
            allowed = ", ".join(sorted(route.answers))
            detail = api.advice.get(METHOD_NOT_ALLOWED.code)
            raise ResolverError(METHOD_NOT_ALLOWED, detail, headers={"Allow": allowed})
        request.invocation.route = f"{request.method} {route.template}"
        return answer(request, **parts)
    raise ResolverError(ROUTE_NOT_FOUND, api.advice.get(ROUTE_NOT_FOUND.code))


def _error_response(api: Api, error: ResolverError, invocation: Invocation) -> Response:
    request_id = invocation.request_id or invocation.lambda_request_id
    media_type, content = api.error_body(error, request_id)
    body = to_json(content)
    if len(body) > LARGEST_ERROR_BYTES:
        # Only its lists can make an error long, never its message.
        bare = ResolverError(error.kind, error.detail, subject=error.subject)
        body = to_json(api.error_body(bare, request_id)[1])
    headers = {"Content-Type": media_type, **error.headers}
    if error.kind.retry_after_seconds is not None:
        headers["Retry-After"] = str(error.kind.retry_after_seconds)
    return Response(api.error_status(error), headers, body)


def _payload(api: Api, response: Response) -> dict[str, Any]:
    """Return an answer in payload format 2.0; every answer of the function passes here.

    Raises:
        ResolverError: If it is larger than Lambda takes, or a header has a value that no header can have.
    """
    headers = {**_HEADERS, **api.headers, **response.headers}
    values = "".join(headers.values())
    if not values.isascii() or values.encode().translate(None, _PRINTABLE):
        raise ResolverError(INTERNAL_ERROR)
    body = response.body
    # Escaping takes at most six characters for one, so most answers need not be measured.
    if len(body) * 6 > LARGEST_ANSWER_BYTES and len(json.dumps(body)) > LARGEST_ANSWER_BYTES:
        raise ResolverError(RESULT_TOO_LARGE)
    return {"statusCode": response.status, "headers": headers, "body": body}


def _structure(parent: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = parent.get(name)
    if not isinstance(value, dict):
        raise _malformed(name)
    return value


def _text(parent: Mapping[str, Any], name: str) -> str:
    value = parent.get(name)
    if value is not None and not isinstance(value, str):
        raise _malformed(name)
    return value or ""


def _texts(parent: Mapping[str, Any], name: str) -> Mapping[str, str]:
    value = parent.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise _malformed(name)
    return value


def _malformed(name: str) -> ResolverError:
    return ResolverError(
        UNSUPPORTED_EVENT, f"{UNSUPPORTED_EVENT.advice} {name} of this request is missing or malformed."
    )
