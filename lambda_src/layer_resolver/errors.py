"""The error table: every way a request can fail, and what each trigger answers.

One row per error. `error_kind` maps what a call to AWS raised to its row; the modules raise the other rows by name.
"""

import re
import ssl
from collections.abc import Set
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from botocore import exceptions
from botocore.exceptions import ClientError
from urllib3.exceptions import PoolError

from layer_resolver.calls import OutOfTimeError

LONGEST_MESSAGE = 2000
"""The longest message of an error, in characters."""

LISTED_ENTRIES = 10
"""How many entries of any list an error names."""


Place = Literal["request", "body", "call", "layer", "image", "blob", "config", "registry", "route", "failure", "event"]
"""Where an error can arise; the OpenAPI document lists each operation's answers from it."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ErrorKind:
    """One row of the error table. Creating a row adds it to the table.

    Whether the caller may retry, and after how long, follows from `http_status`.

    Attributes:
        code: What callers see in `code`: ECR's exception name where there is one.
        http_status: Status of the JSON routes.
        registry_code: Error code under `/v2` (OCI Distribution Specification, "Error Codes").
        arises_in: Where it can arise.
        title: Short summary, the same for each occurrence (RFC 9457 `title`).
        advice: What is wrong and what to do. `{subject}` and `{repository}` are filled in.
        ecr_codes: Other ECR error codes that map to this row. `code` itself maps too if it ends in `Exception`.
        registry_http_status: Status under `/v2`, where it differs.
        is_fault: Whether the service itself is at fault: a bug, or credentials that AWS refuses.
    """

    code: str
    http_status: int
    registry_code: str
    arises_in: Set[Place]
    title: str
    advice: str
    _: KW_ONLY
    ecr_codes: Set[str] = frozenset()
    registry_http_status: int = 0
    is_fault: bool = False

    def __post_init__(self) -> None:
        if not self.registry_http_status:
            object.__setattr__(self, "registry_http_status", self.http_status)
        codes = {*self.ecr_codes, *([self.code] if self.code.endswith("Exception") else [])}
        if self.code in ERROR_TABLE or not codes.isdisjoint(_KIND_BY_ECR_CODE):
            raise ValueError(f"{self.code} is in the table already, or one of its codes")
        ERROR_TABLE[self.code] = self
        _KIND_BY_ECR_CODE.update(dict.fromkeys(codes, self))

    def __repr__(self) -> str:
        return f"<{self.code}>"

    @property
    def retryable(self) -> bool:
        """Whether the same request can succeed later."""
        return self.http_status in {429, 502, 503, 504}

    @property
    def retry_after_seconds(self) -> int | None:
        """Value of the `Retry-After` header; None for no header."""
        return 2 if self.http_status in {429, 503} else None


ERROR_TABLE: dict[str, ErrorKind] = {}
"""All rows by their code."""

_KIND_BY_ECR_CODE: dict[str, ErrorKind] = {}

# fmt: off
INVALID_PARAMETER = ErrorKind(
    "InvalidParameterException", 400, "NAME_INVALID", {"request", "call"}, "The request is invalid",
    "ECR does not accept {subject}. Check the names and digests.",
    ecr_codes={"ValidationException"},
)
REPOSITORY_NOT_FOUND = ErrorKind(
    "RepositoryNotFoundException", 404, "NAME_UNKNOWN", {"call"}, "The repository does not exist",
    "There is no {repository} in this registry. Check its name and its registry.",
)
LAYERS_NOT_FOUND = ErrorKind(
    "LayersNotFoundException", 404, "BLOB_UNKNOWN", {"layer"}, "The layer does not exist",
    "There is no {subject}. Use a digest listed in one of its image manifests.",
)
LAYER_INACCESSIBLE = ErrorKind(
    "LayerInaccessibleException", 409, "BLOB_UNKNOWN", {"layer"}, "No image references the layer",
    "No image references {subject}, and ECR serves only referenced layers. Push an image that has it.",
    registry_http_status=404,
)
UPSTREAM_LAYER_UNAVAILABLE = ErrorKind(
    "UnableToGetUpstreamLayerException", 502, "UNKNOWN", {"layer"}, "The upstream registry did not return the layer",
    "ECR could not get {subject} from the upstream registry of its pull-through cache rule. Try again; if that "
    "does not help, check the rule and its credentials.",
)
UPSTREAM_IMAGE_UNAVAILABLE = ErrorKind(
    "UnableToGetUpstreamImageException", 502, "UNKNOWN", {"image"}, "The upstream registry did not return the image",
    "ECR could not get {subject} from the upstream registry of its pull-through cache rule. Try again; if that "
    "does not help, check the rule and its credentials.",
    ecr_codes={"UnableToListUpstreamImageReferrersException", "UpstreamAccessDenied", "UpstreamUnavailable"},
)
# The codes without "Exception" are reasons that BatchGetImage gives for a single image.
IMAGE_NOT_FOUND = ErrorKind(
    "ImageNotFoundException", 404, "MANIFEST_UNKNOWN", {"image"}, "The image does not exist",
    "There is no {subject}. Check the tag or digest.",
    ecr_codes={"ImageInaccessible", "ImageNotFound", "ImageTagDoesNotMatchDigest", "InvalidImageDigest",
               "InvalidImageTag", "MissingDigestAndTag"},
)
# Reasons of BatchGetImage, and KMS's name for a key that can't be used:
# https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_ImageFailure.html
IMAGE_UNREADABLE = ErrorKind(
    "ImageUnreadable", 409, "MANIFEST_UNKNOWN", {"image"}, "ECR can't read the image",
    "ECR can't read {subject}. Ask the repository's owner to check the key that encrypts it and the indexes that "
    "reference the image.",
    registry_http_status=404, ecr_codes={"ImageReferencedByManifestList", "KmsError", "KmsException"},
)
UNSUPPORTED_IMAGE = ErrorKind(
    "UnsupportedImage", 409, "UNSUPPORTED", {"config"}, "Unsupported image",
    "The manifest or config of {subject} can't be read.",
)
MANIFEST_DIGEST_MISMATCH = ErrorKind(
    "ManifestDigestMismatch", 502, "UNKNOWN", {"image"}, "The manifest does not match its digest",
    "The manifest that ECR returned for {subject} doesn't match its digest. Try again.",
)
# The names that AWS services share: https://docs.aws.amazon.com/AmazonECR/latest/APIReference/CommonErrors.html
SERVER_ERROR = ErrorKind(
    "ServerException", 503, "UNAVAILABLE", {"call"}, "ECR failed",
    "ECR failed. Try again later.",
    ecr_codes={"InternalFailure", "InternalServerError", "ServiceUnavailable", "ServiceUnavailableException"},
)
# https://github.com/boto/botocore/blob/develop/botocore/retries/standard.py, and a reason of BatchGetImage.
THROTTLED = ErrorKind(
    "ThrottlingException", 429, "TOOMANYREQUESTS", {"call"}, "ECR is throttling requests",
    "ECR is throttling this account's requests. Try again later, with fewer requests at a time.",
    ecr_codes={"BandwidthLimitExceeded", "EC2ThrottledException", "LimitExceededException", "PriorRequestNotComplete",
               "ProvisionedThroughputExceededException", "RequestLimitExceeded", "RequestThrottled",
               "RequestThrottledException", "SlowDown", "ThrottledException", "Throttling", "TooManyRequestsException",
               "TransactionInProgressException", "UpstreamTooManyRequests"},
)
ACCESS_DENIED = ErrorKind(
    "AccessDeniedException", 403, "DENIED", {"call"}, "Access to the repository is denied",
    "This service may not read {subject}. Check the name and the registry, or ask the service's operator to allow "
    "the repository.",
    ecr_codes={"AccessDenied"},
)
# https://docs.aws.amazon.com/AmazonECR/latest/APIReference/CommonErrors.html
CREDENTIALS_REFUSED = ErrorKind(
    "CredentialsRefused", 503, "UNAVAILABLE", {"call"}, "AWS refuses the service's own credentials",
    "AWS refuses the service's own credentials. Try again later, then tell the service's operator.",
    is_fault=True,
    ecr_codes={"ExpiredToken", "ExpiredTokenException", "IncompleteSignature", "InvalidAccessKeyId",
               "InvalidClientTokenId", "InvalidSignatureException", "InvalidToken", "MissingAuthenticationToken",
               "MissingAuthenticationTokenException", "NotAuthorized", "OptInRequired", "RequestExpired",
               "RequestInTheFuture", "RequestTimeTooSkewed", "SignatureDoesNotMatch", "TokenRefreshRequired",
               "UnrecognizedClientException"},
)
TIMED_OUT = ErrorKind(
    "RequestTimeoutException", 504, "UNAVAILABLE", {"call", "blob"}, "AWS did not answer in time",
    "ECR did not answer in time. Try again, with fewer layers at a time if there were many.",
    ecr_codes={"RequestTimeout"},
)
INTERNAL_ERROR = ErrorKind(
    "InternalError", 500, "UNKNOWN", {"request"}, "The service failed",
    "The service failed unexpectedly. Tell its operator the request id.",
    is_fault=True,
)
FOREIGN_LAYER = ErrorKind(
    "ForeignLayer", 404, "BLOB_UNKNOWN", {"failure"}, "The layer isn't in the registry",
    "ECR doesn't have {subject}. It is a foreign layer: download it from one of the urls in its descriptor.",
)
NOT_ENABLED = ErrorKind(
    "NotEnabled", 403, "DENIED", {"image"}, "This feature is disabled",
    "This feature is disabled. Ask the service's operator to enable it.",
)
INVALID_DIGEST = ErrorKind(
    "InvalidDigest", 400, "DIGEST_INVALID", {"registry"}, "The digest is invalid",
    "The digest is invalid. Use a digest listed in an image manifest.",
)
INVALID_PAGINATION = ErrorKind(
    "InvalidPaginationNumber", 400, "PAGINATION_NUMBER_INVALID", {"registry"}, "The page size is invalid",
    "n must be a whole number, 0 or more.",
)
INVALID_PAGE_TOKEN = ErrorKind(
    "InvalidPageToken", 400, "PAGINATION_NUMBER_INVALID", {"registry"}, "The page token is invalid",
    "nextToken must come from the previous page's Link header. Start again without it.",
)
INVALID_ARTIFACT_TYPE = ErrorKind(
    "InvalidArtifactType", 400, "UNSUPPORTED", {"registry"}, "The filter is invalid",
    "artifactType must be a media type, or up to five separated by commas.",
)
BLOB_UNREADABLE = ErrorKind(
    "BlobUnreadable", 502, "UNKNOWN", {"blob"}, "S3 did not return the blob",
    "S3 did not return the blob or its size. Try again, or get the blob itself.",
)
ROUTE_NOT_FOUND = ErrorKind(
    "RouteNotFound", 404, "UNSUPPORTED", {"route"}, "There is no such route",
    "There is no such route. GET /openapi.json describes the routes.",
)
METHOD_NOT_ALLOWED = ErrorKind(
    "MethodNotAllowed", 405, "UNSUPPORTED", {"route"}, "Method not allowed",
    "This route doesn't take this method. The Allow header lists the ones it takes.",
)
REFERRERS_NOT_READ = ErrorKind(
    "ReferrersNotRead", 404, "UNSUPPORTED", {"registry"}, "The registry has no referrers API",
    "This registry doesn't list referrers, because imagePull is off. Use the referrers tag schema.",
)
REQUEST_TOO_LARGE = ErrorKind(
    "RequestTooLarge", 413, "SIZE_INVALID", {"body"}, "The request is too large",
    "A request body may be up to 1 MB, an image manifest up to 4 MB. Send a smaller one.",
)
UNSUPPORTED_EVENT = ErrorKind(
    "UnsupportedEvent", 400, "UNSUPPORTED", {"event"}, "Unsupported event",
    "The function answers requests to its function URL (payload format 2.0), events of EventBridge, and direct "
    "invocations with the fields of a request, repositoryName and layerDigests.",
)
RESULT_TOO_LARGE = ErrorKind(
    "ResultTooLarge", 413, "UNSUPPORTED", {"request", "event"}, "The result is too large",
    "The result is too large for an answer. Ask for fewer layers at a time.",
)
# fmt: on


class Repository(NamedTuple):
    """A repository; without the registry's id it is one of the function's own account."""

    repository_name: str
    registry_id: str | None = None

    def parameters(self) -> dict[str, str]:
        """Return the parameters that name the repository in calls to ECR."""
        registry = {} if self.registry_id is None else {"registryId": self.registry_id}
        return {"repositoryName": self.repository_name, **registry}


class Subject(NamedTuple):
    """What a call or an error is about: a layer by its digest, an image by its tag or digest, or a whole repository."""

    repository: Repository
    kind: Literal["layer", "image", "repository"] = "repository"
    name: str | None = None

    def __str__(self) -> str:
        place = f"repository {self.repository.repository_name}"
        return place if self.kind == "repository" else f"{self.kind} {self.name or 'of that name'} in {place}"


class ResolverError(Exception):
    """A failure with its row of the error table.

    Attributes:
        detail: What is wrong and what to do. Holds no ARN, credential, download URL or stack trace.
        subject: What it is about; None if it is about the request itself.
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
    """An answer isn't one that ECR or S3 gives."""


def unreadable_answer(subject: Subject, problem: str) -> ResolverError:
    """Return the error for an answer of ECR's that isn't one it gives, or is about something else."""
    return ResolverError.about(subject, SERVER_ERROR, UnreadableAnswerError(problem))


def as_resolver_error(exception: BaseException) -> ResolverError:
    """Return an exception as a caller may see it: itself if meant for callers, else an internal error."""
    if isinstance(exception, ResolverError):
        return exception
    error = ResolverError(INTERNAL_ERROR)
    error.__cause__ = exception
    return error


_KINDS_BY_EXCEPTION: dict[type[Exception], ErrorKind] = {
    exceptions.NoCredentialsError: CREDENTIALS_REFUSED,
    exceptions.PartialCredentialsError: CREDENTIALS_REFUSED,
    exceptions.CredentialRetrievalError: CREDENTIALS_REFUSED,
    exceptions.MetadataRetrievalError: CREDENTIALS_REFUSED,
    exceptions.HTTPClientError: TIMED_OUT,
    exceptions.ConnectionError: TIMED_OUT,
    OutOfTimeError: TIMED_OUT,
    exceptions.ParamValidationError: INVALID_PARAMETER,
    UnreadableAnswerError: SERVER_ERROR,
}


def error_kind(exception: BaseException) -> ErrorKind:
    """Return the row for whatever a call to AWS raised; `INTERNAL_ERROR` if no other row names it."""
    if isinstance(exception, ResolverError):
        return exception.kind
    if isinstance(exception, ClientError):
        return _KIND_BY_ECR_CODE.get(ecr_code(exception)) or _kind_by_status(_status_of(exception))
    return next((kind for of, kind in _KINDS_BY_EXCEPTION.items() if isinstance(exception, of)), INTERNAL_ERROR)


def ecr_code(error: ClientError) -> str:
    """Return the code in AWS's answer; an empty string if it doesn't have the form of one."""
    code = error.response.get("Error", {}).get("Code")
    return code if isinstance(code, str) and re.fullmatch(r"[A-Za-z0-9_.:-]{1,100}", code) else ""


def describe_cause(cause: BaseException) -> dict[str, Any]:
    """Return what the log may say of an exception: types, code, status, host, error number, never its text.

    `because` has the types of what led to it, outermost first, which tell a name that can't be resolved from a refused
    certificate and a time-out.
    """
    chain = _chain(cause)
    described: dict[str, Any] = {"type": type(cause).__name__}
    if isinstance(cause, ClientError):
        described |= {"code": ecr_code(cause), "status": _status_of(cause)}
    found = {
        "because": [type(each).__name__ for each in chain[1:]],
        "host": next(filter(None, map(_host, chain)), None),
        "errno": next((each.errno for each in chain if isinstance(each, OSError) and each.errno), None),
    }
    return described | {name: value for name, value in found.items() if value}


def is_certificate_refused(exception: BaseException) -> bool:
    """Tell whether the peer's certificate was refused, which another attempt doesn't change."""
    return any(isinstance(each, ssl.SSLCertVerificationError) for each in _chain(exception))


def _chain(exception: BaseException) -> list[BaseException]:
    """Return an exception and what led to it, outermost first."""
    chain = [exception]
    while len(chain) <= LISTED_ENTRIES and (cause := chain[-1].__cause__ or chain[-1].__context__):
        chain.append(cause)
    return chain


def _host(exception: BaseException) -> str | None:
    """Return the host that botocore or urllib3 says an exception is about."""
    endpoint_url = getattr(exception, "kwargs", {}).get("endpoint_url")
    if endpoint_url:
        return urlsplit(str(endpoint_url)).hostname
    peer = getattr(exception, "conn", None) or (exception.pool if isinstance(exception, PoolError) else None)
    host: str | None = getattr(peer, "host", None)
    return host


def _status_of(error: ClientError) -> int | None:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")


def _kind_by_status(status: int | None) -> ErrorKind:
    if status == 429:
        return THROTTLED
    if status == 408:
        return TIMED_OUT
    # ECR never redirects, so a redirect means a broken endpoint or a proxy.
    return INTERNAL_ERROR if status is None or 400 <= status < 500 else SERVER_ERROR
