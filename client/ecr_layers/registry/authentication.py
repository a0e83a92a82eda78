"""How a caller proves who it is: a signature with AWS credentials, a pull token, or nothing."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from ecr_layers.errors import UsageError
from ecr_layers.registry.docker_config import DockerConfig
from ecr_layers.registry.signing import FunctionUrlAuth, callers_credentials, is_function_url, region_of
from ecr_layers.transfer.hosts import LOOPBACK

TOKEN_VARIABLE = "ECR_LAYERS_TOKEN"  # noqa: S105 (the name of a variable)


class PullTokenAuth(httpx.BasicAuth):
    """A pull token, sent with each request.

    Args:
        name: Its name.
        password: Its password.
    """

    def __init__(self, name: str, password: str) -> None:
        super().__init__(name, password)
        self.name = name


@dataclass(frozen=True, slots=True)
class Authentication:
    """Finds the credentials for a service.

    In this order: none, if it is to be anonymous; the pull token in `token_file`; a signature, for a function URL or if
    a region is named; the pull token in the environment variable `ECR_LAYERS_TOKEN`; the one that `docker login` wrote;
    none, since repositories can be public.

    Attributes:
        region: The region to sign for, if the URL does not name it.
        token_file: A file with a pull token, `NAME:PASSWORD`.
        is_anonymous: Whether to send no credentials.
        environment: The environment variables.
    """

    region: str | None = None
    token_file: Path | None = None
    is_anonymous: bool = False
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def of(self, url: str) -> httpx.Auth | None:
        """Return the credentials for the service at `url`, None if there are none.

        Raises:
            UsageError: If those that were named can't be used.
        """
        if self.is_anonymous:
            return None
        if self.token_file is not None:
            return _basic(url, _read_token(self.token_file))
        if self.region is not None or is_function_url(url):
            return FunctionUrlAuth(callers_credentials(), region_of(url, self.region))
        if token := self.environment.get(TOKEN_VARIABLE):
            return _basic(url, _token(token, TOKEN_VARIABLE))
        credentials = DockerConfig(self.environment).credentials(httpx.URL(url))
        return None if credentials is None else _basic(url, credentials)


def _read_token(path: Path) -> tuple[str, str]:
    try:
        return _token(path.read_text(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise UsageError(f"The pull token can't be read from {path}: {reason}.") from None


def _token(text: str, place: str) -> tuple[str, str]:
    name, separator, password = text.strip().partition(":")
    if not (name and separator and password) or not text.strip().isprintable():
        raise UsageError(f"{place} has no pull token. It is one line, NAME:PASSWORD.")
    return name, password


def _basic(url: str, token: tuple[str, str]) -> httpx.Auth:
    target = httpx.URL(url)
    if target.scheme != "https" and target.host not in LOOPBACK:
        raise UsageError(f"A pull token is sent over HTTPS only, and {url} is not. Use https://{target.host}/.")
    return PullTokenAuth(*token)
