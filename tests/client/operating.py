"""Runs an operator's commands against a local AWS with an unreliable token store."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from local.function_log import FunctionLog
from local.operator_api import OperatorApi, Stack
from local.server import running
from tests.client.key_value_store import UnreliableStore

FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:layers"
SETTINGS = {"repositories": ["team/*", "shared/base"], "registries": ["210987654321"], "domainName": None}


@dataclass
class Operated:
    """A deployment that commands are for."""

    store: UnreliableStore = field(default_factory=UnreliableStore)
    log: FunctionLog = field(default_factory=FunctionLog)


@contextmanager
def operated(monkeypatch: pytest.MonkeyPatch) -> Iterator[Operated]:
    """Run a deployment, and lead the SDK to it."""
    there = Operated()
    outputs = {"FunctionArn": FUNCTION, "RegistryDomain": "registry.example.com", "TokenStoreArn": there.store.arn}
    api = OperatorApi(Stack("EcrLayerResolver", outputs, SETTINGS), there.store, there.log)
    with running(api.app(), host="localhost") as url:
        lead_to(url, monkeypatch)
        yield there


def forget_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the SDK without credentials and a configuration."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")


def lead_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lead the SDK to an endpoint, with credentials."""
    for name, value in (
        ("AWS_ENDPOINT_URL", url),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "a"),
        ("AWS_SECRET_ACCESS_KEY", "b"),
        # Most commands don't need the stack then, which takes time to find.
        ("ECR_LAYERS_TOKEN_STORE", UnreliableStore.arn),
    ):
        monkeypatch.setenv(name, value)
