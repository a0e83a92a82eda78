"""Checks the download URLs that ECR returns: their hosts and their lifetimes.

A URL with another host is never passed on.
"""

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple
from urllib.parse import urlsplit

LONGEST_URL = 16 * 1024
"""How many characters a download URL may have."""

LONGEST_REUSE_SECONDS = 1800.0
"""How long a URL is reused at most, whatever lifetime it claims. ECR's are valid for an hour."""

# Domain names of S3 and CloudFront in each partition. ECR's layers are in buckets of its own, such as
# prod-us-east-1-starport-layer-bucket.s3.us-east-1.amazonaws.com. Source:
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/vpc-endpoints.html#ecr-setting-up-s3-gateway
_DOMAINS = {
    "aws": ("amazonaws.com", "cloudfront.net"),
    "aws-us-gov": ("amazonaws.com", "cloudfront.net"),
    "aws-cn": ("amazonaws.com.cn", "cloudfront.cn"),
    "aws-eusc": ("amazonaws.eu", "cloudfront.eu"),
    "aws-iso": ("c2s.ic.gov", None),
    "aws-iso-b": ("sc2s.sgov.gov", None),
    "aws-iso-e": ("cloud.adc-e.uk", None),
    "aws-iso-f": ("csp.hci.ic.gov", None),
}
# The last form is S3's interface endpoint in a VPC, `bucket.vpce-1a2b3c4d-5e6f.s3.us-east-1.vpce.amazonaws.com`.
# Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/privatelink-interface-endpoints.html
_S3 = re.compile(
    r"(?:[a-z0-9-]+\.)*s3(?:-[a-z0-9-]+)?(?:\.dualstack)?(?:\.[a-z0-9-]+)?"
    r"|(?:[a-z0-9-]+\.)*vpce-[a-z0-9-]+\.s3\.[a-z0-9-]+\.vpce"
)
_LABELS = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)*")
_PRINTABLE = re.compile(r"[!-~]+")
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_LONGEST_HOST = 253

_DATE = re.compile(r"[?&]X-Amz-Date=([0-9]{8}T[0-9]{6}Z)(?:&|$)")
_SECONDS = re.compile(r"[?&]X-Amz-Expires=([0-9]{1,9})(?:&|$)")


class UrlRefusedError(Exception):
    """S3 refuses a download URL, perhaps because it has expired."""


class Hosts(NamedTuple):
    """Where download URLs may lead: a partition's S3 and CloudFront, further hosts, and, in tests, this machine."""

    partition: str = "aws"
    others: frozenset[str] = frozenset()
    is_local: bool = False

    def admit(self, url: str) -> bool:
        """Tell whether a text is an absolute URL to one of the hosts and can stand in a header."""
        if len(url) > LONGEST_URL or not _PRINTABLE.fullmatch(url):
            return False
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname or "", parts.port
        except ValueError:
            return False
        if parts.username is not None or "\\" in parts.netloc:
            return False
        if parts.scheme == "http":
            return self.is_local and host in _LOCAL_HOSTS
        return parts.scheme == "https" and (host in self.others or self._is_aws(host))

    def _is_aws(self, host: str) -> bool:
        s3, cloudfront = _DOMAINS.get(self.partition, _DOMAINS["aws"])
        if len(host) > _LONGEST_HOST:
            return False
        if host.endswith(f".{s3}"):
            return _S3.fullmatch(host.removesuffix(f".{s3}")) is not None
        return cloudfront is not None and host.endswith(f".{cloudfront}") and _LABELS.fullmatch(host) is not None


def through_edge(url: str, origin: str, host: str) -> str | None:
    """Return a download URL through the edge, which passes the signed path and query on to the bucket.

    Args:
        url: The download URL.
        origin: The URL of the bucket behind the edge, without a path.
        host: The host that the client asked the edge for.

    Returns:
        The URL, None if it leads to another host than the bucket's.
    """
    if not url.startswith(f"{origin}/"):
        return None
    return f"{urlsplit(origin).scheme}://{host}/layers{url.removeprefix(origin)}"


@dataclass(frozen=True, slots=True)
class PresignedUrl:
    """A pre-signed URL that ECR just returned.

    Attributes:
        url: The URL, a secret.
        expires_at: When it expires (RFC 3339, UTC); None if it doesn't say.
        reusable_seconds: For how long from now it may be reused.
    """

    url: str = field(repr=False)
    expires_at: str | None = None
    reusable_seconds: float = 0.0

    @classmethod
    def of(cls, url: str, now: float) -> "PresignedUrl":
        """Return the URL with its lifetime, during whose first half it may be reused; `now` is in seconds of the epoch.

        In the query, `X-Amz-Date` is the moment of signing, `X-Amz-Expires` the lifetime in seconds. Source:
        https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
        """
        date, seconds = _DATE.search(url), _SECONDS.search(url)
        if date is None or seconds is None:
            return cls(url)
        try:
            signed_at, lifetime = datetime.fromisoformat(date[1]), timedelta(seconds=int(seconds[1]))
            expires_at = signed_at + lifetime
        except (ValueError, OverflowError):
            return cls(url)
        # A URL signed in the future, or for years, is reused no longer than one signed now for an hour.
        half = lifetime.total_seconds() / 2
        reusable_seconds = max(0.0, min(half, signed_at.timestamp() + half - now, LONGEST_REUSE_SECONDS))
        return cls(url, expires_at.isoformat().replace("+00:00", "Z"), reusable_seconds)
