"""The error table: every way in which a request can fail, and what each trigger answers then.

One row per error; nothing else in the package maps exceptions to answers. A new error is a new row.
"""

from dataclasses import dataclass

from botocore.exceptions import ClientError, ConnectionError, HTTPClientError, ParamValidationError  # noqa: A004
from botocore.retries.standard import ThrottledRetryableChecker


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorKind:
    """One row of the error table.

    Attributes:
        code: What callers see in `code`: ECR's exception name where there is one.
        title: Short summary, the same for each occurrence (RFC 9457 `title`).
        advice: What is wrong and what to do, in words for the caller. `{repository}` and `{digest}` are filled in.
        http_status: Status of the JSON routes.
        registry_code: Error code under `/v2` (OCI Distribution Specification, "Error Codes").
        registry_http_status: Status under `/v2`.
        retryable: Whether the same request can succeed later.
        retry_after_seconds: Value of the `Retry-After` header, or None for no header.
        ecr_codes: Error codes in ECR's answers that mean this row.
    """

    code: str
    title: str
    advice: str
    http_status: int
    registry_code: str
    registry_http_status: int
    retryable: bool = False
    retry_after_seconds: int | None = None
    ecr_codes: frozenset[str] = frozenset()


INVALID_PARAMETER = ErrorKind(
    code="InvalidParameterException",
    title="The request is invalid",
    advice="ECR does not accept repository {repository} with layer {digest}. Check both.",
    http_status=400,
    registry_code="NAME_INVALID",
    registry_http_status=400,
    ecr_codes=frozenset({"InvalidParameterException"}),
)
REPOSITORY_NOT_FOUND = ErrorKind(
    code="RepositoryNotFoundException",
    title="The repository does not exist",
    advice="Repository {repository} does not exist in this registry. Check its name, and the registry it is in.",
    http_status=404,
    registry_code="NAME_UNKNOWN",
    registry_http_status=404,
    ecr_codes=frozenset({"RepositoryNotFoundException"}),
)
LAYERS_NOT_FOUND = ErrorKind(
    code="LayersNotFoundException",
    title="The layer does not exist",
    advice="Repository {repository} has no layer {digest}. Take digests from the manifest of an image in it.",
    http_status=404,
    registry_code="BLOB_UNKNOWN",
    registry_http_status=404,
    ecr_codes=frozenset({"LayersNotFoundException"}),
)
LAYER_INACCESSIBLE = ErrorKind(
    code="LayerInaccessibleException",
    title="No image references the layer",
    advice="ECR only gives out layers that an image references, and no image in repository {repository} references "
    "{digest}. Push an image that has it.",
    http_status=409,
    registry_code="BLOB_UNKNOWN",
    registry_http_status=404,
    ecr_codes=frozenset({"LayerInaccessibleException"}),
)
UPSTREAM_LAYER_UNAVAILABLE = ErrorKind(
    code="UnableToGetUpstreamLayerException",
    title="The upstream registry did not give the layer",
    advice="ECR could not get layer {digest} from the upstream registry of its pull-through cache rule. Try again; if "
    "that does not help, check the rule and its credentials.",
    http_status=502,
    registry_code="UNKNOWN",
    registry_http_status=502,
    retryable=True,
    ecr_codes=frozenset({"UnableToGetUpstreamLayerException"}),
)
UPSTREAM_IMAGE_UNAVAILABLE = ErrorKind(
    code="UnableToGetUpstreamImageException",
    title="The upstream registry did not give the image",
    advice="ECR could not get image {digest} from the upstream registry of its pull-through cache rule. Try again; if "
    "that does not help, check the rule and its credentials.",
    http_status=502,
    registry_code="UNKNOWN",
    registry_http_status=502,
    retryable=True,
    # The others are reasons that BatchGetImage gives for a single image.
    ecr_codes=frozenset({"UnableToGetUpstreamImageException", "UpstreamUnavailable", "UpstreamAccessDenied"}),
)
IMAGE_NOT_FOUND = ErrorKind(
    code="ImageNotFoundException",
    title="The image does not exist",
    advice="Repository {repository} has no image {digest}. Check the tag or digest.",
    http_status=404,
    registry_code="MANIFEST_UNKNOWN",
    registry_http_status=404,
    # The others are reasons that BatchGetImage gives for a single image.
    ecr_codes=frozenset(
        {
            "ImageNotFoundException",
            "ImageNotFound",
            "ImageInaccessible",
            "ImageTagDoesNotMatchDigest",
            "InvalidImageDigest",
            "InvalidImageTag",
            "MissingDigestAndTag",
        }
    ),
)
MANIFEST_DIGEST_MISMATCH = ErrorKind(
    code="ManifestDigestMismatch",
    title="The manifest does not have its digest",
    advice="What ECR gave for image {digest} of repository {repository} is not what the digest says. Try again.",
    http_status=502,
    registry_code="UNKNOWN",
    registry_http_status=502,
    retryable=True,
)
SERVER_ERROR = ErrorKind(
    code="ServerException",
    title="ECR has a problem",
    advice="ECR could not answer because of a problem of its own. Try again later.",
    http_status=503,
    registry_code="UNAVAILABLE",
    registry_http_status=503,
    retryable=True,
    retry_after_seconds=2,
    # ServerException is ECR's own name. The others are the names that AWS services have in common for the same thing
    # (https://docs.aws.amazon.com/AmazonECR/latest/APIReference/CommonErrors.html), and the status that botocore puts
    # in the place of a name when a load balancer answered without one.
    ecr_codes=frozenset(
        {
            "ServerException",
            "InternalFailure",
            "InternalServerError",
            "ServiceUnavailable",
            "ServiceUnavailableException",
            "500",
            "502",
            "503",
            "504",
        }
    ),
)
THROTTLED = ErrorKind(
    code="ThrottlingException",
    title="ECR is throttling requests",
    advice="ECR is throttling requests of this account. Try again later, and with fewer requests at a time.",
    http_status=429,
    registry_code="TOOMANYREQUESTS",
    registry_http_status=429,
    retryable=True,
    retry_after_seconds=2,
    # botocore's own list of the names that AWS services have for throttling; it has no public name.
    ecr_codes=frozenset({*ThrottledRetryableChecker._THROTTLED_ERROR_CODES, "429", "UpstreamTooManyRequests"}),  # type: ignore[attr-defined]  # noqa: SLF001
)
ACCESS_DENIED = ErrorKind(
    code="AccessDeniedException",
    title="Access to the repository is denied",
    advice="This service may not read repository {repository}. Check the name and the registry, or ask the service's "
    "operator to allow the repository.",
    http_status=403,
    registry_code="DENIED",
    registry_http_status=403,
    ecr_codes=frozenset({"AccessDeniedException", "AccessDenied"}),
)
TIMED_OUT = ErrorKind(
    code="RequestTimeoutException",
    title="ECR did not answer in time",
    advice="ECR did not answer in time. Try again, and with fewer layers at a time if there were many.",
    http_status=504,
    registry_code="UNAVAILABLE",
    registry_http_status=504,
    retryable=True,
    ecr_codes=frozenset({"RequestTimeout", "RequestTimeoutException"}),
)
INTERNAL_ERROR = ErrorKind(
    code="InternalError",
    title="The service failed",
    advice="The service failed in a way that it does not know. Tell its operator the request id.",
    http_status=500,
    registry_code="UNKNOWN",
    registry_http_status=500,
)
FOREIGN_LAYER = ErrorKind(
    code="ForeignLayer",
    title="The layer is not kept in the registry",
    advice="Layer {digest} is a foreign layer: ECR does not have it. Download it from the urls of its descriptor.",
    http_status=404,
    registry_code="BLOB_UNKNOWN",
    registry_http_status=404,
)
NOT_ENABLED = ErrorKind(
    code="NotEnabled",
    title="The operator has not turned this on",
    advice="The operator of this service has not turned this on.",
    http_status=403,
    registry_code="DENIED",
    registry_http_status=403,
)
INVALID_DIGEST = ErrorKind(
    code="InvalidDigest",
    title="The digest is invalid",
    advice="The digest is invalid. Take digests from the manifest of an image.",
    http_status=400,
    registry_code="DIGEST_INVALID",
    registry_http_status=400,
)
INVALID_PAGINATION = ErrorKind(
    code="InvalidPaginationNumber",
    title="The number of entries to return is invalid",
    advice="n must be a whole number of entries to return, 0 or more.",
    http_status=400,
    registry_code="PAGINATION_NUMBER_INVALID",
    registry_http_status=400,
)
BLOB_UNREADABLE = ErrorKind(
    code="BlobUnreadable",
    title="S3 did not tell the size of the blob",
    advice="S3 did not tell the size of the blob. Try again, or get the blob itself.",
    http_status=502,
    registry_code="UNKNOWN",
    registry_http_status=502,
    retryable=True,
)
ROUTE_NOT_FOUND = ErrorKind(
    code="RouteNotFound",
    title="There is no such route",
    advice="There is no such route. GET /openapi.json describes those that there are.",
    http_status=404,
    registry_code="UNSUPPORTED",
    registry_http_status=404,
)
METHOD_NOT_ALLOWED = ErrorKind(
    code="MethodNotAllowed",
    title="The route does not have this method",
    advice="The route does not have this method. The Allow header lists those that it has.",
    http_status=405,
    registry_code="UNSUPPORTED",
    registry_http_status=405,
)
UNSUPPORTED_EVENT = ErrorKind(
    code="UnsupportedEvent",
    title="The event is of no kind that the function answers",
    advice="The function answers requests to its function URL (payload format 2.0), events of EventBridge, and direct "
    "invocations with the fields of a request, repositoryName and layerDigests.",
    http_status=400,
    registry_code="UNSUPPORTED",
    registry_http_status=400,
)
RESULT_TOO_LARGE = ErrorKind(
    code="ResultTooLarge",
    title="The result is too large for an event",
    advice="The result is larger than an event can be, so it would be lost. Ask for fewer layers with each event.",
    http_status=413,
    registry_code="UNSUPPORTED",
    registry_http_status=413,
)

ERROR_TABLE: tuple[ErrorKind, ...] = (
    INVALID_PARAMETER,
    REPOSITORY_NOT_FOUND,
    LAYERS_NOT_FOUND,
    LAYER_INACCESSIBLE,
    UPSTREAM_LAYER_UNAVAILABLE,
    UPSTREAM_IMAGE_UNAVAILABLE,
    IMAGE_NOT_FOUND,
    MANIFEST_DIGEST_MISMATCH,
    SERVER_ERROR,
    THROTTLED,
    ACCESS_DENIED,
    TIMED_OUT,
    INTERNAL_ERROR,
    FOREIGN_LAYER,
    NOT_ENABLED,
    INVALID_DIGEST,
    INVALID_PAGINATION,
    BLOB_UNREADABLE,
    ROUTE_NOT_FOUND,
    METHOD_NOT_ALLOWED,
    UNSUPPORTED_EVENT,
    RESULT_TOO_LARGE,
)

_KIND_BY_ECR_CODE = {ecr_code: kind for kind in ERROR_TABLE for ecr_code in kind.ecr_codes}


class ResolverError(Exception):
    """A failure with its row of the error table and a message for the caller.

    Attributes:
        kind: The row.
        detail: What is wrong and what to do. Holds no ARN, credential, download URL or stack trace.
        layer_digest: The layer that it is about, None if it is about the request as a whole.
        extensions: Further members of the problem details object (RFC 9457, section 3.2).
        headers: Further headers of the answer over HTTP.
    """

    def __init__(
        self,
        kind: ErrorKind,
        detail: str | None = None,
        *,
        layer_digest: str | None = None,
        extensions: dict[str, object] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.kind = kind
        self.detail = detail or kind.advice
        self.layer_digest = layer_digest
        self.extensions = extensions or {}
        self.headers = headers or {}
        super().__init__(f"{kind.code}: {self.detail}")

    @classmethod
    def about_layer(cls, kind: ErrorKind, repository: str, digest: str) -> "ResolverError":
        """Return the error of a row for one layer, with the row's advice as its message."""
        return cls(kind, kind.advice.format(repository=repository, digest=digest), layer_digest=digest)


def as_resolver_error(exception: Exception) -> ResolverError:
    """Return an exception as a caller may see it: itself if it is meant for callers, or else an internal error."""
    if isinstance(exception, ResolverError):
        return exception
    error = ResolverError(INTERNAL_ERROR)
    error.__cause__ = exception
    return error


class OutOfTimeError(Exception):
    """The invocation's time is up, so ECR is not asked any more."""


def error_kind(exception: BaseException) -> ErrorKind:
    """Return the row of the error table for an exception.

    Args:
        exception: Whatever calling ECR raised: botocore's `ClientError` by the code in ECR's answer, botocore's
            connection errors, our own `OutOfTimeError` and `ResolverError`, or anything else.

    Returns:
        The row; `INTERNAL_ERROR` for what no other row names.
    """
    if isinstance(exception, ResolverError):
        return exception.kind
    if isinstance(exception, ClientError):
        return _KIND_BY_ECR_CODE.get(exception.response.get("Error", {}).get("Code", ""), INTERNAL_ERROR)
    if isinstance(exception, ParamValidationError):
        return INVALID_PARAMETER
    if isinstance(exception, HTTPClientError | ConnectionError | OutOfTimeError):
        return TIMED_OUT
    return INTERNAL_ERROR
