"""A job that logs in to a service."""

from collections.abc import Mapping
from typing import Self

from ecr_layers import __version__
from ecr_layers.login.exchange import exchange
from ecr_layers.login.id_tokens import checked, find_id_token
from ecr_layers.registry.addresses import hosts_of
from ecr_layers.registry.bearer import BearerToken
from ecr_layers.registry.signing import require_privacy
from ecr_layers.transfer.retries import Retries
from ecr_layers.transfer.transport import Transport

_SECONDS = 30.0


class Job:
    """A job that logs in to one service. It keeps connections open until it is closed.

    Args:
        url: The service's URL, without a slash at its end.
        environment: The environment variables, which say where the job runs.
        retries: How long to go on trying; by default, half a minute.

    Attributes:
        host: The service's host, which ID tokens have as their audience.

    Raises:
        UsageError: If the URL isn't HTTPS.
    """

    def __init__(self, url: str, environment: Mapping[str, str], retries: Retries | None = None) -> None:
        require_privacy(url)
        self.host = hosts_of(url)[0]
        self._url = url
        self._environment = environment
        self._retries = retries or Retries(seconds=_SECONDS)
        self._transport = Transport(1, environment, f"ecr-layers/{__version__}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._transport.close()

    def id_token(self) -> str:
        """Return the ID token that the job's platform has for it.

        Raises:
            UsageError: If it has none, or one for another audience.
            ServiceError: If the platform doesn't issue one.
        """
        return find_id_token(self.host, self._environment, self._transport, self._retries)

    def log_in(self, id_token: str | None = None) -> BearerToken:
        """Return a token of the service.

        Args:
            id_token: The ID token; by default, the one of the job's platform.

        Raises:
            UsageError: If there is no ID token, or one for another audience.
            ServiceError: If the service refuses it, or has no keyless login.
        """
        token = self.id_token() if id_token is None else checked(id_token, self.host)
        return exchange(self._url, token, self._transport, self._retries)
