"""Tells who sent a request over HTTP: whoever signed it, or the pull token with which the edge let it in.

A header says what its sender likes. So the edge's headers count only in a request that CloudFront itself has signed,
for a distribution of the operator's; SECURITY.md says why nobody else can send one. Knows nothing of ECR.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

TOKEN_HEADER = "x-ecr-layers-token"  # noqa: S105
"""Has the name of the pull token; the edge sets it, and drops what a client sends under this name."""

ADDRESS_HEADER = "cloudfront-viewer-address"
"""Has the client's address and port, `203.0.113.7:46532` or `2001:db8::7:46532`; source:
https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/adding-cloudfront-headers.html"""

DISTRIBUTION_HEADER = "x-amz-source-arn"
"""Has the ARN of the distribution for which CloudFront signs; Lambda holds it against the function's policy."""

CLOUDFRONT = "arn:aws:sts::856369053181:assumed-role/OriginAccessControlRole/"
"""How the ARN begins by which a function URL calls CloudFront, if it signs by origin access control.

The account is AWS's own, so nobody else can take on its role. AWS's manuals do not name it. If it changes, requests
through the edge are logged as those of an IAM caller with that ARN, and tokens are not believed any more.
"""

CallerKind = Literal["iam", "token", "public", "event"]

_ARN = re.compile(r"arn:[\w:/+=,.@-]{1,300}", re.ASCII)
_TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")
_ADDRESS = re.compile(r"[0-9a-fA-F.:]{2,45}")


class Caller(NamedTuple):
    """Who sent a request.

    Attributes:
        kind: `iam` if it was signed with credentials of AWS, `token` if the edge let it in with a pull token, `public`
            if it was neither.
        name: The caller's IAM ARN, or the name of the token; None if nobody has said who it is.
        source_ip: Where the request came from, None if that is not known.
    """

    kind: CallerKind
    name: str | None = None
    source_ip: str | None = None


def caller_of(context: Mapping[str, Any], header: Callable[[str], str], edge_distribution_arn: str | None) -> Caller:
    """Return who sent a request.

    Args:
        context: `requestContext` of the function URL's event, which Lambda writes; source:
            https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
        header: Gives the value of a header by its name in lower case, an empty string if there is none.
        edge_distribution_arn: The ARN of the CloudFront distribution in front, or one that ends with `/*` for all of an
            account; None if there is none.
    """
    arn, address = _arn(context), _source_ip(context)
    if arn is None:
        return Caller("public", None, address)
    if edge_distribution_arn is None or not arn.startswith(CLOUDFRONT):
        return Caller("iam", arn, address)
    if not _is_of_edge(header(DISTRIBUTION_HEADER), edge_distribution_arn):
        return Caller("iam", arn, address)
    token = header(TOKEN_HEADER)
    viewer = header(ADDRESS_HEADER).rpartition(":")[0].strip("[]")
    address = viewer if _ADDRESS.fullmatch(viewer) else None
    return Caller("token", token, address) if _TOKEN.fullmatch(token) else Caller("public", None, address)


def _is_of_edge(distribution: str, expected: str) -> bool:
    return distribution.startswith(expected[:-1]) if expected.endswith("/*") else distribution == expected


def _arn(context: Mapping[str, Any]) -> str | None:
    """Return the IAM ARN of a caller whose signature the platform has checked."""
    authorizer = context.get("authorizer")
    iam = authorizer.get("iam") if isinstance(authorizer, dict) else None
    arn = iam.get("userArn") if isinstance(iam, dict) else None
    return arn if isinstance(arn, str) and _ARN.fullmatch(arn) else None


def _source_ip(context: Mapping[str, Any]) -> str | None:
    http = context.get("http")
    address = http.get("sourceIp") if isinstance(http, dict) else None
    return address if isinstance(address, str) and _ADDRESS.fullmatch(address) else None
