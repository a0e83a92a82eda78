"""Hostile inputs: events of any kind that a caller could send, made from a seed.

Secrets stand in many of them, in places where a caller may put them by mistake, and as callers may spell them; none has
the form of a name, digest or tag, so that no answer and no line of the log may have it.
"""

import base64
import json
import random
from collections.abc import Callable
from typing import Any

from layer_resolver.models import INDEX_MEDIA_TYPES, MANIFEST_MEDIA_TYPES
from tests.unit.fakes import digest, eventbridge_event, function_url_event, manifest

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY=="
MARKER = "K7MDENG"
"""What each of the secrets has in it, and nothing else."""

SPELLINGS = (
    SECRET,
    "K7MDENG+bPxRfiCYEXAMPLEKEY==",
    "Bearer K7MDENG",
    "Bearer%20K7MDENG",
    "AWS4-HMAC-SHA256 Credential=K7MDENG",
    "X-Amz-Signature=K7MDENG",
    "X-Amz-Signature%3DK7MDENG",
    "x-amz-signature%253Dk7mdeng",
    "token\\u003dK7MDENG",
    "X-Amz-Signature&#61;K7MDENG",
    "<Signature>K7MDENG</Signature>",
    '{"token": "K7MDENG"}',
    "token = K7MDENG",
    "K7MDENG" * 20,
    "K7MDENG\r\n",
    "https://K7MDENG@s3.us-east-1.amazonaws.com/",
)

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get", "", "\0", "G" * 5000, SECRET)
NAMES = (
    "team/app",
    "a",
    "ab",
    "a" * 256,
    "a" * 257,
    "TEAM/app",
    "team//app",
    "/team",
    "team/",
    "te am",
    "..",
    "../..",
    "%2e%2e",
    "a/blobs/b",
    "manifests/tags/list",
    "123456789012/team/app",
    "1" * 12,
    "ü",
    "\ud800",
    "team%2Fapp",
    "team/app\r\nX: y",
    "a-" * 500,
    "a/" * 4000,
    "a." * 5000,
    "http://" * 3000,
    "\0",
    "",
    *SPELLINGS,
)
DIGESTS = (
    digest(),
    digest(7),
    "sha256:",
    "sha256:abc",
    "sha512:" + "a" * 128,
    "SHA256:" + "A" * 64,
    "sha256:" + "A" * 64,
    "md5:00",
    "sha256:" + "a" * 65,
    "sha256:" + "a" * 5000,
    "sha256%3A" + "a" * 64,
    "latest",
    "a" * 128,
    "a" * 129,
    "-a",
    ":",
    "::",
    "",
    "\ud800",
    "sha256:" + "a" * 63 + "\n",
    "%",
    "%zz",
    "%C3%28",
    "%00",
    *SPELLINGS,
)
PATHS = (
    "/download-url",
    "/download-urls",
    "/images/download-urls",
    "/images/config",
    "/openapi.json",
    "/healthz",
    "/",
    "",
    "//",
    "/v2",
    "/v2/",
    "/v2//",
    "/v2/_catalog",
    "/v3/",
    "download-url",
    "/download-url/",
    "/DOWNLOAD-URL",
    "/%64ownload-url",
    "/v2/" + "a/" * 30_000,
    "/" + "%25" * 20_000,
    "/v2/%c3%28/tags/list",
    "/\ud800",
    "/" + "é" * 3000,
    *("/" + spelling for spelling in SPELLINGS),
)
ROUTES = (
    "/v2/{name}/blobs/{digest}",
    "/v2/{name}/manifests/{digest}",
    "/v2/{name}/tags/list",
    "/v2/{name}/referrers/{digest}",
    "/v2/{name}/blobs/uploads/",
    "/v2/{name}/blobs/uploads/{digest}",
    "/v2/{name}",
)
FIELDS = (
    "repositoryName",
    "layerDigest",
    "layerDigests",
    "registryId",
    "imageTag",
    "imageDigest",
    "imageManifest",
    "platform",
    "includeEnv",
    "n",
    "last",
    "artifactType",
    "nextToken",
    "repository_name",
    "repositoryname",
    "constructor",
    "__class__",
    "a" * 3000,
    "\ud800",
    "",
    *SPELLINGS,
)
HEADERS = (
    "content-type",
    "accept",
    "if-none-match",
    "authorization",
    "Content-Type",
    "x" * 3000,
    "\0",
    "range",
    "host",
)
CONTENT_TYPES = (
    *MANIFEST_MEDIA_TYPES,
    *INDEX_MEDIA_TYPES,
    "application/json",
    "text/plain",
    "",
    "a/b;" * 4000,
    "\r\nX: y",
    *SPELLINGS,
)
TEXTS = (
    *NAMES,
    *DIGESTS,
    "linux/amd64",
    "linux/arm64/v8",
    "1",
    "-1",
    "9" * 10,
    "9" * 5000,
    "1e9",
    "0x1",
    "true",
    "null",
    "*/*",
    "a/b;q=0" + ",a/b;q=0" * 2000,
    "application/" + "x" * 5000,
    "X-Amz-Signature%253D" * 300,
    "&amp;" * 3000,
    "\\u003d" * 2000,
)
ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    10**30,
    float("inf"),
    float("nan"),
    [],
    {},
    [[]],
    [None],
    {"a": {}},
    [SECRET],
    {SECRET: SECRET},
)


def any_value(choose: random.Random, depth: int = 0) -> Any:
    """Return a value of JSON, of any kind."""
    kind = choose.randrange(8)
    if kind < 4:
        return choose.choice(TEXTS)
    if kind == 4 or depth > 3:
        return choose.choice(ODD)
    if kind == 5:
        return [any_value(choose, depth + 1) for _ in range(choose.randrange(4))]
    return {choose.choice(FIELDS): any_value(choose, depth + 1) for _ in range(choose.randrange(4))}


def any_request(choose: random.Random) -> Any:
    """Return fields of a request, some of which are as they should be."""
    request: dict[str, Any] = {}
    if choose.random() < 0.8:
        request["repositoryName"] = "team/app" if choose.random() < 0.6 else any_value(choose)
    if choose.random() < 0.5:
        request["layerDigests"] = choose.choice(
            [
                [digest(choose.randrange(9))],
                list(DIGESTS),
                [],
                [digest()] * 600,
                list(map(digest, range(500))),
                any_value(choose),
            ]
        )
    elif choose.random() < 0.7:
        request["layerDigest"] = digest() if choose.random() < 0.6 else any_value(choose)
    for _ in range(choose.choice([0, 0, 0, 1, 3, 300])):
        request[choose.choice(FIELDS)] = any_value(choose)
    return request


def any_manifest(choose: random.Random) -> Any:
    """Return an image manifest or an index in which something is not as it should be."""
    document = manifest(choose.choice([*MANIFEST_MEDIA_TYPES, *INDEX_MEDIA_TYPES, None]))
    if choose.random() < 0.4:
        platform = choose.choice([{"os": "linux", "architecture": choose.choice(TEXTS)}, any_value(choose), None])
        entry = {"mediaType": MANIFEST_MEDIA_TYPES[0], "digest": digest(), "size": 5, "platform": platform}
        document = {"schemaVersion": 2, "manifests": [entry] * choose.choice([0, 1, 12, 600])}
    for _ in range(choose.randrange(3)):
        document[choose.choice(["config", "layers", "schemaVersion", "mediaType", "manifests", *FIELDS])] = any_value(
            choose
        )
    return document


def any_body(choose: random.Random) -> str:
    """Return the body of a request."""
    kind = choose.randrange(12)
    if kind < 4:
        return json.dumps(any_request(choose))
    if kind < 7:
        return json.dumps(any_manifest(choose))
    if kind == 7:
        return choose.choice(TEXTS)
    if kind == 8:
        text = json.dumps(any_request(choose))
        return text[: choose.randrange(len(text) + 1)]
    return choose.choice(
        [
            "[" * choose.choice([10, 1000, 100_000]),
            '{"a":' * 20_000,
            "9" * 20_000,
            '"' + "a" * 900_000 + '"',
            "\ufeff{}",
            "NaN",
            '{"repositoryName":"team/app","repositoryName":"team/other","layerDigest":"' + digest() + '"}',
            "null",
            "",
            "[" + "0," * 100_000 + "0]",
            '{"layerDigests":' + json.dumps([SECRET] * 2000) + "}",
            "a" * 1_200_000,
        ]
    )


def function_url_input(choose: random.Random) -> Any:
    """Return a request to the function URL."""
    kind = choose.randrange(10)
    if kind < 4:
        template = choose.choice(ROUTES)
        name = "team/app" if choose.random() < 0.5 else choose.choice(NAMES)
        path = template.replace("{name}", name).replace("{digest}", choose.choice(DIGESTS))
    else:
        path = choose.choice(PATHS[:6] if kind < 9 else PATHS)
    likely = "POST" if path == "/download-urls" else choose.choice(["GET", "HEAD", "POST"])
    query = {choose.choice(FIELDS): choose.choice(TEXTS) for _ in range(choose.choice([0, 0, 1, 2, 4, 60]))}
    if choose.random() < 0.5:
        query |= {
            "repositoryName": "team/app",
            choose.choice(["layerDigest", "imageTag", "imageDigest"]): choose.choice(DIGESTS),
        }
    body = any_body(choose) if choose.random() < 0.5 else None
    is_base64 = body is not None and choose.random() < 0.3
    if is_base64 and body is not None and choose.random() < 0.7:
        body = base64.b64encode(body.encode(errors="replace")).decode()
    event = function_url_event(
        likely if choose.random() < 0.8 else choose.choice(METHODS),
        path,
        query,
        body,
        content_type=choose.choice(CONTENT_TYPES),
        is_base64_encoded=is_base64,
        headers={choose.choice(HEADERS): choose.choice(TEXTS) for _ in range(choose.randrange(4))},
    )
    if choose.random() < 0.2:
        _break(event, choose)
    return event


def event_input(choose: random.Random) -> Any:
    """Return an event of EventBridge, or of something else."""
    kind = choose.randrange(6)
    detail = any_request(choose)
    if kind == 0:
        detail["imageManifest"] = json.dumps(any_manifest(choose))
    if kind == 1:
        detail = {
            "action-type": choose.choice(["PUSH", "DELETE", SECRET]),
            "result": choose.choice(["SUCCESS", "FAILURE", None]),
            "repository-name": choose.choice(NAMES),
            "image-digest": choose.choice(DIGESTS),
        }
    if kind == 2:
        return detail
    if kind == 3:
        return any_value(choose)
    types = ("ECR Layer Download URL Request", "ECR Image Action", "Scheduled Event", SECRET)
    event = eventbridge_event(detail, choose.choice(types))
    if choose.random() < 0.3:
        _break(event, choose)
    return event


def _break(event: dict[str, Any], choose: random.Random) -> None:
    place: Any = event
    while isinstance(place, dict) and place:
        name = choose.choice(list(place))
        if not isinstance(place[name], dict) or choose.random() < 0.5:
            if choose.random() < 0.3:
                del place[name]
            else:
                place[name] = any_value(choose)
            return
        place = place[name]


def any_event(choose: random.Random) -> Any:
    """Return any event: most are requests to the function URL, which anyone may send."""
    make: Callable[[random.Random], Any] = function_url_input if choose.random() < 0.75 else event_input
    return make(choose)
