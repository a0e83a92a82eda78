"""SnapStart restores many environments from one snapshot, which must not share random numbers or old credentials."""

import itertools
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from local.aws import local_aws
from local.oci_layout import OciLayout
from local.server import running
from tests.commands import ROOT
from tests.unit.fakes import function_url_event


def credentials_app() -> Starlette:
    """Return new credentials each time, as Lambda's endpoint does; they expire so soon that botocore replaces them."""
    numbers = itertools.count(1)
    expiration = datetime.now(UTC) + timedelta(minutes=5)

    async def give(_: Request) -> JSONResponse:
        return JSONResponse(
            {
                "AccessKeyId": f"KEY{next(numbers)}",
                "SecretAccessKey": "secret",
                "Token": "token",
                "Expiration": expiration.isoformat(),
            }
        )

    return Starlette(routes=[Route("/credentials", give)])


class RecordingAccessKeys:
    """Records the access key that signs each request."""

    def __init__(self, app: ASGIApp) -> None:
        self.access_keys: list[str] = []
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            signed = re.search(r"Credential=(\w+)/", Request(scope).headers["authorization"])
            assert signed is not None
            self.access_keys.append(signed[1])
        await self._app(scope, receive, send)


def test_two_environments_of_one_snapshot_get_credentials_of_their_own(sample: OciLayout) -> None:
    query = {"repositoryName": "team/app", "layerDigest": next(iter(sample.referenced_blobs))}
    event = json.dumps(function_url_event("GET", "/download-url", query))
    with local_aws({"team/app": sample}) as aws, running(credentials_app()) as credentials_url:
        ecr = RecordingAccessKeys(aws.ecr.app())
        with running(ecr) as ecr_url:
            restore_twice(
                INVOKE,
                EVENT=event,
                AWS_REGION="us-east-1",
                AWS_ENDPOINT_URL_ECR=ecr_url,
                AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{credentials_url}/credentials",
                AWS_CONTAINER_AUTHORIZATION_TOKEN="any",
            )
    assert sorted(ecr.access_keys) == ["KEY2", "KEY3"]


RESTORE_TWICE = """
import os, random, sys
import layer_resolver.handler
from snapshot_restore_py import get_after_restore, get_before_snapshot

for function, arguments, keywords in get_before_snapshot():
    function(*arguments, **keywords)
sys.stdout.flush()
for _ in range(2):
    child = os.fork()
    if child == 0:
        for function, arguments, keywords in get_after_restore():
            function(*arguments, **keywords)
        exec(sys.argv[1])
        sys.stdout.flush()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


INVOKE = """
import json
from tests.unit.fakes import Context
answer = layer_resolver.handler.lambda_handler(json.loads(os.environ["EVENT"]), Context())
assert answer["statusCode"] == 200, answer
"""


def restore_twice(program: str, **environment: str) -> list[str]:
    """Run a program in two environments of one snapshot, and return what it prints.

    A forked process starts with the memory of the one that it comes from, as a restored one does.
    """
    path = os.pathsep.join([str(ROOT / "lambda_src"), str(ROOT)])
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": path, "AWS_DEFAULT_REGION": "us-east-1", **environment}
    result = subprocess.run(
        [sys.executable, "-c", RESTORE_TWICE, program],
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_two_environments_of_one_snapshot_draw_different_random_numbers() -> None:
    first, second = restore_twice("print(random.random())")
    assert first != second
