"""Proxies from the environment, as curl reads them: `http_proxy`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`.

Source: https://curl.se/docs/manpage.html, "ENVIRONMENT"
"""

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from ecr_layers.errors import UsageError

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
"""This machine's own names. No proxy can reach them, and no network sees what is sent to them."""

_SOCKS = frozenset({"socks4", "socks4a", "socks5", "socks5h"})
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy.

    Attributes:
        url: Its URL; without credentials, unless it is a SOCKS proxy.
        authorization: The value of its Proxy-Authorization header, if it takes one.
        is_socks: Whether it is a SOCKS proxy.
    """

    url: str = field(repr=False)
    authorization: str | None = field(default=None, repr=False)
    is_socks: bool = False


def proxy_for(url: str, environment: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for a URL; None to connect directly.

    Raises:
        UsageError: If the environment names an invalid proxy.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    if host in LOOPBACK or _is_exempt(host, parts.port or _PORTS.get(parts.scheme), environment):
        return None
    names = (f"{parts.scheme}_proxy", f"{parts.scheme}_proxy".upper(), "all_proxy", "ALL_PROXY")
    # A web server hands the header "Proxy" to CGI programs as HTTP_PROXY, so curl ignores that name.
    name = next((each for each in names if environment.get(each) and each != "HTTP_PROXY"), None)
    return None if name is None else _parse(environment[name].strip(), name)


def _parse(value: str, name: str) -> Proxy:
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        port, host = parts.port, parts.hostname
    except ValueError:
        port, host = None, None
    is_socks = host is not None and parts.scheme in _SOCKS
    if not host or not (is_socks or parts.scheme in _PORTS):
        raise UsageError(
            f"The environment variable {name} isn't a proxy's URL; expected http://HOST:PORT or socks5h://HOST:PORT.",
            code="invalid-proxy",
            variable=name,
        )
    if is_socks:
        return Proxy(parts.geturl(), is_socks=True)
    place = f"[{host}]" if ":" in host else host
    credentials = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    authorization = f"Basic {base64.b64encode(credentials.encode()).decode()}" if parts.username else None
    return Proxy(f"{parts.scheme}://{place}:{port or _PORTS[parts.scheme]}", authorization)


def _is_exempt(host: str, port: int | None, environment: Mapping[str, str]) -> bool:
    value = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    return any(_matches(each.strip().lower(), host, port) for each in value.split(",") if each.strip())


def _matches(entry: str, host: str, port: int | None) -> bool:
    """Tell whether an entry of NO_PROXY covers a host: a name, a domain, an address, a network, or `*`."""
    if entry == "*":
        return True
    address = _address(host)
    network = _network(entry.strip("[]"))
    if network is not None:
        return address is not None and address in network
    name, has_port, number = entry.rpartition(":")
    if has_port and number.isdecimal():
        if port != int(number):
            return False
        entry = name
    entry = entry.strip("[]").removeprefix("*").lstrip(".")
    return bool(entry) and (host == entry or (address is None and host.endswith(f".{entry}")))


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None
