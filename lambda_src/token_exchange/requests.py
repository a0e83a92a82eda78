"""Reads a request to the function URL that came through the edge.

Anyone can send any header. So the edge's headers count only if CloudFront's origin access control signed the request
for one of the operator's distributions; SECURITY.md says why nobody else can send one.
"""

import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from token_exchange.errors import INVALID_QUERY, METHOD_NOT_ALLOWED, MISSING_TOKEN, NOT_THROUGH_EDGE, ExchangeError

AUTHORIZATION_HEADER = "x-ecr-layers-authorization"
"""The client's Authorization, which origin access control overwrites."""

HOST_HEADER = "x-ecr-layers-host"
"""The host that the client asked, with a port unless it is 443."""

CLOUDFRONT = "arn:aws:sts::856369053181:assumed-role/OriginAccessControlRole/"
"""Prefix of the ARN under which a function URL sees CloudFront's origin access control, in an account of AWS's own."""

_DISTRIBUTION_HEADER, _ADDRESS_HEADER = "x-amz-source-arn", "cloudfront-viewer-address"
_ADDRESS = re.compile(r"[0-9a-fA-F.:]{2,45}")
_HOST = re.compile(r"[a-z0-9.-]{1,253}(?::[0-9]{1,5})?")
_BASIC = re.compile(r"basic +([A-Za-z0-9+/]+={0,2})", re.IGNORECASE)
_JWT = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+){2}")
_MOST_PARAMETERS = 100


class Request(NamedTuple):
    """A request through the edge.

    Attributes:
        event: Lambda's event, payload format 2.0.
        headers: Its headers by their names in lower case.
    """

    event: Mapping[str, Any]
    headers: Mapping[str, str]

    @property
    def host(self) -> str:
        """The host that the client asked."""
        return self.headers[HOST_HEADER]

    @property
    def source_ip(self) -> str | None:
        """The client's address."""
        address = self.headers.get(_ADDRESS_HEADER, "").rpartition(":")[0].strip("[]")
        return address if _ADDRESS.fullmatch(address) else None

    def oidc_token(self) -> str:
        """Return the password of Basic authentication, which has a JWT's form.

        Raises:
            ExchangeError: If there is none.
        """
        basic = _BASIC.fullmatch(self.headers.get(AUTHORIZATION_HEADER, ""))
        try:
            password = b64decode(basic[1]).decode().partition(":")[2] if basic else ""
        except ValueError:
            password = ""
        if not _JWT.fullmatch(password):
            raise ExchangeError(MISSING_TOKEN)
        return password

    def repositories(self) -> Sequence[str] | None:
        """Return the repositories that the scopes ask to pull; None without scopes.

        Other scopes and actions are ignored, because they can't be granted. Source:
        https://distribution.github.io/distribution/spec/auth/scope/

        Raises:
            ExchangeError: If the query is invalid.
        """
        try:
            query = parse_qs(self.event.get("rawQueryString", ""), max_num_fields=_MOST_PARAMETERS)
        except ValueError:
            raise ExchangeError(INVALID_QUERY) from None
        scopes = [scope.split(":") for scope in " ".join(query.get("scope", [])).split()]
        if not scopes:
            return None
        names = [parts[1] for parts in scopes if len(parts) == 3 and parts[0] == "repository" and _pulls(parts[2])]
        return list(dict.fromkeys(names))


def read_request(event: Any, edge_distribution_arn: str) -> Request:
    """Return the request in Lambda's event.

    Args:
        event: The event.
        edge_distribution_arn: ARN of the CloudFront distribution in front; one that ends with `/*` stands for all of an
            account.

    Raises:
        ExchangeError: If it didn't come through the edge, or isn't a GET.
    """
    try:
        context = event["requestContext"]
        method, user_arn = context["http"]["method"], context["authorizer"]["iam"]["userArn"]
        headers = {name.lower(): value for name, value in event["headers"].items()}
        is_from_edge = user_arn.startswith(CLOUDFRONT) and _HOST.fullmatch(headers[HOST_HEADER]) is not None
        distribution = headers[_DISTRIBUTION_HEADER]
    except (LookupError, TypeError, AttributeError):
        raise ExchangeError(NOT_THROUGH_EDGE) from None
    if not is_from_edge or not _is_of_edge(distribution, edge_distribution_arn):
        raise ExchangeError(NOT_THROUGH_EDGE)
    if method != "GET":
        raise ExchangeError(METHOD_NOT_ALLOWED)
    return Request(event, headers)


def _is_of_edge(distribution: str, expected: str) -> bool:
    return distribution.startswith(expected[:-1]) if expected.endswith("/*") else distribution == expected


def _pulls(actions: str) -> bool:
    return "pull" in actions.split(",")
