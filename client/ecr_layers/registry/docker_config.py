"""What `docker login` keeps: credentials in Docker's `config.json`, or in the credential helpers that it names.

Sources: https://docs.docker.com/reference/cli/docker/login/ and
https://github.com/docker/cli/blob/master/cli/config/credentials/file_store.go
"""

import base64
import binascii
import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from ecr_layers.errors import UsageError

_HELPER_SECONDS = 30
_HELPER = re.compile(r"[A-Za-z0-9._-]+")
# What a helper says of a registry that it does not know:
# https://github.com/docker/docker-credential-helpers/blob/master/credentials/error.go
_NOT_FOUND = "credentials not found in native keychain"
# The user name of a token that is to be exchanged for another, which is nothing for Basic authentication.
_IDENTITY_TOKEN = "<token>"  # noqa: S105

Credentials = tuple[str, str]
"""A user name and a password."""


class DockerConfig:
    """Docker's configuration.

    Args:
        environment: The environment variables; `DOCKER_CONFIG` names the directory, `PATH` where helpers are.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        directory = Path(environment.get("DOCKER_CONFIG") or Path.home() / ".docker")
        self._content = _read(directory / "config.json")

    def credentials(self, url: httpx.URL) -> Credentials | None:
        """Return what is kept for the host and port of a URL, None if nothing is.

        Raises:
            UsageError: If a helper that has them does not give them.
        """
        for host in _names_of(url):
            found = self._of_helper(host) or self._of_file(host)
            if found is not None:
                return found
        return None

    def _of_helper(self, host: str) -> Credentials | None:
        helpers = _mapping(self._content.get("credHelpers"))
        helper = helpers.get(host) or self._content.get("credsStore")
        if not isinstance(helper, str) or not _HELPER.fullmatch(helper):
            return None
        try:
            return self._ask(helper, host)
        except _HelperError as error:
            # Where nobody has logged in, it does not matter that a helper for everything does not work.
            if host not in helpers and self._entry(host) is None:
                return None
            raise UsageError(
                f"Docker keeps the credentials of {host} in docker-credential-{helper}, which {error}. "
                "Log in again, or use --token-file."
            ) from None

    def _ask(self, helper: str, host: str) -> Credentials | None:
        """Return what a helper has.

        Source: https://github.com/docker/docker-credential-helpers#development
        """
        try:
            result = subprocess.run(  # noqa: S603 (the user's own configuration names it)
                [f"docker-credential-{helper}", "get"],
                input=host,
                env=dict(self._environment),
                capture_output=True,
                text=True,
                timeout=_HELPER_SECONDS,
                check=False,
            )
        except (OSError, ValueError) as error:
            raise _HelperError("can't be run" if not isinstance(error, FileNotFoundError) else "is not there") from None
        except subprocess.TimeoutExpired:
            raise _HelperError(f"does not answer within {_HELPER_SECONDS} seconds") from None
        if result.returncode != 0:
            if _NOT_FOUND in result.stdout:
                return None
            raise _HelperError(f"failed with status {result.returncode}")
        answer = _parsed(result.stdout)
        name, password = answer.get("Username"), answer.get("Secret")
        return _usable(name, password)

    def _of_file(self, host: str) -> Credentials | None:
        entry = self._entry(host) or {}
        encoded = entry.get("auth")
        if not encoded:
            return _usable(entry.get("username"), entry.get("password"))
        try:
            name, _, password = base64.b64decode(encoded, validate=True).decode().rstrip("\0").partition(":")
        except (binascii.Error, ValueError, TypeError):
            return None
        return _usable(name, password)

    def _entry(self, host: str) -> Mapping[str, Any] | None:
        """Return the entry of a host, whose name may be a URL in old configurations."""
        entries = _mapping(self._content.get("auths"))
        names = [host, *(name for name in entries if _host_of(name) == host)]
        return next((_mapping(entries[name]) for name in names if name in entries), None)


class _HelperError(Exception):
    """A helper gives no answer; the message goes on after its name."""


def _names_of(url: httpx.URL) -> list[str]:
    """Return the names that a registry's host can have: with any port but the protocol's own it is another registry."""
    port = {"https": 443, "http": 80}.get(url.scheme)
    host = f"[{url.host}]" if ":" in url.host else url.host
    return [f"{host}:{url.port}"] if url.port not in {None, port} else [host, f"{host}:{port}"]


def _host_of(name: str) -> str:
    return re.sub(r"^https?://", "", name).partition("/")[0]


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return _parsed(path.read_text())
    except (OSError, UnicodeDecodeError):
        return {}


def _parsed(text: str) -> Mapping[str, Any]:
    try:
        return _mapping(json.loads(text))
    except ValueError:
        return {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _usable(name: Any, password: Any) -> Credentials | None:
    if not (isinstance(name, str) and isinstance(password, str)) or not (name and password) or name == _IDENTITY_TOKEN:
        return None
    return name, password
