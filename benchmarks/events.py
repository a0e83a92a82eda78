"""Requests as a function URL gives them to the function, and the layers that they ask for."""

import hashlib
import itertools
import json
from typing import Any
from urllib.parse import urlencode

REPOSITORY = "team/app"

_numbers = itertools.count()


def new_digests(count: int) -> list[str]:
    """Return digests of layers that nobody has asked for before."""
    return [f"sha256:{hashlib.sha256(str(next(_numbers)).encode()).hexdigest()}" for _ in range(count)]


def download_url(digest: str) -> dict[str, Any]:
    """Return the request for one layer."""
    return _event("GET", "/download-url", query={"repositoryName": REPOSITORY, "layerDigest": digest})


def blob(digest: str) -> dict[str, Any]:
    """Return the request of an OCI client for one layer."""
    return _event("GET", f"/v2/{REPOSITORY}/blobs/{digest}")


def download_urls(digests: list[str]) -> dict[str, Any]:
    """Return the request for many layers."""
    return _event("POST", "/download-urls", body=json.dumps({"repositoryName": REPOSITORY, "layerDigests": digests}))


def _event(method: str, path: str, query: dict[str, str] | None = None, body: str | None = None) -> dict[str, Any]:
    """Return an event of payload format 2.0, signed by an IAM role.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
    """
    host = "abcdefghijklmnopqrstuvwxyz0123456.lambda-url.us-east-1.on.aws"
    role = "arn:aws:sts::123456789012:assumed-role/build/build-1234"
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": urlencode(query or {}),
        "headers": {
            "accept": "*/*",
            "host": host,
            "user-agent": "python-httpx/0.28.1",
            "x-amz-date": "20260101T000000Z",
            "x-amz-security-token": "x" * 800,
            "x-amzn-trace-id": "Self=1-67891234-12456789abcdef012345678;Root=1-67891233-abcdef012345678912345678",
            "x-forwarded-for": "192.0.2.1",
            "x-forwarded-port": "443",
            "x-forwarded-proto": "https",
        },
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abcdefghijklmnopqrstuvwxyz0123456",
            "authorizer": {
                "iam": {
                    "accessKey": "ASIABENCHMARKXXXXXXX",
                    "accountId": "123456789012",
                    "callerId": "AROABENCHMARKXXXXXXXX:build-1234",
                    "cognitoIdentity": None,
                    "principalOrgId": "o-benchmark12",
                    "userArn": role,
                    "userId": "AROABENCHMARKXXXXXXXX:build-1234",
                }
            },
            "domainName": host,
            "domainPrefix": "abcdefghijklmnopqrstuvwxyz0123456",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "python-httpx/0.28.1",
            },
            "requestId": "e1506fd5-9e7b-434f-bd42-4f8fa224b599",
            "routeKey": "$default",
            "stage": "$default",
            "time": "01/Jan/2026:00:00:00 +0000",
            "timeEpoch": 1767225600000,
        },
        "isBase64Encoded": False,
    }
    if query:
        event["queryStringParameters"] = query
    if body is not None:
        event["headers"]["content-type"] = "application/json"
        event["body"] = body
    return event
