"""Runs an operator's commands against a local AWS with an unreliable token store and an unreliable secret."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from local.function_log import FunctionLog
from local.operator_api import OperatorApi, Stack
from local.secrets_manager import Secret
from local.server import running
from tests.client.commanding import Command, Result
from tests.client.key_value_store import UnreliableStore

SETTINGS: dict[str, Any] = {
    "repositories": ["team/*", "shared/base"],
    "registries": ["210987654321"],
    "domainName": None,
    "trustRules": {"ci": {}, "nightly": {}},
}


class UnreliableSecret(Secret):
    """A secret that may refuse to be written."""

    def __init__(self) -> None:
        super().__init__()
        self.is_writable = True

    async def answer(self, request: Request) -> Response:
        if self.is_writable or not request.headers["x-amz-target"].endswith("PutSecretValue"):
            return await super().answer(request)
        return JSONResponse({"__type": "AccessDeniedException", "message": "No."}, 400)


class Operated:
    """A deployment, and the command `ecr-layers token` for it.

    Attributes:
        store: Its token store.
        secret: The secret with its signing keys.
        log: Its function's log.
        outputs: The outputs of its stack.
    """

    def __init__(self, command: Command) -> None:
        self.store = UnreliableStore()
        self.secret = UnreliableSecret()
        self.log = FunctionLog()
        self.outputs = {
            "FunctionArn": "arn:aws:lambda:us-east-1:123456789012:function:layers",
            "RegistryDomain": "registry.example.com",
            "TokenStoreArn": self.store.arn,
            "SigningKeySecret": self.secret.arn,
        }
        self._command = command

    def __call__(self, *arguments: str) -> Result:
        return self._command("token", *arguments)

    @property
    def entries(self) -> dict[str, Any]:
        """What the store has."""
        return {name: json.loads(value) for name, value in self.store.snapshot().items()}


@pytest.fixture
def token(command: Command, monkeypatch: pytest.MonkeyPatch) -> Iterator[Operated]:
    """Run a deployment, and lead the SDK to it."""
    operated = Operated(command)
    stack = Stack("EcrLayerResolver", operated.outputs, SETTINGS)
    api = OperatorApi(stack, operated.store, operated.log, operated.secret)
    with running(api.app(), host="localhost") as url:
        lead_to(url, monkeypatch)
        yield operated


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
