"""A proxy on this machine that signs requests to a function URL, for clients that can't, such as OCI clients.

It changes nothing else: paths, queries, headers, bodies and answers stay the same, and clients follow redirects
themselves, so no layer passes through. The client's own Authorization header isn't forwarded.

A web page can send requests here, and by DNS rebinding read the answers, so only this machine's names are served.
"""

from urllib.parse import urlsplit

import httpx
from botocore.credentials import Credentials
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ecr_layers.errors import UsageError
from ecr_layers.ops.http_auth import FunctionUrlAuth
from ecr_layers.transfer.proxies import LOOPBACK

# Headers of one connection (RFC 9110, section 7.6.1), and headers that every connection has.
_CONNECTION_HEADERS = frozenset(
    {
        "connection", "content-length", "host", "keep-alive", "proxy-authenticate", "proxy-authorization",
        "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
_NOT_FORWARDED = _CONNECTION_HEADERS | {"authorization", "x-amz-date", "x-amz-security-token"}
# An answer to HEAD has no body to compute the length from; the server here has its own clock and name.
_NOT_ANSWERED = (_CONNECTION_HEADERS - {"content-length"}) | {"date", "server"}


class SigningProxy:
    """Forwards requests to one function URL, signed.

    Args:
        url: The function URL.
        credentials: The AWS credentials.
        region: The region of the function URL.
        client: Sends the requests, from several threads.
    """

    def __init__(self, url: str, credentials: Credentials, region: str, client: httpx.Client) -> None:
        self._url = httpx.URL(url)
        self._auth = FunctionUrlAuth(credentials, region)
        self._client = client

    def app(self) -> ASGIApp:
        """Return the proxy's ASGI application."""

        async def forward(scope: Scope, receive: Receive, send: Send) -> None:
            response = await self._forward(Request(scope, receive))
            await response(scope, receive, send)

        return forward

    async def _forward(self, request: Request) -> Response:
        if not _is_local(request):
            return PlainTextResponse("This proxy serves this machine only.\n", status_code=403)
        query = request.scope["query_string"]
        target = request.scope["raw_path"] + (b"?" + query if query else b"")
        forwarded = httpx.Request(
            request.method,
            self._url.copy_with(raw_path=target),
            # httpx resolves dot segments in URLs; this is sent as it was received.
            extensions={"target": target},
            headers=_without(_NOT_FORWARDED, request.headers.raw),
            content=await request.body(),
        )
        try:
            answer = await run_in_threadpool(
                self._client.send, forwarded, auth=self._auth, stream=True, follow_redirects=False
            )
        except httpx.TransportError as error:
            return PlainTextResponse(f"{self._url} can't be reached: {type(error).__name__}.\n", status_code=502)
        except UsageError as error:
            return PlainTextResponse(f"{error}\n", status_code=502)
        response = StreamingResponse(
            answer.iter_raw(), status_code=answer.status_code, background=BackgroundTask(answer.close)
        )
        response.raw_headers = _without(_NOT_ANSWERED, answer.headers.raw)
        return response


def _is_local(request: Request) -> bool:
    """Tell whether a request names this machine, and doesn't come from another site's page."""
    origin = request.headers.get("origin")
    hosts = [f"//{request.headers.get('host', '')}", *([origin] if origin else [])]
    try:
        return all(urlsplit(each).hostname in LOOPBACK for each in hosts)
    except ValueError:
        return False


def _without(names: frozenset[str], headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return headers without these names, and without the ones that `Connection` lists."""
    lowered = [(name.lower(), value) for name, value in headers]
    listed = b",".join(value for name, value in lowered if name == b"connection").decode("latin-1").lower().split(",")
    left_out = names | {name.strip() for name in listed}
    return [(name, value) for name, value in lowered if name.decode() not in left_out]
