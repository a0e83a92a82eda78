"""Signs download URLs as S3's callers do, and verifies URLs and requests as AWS does, all with botocore's own signer.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html and
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-signing-elements.html
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from botocore.auth import S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

LIFETIME = timedelta(hours=1)
MAXIMUM_LIFETIME = timedelta(days=7)
MAXIMUM_CLOCK_SKEW = timedelta(minutes=15)

_PARAMETERS = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders")
_TIMESTAMP = "%Y%m%dT%H%M%SZ"
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<access_key>[^/,]+)/(?P<scope>[^,]+), ?"
    r"SignedHeaders=(?P<headers>[a-z0-9;-]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)


class SignatureError(Exception):
    """A URL that S3 refuses.

    Attributes:
        status: HTTP status of the answer.
        code: S3's error code.
        message: S3's message.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class UrlSigner:
    """Signs URLs for GET, and verifies such URLs, with one set of temporary credentials.

    Args:
        credentials: The credentials, with a session token, as those of ECR's own download URLs.
        region: The region of the bucket.
        lifetime: How long URLs are valid; ECR's are for an hour.
    """

    def __init__(self, credentials: Credentials, region: str, lifetime: timedelta = LIFETIME) -> None:
        self._credentials = credentials
        self._region = region
        self._lifetime = lifetime

    def sign(self, url: str) -> str:
        """Return `url`, which has no query, pre-signed for GET."""
        request = AWSRequest("GET", url)
        seconds = int(self._lifetime.total_seconds())
        S3SigV4QueryAuth(self._credentials, "s3", self._region, expires=seconds).add_auth(request)
        return str(request.url)

    def verify(self, method: str, url: str, headers: Mapping[str, str], now: datetime) -> None:
        """Check that `url` was signed for `method` with our credentials and has not expired.

        Args:
            method: The request's method.
            url: The URL as it was requested.
            headers: The request's headers.
            now: The moment of the request, with its time zone.

        Raises:
            SignatureError: If S3 would refuse the request.
        """
        if "authorization" in headers:
            raise SignatureError(400, "InvalidArgument", "Only one auth mechanism allowed.")
        query = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
        signature = query.get("X-Amz-Signature")
        if signature is None:
            raise SignatureError(403, "AccessDenied", "Access Denied")
        missing = [name for name in _PARAMETERS if name not in query]
        if missing:
            raise SignatureError(400, "AuthorizationQueryParametersError", f"Query lacks {', '.join(missing)}.")
        self._check_credential(query)
        self._check_time(query, now)
        expected = self._signature(method, url, headers, query)
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            raise SignatureError(
                403,
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided.",
            )

    def _check_credential(self, query: Mapping[str, str]) -> None:
        access_key, _, scope = query["X-Amz-Credential"].partition("/")
        if access_key != self._credentials.access_key:
            raise SignatureError(403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist.")
        if query.get("X-Amz-Security-Token") != self._credentials.token:
            raise SignatureError(400, "InvalidToken", "The provided token is malformed or otherwise invalid.")
        expected_scope = f"{query['X-Amz-Date'][:8]}/{self._region}/s3/aws4_request"
        if query["X-Amz-Algorithm"] != "AWS4-HMAC-SHA256" or scope != expected_scope:
            raise SignatureError(
                400, "AuthorizationQueryParametersError", f"The credential scope has to be {expected_scope}."
            )

    @staticmethod
    def _check_time(query: Mapping[str, str], now: datetime) -> None:
        try:
            signed_at = datetime.strptime(query["X-Amz-Date"], _TIMESTAMP).replace(tzinfo=UTC)
            lifetime = timedelta(seconds=int(query["X-Amz-Expires"]))
        except (ValueError, OverflowError):
            raise SignatureError(
                400, "AuthorizationQueryParametersError", "X-Amz-Date or X-Amz-Expires is malformed."
            ) from None
        if not timedelta(seconds=1) <= lifetime <= MAXIMUM_LIFETIME:
            raise SignatureError(
                400, "AuthorizationQueryParametersError", "X-Amz-Expires must be between 1 and 604800 seconds."
            )
        if signed_at - now > MAXIMUM_CLOCK_SKEW:
            raise SignatureError(403, "AccessDenied", "Request is not yet valid")
        if now > signed_at + lifetime:
            raise SignatureError(403, "AccessDenied", "Request has expired")

    def _signature(self, method: str, url: str, headers: Mapping[str, str], query: Mapping[str, str]) -> str:
        parts = urlsplit(url)
        # The signature covers the query as it was sent, but for itself.
        unsigned = "&".join(pair for pair in parts.query.split("&") if not pair.startswith("X-Amz-Signature="))
        request = AWSRequest(method, urlunsplit(parts._replace(query=unsigned)))
        request.context["timestamp"] = query["X-Amz-Date"]
        for name in query["X-Amz-SignedHeaders"].split(";"):
            request.headers[name] = headers.get(name, "")
        auth = S3SigV4QueryAuth(self._credentials, "s3", self._region)
        signature: str = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
        return signature


class RequestVerifier:
    """Verifies requests that are signed in their header, as Lambda does for a function URL with the auth AWS_IAM.

    Args:
        credentials: The only credentials that are known.
        region: The region of the function.
    """

    def __init__(self, credentials: Credentials, region: str) -> None:
        self.credentials = credentials
        self._region = region

    def is_signed(self, method: str, url: str, headers: Mapping[str, str], body: bytes, now: datetime) -> bool:
        """Tell whether a request is signed with the credentials.

        Args:
            method: The request's method.
            url: The URL as it was requested, percent-encoded as it was sent.
            headers: The request's headers, in lower case.
            body: Its body.
            now: The moment of the request, with its time zone.
        """
        signed = _AUTHORIZATION.fullmatch(headers.get("authorization", ""))
        timestamp = headers.get("x-amz-date", "")
        if signed is None or not self._knows(signed, timestamp, headers) or not _is_recent(timestamp, now):
            return False
        names = signed["headers"].split(";")
        if "host" not in names:
            return False
        digest = hashlib.sha256(body).hexdigest()
        # What says otherwise of its body was changed on the way; Lambda takes no unsigned payload.
        if headers.get("x-amz-content-sha256", digest) != digest:
            return False
        request = AWSRequest(method, url, data=body)
        request.context["timestamp"] = timestamp
        for name in names:
            request.headers[name] = headers.get(name, "")
        auth = SigV4Auth(self.credentials, "lambda", self._region)
        expected = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
        return hmac.compare_digest(expected, signed["signature"])

    def _knows(self, signed: re.Match[str], timestamp: str, headers: Mapping[str, str]) -> bool:
        return (
            signed["access_key"] == self.credentials.access_key
            and signed["scope"] == f"{timestamp[:8]}/{self._region}/lambda/aws4_request"
            and headers.get("x-amz-security-token") == self.credentials.token
        )


def _is_recent(timestamp: str, now: datetime) -> bool:
    try:
        signed_at = datetime.strptime(timestamp, _TIMESTAMP).replace(tzinfo=UTC)
    except ValueError:
        return False
    return abs(now - signed_at) <= MAXIMUM_CLOCK_SKEW
