"""Credentials that `docker login` or `podman login` stored, in a file or in a credential helper.

Sources: https://docs.docker.com/reference/cli/docker/login/,
https://github.com/docker/cli/blob/master/cli/config/credentials/file_store.go and
https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md
"""

import base64
import binascii
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecr_layers.errors import UsageError
from ecr_layers.oci.documents import mapping
from ecr_layers.registry.addresses import hosts_of
from ecr_layers.registry.credential_helpers import HelperError, ask, helper_of

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
        for path in self.files():
            file = _File(_read(path), self._environment)
            for host in hosts_of(url):
                found = file.credentials(host)
                if found is not None:
                    return found
        return None

    def files(self) -> list[Path]:
        """Return the files in the order in which podman reads them. Docker reads only the last."""
        environment = self._environment
        home = Path(environment["HOME"]) if environment.get("HOME") else Path.home()
        named = environment.get("REGISTRY_AUTH_FILE")
        return [
            *([Path(named)] if named else []),
            Path(environment.get("XDG_RUNTIME_DIR") or f"/run/containers/{os.getuid()}", "containers", "auth.json"),
            Path(environment.get("XDG_CONFIG_HOME") or home / ".config", "containers", "auth.json"),
            Path(environment.get("DOCKER_CONFIG") or home / ".docker", "config.json"),
        ]


@dataclass(frozen=True, slots=True)
class _File:
    """One file of credentials."""

    content: Mapping[str, Any]
    environment: Mapping[str, str]

    def credentials(self, host: str) -> Credentials | None:
        entry = self._entry(host)
        stored = _stored(entry or {})
        helper = helper_of(host, self.content)
        if helper is None:
            return stored
        try:
            answer = _parsed(ask(helper, "get", host, self.environment) or "")
        except HelperError as error:
            # A helper for all hosts that fails doesn't matter without a login, or beside a stored password.
            if stored is not None or (host not in mapping(self.content.get("credHelpers")) and entry is None):
                return stored
            raise UsageError(
                f"The credentials of {host} are in docker-credential-{helper}, which {error}. Log in again, or use a "
                "pull token.",
                code="credential-helper-failed",
            ) from None
        return _usable(answer.get("Username"), answer.get("Secret")) or stored

    def _entry(self, host: str) -> Mapping[str, Any] | None:
        entries = mapping(self.content.get("auths"))
        return next((mapping(entries[name]) for name in names_of(host, entries)), None)


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


def names_of(host: str, entries: Mapping[str, Any]) -> list[str]:
    """Return the keys of a host's entries, which may be URLs; its own name first."""
    return sorted((name for name in entries if _host_of(name) == host), key=lambda name: name != host)


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
