"""The table of answers other than 200."""

from typing import NamedTuple


class ErrorKind(NamedTuple):
    """One way to refuse or fail.

    Attributes:
        reason: Its name in the log and in the answer's `detail`.
        status: HTTP status.
        code: Code of the OCI error body.
        message: What is wrong and what to do. `{host}` is the host that the client asked.
        retry_seconds: When another try can help; None if it can't.
    """

    reason: str
    status: int
    code: str
    message: str
    retry_seconds: int | None = None


class ExchangeError(Exception):
    """A request that gets no token.

    Attributes:
        kind: Its row of the table.
    """

    def __init__(self, kind: ErrorKind) -> None:
        super().__init__(kind.reason)
        self.kind = kind


NOT_THROUGH_EDGE = ErrorKind(
    "NotThroughEdge", 403, "DENIED", "Requests must come through the registry's own host. Ask that for /token."
)
METHOD_NOT_ALLOWED = ErrorKind("MethodNotAllowed", 405, "UNSUPPORTED", "Only GET is served here.")
INVALID_QUERY = ErrorKind(
    "InvalidQuery", 400, "UNSUPPORTED", "The query has more than 100 parameters. Use fewer scopes."
)
TOO_MANY_REPOSITORIES = ErrorKind(
    "TooManyRepositories", 400, "UNSUPPORTED", "The scopes have too many repositories for one token. Use fewer."
)
MISSING_TOKEN = ErrorKind(
    "MissingToken", 401, "UNAUTHORIZED", "Send an OIDC token as the password of Basic authentication."
)
TOKEN_TOO_LONG = ErrorKind("TokenTooLong", 401, "UNAUTHORIZED", "The OIDC token is longer than 8,192 characters.")
MALFORMED_TOKEN = ErrorKind(
    "MalformedToken", 401, "UNAUTHORIZED", "The OIDC token is malformed or its algorithm isn't accepted."
)
UNTRUSTED_ISSUER = ErrorKind(
    "UntrustedIssuer", 401, "UNAUTHORIZED",
    "No trust rule names the OIDC token's issuer. Ask the registry's operator to add one.",
)  # fmt: skip
UNVERIFIED_TOKEN = ErrorKind(
    "UnverifiedToken", 401, "UNAUTHORIZED",
    "The OIDC token can't be verified with the issuer's current keys. Request a new token.",
)  # fmt: skip
TOKEN_EXPIRED = ErrorKind("TokenExpired", 401, "UNAUTHORIZED", "The OIDC token has expired. Request a new one.")
INVALID_CLAIMS = ErrorKind(
    "InvalidClaims", 401, "UNAUTHORIZED",
    "The OIDC token isn't for this registry or isn't valid yet. Request one for the audience {host}.",
)  # fmt: skip
NO_MATCHING_RULE = ErrorKind(
    "NoMatchingRule", 403, "DENIED",
    "No trust rule accepts this OIDC token's claims. Ask the registry's operator to compare them with the rules.",
)  # fmt: skip
NOT_COVERED = ErrorKind(
    "NotCovered", 403, "DENIED",
    "The trust rules for this OIDC token don't cover the repository. Ask the registry's operator to add it.",
)  # fmt: skip
ISSUER_UNAVAILABLE = ErrorKind(
    "IssuerUnavailable", 503, "UNAVAILABLE", "The issuer's keys can't be read at the moment. Try again later.", 5
)
SIGNING_KEY_UNAVAILABLE = ErrorKind(
    "SigningKeyUnavailable", 503, "UNAVAILABLE", "The signing key can't be read at the moment. Try again later.", 5
)
NO_SIGNING_KEY = ErrorKind(
    "NoSigningKey", 503, "UNAVAILABLE",
    "The registry has no signing key yet. Its operator has to run `ecr-layers token rotate-keys`.", 60,
)  # fmt: skip
INTERNAL_ERROR = ErrorKind(
    "InternalError",
    500,
    "UNKNOWN",
    "The token exchange failed unexpectedly. Tell the registry's operator the requestId.",
)
