"""Local S3: serves blobs at pre-signed URLs, and refuses what S3 refuses.

Moto's S3 and s3rver take any signature, so neither would notice a client that breaks one.
"""

import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from xml.sax.saxutils import escape

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from local.sigv4 import SignatureError, UrlSigner

# What S3 honours is one range of bytes; it takes anything else for no range at all.
_RANGE = re.compile(r"bytes=(?:(?P<first>\d+)-(?P<last>\d*)|-(?P<suffix>\d+))")


def create_s3_app(
    find_blob: Callable[[str], Path | None],
    signer: UrlSigner,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Starlette:
    """Return the application that serves one bucket, path-style.

    Args:
        find_blob: Returns the file of a key, or None if there is no such object.
        signer: Verifies the URLs.
        clock: Tells the time, with its time zone.
    """

    def get_object(request: Request) -> Response:
        try:
            signer.verify(request.method, str(request.url), request.headers, clock())
        except SignatureError as error:
            return _error(request, error.status, error.code, error.message)
        path = find_blob(request.path_params["key"])
        if path is None:
            return _error(request, 404, "NoSuchKey", "The specified key does not exist.")
        return _content(request, path)

    def refuse_method(request: Request) -> Response:
        return _error(request, 405, "MethodNotAllowed", "The specified method is not allowed against this resource.")

    return Starlette(
        routes=[
            Route("/{bucket}/{key:path}", get_object, methods=["GET", "HEAD"]),
            Route("/{anything:path}", refuse_method, methods=["PUT", "POST", "DELETE", "PATCH", "OPTIONS"]),
        ]
    )


def _content(request: Request, path: Path) -> Response:
    size = path.stat().st_size
    headers = {**_request_ids(), "Accept-Ranges": "bytes"}
    requested = _RANGE.fullmatch(request.headers.get("range", ""))
    if requested is None or (requested["last"] and int(requested["last"]) < int(requested["first"])):
        # Starlette answers a malformed range with 400 and several ranges with a multipart body; S3 does neither.
        del MutableHeaders(scope=request.scope)["range"]
    elif (int(requested["first"]) >= size) if requested["first"] else not (size and int(requested["suffix"])):
        response = _error(request, 416, "InvalidRange", "The requested range is not satisfiable")
        response.headers["Content-Range"] = f"bytes */{size}"
        return response
    return FileResponse(path, media_type="application/octet-stream", headers=headers)


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
