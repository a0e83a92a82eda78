"""A proxy on this machine that signs requests to a function URL, for clients that can't, such as OCI clients.

It changes nothing else: paths, queries, headers, bodies and answers go through as they are, and redirects are the
client's to follow, so no layer goes through here. The client's own Authorization header stays here.
"""

import httpx
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from ecr_layers.registry.signing import FunctionUrlAuth

# Those that are about one connection (RFC 9110, section 7.6.1), and those that are made anew for the next.
_CONNECTION_HEADERS = frozenset(
    {
        "connection", "content-length", "host", "keep-alive", "proxy-authenticate", "proxy-authorization",
        "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
_NOT_FORWARDED = _CONNECTION_HEADERS | {"authorization", "x-amz-date", "x-amz-security-token"}
# The length of a HEAD's answer has no body to be made from; the server here has its own clock and name.
_NOT_ANSWERED = (_CONNECTION_HEADERS - {"content-length"}) | {"date", "server"}


class SigningProxy:
    """Forwards every request to one function URL, signed.

    Args:
        url: The function URL.
        credentials: Whose signature it is.
        region: The region of the function URL.
        client: Sends the requests, from several threads.
    """

    def __init__(self, url: str, credentials: Credentials, region: str, client: httpx.Client) -> None:
        self._url = httpx.URL(url)
        self._auth = FunctionUrlAuth(credentials, region)
        self._client = client

    def app(self) -> ASGIApp:
        """Return the application that is the proxy."""

        async def forward(scope: Scope, receive: Receive, send: Send) -> None:
            response = await self._forward(Request(scope, receive))
            await response(scope, receive, send)

        return forward

    async def _forward(self, request: Request) -> Response:
        query = request.scope["query_string"]
        target = request.scope["raw_path"] + (b"?" + query if query else b"")
        forwarded = httpx.Request(
            request.method,
            self._url.copy_with(raw_path=target),
            # The URL has dot segments resolved; this goes out as it came in.
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
        except BotoCoreError as error:
            return PlainTextResponse(f"The AWS credentials can't be used: {error}\n", status_code=502)
        response = StreamingResponse(
            answer.iter_raw(), status_code=answer.status_code, background=BackgroundTask(answer.close)
        )
        response.raw_headers = _without(_NOT_ANSWERED, answer.headers.raw)
        return response


def _without(names: frozenset[str], headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return headers without those of these names, and without those that `Connection` lists as its own."""
    lowered = [(name.lower(), value) for name, value in headers]
    listed = b",".join(value for name, value in lowered if name == b"connection").decode("latin-1").lower().split(",")
    left_out = names | {name.strip() for name in listed}
    return [(name, value) for name, value in lowered if name.decode() not in left_out]
