"""Local S3: serves blobs at pre-signed URLs, and refuses what S3 refuses.

Moto's S3 and s3rver take any signature, so neither would notice a client that breaks one.
"""

import io
import re
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import BinaryIO
from xml.sax.saxutils import escape

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from local.sigv4 import SignatureError, UrlSigner

_CHUNK_BYTES = 256 * 1024
# What S3 honours is one range of bytes; it takes anything else for no range at all. No object has 10**18 bytes.
_RANGE = re.compile(r"bytes=(?:(?P<first>[0-9]{1,18})-(?P<last>[0-9]{0,18})|-(?P<suffix>[0-9]{1,18}))")


def create_s3_app(open_object: Callable[[str], BinaryIO | None], signer: UrlSigner) -> Starlette:
    """Return the application that serves one bucket, path-style."""

    def get_object(request: Request) -> Response:
        try:
            signer.verify(request.method, str(request.url), request.headers, datetime.now(UTC))
        except SignatureError as error:
            return _error(error.status, error.code, str(error))
        except ValueError:
            # The URL is made with the Host header, which may have brackets or a port that no URL can have.
            return _error(400, "InvalidURI", "Couldn't parse the specified URI.")
        file = open_object(request.path_params["key"])
        if file is None:
            return _error(404, "NoSuchKey", "The specified key does not exist.")
        return _content(file, request.headers.get("range", ""))

    def refuse_method(_: Request) -> Response:
        return _error(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")

    return Starlette(
        routes=[
            Route("/{bucket}/{key:path}", get_object, methods=["GET", "HEAD"]),
            Route("/{anything:path}", refuse_method, methods=["PUT", "POST", "DELETE", "PATCH", "OPTIONS"]),
        ]
    )


def _content(file: BinaryIO, requested: str) -> Response:
    size = file.seek(0, io.SEEK_END)
    wanted = _RANGE.fullmatch(requested)
    start, end, status, headers = 0, size, 200, {"Accept-Ranges": "bytes"}
    if wanted is not None and not (wanted["last"] and int(wanted["last"]) < int(wanted["first"])):
        start, end = _bounds(wanted, size)
        if start >= end:
            file.close()
            response = _error(416, "InvalidRange", "The requested range is not satisfiable")
            response.headers["Content-Range"] = f"bytes */{size}"
            return response
        status, headers["Content-Range"] = 206, f"bytes {start}-{end - 1}/{size}"
    headers |= {**_request_ids(), "Content-Length": str(end - start)}
    return StreamingResponse(_chunks(file, start, end), status, headers, "application/octet-stream")


def _bounds(wanted: re.Match[str], size: int) -> tuple[int, int]:
    if wanted["suffix"]:
        return max(0, size - int(wanted["suffix"])), size
    return int(wanted["first"]), min(int(wanted["last"]) + 1, size) if wanted["last"] else size


def _chunks(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        while start < end and (chunk := file.read(min(end - start, _CHUNK_BYTES))):
            start += len(chunk)
            yield chunk


def _error(status: int, code: str, message: str) -> Response:
    """Return an error in S3's form."""
    headers = _request_ids()
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{escape(message)}</Message>"
        f"<RequestId>{headers['x-amz-request-id']}</RequestId><HostId>{headers['x-amz-id-2']}</HostId></Error>"
    )
    return Response(body, status, headers, "application/xml")


def _request_ids() -> dict[str, str]:
    return {"x-amz-request-id": uuid.uuid4().hex[:16].upper(), "x-amz-id-2": uuid.uuid4().hex}
