"""Credentials that `docker login` or `podman login` stored, in a file or in a credential helper.

Sources: https://docs.docker.com/reference/cli/docker/login/,
https://github.com/docker/cli/blob/master/cli/config/credentials/file_store.go and
https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md
"""

import base64
import binascii
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ecr_layers.errors import UsageError
from ecr_layers.oci.documents import mapping

_HELPER_SECONDS = 30
_HELPER = re.compile(r"[A-Za-z0-9._-]+")
# The answer of a helper for an unknown registry:
# https://github.com/docker/docker-credential-helpers/blob/master/credentials/error.go
_NOT_FOUND = "credentials not found in native keychain"
# The user name of a token that has to be exchanged first, which is useless for Basic authentication.
_IDENTITY_TOKEN = "<token>"  # noqa: S105

Credentials = tuple[str, str]
"""A user name and a password."""


class DockerConfig:
    """The stored credentials.

    The first file with credentials for a host counts: the one in `REGISTRY_AUTH_FILE`, podman's `auth.json`, and
    Docker's `config.json`.

    Args:
        environment: The environment variables; `PATH` says where credential helpers are.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def credentials(self, url: str) -> Credentials | None:
        """Return the credentials for the host and port of a URL; None without.

        Raises:
            UsageError: If a credential helper fails.
        """
        for path in self._files():
            file = _File(_read(path), self._environment)
            for host in _hosts(url):
                found = file.credentials(host)
                if found is not None:
                    return found
        return None

    def _files(self) -> Iterator[Path]:
        environment = self._environment
        home = Path(environment["HOME"]) if environment.get("HOME") else Path.home()
        if environment.get("REGISTRY_AUTH_FILE"):
            yield Path(environment["REGISTRY_AUTH_FILE"])
        if environment.get("XDG_RUNTIME_DIR"):
            yield Path(environment["XDG_RUNTIME_DIR"]) / "containers" / "auth.json"
        configuration = environment.get("XDG_CONFIG_HOME")
        yield (Path(configuration) if configuration else home / ".config") / "containers" / "auth.json"
        docker = environment.get("DOCKER_CONFIG")
        yield (Path(docker) if docker else home / ".docker") / "config.json"


@dataclass(frozen=True, slots=True)
class _File:
    """One file of credentials."""

    content: Mapping[str, Any]
    environment: Mapping[str, str]

    def credentials(self, host: str) -> Credentials | None:
        helpers = mapping(self.content.get("credHelpers"))
        helper = helpers.get(host) or self.content.get("credsStore")
        entry = self._entry(host)
        stored = _stored(entry or {})
        if not isinstance(helper, str) or not _HELPER.fullmatch(helper):
            return stored
        try:
            return self._ask(helper, host) or stored
        except _HelperError as error:
            # A helper for all hosts that fails doesn't matter without a login, or beside a stored password.
            if stored is not None or (host not in helpers and entry is None):
                return stored
            raise UsageError(
                f"The credentials of {host} are in docker-credential-{helper}, which {error}. Log in again, or use a "
                "pull token.",
                code="credential-helper-failed",
            ) from None

    def _ask(self, helper: str, host: str) -> Credentials | None:
        """Return the credentials that a helper has.

        Source: https://github.com/docker/docker-credential-helpers#development
        """
        try:
            result = subprocess.run(  # noqa: S603 (the user's own configuration names it)
                [f"docker-credential-{helper}", "get"],
                input=host,
                env=dict(self.environment),
                capture_output=True,
                text=True,
                timeout=_HELPER_SECONDS,
                check=False,
            )
        except FileNotFoundError:
            raise _HelperError("isn't installed") from None
        except (OSError, ValueError):
            raise _HelperError("can't be run") from None
        except subprocess.TimeoutExpired:
            raise _HelperError(f"didn't answer within {_HELPER_SECONDS} seconds") from None
        if result.returncode != 0:
            if _NOT_FOUND in result.stdout:
                return None
            raise _HelperError(f"failed with status {result.returncode}")
        answer = _parsed(result.stdout)
        return _usable(answer.get("Username"), answer.get("Secret"))

    def _entry(self, host: str) -> Mapping[str, Any] | None:
        """Return the entry of a host, whose key may be a URL."""
        entries = mapping(self.content.get("auths"))
        names = [host, *(name for name in entries if _host_of(name) == host)]
        return next((mapping(entries[name]) for name in names if name in entries), None)


class _HelperError(Exception):
    """A helper failed; the message continues after its name."""


def _stored(entry: Mapping[str, Any]) -> Credentials | None:
    encoded = entry.get("auth")
    if not encoded:
        return _usable(entry.get("username"), entry.get("password"))
    try:
        # Docker and others accept line breaks, which `base64` adds.
        compact = "".join(str(encoded).split())
        name, _, password = base64.b64decode(compact, validate=True).decode().rstrip("\0").partition(":")
    except (binascii.Error, ValueError):
        return None
    return _usable(name, password)


def _hosts(url: str) -> list[str]:
    """Return the names of a URL's host: a port other than the protocol's own makes it another registry."""
    parts = urlsplit(url)
    default = {"https": 443, "http": 80}.get(parts.scheme)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else str(parts.hostname)
    return [f"{host}:{parts.port}"] if parts.port not in {None, default} else [host, f"{host}:{default}"]


def _host_of(name: str) -> str | None:
    """Return the host of a key such as `https://host/v2/`; None for a key of one repository, as podman has."""
    host, _, path = re.sub(r"^https?://", "", name).partition("/")
    return host if path.strip("/") in {"", "v1", "v2"} else None


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return _parsed(path.read_text())
    except (OSError, UnicodeDecodeError):
        return {}


def _parsed(text: str) -> Mapping[str, Any]:
    try:
        return mapping(json.loads(text))
    except (ValueError, RecursionError):
        return {}


def _usable(name: Any, password: Any) -> Credentials | None:
    if not (isinstance(name, str) and isinstance(password, str)) or not (name and password) or name == _IDENTITY_TOKEN:
        return None
    return name, password
