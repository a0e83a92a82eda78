"""The error table: what each failure of ECR means, over HTTP, under `/v2` and for events."""

from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest
from botocore import exceptions
from botocore.loaders import Loader

from layer_resolver import errors
from layer_resolver.calls import OutOfTimeError
from layer_resolver.errors import (
    ERROR_TABLE,
    ErrorKind,
    Repository,
    ResolverError,
    Subject,
    UnreadableAnswerError,
    error_kind,
)
from tests.unit.fakes import digest, ecr_error

SERVICE_MODEL = botocore.session.get_session().get_service_model("ecr")
ACTIONS = ("BatchGetImage", "GetDownloadUrlForLayer", "ListImageReferrers", "ListImages")
MODELLED = {shape.name for action in ACTIONS for shape in SERVICE_MODEL.operation_model(action).error_shapes}
IMAGE_FAILURES = SERVICE_MODEL.shape_for("ImageFailureCode").metadata["enum"]


def retried_codes(node: Any) -> Iterator[str]:
    """Yield the error codes in botocore's data on retries."""
    if isinstance(node, dict):
        yield from ([node["service_error_code"]] if "service_error_code" in node else [])
        for each in node.values():
            yield from retried_codes(each)


# What botocore retries for other reasons.
NOT_THROTTLED = {
    "BadDigest",
    "IDPCommunicationError",
    "ReplicatedWriteConflictException",
    "RequestTimeout",
    "RequestTimeoutException",
}


def test_each_code_that_the_service_model_names_has_a_row() -> None:
    codes = {*MODELLED, *IMAGE_FAILURES}
    assert {code for code in codes if error_kind(ecr_error(code)) is errors.INTERNAL_ERROR} == set()


@pytest.mark.parametrize(
    ("row", "codes"),
    [
        ("UnableToGetUpstreamImageException", "UpstreamUnavailable UpstreamAccessDenied"),
        ("ImageNotFoundException", "ImageNotFound ImageTagDoesNotMatchDigest InvalidImageTag"),
        ("ImageUnreadable", "KmsError ImageReferencedByManifestList"),
        ("ServerException", "InternalFailure ServiceUnavailable"),
        ("ThrottlingException", "SlowDown"),
        ("CredentialsRefused", "ExpiredTokenException InvalidSignatureException UnrecognizedClientException"),
        ("RequestTimeoutException", "RequestTimeout"),
    ],
)
def test_other_codes_of_aws_for_a_failure_mean_its_row(row: str, codes: str) -> None:
    assert {error_kind(ecr_error(code)).code for code in codes.split()} == {row}


def test_every_throttling_code_in_botocores_data_is_throttling() -> None:
    codes = set(retried_codes(Loader().load_data("_retry"))) - NOT_THROTTLED
    assert {"Throttling", "ThrottlingException", "TooManyRequestsException", "RequestLimitExceeded"} < codes
    assert {code for code in codes if error_kind(ecr_error(code)) is not errors.THROTTLED} == set()


@pytest.mark.parametrize(
    ("statuses", "kind"),
    [
        ([429], errors.THROTTLED),
        ([408], errors.TIMED_OUT),
        ([307, 399, 500, 503], errors.SERVER_ERROR),
        ([400, 499, None], errors.INTERNAL_ERROR),
    ],
)
@pytest.mark.parametrize("code", ["SomethingNew", ""])
def test_the_status_decides_where_the_name_does_not(code: str, statuses: list[Any], kind: ErrorKind) -> None:
    assert {error_kind(ecr_error(code, status=status)) for status in statuses} == {kind}


@pytest.mark.parametrize(
    ("exception", "kind"),
    [
        (exceptions.ReadTimeoutError(endpoint_url="https://ecr"), errors.TIMED_OUT),
        (exceptions.EndpointConnectionError(endpoint_url="https://ecr"), errors.TIMED_OUT),
        (exceptions.SSLError(endpoint_url="https://ecr", error=OSError("bad")), errors.TIMED_OUT),
        (exceptions.HTTPClientError(error="bad"), errors.TIMED_OUT),
        (OutOfTimeError(), errors.TIMED_OUT),
        (exceptions.ParamValidationError(report="bad"), errors.INVALID_PARAMETER),
        (exceptions.NoCredentialsError(), errors.CREDENTIALS_REFUSED),
        (UnreadableAnswerError(), errors.SERVER_ERROR),
        (ResolverError(errors.FOREIGN_LAYER), errors.FOREIGN_LAYER),
        (KeyError("downloadUrl"), errors.INTERNAL_ERROR),
    ],
    ids=repr,
)
def test_exceptions_that_are_no_answers_have_their_rows(exception: Exception, kind: ErrorKind) -> None:
    assert error_kind(exception) is kind


def test_what_keeps_ecr_from_answering_is_a_time_out_that_another_try_may_help() -> None:
    kind = errors.TIMED_OUT
    assert (kind.http_status, kind.registry_code, kind.retryable) == (504, "UNAVAILABLE", True)


@pytest.mark.parametrize("code", ["a" * 101, "a b", "arn:aws:iam::1:role/x?y=z", "ü", 5, None])
def test_a_code_of_no_code_s_form_is_not_taken_for_one(code: object) -> None:
    assert errors.ecr_code(ecr_error(code)) == ""  # type: ignore[arg-type]


@pytest.mark.parametrize(("code", "ecr_codes"), [("ServerException", set()), ("New", {"ServerException"})])
def test_a_second_row_for_a_code_is_refused(code: str, ecr_codes: set[str]) -> None:
    with pytest.raises(ValueError, match=f"{code} is in the table already"):
        ErrorKind(code, 500, "UNKNOWN", frozenset(), title="", advice="", ecr_codes=ecr_codes)


def test_only_errors_that_a_retry_can_help_say_when_to_retry() -> None:
    with_retry_after = {kind.code for kind in ERROR_TABLE.values() if kind.retry_after_seconds is not None}
    assert with_retry_after == {"ServerException", "ThrottlingException", "CredentialsRefused"}
    assert all(ERROR_TABLE[code].retryable for code in with_retry_after)


@pytest.mark.parametrize(
    ("subject", "words"),
    [
        (Subject(Repository("team/app"), "layer", digest()), f"layer {digest()} in repository team/app"),
        (Subject(Repository("team/app"), "image"), "image of that name in repository team/app"),
        (Subject(Repository("team/app")), "repository team/app"),
    ],
    ids=str,
)
def test_advice_says_what_it_is_about(subject: Subject, words: str) -> None:
    for kind in ERROR_TABLE.values():
        error = ResolverError.about(subject, kind)
        assert "{subject}" not in kind.advice or words in error.detail
        assert "{repository}" not in kind.advice or "repository team/app" in error.detail
        assert "{" not in error.detail


def test_a_message_is_cut() -> None:
    assert len(ResolverError(errors.INVALID_PARAMETER, "x" * 100_000).detail) == 2000
