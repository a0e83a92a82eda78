"""The checks of a service behind CloudFront, made with a pull token against the local edge."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from ecr_layers.ops.edge_smoke import EdgeSmokeTest, find_layer
from ecr_layers.ops.http_auth import PullTokenAuth
from ecr_layers.ops.pull_tokens import PullToken
from ecr_layers.ops.smoke import Layer, SmokeError
from ecr_layers.registry.signing import PullToken as Token
from local.edge import CALLER, EdgeConfiguration, RunningEdge, local_edge
from local.oci_layout import OciLayout
from local.service import FunctionUrl, Service, local_service
from tests.client.commanding import Command, Result, command
from tests.sample import REPOSITORY

__all__ = ["command"]

PASSWORD = "0123456789abcdef"
AUTH = PullTokenAuth(Token("ci", PASSWORD))
URL = "https://registry.example.com"
CHECKS = [
    "the challenge",
    "log-in",
    "a wrong password",
    "a blob through the redirect",
    "HEAD of a blob",
    "HEAD of a manifest",
    "an error's form",
    "scope",
    "POST",
]


@pytest.fixture(scope="module")
def service(sample: OciLayout) -> Iterator[Service]:
    function_url = FunctionUrl(caller=CALLER, renames_headers=True)
    with local_service({REPOSITORY: sample}, function_url=function_url, write_log=lambda _: None) as running:
        yield running


@pytest.fixture(scope="module")
def edge(service: Service) -> Iterator[RunningEdge]:
    with local_edge(service.url) as edge:
        add_tokens(edge)
        yield edge


def add_tokens(edge: RunningEdge) -> None:
    now = datetime.now(UTC)
    for name, scope, days in (("ci", "team/*", 1), ("all", "*", 1), ("old", "*", -1), ("narrow", "team/x", 1)):
        token = PullToken(name, (scope,), now + timedelta(days=days), now)
        edge.store.put(name, token.value(PASSWORD))


Smoke = Callable[..., Result]


@pytest.fixture
def smoke(command: Command, tmp_path: Path) -> Smoke:
    """Return what checks a service with the token of a name, and shows no password."""

    def run(url: str, name: str, *arguments: str) -> Result:
        (tmp_path / "token").write_text(f"{name}:{PASSWORD}\n")
        result = command("smoke", "--url", url, "--token-file", str(tmp_path / "token"), *arguments)
        assert PASSWORD not in result.output + result.error
        return result

    return run


def test_a_service_behind_the_edge_passes_every_check(edge: RunningEdge, smoke: Smoke) -> None:
    result = smoke(edge.url, "ci", "--repository", REPOSITORY)
    skipped = [f"skip  {check}: the service has no trustRules" for check in ("a short token", "a forged ID token")]
    assert result.output.splitlines() == [*(f"ok    {check}" for check in CHECKS), *skipped]
    assert result.status == 0
    result = smoke(edge.url, "all", "--repository", REPOSITORY)
    assert result.status == 0
    assert "skip  scope: the token is for every repository" in result.output


def test_a_service_with_trust_rules_issues_short_tokens_and_reaches_its_exchange_function(
    service: Service, smoke: Smoke
) -> None:
    # Nothing answers there.
    configuration = EdgeConfiguration(exchange_origin="http://127.0.0.1:1", layers_origin=service.aws.s3_url)
    with local_edge(service.url, configuration) as edge:
        add_tokens(edge)
        key = {"id": "00000000", "key": "A" * 43, "notAfter": None}
        edge.store.put("_signing", json.dumps({"keys": [key], "notBefore": {}}))
        result = smoke(edge.url, "ci", "--repository", REPOSITORY)
    found = result.output.splitlines()
    assert result.status == 1
    assert "ok    a short token" in found
    assert [line for line in found if not line.startswith("ok ")] == [
        "FAIL  a forged ID token: answered 502 and not 401"
    ]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("old", ["--repository", REPOSITORY], "It answered 401."),
        ("narrow", ["--repository", REPOSITORY], "It answered 403."),
        ("ci", [], "Name a repository in the token's scope: --repository"),
    ],
)
def test_a_token_that_does_not_let_in_is_one_line_with_status_2(
    edge: RunningEdge, smoke: Smoke, name: str, arguments: list[str], message: str
) -> None:
    result = smoke(edge.url, name, *arguments)
    assert (result.status, result.error.count("\n")) == (2, 1)
    assert message in result.error


def test_a_token_that_has_expired_fails_the_checks_that_need_it_in_the_edges_words(
    edge: RunningEdge, smoke: Smoke, sample: OciLayout
) -> None:
    result = smoke(edge.url, "old", "--repository", REPOSITORY, "--digest", next(iter(sample.referenced_blobs)))
    assert result.status == 1
    assert "ok    the challenge" in result.output
    assert "FAIL  log-in: answered 401 and not 200: The pull token has expired. Ask for a new one." in result.output


Answer = Callable[[httpx.Request], httpx.Response]
BASIC, OWN = 'Basic realm="x"', f'Bearer realm="{URL}/token",service="x"'
SIGNED = "https://bucket.example.com/?X-Amz-Signature=0"


def challenging(challenge: str | None) -> Answer:
    headers = {"WWW-Authenticate": challenge} if challenge else {"x-amzn-remapped-www-authenticate": BASIC}
    return always(401, {"errors": [{"code": "X"}]}, headers)


def always(status: int, document: Any = None, headers: dict[str, str] | None = None) -> Answer:
    return lambda _: httpx.Response(status, json=document, headers=headers)


def redirect_to(location: str) -> Answer:
    """Redirect requests to the service, and answer others."""
    redirect = httpx.Response(307, headers={"Location": location})
    return lambda request: redirect if request.url.host in URL else httpx.Response(200)


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (challenging(None), "the challenge: WWW-Authenticate is None and not Basic or Bearer: no client can log in"),
        (challenging(BASIC), "the challenge: its code is X and not UNAUTHORIZED"),
        (challenging(OWN), "the challenge: its code is X and not UNAUTHORIZED"),
        (
            challenging('Bearer realm="https://example.com/token"'),
            "the challenge: registry.example.com asks to log in at another address",
        ),
        (always(200), "the challenge: without a token it answered 200 and not 401"),
        (always(200), "a wrong password: answered 200 and not 401"),
        (always(200), "POST: answered 200 and not 405"),
        (always(200), "scope: answered 200 and not 403"),
        (always(503), "log-in: answered 503 and not 200"),
        (
            redirect_to(f"{URL}/?X-Amz-Signature=0"),
            "a blob through the redirect: the redirect leads to the service itself, and not to S3",
        ),
        (redirect_to(SIGNED), "a blob through the redirect: S3 answered the request for its first byte with 200"),
        (
            always(403, {"errors": [{"code": "DENIED", "message": "Ask for another."}]}),
            "a blob through the redirect: answered 403 and not 307: Ask for another.",
        ),
    ],
)
def test_what_is_wrong_is_said_and_no_secret_is(
    answer: Answer, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    outside: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        outside.extend([request] if request.url.host not in URL else [])
        return answer(request)

    layer = Layer(REPOSITORY, f"sha256:{'1' * 64}", "latest")
    with httpx.Client(transport=httpx.MockTransport(handle)) as client:
        assert not EdgeSmokeTest(URL, layer, client, AUTH).run(Console(width=200))
    printed = capsys.readouterr().out
    assert complaint in printed
    assert "X-Amz" not in printed
    assert PASSWORD not in printed
    # S3 gets no token.
    assert not any("authorization" in request.headers for request in outside)


def test_a_layer_is_found_by_the_registry_itself(edge: RunningEdge, sample: OciLayout) -> None:
    with httpx.Client(trust_env=False) as client:
        layer = find_layer(edge.url, client, AUTH, REPOSITORY)
    assert (layer.repository, layer.image) == (REPOSITORY, "latest")
    assert layer.digest in sample.referenced_blobs


@pytest.mark.parametrize("manifest", ["<html>", "[]", "{}", '{"manifests": []}', '{"config": {}, "layers": [{}]}'])
def test_a_manifest_without_a_layer_is_said(manifest: str) -> None:
    with (
        httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200, text=manifest))) as client,
        pytest.raises(SmokeError, match="has no manifest of team/app:latest"),
    ):
        find_layer(URL, client, AUTH, REPOSITORY, "latest")
