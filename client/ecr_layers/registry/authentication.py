"""Finds the credentials for a service: a pull token, AWS credentials, or none."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ecr_layers.errors import UsageError
from ecr_layers.registry.addresses import region_of
from ecr_layers.registry.docker_config import DockerConfig
from ecr_layers.registry.signing import Authorize, PullToken, Signature, callers_credentials, require_privacy

TOKEN_VARIABLE = "ECR_LAYERS_TOKEN"  # noqa: S105 (the name of a variable)


@dataclass(frozen=True, slots=True)
class Authentication:
    """Finds the credentials for a service.

    In this order: none, if it is anonymous; the token; the token file; a signature, for a function URL or a region; the
    environment variable `ECR_LAYERS_TOKEN`; the credentials that `docker login` or `podman login` stored; none, because
    repositories can be public.

    Attributes:
        token: A pull token, `NAME:PASSWORD`.
        token_file: A file with a pull token.
        region: The region to sign for, if the URL doesn't name it.
        is_anonymous: Whether to send no credentials.
        environment: The environment variables.
    """

    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    region: str | None = None
    is_anonymous: bool = False
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)

    def of(self, url: str) -> Authorize | None:
        """Return the credentials for the service at `url`; None without.

        Raises:
            UsageError: If the credentials can't be used.
        """
        found = None if self.is_anonymous else self._find(url)
        if found is not None:
            require_privacy(url)
        return found

    def _find(self, url: str) -> Authorize | None:
        if self.token is not None:
            return _parse(self.token, "The token")
        if self.token_file is not None:
            return _read(self.token_file)
        region = self.region or region_of(url)
        if region is not None:
            return Signature(callers_credentials(), region)
        if token := self.environment.get(TOKEN_VARIABLE):
            return _parse(token, TOKEN_VARIABLE)
        credentials = DockerConfig(self.environment).credentials(url)
        return None if credentials is None else PullToken(*credentials)


def _read(path: Path) -> PullToken:
    try:
        return _parse(path.read_text(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it isn't text"
        raise UsageError(f"Can't read the pull token from {path}: {reason}.", code="invalid-token") from None


def _parse(text: str, place: str) -> PullToken:
    name, separator, password = text.strip().partition(":")
    if not (name and separator and password) or not text.strip().isprintable():
        raise UsageError(f"{place} isn't a pull token; expected one line, NAME:PASSWORD.", code="invalid-token")
    return PullToken(name, password)
