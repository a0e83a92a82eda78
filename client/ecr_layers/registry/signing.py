"""Signs requests to a function URL whose auth is `AWS_IAM`, with the caller's own AWS credentials.

Source: https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html
"""

import re
from collections.abc import Generator
from typing import TYPE_CHECKING

import httpx
from botocore.exceptions import BotoCoreError

from ecr_layers.errors import UsageError

if TYPE_CHECKING:
    from botocore.credentials import Credentials

_HOST = re.compile(r"[a-z0-9]+\.lambda-url\.(?P<region>[a-z0-9-]+)\.on\.aws")


class SigningError(UsageError):
    """A request can't be signed; the message says what to do."""


def is_function_url(url: str) -> bool:
    """Tell whether a URL is a function URL, by its host."""
    return _HOST.fullmatch(httpx.URL(url).host) is not None


def region_of(url: str, otherwise: str | None = None) -> str:
    """Return the region that a function URL is in.

    Args:
        url: The function URL.
        otherwise: The region of a URL that does not name one, such as one with a domain name of its own.

    Raises:
        SigningError: If nothing names the region.
    """
    match = _HOST.fullmatch(httpx.URL(url).host)
    region = match["region"] if match else otherwise
    if region is None:
        raise SigningError(f"{url} does not say which region it is in. Name it with REGION= or --region.")
    return region


def callers_credentials() -> "Credentials":
    """Return the credentials that the AWS SDK finds: environment, profile, or the machine's role.

    They refresh themselves where their source lets them.

    Raises:
        SigningError: If there are none.
    """
    try:
        # It takes longer to load than everything else here, and only who signs needs it.
        import botocore.session  # noqa: PLC0415

        credentials: Credentials | None = botocore.session.get_session().get_credentials()
    except BotoCoreError as error:
        raise SigningError(f"The AWS credentials can't be used: {error}") from None
    if credentials is None:
        raise SigningError("There are no AWS credentials. Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and so on.")
    return credentials


class FunctionUrlAuth(httpx.Auth):
    """Signs each request of an httpx client.

    Args:
        credentials: Whose signature it is.
        region: The region of the function URL.
    """

    requires_request_body = True

    def __init__(self, credentials: "Credentials", region: str) -> None:
        self._credentials = credentials
        self._region = region

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign the request, and send it once."""
        from botocore.auth import SigV4Auth  # noqa: PLC0415
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415

        # httpx sends the extension `target`, if there is one, in the place of the URL's path and query.
        target = request.extensions.get("target", request.url.raw_path).decode()
        url = f"{request.url.scheme}://{request.url.netloc.decode()}{target}"
        signed = AWSRequest(request.method, url, data=request.content)
        SigV4Auth(self._credentials.get_frozen_credentials(), "lambda", self._region).add_auth(signed)
        for name in ("Authorization", "X-Amz-Date", "X-Amz-Security-Token"):
            if name in signed.headers:
                request.headers[name] = signed.headers[name]
        yield request
