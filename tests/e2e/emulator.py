"""An AWS emulator with the stack deployed to it, by the real CDK CLI."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.credentials import Credentials

from ecr_layers.ops.http_auth import FunctionUrlAuth
from tests.commands import ROOT
from tests.loopback import resolve_localhost_names
from tests.programs import answers, started

# The emulator takes an access key of twelve digits for the account.
ACCOUNT = "123456789012"
REGION = "us-east-1"
STACK = "EcrLayerResolver"

BIN = Path(sys.executable).parent
MINISTACK = BIN.parent / "tools" / "ministack" / "bin" / "ministack"
CDK = ROOT / "node_modules" / ".bin" / "cdk"
APP = ("--app", f"{sys.executable} {ROOT / 'tests' / 'e2e' / 'emulated_app.py'}")


@dataclass(frozen=True)
class Emulator:
    """A running emulator.

    Attributes:
        endpoint: Where it answers for every service.
        environment: The environment of tools that are to talk to it.
        work: A directory for what the tools write.
    """

    endpoint: str
    environment: dict[str, str]
    work: Path

    def client(self, service: Any) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=ACCOUNT,
            aws_secret_access_key="any",
        )

    def cdk(self, *arguments: str, cwd: Path = ROOT) -> str:
        """Run the CDK CLI and return what it printed."""
        result = subprocess.run(
            [CDK, *arguments], cwd=cwd, env=self.environment, capture_output=True, text=True, timeout=600, check=False
        )
        output = result.stdout + result.stderr
        assert result.returncode == 0, output
        return output

    def bootstrap(self) -> None:
        self.cdk("bootstrap", f"aws://{ACCOUNT}/{REGION}", "--app", "")

    def deploy(self, stack: str = STACK, **settings: str) -> tuple[str, dict[str, str]]:
        """Deploy a stack with settings, and return what the CLI printed and the stack's outputs."""
        app = (*APP, *_named(stack), *_context(settings), "--output", str(self._assembly(stack)))
        return self._deploy(stack, *app)

    def deploy_again(self, stack: str = STACK) -> tuple[str, dict[str, str]]:
        """Deploy a stack as it was deployed last, and return the same."""
        return self._deploy(stack, "--app", str(self._assembly(stack)))

    def _deploy(self, stack: str, *app: str) -> tuple[str, dict[str, str]]:
        outputs = self.work / f"outputs-{stack}.json"
        options = ("--require-approval", "never", "--ci", "--outputs-file", str(outputs))
        printed = self.cdk("deploy", *app, *options)
        return printed, json.loads(outputs.read_text())[stack]

    def diff(self, stack: str = STACK, **settings: str) -> str:
        """Return what the CLI says that a deployment with settings would change."""
        return self.cdk("diff", *APP, *_named(stack), *_context(settings), "--output", str(self.work / "diff.out"))

    def destroy(self, stack: str = STACK) -> None:
        """Remove a stack, as it was deployed last."""
        self.cdk("destroy", "--app", str(self._assembly(stack)), "--force")

    def _assembly(self, stack: str) -> Path:
        return self.work / f"{stack}.out"

    def http_client(self, *, signed: bool = True) -> httpx.Client:
        """Return a client whose requests to function URLs go to the emulator, which knows them by the Host header."""
        auth = FunctionUrlAuth(Credentials(ACCOUNT, "any"), REGION) if signed else None
        return httpx.Client(transport=_FunctionUrlTransport(self.endpoint), auth=auth, timeout=60)


def _context(settings: Mapping[str, str]) -> list[str]:
    return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]


def _named(stack: str) -> list[str]:
    return [] if stack == STACK else ["-c", f"stackName={stack}"]


class _FunctionUrlTransport(httpx.HTTPTransport):
    """Takes the emulator for the address of every function URL."""

    def __init__(self, endpoint: str) -> None:
        super().__init__()
        self._endpoint = httpx.URL(endpoint)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host.endswith(".on.aws"):
            # The Host header has been set and stays.
            request.url = request.url.copy_with(scheme="http", host="localhost", port=self._endpoint.port)
        return super().handle_request(request)


@contextmanager
def running_emulator(work: Path, **environment: str) -> Iterator[Emulator]:
    """Run MiniStack while the context lasts.

    Args:
        work: An empty directory.
        environment: Further variables for the tools that talk to it.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    own = inherited | {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "HOME": str(work),
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        # Assumed roles, as the CDK CLI takes them on, belong to this account.
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
    }
    endpoint = f"http://localhost:{port}"
    tools = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": ACCOUNT,
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_REGION": REGION,
        "CDK_DISABLE_VERSION_CHECK": "1",
        "CDK_DISABLE_CLI_TELEMETRY": "true",
        # Tests of the templates have CDK check them; it takes seconds in each process.
        "CDK_VALIDATION": "false",
        # Without the home folder's cache, jsii would unpack CDK again for each emulator.
        "JSII_RUNTIME_PACKAGE_CACHE_ROOT": str(Path.home() / ".cache" / "aws" / "jsii" / "package-cache"),
    }
    with started(MINISTACK, log=work / "ministack.log", cwd=work, env=own):
        wait_until(lambda: answers(f"{endpoint}/_localstack/health"))
        yield Emulator(endpoint, own | tools | environment, work)


def wait_until(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Return what the condition gives as soon as that is true; fail if it never is."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.1)
    raise AssertionError("what was waited for did not happen")


def use_emulator(emulator: Emulator, patch: pytest.MonkeyPatch) -> None:
    """Have commands in this process ask the emulator."""
    resolve_localhost_names(patch)
    patch.delenv("ECR_LAYERS_TOKEN_STORE", raising=False)
    for name, value in (
        ("AWS_ENDPOINT_URL", emulator.endpoint),
        ("AWS_ACCESS_KEY_ID", ACCOUNT),
        ("AWS_SECRET_ACCESS_KEY", "any"),
        ("AWS_REGION", REGION),
    ):
        patch.setenv(name, value)
