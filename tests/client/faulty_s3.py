"""An S3 that does what networks and servers do on bad days, and remembers what it was asked for."""

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from local.server import LOCALHOST, close_connection, running

Kind = Literal[
    "expired", "throttled", "reset", "short", "wrong", "no ranges", "stall", "redirect", "other scheme", "hang"
]

_CHUNK = 16 * 1024
_LONGEST_STALL_SECONDS = 8.0


@dataclass(frozen=True)
class Fault:
    """What happens to requests for bytes.

    Attributes:
        kind: What happens.
        after: After how many bytes of an answer.
        times: To how many requests.
        digest: To those for this blob alone.
    """

    kind: Kind
    after: int = 0
    times: int = 1
    digest: str | None = None


@dataclass
class Asked:
    """A request for bytes: of which blob, from where to where, and how many were sent."""

    digest: str
    first: int
    last: int
    sent: int = 0


@dataclass
class FaultyS3:
    """Blobs, as `read` returns them by their digests, and the faults that are still to happen."""

    read: Callable[[str], bytes]
    faults: list[Fault] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    chunk_delay: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def sent(self) -> int:
        return sum(each.sent for each in self.asked)

    def forget(self) -> None:
        self.faults, self.asked, self.chunk_delay = [], [], 0.0

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self._answer)])

    def _take(self, digest: str) -> Fault | None:
        with self._lock:
            for place, fault in enumerate(self.faults):
                if fault.digest in {None, digest}:
                    self.faults[place : place + 1] = [replace(fault, times=fault.times - 1)] if fault.times > 1 else []
                    return fault
        return None

    async def _answer(self, request: Request) -> Response:
        digest = ":".join(request.path_params["path"].split("/")[-2:])
        content = self.read(digest)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("range", ""))
        assert wanted is not None, "a client that does not ask for a range"
        first, last = int(wanted[1]), min(int(wanted[2]), len(content) - 1)
        asked = Asked(digest, first, last)
        self.asked.append(asked)
        fault = self._take(digest)
        kind = fault.kind if fault else None
        if kind == "hang":
            await asyncio.sleep(_LONGEST_STALL_SECONDS)
        refusal = _refusal(request, kind)
        if refusal is not None:
            return refusal
        if first >= len(content):
            return Response(status_code=416, headers={"Content-Range": f"bytes */{len(content)}"})
        headers = {"Content-Range": f"bytes {first}-{last}/{len(content)}", "Accept-Ranges": "bytes"}
        if kind == "no ranges":
            first, last, headers = 0, len(content) - 1, {}
        body = content[first : last + 1]
        if kind == "wrong":
            body = bytes([body[0] ^ 1]) + body[1:]
        if kind == "short":
            assert fault is not None
            body = body[: fault.after]
        headers["Content-Length"] = str(len(body))
        return _Body(206 if "Content-Range" in headers else 200, headers, lambda: self._chunks(body, fault, asked))

    async def _chunks(self, body: bytes, fault: Fault | None, asked: Asked) -> AsyncIterator[bytes | None]:
        for start in range(0, len(body), _CHUNK):
            chunk = body[start : start + _CHUNK]
            if fault is not None and fault.kind in {"reset", "stall"} and start + len(chunk) > fault.after:
                if fault.kind == "stall":
                    await asyncio.sleep(_LONGEST_STALL_SECONDS)
                yield None
                return
            yield chunk
            asked.sent += len(chunk)
            # Also lets the other connections send.
            await asyncio.sleep(self.chunk_delay)


def _refusal(request: Request, kind: Kind | None) -> Response | None:
    if kind == "expired":
        return Response("<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>", 403)
    if kind == "throttled":
        return Response("<Error><Code>SlowDown</Code></Error>", 503, {"Retry-After": "0"})
    if kind in {"redirect", "other scheme"}:
        target = str(request.url.replace(scheme="ftp" if kind == "other scheme" else "http"))
        return Response(status_code=307, headers={"Location": target})
    return None


class _Body(Response):
    def __init__(self, status: int, headers: dict[str, str], chunks: Callable[[], AsyncIterator[bytes | None]]) -> None:
        super().__init__(None, status, headers)
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for chunk in self._chunks():
            if chunk is None:
                await close_connection(receive)
                return
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


@contextmanager
def faulty_s3(read: Callable[[str], bytes]) -> Iterator[tuple[FaultyS3, str]]:
    """Run one, and yield it and its URL."""
    s3 = FaultyS3(read)
    with running(s3.app(), host=LOCALHOST) as url:
        yield s3, url
