"""Calls to AWS with the operator's credentials. Errors are one line."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any

import botocore.session
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
    SSLError,
)
from botocore.exceptions import (
    ConnectionError as UnreachableError,
)
from botocore.parsers import ResponseParserError
from botocore.validate import validate_parameters

from ecr_layers.errors import UsageError, one_line

_CONFIG = Config(connect_timeout=5, read_timeout=15, retries={"mode": "standard", "total_max_attempts": 3})
_FIRST_ERROR = 300
# How far AWS lets a signature's time be off.
_MOST_SKEW_SECONDS = 300
_SKEWED = frozenset({"RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"})
# Messages that come with the codes below, and with OpenSSL's errors.
_SKEWED_WORDS = re.compile("Signature expired|Signature not yet current|certificate is not yet valid|has expired")
# SigV4A accepts no session tokens of the first version:
# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/cloudfront-function-restrictions.html
_REFUSED_CREDENTIALS = frozenset(
    {
        "IncompleteSignature",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_EXPIRED_CREDENTIALS = frozenset({"ExpiredToken", "ExpiredTokenException"})


class _UnreadableAnswerError(BotoCoreError):
    fmt = "the answer isn't one of AWS"


def create_client(service: str, region: str | None) -> Any:
    """Return botocore's client of a service.

    Args:
        service: The service's name in botocore.
        region: Its region; None for the one in the SDK's configuration.

    Raises:
        UsageError: If there is no region, or the profile doesn't exist.
    """
    with one_line_errors(f"The service {service}"):
        session = botocore.session.get_session()
        session.register_component("data_loader", _loader())
        client = session.create_client(service, region_name=region, config=_CONFIG)
    client.meta.events.register("after-call", _require_json)
    return client


@cache
def _loader() -> Any:
    """Return a loader of models that keeps them: a session of its own for each client would read them again."""
    return botocore.session.get_session().get_component("data_loader")


def _require_json(http_response: Any, model: Any, **_: Any) -> None:
    """Refuse a body that botocore's parsers for JSON read as an empty answer."""
    if "json" not in model.service_model.resolved_protocol or http_response.status_code >= _FIRST_ERROR:
        return
    try:
        is_object = isinstance(json.loads(http_response.content), dict)
    except (ValueError, RecursionError):
        is_object = False
    if not is_object:
        raise _UnreadableAnswerError


def call(client: Any, operation: str, *, is_checked: bool = True, **parameters: Any) -> dict[str, Any]:
    """Call AWS, and return an answer that has the form of the service's model.

    Args:
        client: botocore's client.
        operation: The operation's name in the model.
        is_checked: Whether to check all members of the answer; not for answers of which little is read.
        parameters: Its parameters.

    Raises:
        ClientError: If AWS refuses.
        BotoCoreError: If AWS can't be asked, or the answer has another form.
    """
    model = client.meta.service_model.operation_model(operation)
    method = getattr(client, xform_name(operation))
    try:
        answer: dict[str, Any] = method(**parameters)
    except (ResponseParserError, AttributeError, KeyError, TypeError) as error:
        # What botocore's parsers raise when they read something else.
        raise _UnreadableAnswerError from error
    answer.pop("ResponseMetadata", None)
    try:
        if is_checked:
            validate_parameters(answer, model.output_shape)
    except ParamValidationError as error:
        raise _UnreadableAnswerError from error
    return answer


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
    except _UnreadableAnswerError:
        raise UsageError(
            f"{what} gave an answer that can't be read. Check the network, proxies and AWS_ENDPOINT_URL."
        ) from None
    except (UnreachableError, HTTPClientError) as error:
        is_clock = isinstance(error, SSLError) and _SKEWED_WORDS.search(str(error))
        remedy = " Check this machine's clock." if is_clock else ""
        raise UsageError(f"{what} can't be reached: {type(error).__name__}.{remedy}") from None
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
    skew = _skew_seconds(error)
    if code in _SKEWED or (is_refused and (_SKEWED_WORDS.search(message) or abs(skew) > _MOST_SKEW_SECONDS)):
        off = f", which is {abs(skew) / 60:.0f} minutes {'fast' if skew > 0 else 'slow'}" if abs(skew) >= 60 else ""
        return f"AWS refused the request's time ({code}). Set this machine's clock{off}."
    if code in _EXPIRED_CREDENTIALS:
        return f"The AWS credentials have expired ({code}). Renew them."
    if is_refused:
        return (
            f"AWS refused the credentials ({code}). Temporary credentials have to come from a regional STS endpoint: "
            "set AWS_STS_REGIONAL_ENDPOINTS=regional and renew them."
        )
    if code in {"AccessDenied", "AccessDeniedException"}:
        return f"AWS denied {error.operation_name} to your credentials ({code}). Ask for the permission, or use others."
    return f"{what} answered {code}: {message}"


def _skew_seconds(error: ClientError) -> float:
    """Return how far this machine's clock is ahead of AWS's, in seconds; 0 if the answer doesn't say."""
    date = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        return time.time() - parsedate_to_datetime(date).timestamp()
    except ValueError:
        return 0
