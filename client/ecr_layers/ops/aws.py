"""Calls to AWS with the operator's credentials. Errors are one line."""

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
# Codes for a refused signature. SigV4A accepts no session tokens of the first version:
# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/cloudfront-function-restrictions.html
# Codes for a signature of another time, or words in the message of others.
_SKEWED, _SKEWED_WORDS = frozenset({"RequestTimeTooSkewed", "RequestExpired"}), ("expired", "not yet current")
_REFUSED_CREDENTIALS = frozenset(
    {"InvalidClientTokenId", "InvalidSignatureException", "InvalidToken", "UnrecognizedClientException"}
)


def create_client(service: str, region: str | None) -> Any:
    """Return botocore's client of a service.

    Args:
        service: The service's name in botocore.
        region: Its region; None for the one in the SDK's configuration.

    Raises:
        UsageError: If there is no region, or the profile doesn't exist.
    """
    with one_line_errors(f"The service {service}"):
        return botocore.session.get_session().create_client(service, region_name=region, config=_CONFIG)


@contextmanager
def one_line_errors(what: str) -> Iterator[None]:
    """Replace botocore's errors by errors of one line.

    Args:
        what: The service, at the start of a sentence.

    Raises:
        UsageError: Instead of botocore's errors.
    """
    try:
        yield
    except ClientError as error:
        raise UsageError(_refusal(what, error)) from None
    except (NoCredentialsError, PartialCredentialsError):
        raise UsageError(
            "There are no AWS credentials. Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
            code="no-credentials",
        ) from None
    except NoRegionError:
        raise UsageError("The stack's region isn't known. Set AWS_REGION.", code="no-region") from None
    except (UnreachableError, HTTPClientError) as error:
        raise UsageError(f"{what} can't be reached: {type(error).__name__}.") from None
    except (BotoCoreError, ValueError) as error:
        # An unknown profile or region, credentials that can't be refreshed, and others.
        raise UsageError(f"{what} can't be used: {one_line(str(error))}") from None


def code_of(error: ClientError) -> str:
    """Return the code of an error from AWS."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _refusal(what: str, error: ClientError) -> str:
    code = code_of(error)
    message = one_line(str(error.response.get("Error", {}).get("Message", "")))
    is_refused = code in _REFUSED_CREDENTIALS
    if code in _SKEWED or (is_refused and any(words in message for words in _SKEWED_WORDS)):
        return f"AWS refused the request's time ({code}). Set this machine's clock."
    if is_refused:
        return (
            f"AWS refused the credentials ({code}). Temporary credentials have to come from a regional STS endpoint: "
            "set AWS_STS_REGIONAL_ENDPOINTS=regional and renew them."
        )
    if code in {"AccessDenied", "AccessDeniedException"}:
        return f"AWS denied {error.operation_name} to your credentials ({code}). Ask for the permission, or use others."
    return f"{what} answered {code}: {message}"
