"""The address of a service."""

import os
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from ecr_layers.errors import UsageError, one_line
from ecr_layers.transfer.proxies import LOOPBACK

SERVICE_VARIABLE = "ECR_LAYERS_URL"
"""The environment variable with the default service's URL."""

_SERVICE = re.compile(r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?/?|https?://\[[0-9a-fA-F:]+\](?::[0-9]{1,5})?/?")
_FUNCTION_URL = re.compile(r"https://[a-z0-9]+\.lambda-url\.(?P<region>[a-z0-9-]+)\.on\.aws")


def service_url(text: str | None = None, environment: Mapping[str, str] | None = None) -> str:
    """Return the URL of a service, without a slash at its end.

    Args:
        text: A function URL or a domain; by default, the environment variable `ECR_LAYERS_URL`.
        environment: The environment variables.

    Raises:
        UsageError: If it isn't a valid URL.
    """
    service = text or (os.environ if environment is None else environment).get(SERVICE_VARIABLE, "")
    if not service:
        raise UsageError(f"No service is configured. Set {SERVICE_VARIABLE} to its URL.", code="no-service")
    url = service if "://" in service else f"https://{service}"
    if not _SERVICE.fullmatch(url):
        raise UsageError(
            f"{one_line(service)!r} isn't a valid service URL. Use a function URL, https://….on.aws/, or a domain.",
            code="invalid-service",
        )
    return url.rstrip("/")


def local_or_https(host: str) -> str:
    """Return the URL of a service by the host in an image's name: HTTPS, except on this machine.

    Raises:
        UsageError: If it isn't a host.
    """
    is_local = re.sub(r":[0-9]+$", "", host).strip("[]") in LOOPBACK
    return service_url(f"http://{host}" if is_local else host)


def region_of(url: str) -> str | None:
    """Return the region of a function URL; None for any other URL."""
    match = _FUNCTION_URL.fullmatch(url.rstrip("/"))
    return match["region"] if match else None


def hosts_of(url: str) -> list[str]:
    """Return the names of a URL's host, the shortest first.

    A port other than the protocol's own makes it another registry.
    """
    parts = urlsplit(url)
    default = {"https": 443, "http": 80}.get(parts.scheme)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else str(parts.hostname)
    return [f"{host}:{parts.port}"] if parts.port not in {None, default} else [host, f"{host}:{default}"]
