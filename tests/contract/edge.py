"""Requests as CloudFront gives them to its function, and as the function URL gives them to ours."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from layer_resolver.handler import create_handler
from layer_resolver.settings import Settings
from tests.unit.fakes import Context, FakeEcr, digest, ecr_error, function_url_event

Store = Mapping[str, str | None] | None
Headers = dict[str, list[str]]
Repository = tuple[str | None, str]

REGISTRY = "210987654321"
SETTINGS: dict[str, Any] = {
    "edge": True,
    "imagePull": True,
    "repositories": ["public/*", "team/*", "open/*"],
    "registries": [REGISTRY],
    "publicRepositories": ["public/*", "team/open", f"{REGISTRY}/open/app"],
    "allowedOrigins": ["https://app.example.com"],
}

_SEED = "correct horse battery staple"
_HASH = hashlib.sha256(_SEED.encode()).hexdigest()
_FUTURE, _PAST = "2999-01-01T00:00:00Z", "2020-01-01T00:00:00Z"


def token(*repositories: str, not_after: object = _FUTURE, password: str = _SEED, **more: object) -> str:
    """Return the entry of a token in the store."""
    return json.dumps(
        {
            "sha256": hashlib.sha256(password.encode()).hexdigest(),
            "repositories": list(repositories),
            "notAfter": not_after,
            "created": "2020-01-01T00:00:00Z",
            **more,
        }
    )


def _replaced(not_after: object, **more: object) -> str:
    """Return the entry of a token whose password `_SEED` was replaced by another."""
    return token("team/*", password="new", previous={"sha256": _HASH, "notAfter": not_after}, **more)


STORE = {
    "team": token("team/*"),
    "exact": token("team/app"),
    "all": token("*"),
    "other": token(f"{REGISTRY}/team/*"),
    "own": token("123456789012/*"),
    "several": token("web/*", "team/app"),
    "unlisted": token("109876543210/team/*"),
    "digits": token("1*", "109876543210*", "2*"),
    "nowhere": token(),
    "expired": token("team/*", not_after=_PAST),
    "undated": token("team/*", not_after=None),
    "misdated": token("team/*", not_after="whenever"),
    "colon": token("team/*", password="a:b"),
    "unhashed": json.dumps({"repositories": ["team/*"], "notAfter": _FUTURE}),
    "broken": json.dumps({"sha256": _HASH, "notAfter": _FUTURE}),
    "overlong": token("team/*").replace(_HASH, f"{_HASH}00"),
    "paused": token("team/*", paused=True),
    "resumed": token("team/*", paused=False),
    "begun": token("team/*", notBefore=_PAST),
    "early": token("team/*", notBefore=_FUTURE),
    "unbegun": token("team/*", notBefore="whenever"),
    "rotated": _replaced(_FUTURE),
    "rotatedout": _replaced(_PAST),
    "rotatedpaused": _replaced(_FUTURE, paused=True),
    "rotatedbadly": token("team/*", password="new", previous="x"),
    "garbled": "{",
    "nothing": "null",
}


def basic(name: str, password: str = _SEED) -> str:
    """Return the header's value that Basic authentication has."""
    return f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"


def _authorized(*values: str) -> Headers:
    return {"authorization": list(values)}


WHO: dict[str, tuple[Headers, Store]] = {
    **{name: (_authorized(basic(name)), STORE) for name in STORE if name != "colon"},
    "none": ({}, STORE),
    # What skopeo sends if it has no credentials and was asked for some.
    "anonymous": (_authorized(basic("", "")), STORE),
    "wrong": (_authorized(basic("team", "guess")), STORE),
    "longer": (_authorized(basic("team", f"{_SEED}x")), STORE),
    "shorter": (_authorized(basic("team", _SEED[:-1])), STORE),
    "hashed": (_authorized(basic("team", _HASH)), STORE),
    "unknown": (_authorized(basic("nobody")), STORE),
    "prototype": (_authorized(basic("constructor")), STORE),
    "longname": (_authorized(basic("a" * 65)), STORE | {"a" * 65: token("*")}),
    "bearer": (_authorized(f"Bearer {_SEED}"), STORE),
    "signed": (_authorized("AWS4-HMAC-SHA256 Credential=AKIA/20260101/us-east-1/lambda/aws4_request"), STORE),
    "twice": (_authorized(basic("team"), basic("team")), STORE),
    "nocolon": (_authorized(f"Basic {base64.b64encode(b'team').decode()}"), STORE),
    "noname": (_authorized(basic("")), STORE | {"": token("*")}),
    "notbase64": (_authorized(f"{basic('team')}!"), STORE),
    "urlsafe": (_authorized(f"{basic('team')}-_"), STORE),
    "emptybasic": (_authorized("Basic "), STORE),
    "lowercase": (_authorized(basic("team").replace("Basic", "basic")), STORE),
    "colon": (_authorized(basic("colon", "a:b")), STORE),
    "down": (_authorized(basic("team")), None),
    "unread": (_authorized(basic("team")), STORE | {"team": None}),
    # A client that says itself which token let it in.
    "named": ({"x-ecr-layers-token": ["team"]}, STORE),
    "page": (
        _authorized(basic("team"))
        | {"origin": ["https://app.example.com"], "access-control-request-method": ["GET"], "range": ["bytes=0-1"]},
        STORE,
    ),
    "foreign": ({"origin": ["https://example.com"], "access-control-request-method": ["GET"]}, STORE),
}


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    who: str
    method: str
    target: str
    decision: str

    @property
    def status(self) -> int | None:
        """The status with which the edge answers itself, None if the request goes on."""
        return int(self.decision) if self.decision.isdecimal() else None

    @property
    def token(self) -> str | None:
        """The token with which it goes on, None if none is needed."""
        if self.decision.startswith("public "):
            return None
        return "team" if self.who in {"lowercase", "page"} else self.who

    @property
    def repository(self) -> Repository | None:
        """The registry, if there is one in it, and the repository that both sides read."""
        *registry, name = re.sub(r" \(\d+\)$", "", self.decision).split(" ")[1:]
        return None if name == "-" else (registry[0] if registry else None, name)

    @property
    def answer(self) -> int | None:
        """The status with which the function answers without asking ECR, None if it asks."""
        found = re.search(r"\((\d+)\)$", self.decision)
        return int(found[1]) if found else None


def rows() -> Iterator[Row]:
    """Give the rows of the table."""
    text = (Path(__file__).parent / "edge_requests.txt").read_text()
    for line in text.splitlines():
        if line and not line.startswith("#"):
            request, _, decision = line.partition(" -> ")
            who, method, target = request.split()
            target = target.replace("{d}", digest()).replace("{D}", digest().replace(":", "%3A"))
            yield Row(who, method, target, decision)


def cloudfront_event(method: str, target: str, headers: Headers) -> dict[str, Any]:
    """Return the event of a viewer request, in which nothing is decoded.

    Source: https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/functions-event-structure.html
    """
    path, _, query = target.partition("?")
    parameters: dict[str, list[str]] = {}
    for each in query.split("&") if query else []:
        name, _, value = each.partition("=")
        parameters.setdefault(name, []).append(value)
    return {
        "version": "1.0",
        "context": {"eventType": "viewer-request", "requestId": "EXAMPLE=="},
        "viewer": {"ip": "203.0.113.7"},
        "request": {
            "method": method,
            "uri": path,
            "querystring": {name: _structured(values) for name, values in parameters.items()},
            "headers": {name: _structured(values) for name, values in headers.items()},
            "cookies": {},
        },
    }


def _structured(values: list[str]) -> dict[str, Any]:
    first = {"value": values[0]}
    return first | {"multiValue": [{"value": value} for value in values]} if len(values) > 1 else first


def functions_reading(
    method: str, target: str, registries: tuple[str, ...] = (REGISTRY,)
) -> tuple[int, set[Repository]]:
    """Return the status of the function's answer, and what it asked ECR about, for a request that CloudFront passed on.

    ECR has nothing. Lambda decodes the query, and joins repeated values:
    https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
    """
    path, _, query = target.partition("?")
    parameters: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        parameters[name] = f"{parameters[name]},{value}" if name in parameters else value
    ecr = FakeEcr(answer=ecr_error("LayersNotFoundException"))
    settings = Settings(allowed_registries=registries, image_pull=True, list_tags=True)
    status = create_handler(ecr, settings)(function_url_event(method, path, parameters), Context())["statusCode"]
    return status, {(each.get("registryId"), each["repositoryName"]) for each in (*ecr.calls, *ecr.image_calls)}
