"""Signs download URLs as S3's callers do, and verifies URLs and requests as AWS does, all with botocore's own signer.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html and
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-signing-elements.html
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from botocore.auth import S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

_LIFETIME_SECONDS = 3600
_CLOCK_SKEW = timedelta(minutes=15)
_TIMESTAMP = "%Y%m%dT%H%M%SZ"
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<access_key>[^/,]+)/(?P<scope>[^,]+), ?"
    r"SignedHeaders=(?P<headers>[a-z0-9;-]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)


class SignatureError(Exception):
    """A URL that S3 refuses: status, S3's error code, message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class UrlSigner:
    """Signs URLs for GET for an hour, and verifies such URLs."""

    def __init__(self, credentials: Credentials, region: str) -> None:
        self._auth = S3SigV4QueryAuth(credentials, "s3", region, expires=_LIFETIME_SECONDS)

    def sign(self, url: str) -> str:
        """Return `url` pre-signed; it must not have a query yet."""
        request = AWSRequest("GET", url)
        self._auth.add_auth(request)
        return str(request.url)

    def verify(self, method: str, url: str, headers: Mapping[str, str], now: datetime) -> None:
        """Check that `url` was signed for `method` with the credentials and has not expired.

        Raises:
            SignatureError: If S3 would refuse the request.
        """
        if "authorization" in headers:
            raise SignatureError(400, "InvalidArgument", "Only one auth mechanism allowed.")
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        # The signature covers the query as it was sent, but for itself.
        unsigned = "&".join(pair for pair in parts.query.split("&") if not pair.startswith("X-Amz-Signature="))
        request = AWSRequest(method, urlunsplit(parts._replace(query=unsigned)))
        try:
            signed_at = _moment(query["X-Amz-Date"])
            lifetime = timedelta(seconds=int(query["X-Amz-Expires"]))
            expected = _signature(
                self._auth, request, headers, query["X-Amz-SignedHeaders"].split(";"), query["X-Amz-Date"]
            )
            signature = query["X-Amz-Signature"]
        except (KeyError, ValueError, OverflowError):
            raise SignatureError(403, "AccessDenied", "Access Denied") from None
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            raise SignatureError(
                403,
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided.",
            )
        if now > signed_at + lifetime:
            raise SignatureError(403, "AccessDenied", "Request has expired")


class RequestVerifier:
    """Verifies requests that are signed in their header, as Lambda does for a function URL with the auth AWS_IAM."""

    def __init__(self, credentials: Credentials, region: str) -> None:
        self.credentials = credentials
        self._region = region

    def is_signed(self, method: str, url: str, headers: Mapping[str, str], body: bytes, now: datetime) -> bool:
        """Tell whether a request is signed with the credentials.

        The URL is as it was sent, percent-encoded, and the names of headers are in lower case.
        """
        signed = _AUTHORIZATION.fullmatch(headers.get("authorization", ""))
        timestamp = headers.get("x-amz-date", "")
        if signed is None or not self._knows(signed, timestamp, headers) or not _is_recent(timestamp, now):
            return False
        names = signed["headers"].split(";")
        digest = hashlib.sha256(body).hexdigest()
        # Another digest means that the body was changed on the way; Lambda takes no unsigned payload.
        if "host" not in names or headers.get("x-amz-content-sha256", digest) != digest:
            return False
        auth = SigV4Auth(self.credentials, "lambda", self._region)
        expected = _signature(auth, AWSRequest(method, url, data=body), headers, names, timestamp)
        return hmac.compare_digest(expected, signed["signature"])

    def _knows(self, signed: re.Match[str], timestamp: str, headers: Mapping[str, str]) -> bool:
        return (
            signed["access_key"] == self.credentials.access_key
            and signed["scope"] == f"{timestamp[:8]}/{self._region}/lambda/aws4_request"
            and headers.get("x-amz-security-token") == self.credentials.token
        )


def _signature(
    auth: SigV4Auth, request: AWSRequest, headers: Mapping[str, str], names: Iterable[str], timestamp: str
) -> str:
    """Return the signature that a request with these signed headers should have."""
    request.context["timestamp"] = timestamp
    for name in names:
        request.headers[name] = headers.get(name, "")
    signature: str = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    return signature


def _moment(timestamp: str) -> datetime:
    return datetime.strptime(timestamp, _TIMESTAMP).replace(tzinfo=UTC)


def _is_recent(timestamp: str, now: datetime) -> bool:
    try:
        return abs(now - _moment(timestamp)) <= _CLOCK_SKEW
    except ValueError:
        return False
