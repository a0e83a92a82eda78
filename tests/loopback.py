"""Names of this machine: each that ends with `.localhost` is it (RFC 6761), which not every resolver knows."""

import socket
from typing import Any

import pytest


def resolve_localhost_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have names that end with `.localhost` resolved in this process."""
    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        return resolve("localhost" if str(host).endswith(".localhost") else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
