"""Writes logins where docker, podman and programs that read their files look for them.

Sources: https://github.com/docker/cli/blob/master/cli/config/credentials/native_store.go and
https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecr_layers.errors import TargetError, UsageError
from ecr_layers.login import private_files
from ecr_layers.registry.credential_helpers import HelperError, ask, helper_of
from ecr_layers.registry.docker_config import Credentials, DockerConfig, names_of

OWN_HELPER = "ecr-layers"
"""Name of this client's credential helper, which logs in by itself."""


@dataclass(frozen=True, slots=True)
class SavedLogins:
    """The files of docker and podman.

    Attributes:
        environment: The environment variables, which say where they are.
    """

    environment: Mapping[str, str]

    def save(self, host: str, credentials: Credentials) -> list[str]:
        """Save a login, and return where: files, or credential helpers that they name.

        Files that have an older login for the host get the new one, too. All others stay as they are.

        Args:
            host: The host, with its port unless that is 443.
            credentials: User name and password.

        Raises:
            UsageError: If a file is malformed; nothing is written then. If a helper fails.
            TargetError: If a file can't be written.
        """
        wanted = self._primary_files()
        files = [each for each in self._read_all() if each.path in wanted or each.names(host)]
        return [self._save(file, host, credentials) for file in files]

    def remove(self, host: str) -> list[str]:
        """Remove a host's logins, and return from where.

        Raises:
            UsageError: If a file is malformed; nothing is removed then. If a helper fails.
            TargetError: If a file can't be written.
        """
        files = [each for each in self._read_all() if each.names(host)]
        return [self._remove(file, host) for file in files]

    def _primary_files(self) -> set[Path]:
        """Return the files that `docker login` and `podman login` write.

        Podman reads Docker's, too; but no other if REGISTRY_AUTH_FILE is set, and it ignores Docker's `credsStore`.
        """
        podman, *_, docker = DockerConfig(self.environment).files()
        runtime = self.environment.get("XDG_RUNTIME_DIR")
        has_podmans = self.environment.get("REGISTRY_AUTH_FILE") or (runtime and Path(runtime).is_dir())
        return {docker, podman} if has_podmans else {docker}

    def _read_all(self) -> "list[_File]":
        return [_File(path, _read(path)) for path in dict.fromkeys(DockerConfig(self.environment).files())]

    def _save(self, file: "_File", host: str, credentials: Credentials) -> str:
        helper = helper_of(host, file.content)
        if helper is not None:
            if helper != OWN_HELPER:
                name, password = credentials
                self._ask(host, helper, "store", json.dumps({"ServerURL": host, "Username": name, "Secret": password}))
            file.replace(host, {})
            return f"docker-credential-{helper}"
        file.replace(host, {"auth": base64.b64encode(":".join(credentials).encode()).decode()})
        return str(file.path)

    def _remove(self, file: "_File", host: str) -> str:
        helper = helper_of(host, file.content)
        if helper is not None:
            self._ask(host, helper, "erase", host)
        file.replace(host, None)
        return str(file.path) if helper is None else f"docker-credential-{helper}"

    def _ask(self, host: str, helper: str, action: str, text: str) -> None:
        try:
            ask(helper, action, text, self.environment)
        except HelperError as error:
            raise UsageError(
                f"docker-credential-{helper} {error}. Fix it, or name another helper for {host} under credHelpers in "
                f"Docker's configuration, such as {OWN_HELPER}.",
                code="credential-helper-failed",
            ) from None


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    content: dict[str, Any]

    @property
    def auths(self) -> dict[str, Any]:
        return self.content.get("auths") or {}

    def names(self, host: str) -> list[str]:
        return names_of(host, self.auths)

    def replace(self, host: str, entry: Mapping[str, str] | None) -> None:
        """Write the file with another entry for a host, or without one."""
        auths = {name: each for name, each in self.auths.items() if name not in self.names(host)}
        changed = {**self.content, "auths": auths if entry is None else {**auths, host: entry}}
        if changed != self.content:
            private_files.write(self.path, json.dumps(changed, indent="\t") + "\n")


def _read(path: Path) -> dict[str, Any]:
    """Return the content of a file; it is empty if the file doesn't exist.

    Raises:
        UsageError: If it is malformed, because writing it would lose its content.
    """
    try:
        text = path.read_text()
        content = json.loads(text) if text.strip() else {}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise TargetError(f"Can't read {path}: {error.strerror}.") from None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or not isinstance(content.get("auths"), dict | None):
        raise UsageError(f"{path} is malformed. Repair it, or move it away; nothing was written.", code="invalid-file")
    return content
