"""Gives each test an environment without proxies and a boto3 session, which caches credentials, of its own."""

from collections.abc import Iterator

import boto3
import pytest


@pytest.fixture(autouse=True)
def _own_session(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    yield
    boto3.setup_default_session()
