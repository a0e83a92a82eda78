"""Headers that prove who the caller is: functions of a request's method, URL and body.

Source: https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ecr_layers.errors import MissingPackageError, UsageError, one_line
from ecr_layers.transfer.proxies import LOOPBACK

if TYPE_CHECKING:
    from botocore.credentials import Credentials

Authorize = Callable[[str, str, bytes], Mapping[str, str]]
"""Returns the headers for a method, a URL and a body."""


@dataclass(frozen=True, slots=True)
class PullToken:
    """A pull token, sent with each request.

    Attributes:
        name: Its name.
        password: Its password.
    """

    name: str
    password: str = field(repr=False)

    def __call__(self, method: str, url: str, body: bytes) -> Mapping[str, str]:  # noqa: ARG002
        """Return the header of Basic authentication.

        Raises:
            UsageError: If the URL isn't HTTPS.
        """
        require_privacy(url)
        encoded = base64.b64encode(f"{self.name}:{self.password}".encode()).decode()
        return {"Authorization": f"Basic {encoded}"}


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature (SigV4) with AWS credentials, for a function URL whose auth is `AWS_IAM`.

    Attributes:
        credentials: The credentials, which may refresh themselves.
        region: The function URL's region.
    """

    credentials: "Credentials" = field(repr=False)
    region: str

    def __call__(self, method: str, url: str, body: bytes) -> Mapping[str, str]:
        """Return the headers of a signature.

        Raises:
            UsageError: If the URL isn't HTTPS, or the credentials can't be refreshed.
        """
        # It takes longer to load than everything else here.
        from botocore.auth import SigV4Auth  # noqa: PLC0415
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415

        require_privacy(url)
        signed = AWSRequest(method, url, data=body)
        try:
            SigV4Auth(self.credentials.get_frozen_credentials(), "lambda", self.region).add_auth(signed)
        except BotoCoreError as error:
            raise _unusable(error) from None
        names = ("Authorization", "X-Amz-Date", "X-Amz-Security-Token")
        return {name: signed.headers[name] for name in names if name in signed.headers}


def callers_credentials() -> "Credentials":
    """Return the credentials that the AWS SDK finds: environment, profile, or the machine's role.

    They refresh themselves where their source allows it.

    Raises:
        UsageError: If there are none.
        MissingPackageError: If botocore isn't installed.
    """
    try:
        import botocore.session  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415
    except ImportError:
        raise MissingPackageError("AWS credentials need", "aws") from None
    try:
        credentials: Credentials | None = botocore.session.get_session().get_credentials()
    except BotoCoreError as error:
        raise _unusable(error) from None
    if credentials is None:
        raise UsageError(
            "There are no AWS credentials. Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
            code="no-credentials",
        )
    return credentials


def require_privacy(url: str) -> None:
    """Check that credentials can be sent to a URL: over HTTPS, or to this machine.

    Raises:
        UsageError: If they can't.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in LOOPBACK:
        raise UsageError(
            f"Credentials are sent over HTTPS only, and {parts.scheme}://{parts.netloc} isn't. Use "
            f"https://{parts.netloc}/.",
            code="insecure-url",
        )


def _unusable(error: Exception) -> UsageError:
    return UsageError(f"The AWS credentials can't be used: {one_line(str(error))}", code="unusable-credentials")
