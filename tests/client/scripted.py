"""A service that answers as a test says."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ecr_layers import Client
from local.server import running
from tests.client.small_parts import quick_retries

DIGESTS = [f"sha256:{number:064x}" for number in range(1200)]
Answer = Callable[[Request, bytes], Response]


class Scripted:
    """A service that answers as a test says, and remembers what it was asked for."""

    def __init__(self, answer: Answer) -> None:
        self.requests: list[tuple[str, str, bytes]] = []
        self.slept: list[float] = []
        self._answer = answer

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self._handle, methods=["GET", "POST"])])

    async def _handle(self, request: Request) -> Response:
        body = await request.body()
        self.requests.append((request.method, request.url.path, body))
        return self._answer(request, body)


@contextmanager
def scripted(answer: Answer, attempts: int = 3) -> Iterator[tuple[Scripted, Client]]:
    service = Scripted(answer)
    retries = replace(quick_retries(attempts), sleep=service.slept.append)
    with running(service.app()) as url, Client(url, is_anonymous=True, retries=retries) as client:
        yield service, client


def in_turn(*answers: Response) -> Answer:
    left = list(answers)
    return lambda _, __: left.pop(0) if len(left) > 1 else left[0]


def answered(document: Any, status: int = 200, **headers: str) -> Response:
    return Response(json.dumps(document), status, headers, media_type="application/json")


def resolved(digest: str) -> dict[str, Any]:
    return {
        "layerDigest": digest,
        "downloadUrl": f"https://s3.example.com/{digest}?X-Amz-Signature=0",
        "expiresAt": None,
    }


def problem(status: int, *, retryable: bool, detail: str = "It is so.", **headers: str) -> Response:
    document = {"detail": detail, "code": "ThrottlingException", "retryable": retryable, "requestId": "request-1"}
    return answered(document, status, **headers)
