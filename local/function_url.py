"""The front of a function URL: HTTP requests to events, and the function's answers back (payload format 2.0).

Source: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
"""

import base64
import json
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import parse_qsl

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from local.execution_environment import Result
from local.lambda_service import MAXIMUM_PAYLOAD_BYTES
from local.sigv4 import RequestVerifier

# Bodies of other types arrive base64-encoded, those of HTML forms among them.
_TEXT = re.compile(r"text/.*|application/(?:json|javascript|xml)", re.IGNORECASE)
_HeaderName = Annotated[str, StringConstraints(to_lower=True, pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]
_HeaderValue = Annotated[str, BeforeValidator(str), StringConstraints(pattern=r"^[\t -~]*$")]

# Of the connection and not of the answer: the front sets these itself.
_CONNECTION_HEADERS = frozenset({"connection", "date", "keep-alive", "transfer-encoding", "upgrade"})

# What function URLs are reported to rename, so that a client does not see it under its name.
# https://github.com/cargo-lambda/cargo-lambda/issues/862
_RENAMED_HEADERS = frozenset({"connection", "content-length", "date", "server", "www-authenticate"})
_RENAMED_PREFIX = "x-amzn-remapped-"

LOCAL_CALLER_ARN = "arn:aws:iam::123456789012:user/local-caller"
"""Who signs requests, if nothing else is said."""


class _Answer(BaseModel):
    """An answer of the function, in payload format 2.0."""

    model_config = ConfigDict(alias_generator=to_camel)

    status_code: Annotated[int, Field(ge=200, le=599, strict=True)]
    headers: dict[_HeaderName, _HeaderValue] | None = None
    cookies: list[_HeaderValue] | None = None
    body: str | None = None
    is_base64_encoded: Annotated[bool, Field(alias="isBase64Encoded")] = False

    @property
    def content(self) -> bytes:
        """The body's bytes.

        Raises:
            ValueError: If it should be encoded, and isn't.
        """
        body = self.body or ""
        return base64.b64decode(body, validate=True) if self.is_base64_encoded else body.encode()


def create_function_url_app(
    invoke: Callable[[bytes, str], Result],
    *,
    renames_headers: bool = False,
    verifier: RequestVerifier | None = None,
    caller_arn: str = LOCAL_CALLER_ARN,
) -> ASGIApp:
    """Return the application that answers any request by invoking the function.

    Args:
        invoke: Runs the function; takes the event as JSON in UTF-8, and the request id.
        renames_headers: Whether headers that the function sets for the platform's own arrive under another name, as is
            reported of function URLs. It is not proven for answers that are not streamed, as ours.
        verifier: Who may call, as with the auth AWS_IAM; without one, everyone.
        caller_arn: The IAM ARN of the only one who may.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        response = await answer(Request(scope, receive))
        await response(scope, receive, send)

    async def answer(request: Request) -> Response:
        request_id = str(uuid.uuid4())
        body = await request.body()
        if verifier is not None and not _is_signed(verifier, request, body):
            return _platform_answer(403, "Forbidden", request_id, "Message")
        event = json.dumps(_event(request, body, request_id, _caller(verifier, caller_arn))).encode()
        if len(event) > MAXIMUM_PAYLOAD_BYTES:
            return _platform_answer(413, "Request Entity Too Large", request_id)
        result = await run_in_threadpool(invoke, event, request_id)
        if result.is_error:
            return _platform_answer(502, "Internal Server Error", request_id)
        try:
            return _response(request.method, result.payload, request_id, renames_headers=renames_headers)
        except ValueError:
            return _platform_answer(502, "Internal Server Error", request_id)

    return app


def _is_signed(verifier: RequestVerifier, request: Request, body: bytes) -> bool:
    target = request.scope["raw_path"].decode("latin-1")
    if request.scope["query_string"]:
        target += "?" + request.scope["query_string"].decode("latin-1")
    url = f"http://{request.headers.get('host', '')}{target}"
    return verifier.is_signed(request.method, url, request.headers, body, datetime.now(UTC))


def _caller(verifier: RequestVerifier | None, arn: str) -> dict[str, Any]:
    """Return what an event says of who signed its request, which is nothing if nobody has to.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
    """
    if verifier is None:
        return {}
    iam = {
        "accessKey": verifier.credentials.access_key,
        "accountId": arn.split(":")[4],
        "callerId": "AIDALOCALCALLERXXXXX",
        "cognitoIdentity": None,
        "principalOrgId": None,
        "userArn": arn,
        "userId": "AIDALOCALCALLERXXXXX",
    }
    return {"authorizer": {"iam": iam}}


def _event(request: Request, body: bytes, request_id: str, caller: dict[str, Any]) -> dict[str, Any]:
    now = datetime.now(UTC)
    host = request.headers.get("host", "")
    headers = _headers(request)
    # Function URLs leave them in the header too: https://github.com/aws/aws-lambda-rust-runtime/pull/586.
    cookies = [cookie.strip() for cookie in headers.get("cookie", "").split(";") if cookie.strip()]
    # Function URLs hand on the path as it was sent, percent-encoded: https://github.com/hotsock/voker/pull/8.
    path = request.scope["raw_path"].decode("latin-1")
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": request.scope["query_string"].decode("latin-1"),
        "headers": headers,
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "local",
            "domainName": host,
            "domainPrefix": host.partition(".")[0],
            "http": {
                "method": request.method,
                "path": path,
                "protocol": f"HTTP/{request.scope['http_version']}",
                "sourceIp": request.client.host if request.client else "",
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": request_id,
            "routeKey": "$default",
            "stage": "$default",
            "time": now.strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "timeEpoch": int(now.timestamp() * 1000),
            **caller,
        },
        "isBase64Encoded": False,
    }
    if cookies:
        event["cookies"] = cookies
    if event["rawQueryString"]:
        event["queryStringParameters"] = _joined(parse_qsl(event["rawQueryString"], keep_blank_values=True))
    if body:
        event["body"], event["isBase64Encoded"] = _body(body, headers.get("content-type", ""))
    return event


def _headers(request: Request) -> dict[str, str]:
    headers = _joined([(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw])
    return headers | {
        "x-forwarded-for": request.client.host if request.client else "",
        "x-forwarded-port": str((request.scope.get("server") or ("", 0))[1]),
        "x-forwarded-proto": request.scope["scheme"],
    }


def _joined(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Return pairs as a mapping; values of the same name are joined with commas, as payload format 2.0 does."""
    joined: dict[str, str] = {}
    for name, value in pairs:
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def _body(body: bytes, content_type: str) -> tuple[str, bool]:
    """Return a body as the event has it, and whether it is base64-encoded."""
    if _TEXT.fullmatch(content_type.partition(";")[0].strip()):
        try:
            return body.decode(), False
        except UnicodeDecodeError:
            pass
    return base64.b64encode(body).decode(), True


def _response(method: str, payload: bytes, request_id: str, *, renames_headers: bool) -> Response:
    """Return the response that the function's answer means.

    Raises:
        ValueError: If the answer is malformed.
    """
    document = json.loads(payload)
    if not isinstance(document, dict) or "statusCode" not in document:
        # Payload format 2.0 takes any other JSON, a string with its quotation marks too, for the body of a 200.
        document = {"statusCode": 200, "body": payload.decode()}
    answer = _Answer.model_validate(document)
    headers = answer.headers or {}
    headers = _renamed(headers) if renames_headers else _without_the_platforms_own(headers, method)
    # HTTP has no body with these, and a client takes one for the start of the next answer.
    is_empty = answer.status_code in {204, 304}
    response = Response(b"" if is_empty else answer.content, answer.status_code)
    for name, value in {"content-type": "application/json", **headers}.items():
        response.headers[name] = value
    if is_empty:
        del response.headers["content-length"]
    for cookie in answer.cookies or []:
        response.headers.append("set-cookie", cookie)
    response.headers["x-amzn-requestid"] = request_id
    return response


def _renamed(headers: dict[str, str]) -> dict[str, str]:
    return {f"{_RENAMED_PREFIX}{name}" if name in _RENAMED_HEADERS else name: value for name, value in headers.items()}


def _without_the_platforms_own(headers: dict[str, str], method: str) -> dict[str, str]:
    """Return the headers without those that the platform sets: the length too, but for HEAD, which has no body."""
    kept = {name: value for name, value in headers.items() if name not in _CONNECTION_HEADERS}
    length = kept.pop("content-length", None)
    return kept if length is None or method != "HEAD" else {**kept, "content-length": str(int(length))}


def _platform_answer(status: int, message: str, request_id: str, member: str = "message") -> Response:
    """Return an answer that comes from Lambda and not from the function."""
    return JSONResponse({member: message}, status, {"x-amzn-requestid": request_id})
