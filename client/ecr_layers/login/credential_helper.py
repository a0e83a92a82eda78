"""Docker's credential helper `docker-credential-ecr-layers`: logs the job in whenever an image is pulled.

It keeps a token until a minute before it expires, for jobs with the same claims only: several may run on one machine.

Source: https://github.com/docker/docker-credential-helpers#development
"""

import hashlib
import json
import re
import time
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from ecr_layers import __version__
from ecr_layers.errors import ClientError, ServiceError, TargetError, UsageError
from ecr_layers.login import private_files
from ecr_layers.login.exchange import USER_NAME
from ecr_layers.login.id_tokens import claims_of
from ecr_layers.login.job import Job
from ecr_layers.oci.documents import mapping
from ecr_layers.registry.addresses import local_or_https
from ecr_layers.registry.credential_helpers import NOT_FOUND

# Each of a job's ID tokens has its own.
_CLAIMS_OF_ONE_TOKEN = frozenset({"exp", "iat", "jti", "nbf"})


class CredentialHelper:
    """The helper of one user.

    Args:
        environment: The environment variables.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        directory = environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME") or Path.home(), ".cache")
        self._cache = Path(directory, "ecr-layers", "logins.json")

    def run(self, action: str, text: str) -> str:
        """Perform an action, and return its output.

        Args:
            action: `get`, `store`, `erase`, `list` or `version`.
            text: The input.

        Raises:
            ClientError: If it fails; the message is the output then.
        """
        host = re.sub(r"^https?://", "", text.strip()).partition("/")[0]
        match action:
            case "get":
                return json.dumps({"ServerURL": text.strip(), "Username": USER_NAME, "Secret": self._password(host)})
            case "erase":
                self._write({key: each for key, each in self._read().items() if each["host"] != host})
                return ""
            case "list":
                return json.dumps({each["host"]: USER_NAME for each in self._read().values()})
            case "version":
                return f"docker-credential-ecr-layers {__version__}"
            case "store":
                raise UsageError("docker-credential-ecr-layers logs in by itself. Leave docker login out.")
        raise UsageError("Expected get, store, erase, list or version.")

    def _password(self, host: str) -> str:
        with Job(local_or_https(host), self._environment) as job:
            id_token = job.id_token()
            key, cached = _key(job.host, id_token), self._read()
            if key in cached:
                return str(cached[key]["password"])
            try:
                token = job.log_in(id_token)
            except ServiceError as error:
                # The registry is another one, which Docker may pull from without credentials.
                if error.status == HTTPStatus.NOT_FOUND:
                    raise ClientError(NOT_FOUND) from None
                raise
        entry = {"host": host, "password": token.text, "expiresAt": int(time.time()) + token.usable_seconds}
        self._write({**cached, key: entry})
        return token.text

    def _read(self) -> dict[str, Any]:
        """Return the cached tokens that can still be used."""
        try:
            cached = mapping(json.loads(self._cache.read_text()))
            return {key: each for key, each in cached.items() if each["expiresAt"] > time.time() and each["password"]}
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return {}

    def _write(self, cached: Mapping[str, Any]) -> None:
        """Write the cache; without one, the next pull logs in again."""
        try:
            private_files.write(self._cache, json.dumps(cached))
        except TargetError:
            return


def _key(host: str, id_token: str) -> str:
    claims = {name: value for name, value in claims_of(id_token).items() if name not in _CLAIMS_OF_ONE_TOKEN}
    return hashlib.sha256(json.dumps([host, claims], sort_keys=True).encode()).hexdigest()
