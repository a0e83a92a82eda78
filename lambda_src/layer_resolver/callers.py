"""Identifies the caller: the signer of a request over HTTP, or the pull token that the edge accepted.

Anyone can send any header. So the edge's headers count only in a request that CloudFront itself signed for one of the
operator's distributions; SECURITY.md says why nobody else can send one through the function URL.
"""

import re
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

TOKEN_HEADER = "x-ecr-layers-token"  # noqa: S105
"""The name of the pull token, or the job that logged in. The edge sets it, and drops any that a client sends."""

RULE_HEADER = "x-ecr-layers-rule"
"""The trust rule by which a job logged in with an OIDC token; the token header then has the job."""

TOKEN_ID_HEADER = "x-ecr-layers-token-id"  # noqa: S105
"""The id of a short token."""

ADDRESS_HEADER = "cloudfront-viewer-address"
"""The client's address and port, `203.0.113.7:46532` or `2001:db8::7:46532`; source:
https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/adding-cloudfront-headers.html"""

HOST_HEADER = "x-ecr-layers-host"
"""The host that the client asked the edge for, with a port unless it is 443. The edge sets it."""

DISTRIBUTION_HEADER = "x-amz-source-arn"
"""The ARN of the distribution that CloudFront signs for; Lambda checks it against the function's policy."""

CLOUDFRONT = "arn:aws:sts::856369053181:assumed-role/OriginAccessControlRole/"
"""Prefix of the ARN under which a function URL sees CloudFront's origin access control.

The account is AWS's own, so nobody else can assume its role. AWS's manuals don't name it. If it changes, requests
through the edge are logged as those of an IAM caller with that ARN, and token names are ignored.
"""

CallerKind = Literal["iam", "token", "public", "direct", "event"]

_ARN = re.compile(r"arn:[\w:/+=,.@-]{1,300}", re.ASCII)
_TOKEN = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}|(?:aws|github|gitlab|kubernetes|oidc):[A-Za-z0-9:/._#@+=,-]{1,120}"
)
_RULE = re.compile(r"[a-z0-9-]{1,32}")
_TOKEN_ID = re.compile(r"[0-9a-f]{16}")
_ADDRESS = re.compile(r"[0-9a-fA-F.:]{2,45}")
_HOST = re.compile(r"[a-z0-9.-]{1,253}(?::[0-9]{1,5})?")


class Caller(NamedTuple):
    """Who asked.

    Attributes:
        kind: `iam` for a request signed with AWS credentials, `token` for one that the edge accepted with a pull token,
            `public` for any other over HTTP; `direct` for an invocation by Lambda's API, `event` for EventBridge.
        name: The caller's IAM ARN, the token's name, or the account that put the event.
        source_ip: Where the request came from.
        is_verified: For requests over HTTP, whether Lambda itself wrote the rest: the event has the invocation's own
            id, which nobody can foresee. Otherwise anyone with `lambda:InvokeFunction` could have written it.
        edge_host: The host that the client asked the edge for; None if it didn't come through the edge.
        rule: The trust rule by which the caller logged in; None for a pull token.
        token_id: The id of the caller's short token; None without one.
    """

    kind: CallerKind
    name: str | None = None
    source_ip: str | None = None
    is_verified: bool | None = None
    edge_host: str | None = None
    rule: str | None = None
    token_id: str | None = None

    def fields(self) -> dict[str, Any]:
        """Return the caller as the log and pull events have it."""
        return {
            "callerKind": self.kind,
            "caller": self.name,
            "callerRule": self.rule,
            "callerTokenId": self.token_id,
            "callerVerified": self.is_verified,
            "sourceIp": self.source_ip,
        }


EVENT, PUBLIC = Caller("event"), Caller("public")


def caller_of(
    user_arn: str | None, source_ip: str, header: Callable[[str], str], edge_distribution_arn: str | None
) -> Caller:
    """Return who sent a request over HTTP.

    Args:
        user_arn: The signer's ARN; None without a signature.
        source_ip: The peer's address.
        header: Returns a header's value by its name in lower case, an empty string if there is none.
        edge_distribution_arn: The ARN of the CloudFront distribution in front, or one ending with `/*` for all of an
            account.
    """
    address = _address(source_ip)
    if user_arn is None or not _ARN.fullmatch(user_arn):
        return Caller("public", None, address)
    is_edge = edge_distribution_arn is not None and _is_of_edge(header(DISTRIBUTION_HEADER), edge_distribution_arn)
    if not is_edge or not user_arn.startswith(CLOUDFRONT):
        return Caller("iam", user_arn, address)
    address = _address(header(ADDRESS_HEADER).rpartition(":")[0].strip("[]"))
    token = _matching(_TOKEN, header(TOKEN_HEADER))
    return Caller(
        "token" if token else "public",
        token,
        address,
        edge_host=_matching(_HOST, header(HOST_HEADER)),
        rule=_matching(_RULE, header(RULE_HEADER)),
        token_id=_matching(_TOKEN_ID, header(TOKEN_ID_HEADER)),
    )


def _matching(pattern: re.Pattern[str], text: str) -> str | None:
    return text if pattern.fullmatch(text) else None


def _is_of_edge(distribution: str, expected: str) -> bool:
    return distribution.startswith(expected[:-1]) if expected.endswith("/*") else distribution == expected


def _address(text: str) -> str | None:
    return _matching(_ADDRESS, text)
