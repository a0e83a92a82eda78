"""Calls to AWS that a command makes with its user's credentials, and what goes wrong with them, in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
)
from botocore.exceptions import (
    ConnectionError as UnreachableError,
)

from ecr_layers.errors import UsageError, one_line

_CONFIG = Config(connect_timeout=5, read_timeout=15, retries={"mode": "standard", "total_max_attempts": 3})
# What a signature is refused with. SigV4A takes no session tokens of the first version:
# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/cloudfront-function-restrictions.html
_REFUSED_CREDENTIALS = frozenset(
    {"InvalidClientTokenId", "InvalidSignatureException", "InvalidToken", "UnrecognizedClientException"}
)


def create_client(service: str, region: str | None) -> Any:
    """Return botocore's client of a service.

    Args:
        service: The service's name in botocore.
        region: Its region; None is the one that the SDK's configuration has.

    Raises:
        UsageError: If there is no region, or a profile that is not there.
    """
    with one_line_errors(f"The service {service}"):
        return botocore.session.get_session().create_client(service, region_name=region, config=_CONFIG)


@contextmanager
def one_line_errors(what: str) -> Iterator[None]:
    """Turn what botocore raises in the context into an error whose message is one line.

    Args:
        what: What is asked for, at the start of a sentence.

    Raises:
        UsageError: In the place of botocore's errors.
    """
    try:
        yield
    except ClientError as error:
        raise UsageError(_refusal(what, error)) from None
    except (NoCredentialsError, PartialCredentialsError):
        raise UsageError("There are no AWS credentials. Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and so on.") from None
    except NoRegionError:
        raise UsageError("The stack's region is not known. Name it with --region, or set AWS_REGION.") from None
    except (UnreachableError, HTTPClientError) as error:
        raise UsageError(f"{what} can't be reached: {type(error).__name__}.") from None
    except (BotoCoreError, ValueError) as error:
        # Of a profile or a region that is not there, credentials that can't be refreshed, and so on.
        raise UsageError(f"{what} can't be asked: {one_line(str(error))}") from None


def code_of(error: ClientError) -> str:
    """Return the code of an error that AWS answered."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _refusal(what: str, error: ClientError) -> str:
    code = code_of(error)
    if code in _REFUSED_CREDENTIALS:
        return (
            f"AWS does not know the credentials ({code}). Temporary ones have to come from a regional endpoint of STS: "
            "set AWS_STS_REGIONAL_ENDPOINTS=regional and get them anew."
        )
    if code in {"AccessDenied", "AccessDeniedException"}:
        return (
            f"AWS refuses {error.operation_name} to your credentials ({code}). Ask for the permission, or use others."
        )
    return f"{what} answered {code}: {one_line(str(error.response.get('Error', {}).get('Message', '')))}"
