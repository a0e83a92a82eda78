"""A service with keyless login, and ID tokens for it. Nothing is signed: the service trusts what it is sent."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.server import running


def id_token(audience: object, **claims: Any) -> str:
    """Return an ID token with these claims."""

    def encoded(document: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")

    return f"{encoded({'alg': 'RS256'})}.{encoded({'aud': audience, **claims})}.c2lnbmF0dXJl"


def refusal(status: int, message: str = "It is so.", **headers: str) -> Response:
    """Return an error as the service answers it."""
    return JSONResponse({"errors": [{"code": "CODE", "message": message}]}, status, headers)


@dataclass
class KeylessService:
    """A service that exchanges ID tokens.

    Attributes:
        received: The ID tokens that it was sent.
        answers: Its next answers instead of a token.
        seconds: The lifetime of its tokens.
        url: Its URL.
    """

    received: list[str] = field(default_factory=list)
    answers: list[Response] = field(default_factory=list)
    seconds: object = 3600
    url: str = ""

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")

    @property
    def issued(self) -> str:
        """The token that it answered last."""
        return f"eyJraWQiOi{len(self.received)}.c2ln"

    def id_token(self, **claims: Any) -> str:
        """Return an ID token for it."""
        return id_token(self.host, **claims)

    async def exchange(self, request: Request) -> Response:
        scheme, _, encoded = request.headers["authorization"].partition(" ")
        assert (scheme, str(request.url.query)) == ("Basic", f"service={quote(self.host)}")
        self.received.append(base64.b64decode(encoded).decode().partition(":")[2])
        if self.answers:
            return self.answers.pop(0)
        return JSONResponse({"token": self.issued, "expires_in": self.seconds})


@pytest.fixture
def service() -> Iterator[KeylessService]:
    """Serve keyless login on a loopback address."""
    keyless = KeylessService()
    with running(Starlette(routes=[Route("/token", keyless.exchange)])) as url:
        keyless.url = url
        yield keyless
