"""The error table: every way in which a request can fail, and what each trigger answers then.

One row per error; nothing else in the package maps exceptions to answers. A new error is one new row here.
"""

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

from botocore.exceptions import (
    ClientError,
    ConnectionError,  # noqa: A004
    CredentialRetrievalError,
    HTTPClientError,
    MetadataRetrievalError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)
from botocore.retries.standard import ThrottledRetryableChecker

from layer_resolver.models import Repository
from layer_resolver.network import AnswerTooLargeError, RequestFailedError

LONGEST_MESSAGE = 2000
"""How many characters the message of an error may have."""

LISTED_ENTRIES = 10
"""How many entries of any list an error names."""


Place = Literal[
    "request", "body", "call", "layer", "image", "blob", "config", "digest", "tags", "referrers",
    "route", "failure", "event",
]  # fmt: skip
"""Where an error can arise: in any request, in reading a body, in any call to ECR, in one about a layer or an image, in
reading a blob from S3 or an image's config, in a digest in the path of a registry's route, in a list of tags or of
referrers, in the choice of a route, among the failures of a batch, or in an event."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class ErrorKind:
    """One row of the error table. A row is in the table as soon as it is made.

    Attributes:
        code: What callers see in `code`: ECR's exception name where there is one.
        title: Short summary, the same for each occurrence (RFC 9457 `title`).
        advice: What is wrong and what to do, in words for the caller. `{subject}` and `{repository}` are filled in.
        http_status: Status of the JSON routes.
        registry_code: Error code under `/v2` (OCI Distribution Specification, "Error Codes").
        registry_http_status: Status under `/v2`, where it is another one.
        retryable: Whether the same request can succeed later.
        is_fault: Whether it is this service's own: a bug, or credentials that AWS refuses.
        retry_after_seconds: Value of the `Retry-After` header, or None for no header.
        ecr_codes: Error codes in ECR's answers that mean this row.
        arises_in: Where it can arise; the OpenAPI document lists the answers of each operation from it.
    """

    code: str
    title: str
    advice: str
    http_status: int
    registry_code: str
    registry_http_status: int = 0
    retryable: bool = False
    is_fault: bool = False
    retry_after_seconds: int | None = None
    ecr_codes: frozenset[str] = frozenset()
    arises_in: frozenset[Place]

    def __post_init__(self) -> None:
        if not self.registry_http_status:
            object.__setattr__(self, "registry_http_status", self.http_status)
        taken = [code for code in self.ecr_codes if code in _KIND_BY_ECR_CODE]
        if taken or self.code in ERROR_TABLE:
            raise ValueError(f"{self.code} is a second row for {', '.join(taken) or 'its code'}")
        ERROR_TABLE[self.code] = self
        _KIND_BY_ECR_CODE.update(dict.fromkeys(self.ecr_codes, self))

    def __repr__(self) -> str:
        return f"<{self.code}>"


ERROR_TABLE: dict[str, ErrorKind] = {}
"""All rows by their code."""

_KIND_BY_ECR_CODE: dict[str, ErrorKind] = {}

INVALID_PARAMETER = ErrorKind(
    code="InvalidParameterException",
    title="The request is invalid",
    advice="ECR does not accept {subject}. Check the names and digests.",
    http_status=400,
    registry_code="NAME_INVALID",
    ecr_codes=frozenset({"InvalidParameterException", "ValidationException"}),
    arises_in=frozenset({"request", "call"}),
)
REPOSITORY_NOT_FOUND = ErrorKind(
    code="RepositoryNotFoundException",
    title="The repository does not exist",
    advice="There is no {repository} in this registry. Check its name, and the registry that it is in.",
    http_status=404,
    registry_code="NAME_UNKNOWN",
    ecr_codes=frozenset({"RepositoryNotFoundException"}),
    arises_in=frozenset({"call"}),
)
LAYERS_NOT_FOUND = ErrorKind(
    code="LayersNotFoundException",
    title="The layer does not exist",
    advice="There is no {subject}. Take digests from the manifest of an image in it.",
    http_status=404,
    registry_code="BLOB_UNKNOWN",
    ecr_codes=frozenset({"LayersNotFoundException"}),
    arises_in=frozenset({"layer"}),
)
LAYER_INACCESSIBLE = ErrorKind(
    code="LayerInaccessibleException",
    title="No image references the layer",
    advice="No image references {subject}, and ECR only gives out layers that one does. Push an image that has it.",
    http_status=409,
    registry_code="BLOB_UNKNOWN",
    registry_http_status=404,
    ecr_codes=frozenset({"LayerInaccessibleException"}),
    arises_in=frozenset({"layer"}),
)
UPSTREAM_LAYER_UNAVAILABLE = ErrorKind(
    code="UnableToGetUpstreamLayerException",
    title="The upstream registry did not give the layer",
    advice="ECR could not get {subject} from the upstream registry of its pull-through cache rule. Try again; if that "
    "does not help, check the rule and its credentials.",
    http_status=502,
    registry_code="UNKNOWN",
    retryable=True,
    ecr_codes=frozenset({"UnableToGetUpstreamLayerException"}),
    arises_in=frozenset({"layer"}),
)
UPSTREAM_IMAGE_UNAVAILABLE = ErrorKind(
    code="UnableToGetUpstreamImageException",
    title="The upstream registry did not give the image",
    advice="ECR could not get {subject} from the upstream registry of its pull-through cache rule. Try again; if that "
    "does not help, check the rule and its credentials.",
    http_status=502,
    registry_code="UNKNOWN",
    retryable=True,
    # Those without "Exception" are reasons that BatchGetImage gives for a single image.
    ecr_codes=frozenset(
        {
            "UnableToGetUpstreamImageException",
            "UnableToListUpstreamImageReferrersException",
            "UpstreamUnavailable",
            "UpstreamAccessDenied",
        }
    ),
    arises_in=frozenset({"image"}),
)
IMAGE_NOT_FOUND = ErrorKind(
    code="ImageNotFoundException",
    title="The image does not exist",
    advice="There is no {subject}. Check the tag or digest.",
    http_status=404,
    registry_code="MANIFEST_UNKNOWN",
    # Those without "Exception" are reasons that BatchGetImage gives for a single image.
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
    arises_in=frozenset({"image"}),
)
IMAGE_UNREADABLE = ErrorKind(
    code="ImageUnreadable",
    title="ECR can't read the image",
    advice="ECR can't read {subject}: the key that encrypts the repository may be disabled, or an index that names the "
    "image stands in the way. Ask the owner of the repository to check it.",
    http_status=409,
    registry_code="MANIFEST_UNKNOWN",
    registry_http_status=404,
    # Reasons that BatchGetImage gives for a single image, and KMS's own names for a key that can't be used:
    # https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_ImageFailure.html
    ecr_codes=frozenset({"KmsError", "KmsException", "ImageReferencedByManifestList"}),
    arises_in=frozenset({"image"}),
)
UNSUPPORTED_IMAGE = ErrorKind(
    code="UnsupportedImage",
    title="The image is not of a kind that this service reads",
    advice="The manifest or config of {subject} can't be read.",
    http_status=409,
    registry_code="UNSUPPORTED",
    arises_in=frozenset({"config"}),
)
MANIFEST_DIGEST_MISMATCH = ErrorKind(
    code="ManifestDigestMismatch",
    title="The manifest does not match its digest",
    advice="The manifest that ECR gave for {subject} does not match its digest. Try again.",
    http_status=502,
    registry_code="UNKNOWN",
    retryable=True,
    arises_in=frozenset({"image"}),
)
SERVER_ERROR = ErrorKind(
    code="ServerException",
    title="ECR has a problem",
    advice="ECR could not answer because of a problem of its own. Try again later.",
    http_status=503,
    registry_code="UNAVAILABLE",
    retryable=True,
    retry_after_seconds=2,
    # ServerException is ECR's own name. The others are the names that AWS services have in common for the same thing:
    # https://docs.aws.amazon.com/AmazonECR/latest/APIReference/CommonErrors.html
    ecr_codes=frozenset(
        {
            "ServerException",
            "InternalFailure",
            "InternalServerError",
            "ServiceUnavailable",
            "ServiceUnavailableException",
        }
    ),
    arises_in=frozenset({"call"}),
)
THROTTLED = ErrorKind(
    code="ThrottlingException",
    title="ECR is throttling requests",
    advice="ECR is throttling requests of this account. Try again later, and with fewer requests at a time.",
    http_status=429,
    registry_code="TOOMANYREQUESTS",
    retryable=True,
    retry_after_seconds=2,
    # botocore's own list of the names that AWS services have for throttling; it has no public name.
    ecr_codes=frozenset(
        {
            *ThrottledRetryableChecker._THROTTLED_ERROR_CODES,  # type: ignore[attr-defined]  # noqa: SLF001
            "UpstreamTooManyRequests",
        }
    ),
    arises_in=frozenset({"call"}),
)
ACCESS_DENIED = ErrorKind(
    code="AccessDeniedException",
    title="Access to the repository is denied",
    advice="This service may not read {subject}. Check the name and the registry, or ask the service's operator to "
    "allow the repository.",
    http_status=403,
    registry_code="DENIED",
    ecr_codes=frozenset({"AccessDeniedException", "AccessDenied"}),
    arises_in=frozenset({"call"}),
)
CREDENTIALS_REFUSED = ErrorKind(
    code="CredentialsRefused",
    title="AWS refuses the service's own credentials",
    advice="AWS refuses the service's own credentials. Try again later; if that does not help, tell its operator.",
    http_status=503,
    registry_code="UNAVAILABLE",
    retryable=True,
    is_fault=True,
    retry_after_seconds=2,
    # https://docs.aws.amazon.com/AmazonECR/latest/APIReference/CommonErrors.html
    ecr_codes=frozenset(
        {
            "ExpiredToken",
            "ExpiredTokenException",
            "IncompleteSignature",
            "InvalidClientTokenId",
            "InvalidSignatureException",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
            "NotAuthorized",
            "RequestExpired",
            "SignatureDoesNotMatch",
            "UnrecognizedClientException",
        }
    ),
    arises_in=frozenset({"call"}),
)
TIMED_OUT = ErrorKind(
    code="RequestTimeoutException",
    title="ECR did not answer in time",
    advice="ECR did not answer in time. Try again, and with fewer layers at a time if there were many.",
    http_status=504,
    registry_code="UNAVAILABLE",
    retryable=True,
    ecr_codes=frozenset({"RequestTimeout", "RequestTimeoutException"}),
    arises_in=frozenset({"call", "blob"}),
)
INTERNAL_ERROR = ErrorKind(
    code="InternalError",
    title="The service failed",
    advice="The service failed unexpectedly. Tell its operator the request id.",
    http_status=500,
    registry_code="UNKNOWN",
    is_fault=True,
    arises_in=frozenset({"request"}),
)
FOREIGN_LAYER = ErrorKind(
    code="ForeignLayer",
    title="The layer is not kept in the registry",
    advice="ECR does not have {subject}: it is a foreign layer. Download it from the urls of its descriptor.",
    http_status=404,
    registry_code="BLOB_UNKNOWN",
    arises_in=frozenset({"failure"}),
)
NOT_ENABLED = ErrorKind(
    code="NotEnabled",
    title="The operator has not turned this on",
    advice="The operator of this service has not turned this on.",
    http_status=403,
    registry_code="DENIED",
    arises_in=frozenset({"image", "tags"}),
)
INVALID_DIGEST = ErrorKind(
    code="InvalidDigest",
    title="The digest is invalid",
    advice="The digest is invalid. Take digests from the manifest of an image.",
    http_status=400,
    registry_code="DIGEST_INVALID",
    arises_in=frozenset({"digest"}),
)
INVALID_PAGINATION = ErrorKind(
    code="InvalidPaginationNumber",
    title="The number of entries to return is invalid",
    advice="n must be a whole number of entries to return, 0 or more.",
    http_status=400,
    registry_code="PAGINATION_NUMBER_INVALID",
    arises_in=frozenset({"tags"}),
)
INVALID_PAGE_TOKEN = ErrorKind(
    code="InvalidPageToken",
    title="The token of the page is invalid",
    advice="nextToken must be one that the Link header of the page before had. Begin again without it.",
    http_status=400,
    registry_code="PAGINATION_NUMBER_INVALID",
    arises_in=frozenset({"referrers"}),
)
INVALID_ARTIFACT_TYPE = ErrorKind(
    code="InvalidArtifactType",
    title="The filter is invalid",
    advice="artifactType must be a media type, or up to five of them.",
    http_status=400,
    registry_code="UNSUPPORTED",
    arises_in=frozenset({"referrers"}),
)
BLOB_UNREADABLE = ErrorKind(
    code="BlobUnreadable",
    title="S3 did not give the blob",
    advice="S3 did not give the blob, or its size. Try again, or get the blob itself.",
    http_status=502,
    registry_code="UNKNOWN",
    retryable=True,
    arises_in=frozenset({"blob"}),
)
ROUTE_NOT_FOUND = ErrorKind(
    code="RouteNotFound",
    title="There is no such route",
    advice="There is no such route. GET /openapi.json describes those that there are.",
    http_status=404,
    registry_code="UNSUPPORTED",
    arises_in=frozenset({"route"}),
)
METHOD_NOT_ALLOWED = ErrorKind(
    code="MethodNotAllowed",
    title="The route does not have this method",
    advice="The route does not have this method. The Allow header lists those that it has.",
    http_status=405,
    registry_code="UNSUPPORTED",
    arises_in=frozenset({"route"}),
)
REFERRERS_NOT_READ = ErrorKind(
    code="ReferrersNotRead",
    title="The registry has no referrers API",
    advice="This registry does not list referrers: its operator has not set imagePull. Use the referrers tag schema.",
    http_status=404,
    registry_code="UNSUPPORTED",
    arises_in=frozenset({"referrers"}),
)
REQUEST_TOO_LARGE = ErrorKind(
    code="RequestTooLarge",
    title="The request is too large",
    advice="The body of a request can have 1 MB, that of an image manifest 4 MB. Send a smaller one.",
    http_status=413,
    registry_code="SIZE_INVALID",
    arises_in=frozenset({"body"}),
)
UNSUPPORTED_EVENT = ErrorKind(
    code="UnsupportedEvent",
    title="The function does not answer events of this kind",
    advice="The function answers requests to its function URL (payload format 2.0), events of EventBridge, and direct "
    "invocations with the fields of a request, repositoryName and layerDigests.",
    http_status=400,
    registry_code="UNSUPPORTED",
    arises_in=frozenset({"event"}),
)
RESULT_TOO_LARGE = ErrorKind(
    code="ResultTooLarge",
    title="The result is too large",
    advice="The result is larger than an answer can be. Ask for fewer layers at a time.",
    http_status=413,
    registry_code="UNSUPPORTED",
    arises_in=frozenset({"request", "event"}),
)


class Subject(NamedTuple):
    """What an error is about.

    Attributes:
        repository: The repository.
        kind: Whether it is about a layer, an image, or the repository as a whole.
        name: The digest of the layer, or the tag or digest of the image; None if what was sent is neither.
    """

    repository: Repository
    kind: Literal["layer", "image", "repository"] = "repository"
    name: str | None = None

    def __str__(self) -> str:
        place = f"repository {self.repository.repository_name}"
        return place if self.kind == "repository" else f"{self.kind} {self.name or 'of that name'} in {place}"


class ResolverError(Exception):
    """A failure with its row of the error table and a message for the caller.

    Attributes:
        kind: The row.
        detail: What is wrong and what to do. Holds no ARN, credential, download URL or stack trace.
        subject: What it is about, None if it is about the request itself.
        extensions: Further members of the problem details object (RFC 9457, section 3.2).
        headers: Further headers of the answer over HTTP.
    """

    def __init__(
        self,
        kind: ErrorKind,
        detail: str | None = None,
        *,
        subject: Subject | None = None,
        extensions: dict[str, object] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.kind = kind
        self.detail = (detail or kind.advice)[:LONGEST_MESSAGE]
        self.subject = subject
        self.extensions = extensions or {}
        self.headers = headers or {}
        super().__init__(f"{kind.code}: {self.detail}")

    @classmethod
    def about(cls, subject: Subject, kind: ErrorKind, cause: BaseException | None = None) -> "ResolverError":
        """Return the error of a row about a subject, with the row's advice as its message."""
        advice = kind.advice.format(subject=subject, repository=Subject(subject.repository))
        error = cls(kind, advice, subject=subject)
        error.__cause__ = cause
        return error


class UnreadableAnswerError(Exception):
    """An answer is not one that ECR or S3 gives."""


class OutOfTimeError(Exception):
    """The invocation's time is up, so no further call is made."""


_KIND_BY_TYPE: tuple[tuple[tuple[type[BaseException], ...], ErrorKind], ...] = (
    ((ParamValidationError,), INVALID_PARAMETER),
    (
        (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, MetadataRetrievalError),
        CREDENTIALS_REFUSED,
    ),
    ((HTTPClientError, ConnectionError, RequestFailedError, OutOfTimeError), TIMED_OUT),
    ((UnreadableAnswerError, AnswerTooLargeError), SERVER_ERROR),
)


def as_resolver_error(exception: BaseException) -> ResolverError:
    """Return an exception as a caller may see it: itself if it is meant for callers, or else an internal error."""
    if isinstance(exception, ResolverError):
        return exception
    error = ResolverError(INTERNAL_ERROR)
    error.__cause__ = exception
    return error


def error_kind(exception: BaseException, status: int | None = None) -> ErrorKind:
    """Return the row of the error table for an exception.

    Args:
        exception: Whatever calling ECR raised.
        status: The HTTP status of ECR's answer, if there was one. It decides where ECR's code does not.

    Returns:
        The row; `INTERNAL_ERROR` for what no other row names.
    """
    if isinstance(exception, ResolverError):
        return exception.kind
    if isinstance(exception, ClientError):
        return _KIND_BY_ECR_CODE.get(ecr_code(exception)) or _kind_by_status(status)
    for types, kind in _KIND_BY_TYPE:
        if isinstance(exception, types):
            return kind
    # What botocore raises when it can't read an answer can be anything.
    return INTERNAL_ERROR if status is None else _kind_by_status(status, unreadable=True)


def ecr_code(error: ClientError) -> str:
    """Return the code of ECR's answer, an empty string if it does not have the form of one."""
    code = error.response.get("Error", {}).get("Code")
    return code if isinstance(code, str) and re.fullmatch(r"[A-Za-z0-9_.:-]{1,100}", code) else ""


def _kind_by_status(status: int | None, *, unreadable: bool = False) -> ErrorKind:
    if status == 429:
        return THROTTLED
    if status == 408:
        return TIMED_OUT
    # ECR redirects nobody: who does is not ECR.
    if unreadable or (status is not None and not 400 <= status < 500):
        return SERVER_ERROR
    return INTERNAL_ERROR
