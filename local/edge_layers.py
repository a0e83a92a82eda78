"""CloudFront in front of S3: the behaviour `/layers/*` of an edge that serves layers from its own host."""

from collections.abc import Mapping
from typing import Any

import httpx
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from local.viewer_event import target_of
from local.viewer_function import ViewerFunction

PREFIX = "/layers/"

# CloudFront passes these on by itself, and S3 reads them.
_FORWARDED = frozenset({"range", "if-none-match", "if-match", "if-modified-since", "if-unmodified-since", "if-range"})
# The server here has its own.
_NOT_ANSWERED = frozenset({"connection", "date", "keep-alive", "server", "transfer-encoding"})


class EdgeLayers:
    """The behaviour with its origin.

    Args:
        origin: The URL of S3, without a path.
        function: The function for viewers' requests.
        client: Sends requests to the origin, from several threads.
    """

    def __init__(self, origin: str, function: ViewerFunction, client: httpx.Client) -> None:
        self._origin = httpx.URL(origin)
        self._function = function
        self._client = client

    def answer(self, request: Request, event: Mapping[str, Any]) -> Response | dict[str, Any]:
        """Return the origin's answer, or the one that the function generated.

        Raises:
            ViewerFunctionError: If the function fails.
            httpx.TransportError: If the origin can't be reached.
        """
        returned = self._function.call(event, {})
        if "statusCode" in returned:
            return returned
        target = target_of(request, event["request"], returned).encode("latin-1")
        headers = {name: each["value"] for name, each in returned["headers"].items() if name in _FORWARDED}
        headers["user-agent"] = "Amazon CloudFront"
        sent = httpx.Request(
            request.method, self._origin.copy_with(raw_path=target), headers=headers, extensions={"target": target}
        )
        answer = self._client.send(sent, stream=True)
        response = StreamingResponse(answer.iter_raw(), answer.status_code, background=BackgroundTask(answer.close))
        response.raw_headers = [
            (name.lower(), value)
            for name, value in answer.headers.raw
            if name.decode("latin-1").lower() not in _NOT_ANSWERED
        ]
        response.headers["x-cache"] = f"{'Error' if answer.is_error else 'Miss'} from cloudfront"
        return response
