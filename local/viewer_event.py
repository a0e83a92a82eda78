"""Requests as CloudFront functions see them, and back.

Source: https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/functions-event-structure.html
"""

import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/edge-functions-restrictions.html
_HIDDEN_HEADERS = frozenset({"connection", "keep-alive", "trailer", "upgrade", "x-amzn-requestid", "x-cache"})

Headers = list[tuple[str, str]]
"""Names, in lower case, and values."""


def viewer_event(request: Request, distribution: str) -> dict[str, Any]:
    """Return the event of a viewer's request to a distribution, by its domain name."""
    headers = headers_of(request)
    query = request.scope["query_string"].decode("latin-1")
    return {
        "version": "1.0",
        "context": {
            "distributionDomainName": distribution,
            "distributionId": "EDFDVBD6EXAMPLE",
            "eventType": "viewer-request",
            "requestId": str(uuid.uuid4()),
        },
        "viewer": {"ip": request.client.host if request.client else ""},
        "request": {
            "method": request.method,
            "uri": request.scope["raw_path"].decode("latin-1"),
            # Names and values are as they were sent, percent-encoded.
            "querystring": _fields([_pair(part) for part in query.split("&") if part]),
            # The functions read no cookies, and the origin request policies forward none.
            "headers": _fields([(name, value) for name, value in headers if name != "cookie"]),
            "cookies": {},
        },
    }


def response_event(event: Mapping[str, Any], response: Response) -> dict[str, Any]:
    """Return the event of an answer to a viewer's request."""
    headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in response.raw_headers]
    return {
        **event,
        "context": {**event["context"], "eventType": "viewer-response"},
        "response": {
            "statusCode": response.status_code,
            "statusDescription": HTTPStatus(response.status_code).phrase,
            "headers": _fields([(name, value) for name, value in headers if name not in _HIDDEN_HEADERS]),
            "cookies": {},
        },
    }


def apply_response(returned: Mapping[str, Any], response: Response) -> None:
    """Change an answer's headers to those that a function returned."""
    hidden = [(name, value) for name, value in response.raw_headers if name.decode("latin-1") in _HIDDEN_HEADERS]
    shown = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs_of(returned["headers"])]
    # In its place, because the response has another view of the same list.
    response.raw_headers[:] = [*hidden, *shown]


def headers_of(request: Request) -> Headers:
    """Return the headers of a request."""
    return [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in request.headers.raw]


def target_of(
    request: Request, sent: Mapping[str, Any] | None = None, returned: Mapping[str, Any] | None = None
) -> str:
    """Return a request's path and query, as sent or as a function has changed them."""
    query = request.scope["query_string"].decode("latin-1")
    path: str = request.scope["raw_path"].decode("latin-1")
    if sent and returned and (sent["uri"], sent["querystring"]) != (returned["uri"], returned["querystring"]):
        query = "&".join(f"{name}={value}" for name, value in pairs_of(returned["querystring"]))
        path = returned["uri"]
    return f"{path}?{query}" if query else path


def pairs_of(fields: Mapping[str, Any]) -> Headers:
    """Return fields of an event as names and values."""
    return [(name, each["value"]) for name, field in fields.items() for each in field.get("multiValue") or [field]]


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def _fields(pairs: Headers) -> dict[str, Any]:
    """Return pairs as fields of an event; a name that is repeated has all its values, beside the first."""
    values: dict[str, list[dict[str, str]]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append({"value": value})
    return {name: {**all_[0], **({"multiValue": all_} if len(all_) > 1 else {})} for name, all_ in values.items()}
