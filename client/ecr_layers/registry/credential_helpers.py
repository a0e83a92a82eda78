"""Docker's credential helpers: programs that keep user names and passwords.

Source: https://github.com/docker/docker-credential-helpers#development
"""

import re
import subprocess
from collections.abc import Mapping
from typing import Any

_SECONDS = 30
_NAME = re.compile(r"[A-Za-z0-9._-]+")

NOT_FOUND = "credentials not found in native keychain"
"""The answer of a helper for an unknown registry.

Source: https://github.com/docker/docker-credential-helpers/blob/master/credentials/error.go
"""


class HelperError(Exception):
    """A helper failed; the message continues after its name."""


def helper_of(host: str, config: Mapping[str, Any]) -> str | None:
    """Return the helper that a configuration file names for a host; None without."""
    helpers = config.get("credHelpers")
    helper = (helpers.get(host) if isinstance(helpers, dict) else None) or config.get("credsStore")
    return helper if isinstance(helper, str) and _NAME.fullmatch(helper) else None


def ask(helper: str, action: str, text: str, environment: Mapping[str, str]) -> str | None:
    """Run a helper, and return its output; None if it doesn't know the registry.

    Args:
        helper: Its name, without `docker-credential-`.
        action: `get`, `store` or `erase`.
        text: Its input.
        environment: The environment variables; `PATH` says where it is.

    Raises:
        HelperError: If it fails.
    """
    try:
        result = subprocess.run(  # noqa: S603 (the user's own configuration names it)
            [f"docker-credential-{helper}", action],
            input=text,
            env=dict(environment),
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise HelperError("isn't installed") from None
    except (OSError, ValueError):
        raise HelperError("can't be run") from None
    except subprocess.TimeoutExpired:
        raise HelperError(f"didn't answer within {_SECONDS} seconds") from None
    if result.returncode == 0:
        return result.stdout
    if NOT_FOUND in result.stdout:
        return None
    raise HelperError(f"failed with status {result.returncode}")
