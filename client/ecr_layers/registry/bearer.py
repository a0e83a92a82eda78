"""Tokens that a service returns for other credentials at its token endpoint, `/token`.

Source: https://distribution.github.io/distribution/spec/auth/token/
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from ecr_layers.errors import ServiceError, one_line
from ecr_layers.registry.addresses import hosts_of

LONGEST_SECONDS = 3600
"""Longest lifetime of a token, in seconds."""

_REALM = re.compile(r'(?:^|,)\s*Bearer\s(?:[^"]|"[^"]*")*?\brealm="(?P<realm>[^"]*)"', re.IGNORECASE)
_LONGEST_CHALLENGE = 2000
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{1,8192}")
# The specification's lifetime, for an answer without one.
_DEFAULT_SECONDS = 60
# Clocks differ, and a request takes time.
_RESERVE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class BearerToken:
    """A token for a service.

    Attributes:
        text: The token.
        seconds: How long it is valid, from its answer on.
        received: When it was received, in seconds of the monotonic clock.
    """

    text: str = field(repr=False)
    seconds: int
    received: float = field(default_factory=time.monotonic)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> "BearerToken":
        """Read the answer of a token endpoint.

        Raises:
            ServiceError: If it has no token.
        """
        text, seconds = document.get("token") or document.get("access_token"), document.get("expires_in")
        if not isinstance(text, str) or not _TOKEN.fullmatch(text):
            raise ServiceError("The token endpoint's answer has no token. Check the address.")
        if not isinstance(seconds, int) or seconds <= 0:
            seconds = _DEFAULT_SECONDS
        return cls(text, min(seconds, LONGEST_SECONDS))

    @property
    def usable_seconds(self) -> int:
        """How long to use it, from its answer on: until a minute before it expires."""
        return max(0, self.seconds - _RESERVE_SECONDS)

    @property
    def is_fresh(self) -> bool:
        """Whether it can still be used."""
        return time.monotonic() < self.received + self.usable_seconds

    def headers(self) -> dict[str, str]:
        """Return the header that sends it."""
        return {"Authorization": f"Bearer {self.text}"}


def token_path(url: str, challenge: str) -> str | None:
    """Return path and query of the token endpoint that a challenge names; None if it names none.

    The query has no scope, so the token is for everything that the credentials are for.

    Args:
        url: The service's URL.
        challenge: The header WWW-Authenticate.

    Raises:
        ServiceError: If the endpoint is on another host, which must not get the credentials.
    """
    match = _REALM.search(challenge[:_LONGEST_CHALLENGE])
    if match is None:
        return None
    try:
        realm = urlsplit(match["realm"])
        is_own = (realm.scheme, hosts_of(match["realm"])) == (urlsplit(url).scheme, hosts_of(url))
    except ValueError:
        is_own = False
    if not is_own:
        raise ServiceError(
            f"{hosts_of(url)[0]} asks to log in at another address, {one_line(match['realm'])}. Credentials aren't "
            "sent there.",
            code="other-token-endpoint",
        )
    return f"{realm.path}?{urlencode({'service': hosts_of(url)[0]})}"
