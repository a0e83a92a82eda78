import string

import pytest
from botocore import exceptions
from botocore.retries.standard import ThrottledRetryableChecker

from layer_resolver import errors
from layer_resolver.errors import ERROR_TABLE, OutOfTimeError, ResolverError, error_kind
from tests.unit.fakes import GET_DOWNLOAD_URL_FOR_LAYER, ecr_error

# The table of the contract: HTTP status, status and code under /v2, whether a retry can help.
CONTRACT = {
    "InvalidParameterException": (400, 400, "NAME_INVALID", False),
    "RepositoryNotFoundException": (404, 404, "NAME_UNKNOWN", False),
    "LayersNotFoundException": (404, 404, "BLOB_UNKNOWN", False),
    "LayerInaccessibleException": (409, 404, "BLOB_UNKNOWN", False),
    "UnableToGetUpstreamLayerException": (502, 502, "UNKNOWN", True),
    "ServerException": (503, 503, "UNAVAILABLE", True),
    "ThrottlingException": (429, 429, "TOOMANYREQUESTS", True),
    "AccessDeniedException": (403, 403, "DENIED", False),
}


@pytest.mark.parametrize("code", [shape.name for shape in GET_DOWNLOAD_URL_FOR_LAYER.error_shapes])
def test_each_exception_of_the_service_model_has_a_row(code: str) -> None:
    assert error_kind(ecr_error(code)).code == code


@pytest.mark.parametrize(("code", "row"), CONTRACT.items())
def test_a_row_says_what_the_contract_says(code: str, row: tuple[int, int, str, bool]) -> None:
    kind = error_kind(ecr_error(code))
    assert (kind.http_status, kind.registry_http_status, kind.registry_code, kind.retryable) == row


@pytest.mark.parametrize("code", [*getattr(ThrottledRetryableChecker, "_THROTTLED_ERROR_CODES"), "429"])  # noqa: B009
def test_each_spelling_of_throttling_that_botocore_knows_is_throttling(code: str) -> None:
    assert error_kind(ecr_error(code)) is errors.THROTTLED


@pytest.mark.parametrize("code", ["InternalFailure", "ServiceUnavailable", "503"])
def test_a_failure_of_the_service_is_a_server_error_under_its_common_names(code: str) -> None:
    assert error_kind(ecr_error(code, status=503)) is errors.SERVER_ERROR


@pytest.mark.parametrize(
    "exception",
    [
        exceptions.ConnectTimeoutError(endpoint_url="https://ecr"),
        exceptions.ReadTimeoutError(endpoint_url="https://ecr"),
        exceptions.EndpointConnectionError(endpoint_url="https://ecr"),
        exceptions.ConnectionClosedError(endpoint_url="https://ecr"),
        exceptions.SSLError(endpoint_url="https://ecr", error=OSError("bad")),
        exceptions.HTTPClientError(error="bad"),
        OutOfTimeError(),
    ],
    ids=lambda exception: type(exception).__name__,
)
def test_what_keeps_ecr_from_answering_is_a_time_out(exception: Exception) -> None:
    kind = error_kind(exception)
    assert kind is errors.TIMED_OUT
    assert (kind.http_status, kind.registry_code, kind.retryable) == (504, "UNAVAILABLE", True)


@pytest.mark.parametrize(
    "exception",
    [ecr_error("SomethingNew"), ecr_error(""), exceptions.NoCredentialsError(), KeyError("downloadUrl")],
    ids=repr,
)
def test_what_no_row_names_is_an_internal_error(exception: Exception) -> None:
    kind = error_kind(exception)
    assert kind is errors.INTERNAL_ERROR
    assert (kind.http_status, kind.registry_code, kind.retryable) == (500, "UNKNOWN", False)


def test_parameters_that_botocore_refuses_are_invalid_parameters() -> None:
    assert error_kind(exceptions.ParamValidationError(report="bad")) is errors.INVALID_PARAMETER


def test_a_resolver_error_is_of_its_own_kind() -> None:
    assert error_kind(ResolverError(errors.FOREIGN_LAYER)) is errors.FOREIGN_LAYER


def test_no_code_of_ecr_and_no_code_for_callers_stands_in_two_rows() -> None:
    ecr_codes = [code for kind in ERROR_TABLE for code in kind.ecr_codes]
    assert len(ecr_codes) == len(set(ecr_codes))
    assert len({kind.code for kind in ERROR_TABLE}) == len(ERROR_TABLE)


def test_only_errors_that_a_retry_can_help_say_when_to_retry() -> None:
    with_retry_after = {kind.code for kind in ERROR_TABLE if kind.retry_after_seconds is not None}
    assert with_retry_after == {"ServerException", "ThrottlingException"}
    assert all(kind.retryable for kind in ERROR_TABLE if kind.retry_after_seconds is not None)


@pytest.mark.parametrize("kind", ERROR_TABLE, ids=lambda kind: kind.code)
def test_advice_names_nothing_but_repository_and_digest(kind: errors.ErrorKind) -> None:
    placeholders = {name for _, name, _, _ in string.Formatter().parse(kind.advice) if name}
    assert placeholders <= {"repository", "digest"}
    error = ResolverError.about_layer(kind, "team/app", "sha256:00")
    assert "{" not in error.detail
