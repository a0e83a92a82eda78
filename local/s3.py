"""Local S3: serves blobs at pre-signed URLs, and refuses what S3 refuses.

Moto's S3 and s3rver take any signature, so neither would notice a client that breaks one.
"""

import hashlib
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import formatdate
from xml.sax.saxutils import escape

from starlette.applications import Starlette
from starlette.concurrency import iterate_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from local.oci_layout import Blob, chunks
from local.server import close_connection
from local.sigv4 import SignatureError, UrlSigner

# What S3 honours is one range of bytes; it takes anything else for no range at all. No object has 10**18 bytes.
_RANGE = re.compile(r"bytes=(?:(?P<first>[0-9]{1,18})-(?P<last>[0-9]{0,18})|-(?P<suffix>[0-9]{1,18}))")


def create_s3_app(
    open_object: Callable[[str], Blob | None],
    signer: UrlSigner,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Starlette:
    """Return the application that serves one bucket, path-style.

    Args:
        open_object: Opens the object of a key; returns None if there is no such object, and raises OSError if it can't
            be read.
        signer: Verifies the URLs.
        clock: Tells the time, with its time zone.
    """

    def get_object(request: Request) -> Response:
        try:
            signer.verify(request.method, str(request.url), request.headers, clock())
        except SignatureError as error:
            return _error(request, error.status, error.code, error.message)
        except ValueError:
            # The URL is made with the Host header, which may have brackets or a port that no URL can have.
            return _error(request, 400, "InvalidURI", "Couldn't parse the specified URI.")
        try:
            opened = open_object(request.path_params["key"])
        except OSError:
            return _error(request, 500, "InternalError", "We encountered an internal error. Please try again.")
        if opened is None:
            return _error(request, 404, "NoSuchKey", "The specified key does not exist.")
        return _content(request, opened)

    def refuse_method(request: Request) -> Response:
        return _error(request, 405, "MethodNotAllowed", "The specified method is not allowed against this resource.")

    return Starlette(
        routes=[
            Route("/{bucket}/{key:path}", get_object, methods=["GET", "HEAD"]),
            Route("/{anything:path}", refuse_method, methods=["PUT", "POST", "DELETE", "PATCH", "OPTIONS"]),
        ]
    )


def _content(request: Request, opened: Blob) -> Response:
    headers = {
        **_request_ids(),
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream",
        "ETag": f'"{hashlib.sha256(f"{opened.size} {opened.modified}".encode()).hexdigest()[:32]}"',
        "Last-Modified": formatdate(opened.modified, usegmt=True),
    }
    requested = _RANGE.fullmatch(request.headers.get("range", ""))
    if requested is None or (requested["last"] and int(requested["last"]) < int(requested["first"])):
        return _OpenObject(opened, 0, opened.size, 200, headers)
    if requested["first"]:
        start = int(requested["first"])
        end = min(int(requested["last"]) + 1, opened.size) if requested["last"] else opened.size
    else:
        start, end = max(0, opened.size - int(requested["suffix"])), opened.size
    if start >= end:
        opened.file.close()
        response = _error(request, 416, "InvalidRange", "The requested range is not satisfiable")
        response.headers["Content-Range"] = f"bytes */{opened.size}"
        return response
    return _OpenObject(opened, start, end, 206, headers | {"Content-Range": f"bytes {start}-{end - 1}/{opened.size}"})


class _OpenObject(Response):
    """Sends a part of an open object, and closes it.

    The object's size was taken when it was opened. If its file has become shorter since, the connection is closed, as
    S3 does when it can't go on: an answer that is too short must not look whole.
    """

    def __init__(self, opened: Blob, start: int, end: int, status: int, headers: dict[str, str]) -> None:
        super().__init__(None, status, headers | {"Content-Length": str(end - start)})
        self._opened = opened
        self._start = start
        self._length = end - start

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._opened.file as file:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            left = self._length
            if scope["method"] != "HEAD":
                file.seek(self._start)
                async for chunk in iterate_in_threadpool(chunks(file, left)):
                    left -= len(chunk)
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                if left:
                    await close_connection(receive)
                    return
            await send({"type": "http.response.body", "body": b""})


def _error(request: Request, status: int, code: str, message: str) -> Response:
    """Return an error in S3's form; the answer to HEAD has no body."""
    headers = _request_ids()
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{escape(message)}</Message>"
        f"<RequestId>{headers['x-amz-request-id']}</RequestId><HostId>{headers['x-amz-id-2']}</HostId></Error>"
    )
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    return Response(body, status_code=status, media_type="application/xml", headers=headers)


def _request_ids() -> dict[str, str]:
    return {"x-amz-request-id": uuid.uuid4().hex[:16].upper(), "x-amz-id-2": uuid.uuid4().hex}
