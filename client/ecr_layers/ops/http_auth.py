"""Credentials for httpx, which the operators' tools use."""

from collections.abc import Generator
from typing import TYPE_CHECKING

import httpx

from ecr_layers.registry.signing import Authorize, PullToken, Signature

if TYPE_CHECKING:
    from botocore.credentials import Credentials


class HttpxAuth(httpx.Auth):
    """Adds credentials to each request of an httpx client.

    Args:
        authorize: Returns the headers of a request.
    """

    requires_request_body = True

    def __init__(self, authorize: Authorize) -> None:
        self._authorize = authorize

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the headers, and send the request once."""
        # httpx sends the extension `target`, if there is one, as the path and query.
        target = request.extensions.get("target", request.url.raw_path).decode()
        url = f"{request.url.scheme}://{request.url.netloc.decode()}{target}"
        request.headers.update(self._authorize(request.method, url, request.content))
        yield request


class FunctionUrlAuth(HttpxAuth):
    """Signs each request to a function URL.

    Args:
        credentials: The AWS credentials.
        region: The function URL's region.
    """

    def __init__(self, credentials: "Credentials", region: str) -> None:
        super().__init__(Signature(credentials, region))


class PullTokenAuth(HttpxAuth):
    """Sends a pull token with each request.

    Args:
        token: The token.

    Attributes:
        name: The token's name.
    """

    def __init__(self, token: PullToken) -> None:
        super().__init__(token)
        self.name = token.name
