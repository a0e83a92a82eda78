"""The checks of a service behind CloudFront, made with a pull token against the local edge."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from ecr_layers.cli import main
from ecr_layers.ops.edge_smoke import EdgeSmokeTest, find_layer
from ecr_layers.ops.http_auth import PullTokenAuth
from ecr_layers.ops.pull_tokens import PullToken
from ecr_layers.ops.smoke import Layer, SmokeError
from ecr_layers.registry.signing import PullToken as Token
from local.edge import CALLER, EdgeConfiguration, RunningEdge, local_edge
from local.oci_layout import OciLayout
from local.service import FunctionUrl, Service, local_service
from tests.sample import REPOSITORY

PASSWORD = "0123456789abcdef"
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
    now = datetime.now(UTC)
    with local_edge(service.url) as edge:
        for name, scope, days in (("ci", "team/*", 1), ("all", "*", 1), ("old", "*", -1), ("narrow", "team/x", 1)):
            token = PullToken(name, (scope,), now + timedelta(days=days), now)
            edge.store.put(name, token.value(PASSWORD))
        yield edge


@pytest.fixture
def token_file(tmp_path: Path) -> Callable[[str], str]:
    def write(name: str) -> str:
        file = tmp_path / "token"
        file.write_text(f"{name}:{PASSWORD}\n")
        return str(file)

    return write


def test_a_service_behind_the_edge_passes_every_check(
    edge: RunningEdge, token_file: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["smoke", "--url", edge.url, "--token-file", token_file("ci"), "--repository", REPOSITORY]) == 0
    printed = capsys.readouterr().out
    skipped = [f"skip  {check}: the service has no trustRules" for check in ("a short token", "a forged ID token")]
    assert printed.splitlines() == [*(f"ok    {check}" for check in CHECKS), *skipped]
    assert PASSWORD not in printed


def test_a_service_with_trust_rules_issues_short_tokens_and_reaches_its_exchange_function(
    service: Service, token_file: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    now = datetime.now(UTC)
    # Nothing answers there.
    configuration = EdgeConfiguration(exchange_origin="http://127.0.0.1:1", layers_origin=service.aws.s3_url)
    with local_edge(service.url, configuration) as edge:
        edge.store.put("ci", PullToken("ci", ("team/*",), now + timedelta(days=1), now).value(PASSWORD))
        key = {"id": "00000000", "key": "A" * 43, "notAfter": None}
        edge.store.put("_signing", json.dumps({"keys": [key], "notBefore": {}}))
        assert main(["smoke", "--url", edge.url, "--token-file", token_file("ci"), "--repository", REPOSITORY]) == 1
    found = capsys.readouterr().out.splitlines()
    assert "ok    a short token" in found
    assert [line for line in found if not line.startswith("ok ")] == [
        "FAIL  a forged ID token: answered 502 and not 401"
    ]


def test_a_token_for_everything_has_no_scope_to_check(
    edge: RunningEdge, token_file: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["smoke", "--url", edge.url, "--token-file", token_file("all"), "--repository", REPOSITORY]) == 0
    assert "skip  scope: the token is for every repository" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "said"), [("old", "It answered 401."), ("narrow", "It answered 403.")])
def test_a_token_that_does_not_let_in_is_one_line_with_status_2(
    edge: RunningEdge, token_file: Callable[[str], str], capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    assert main(["smoke", "--url", edge.url, "--token-file", token_file(name), "--repository", REPOSITORY]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_token_that_has_expired_fails_the_checks_that_need_it_in_the_edges_words(
    edge: RunningEdge, sample: OciLayout, token_file: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    digest = next(iter(sample.referenced_blobs))
    arguments = ["--token-file", token_file("old"), "--repository", REPOSITORY, "--digest", digest]
    assert main(["smoke", "--url", edge.url, *arguments]) == 1
    printed = capsys.readouterr().out
    assert "ok    the challenge" in printed
    assert "FAIL  log-in: answered 401 and not 200: The pull token has expired. Ask for a new one." in printed
    assert PASSWORD not in printed


Answer = Callable[[httpx.Request], httpx.Response]


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (
            lambda _: httpx.Response(401),
            "the challenge: WWW-Authenticate is None and not Basic or Bearer: no client can log in",
        ),
        (
            lambda _: httpx.Response(401, headers={"x-amzn-remapped-www-authenticate": 'Basic realm="x"'}),
            "the challenge: WWW-Authenticate is None and not Basic",
        ),
        (
            lambda _: httpx.Response(
                401, headers={"WWW-Authenticate": 'Basic realm="x"'}, json={"errors": [{"code": "X"}]}
            ),
            "the challenge: its code is X and not UNAUTHORIZED",
        ),
        (
            lambda _: httpx.Response(401, headers={"WWW-Authenticate": 'Bearer realm="https://example.com/token"'}),
            "the challenge: registry.example.com asks to log in at another address",
        ),
        (
            lambda request: httpx.Response(
                401,
                headers={"WWW-Authenticate": f'Bearer realm="https://{request.url.host}/token",service="x"'},
                json={"errors": [{"code": "X"}]},
            ),
            "the challenge: its code is X and not UNAUTHORIZED",
        ),
        (lambda _: httpx.Response(200), "the challenge: without a token it answered 200 and not 401"),
        (lambda _: httpx.Response(200), "a wrong password: answered 200 and not 401"),
        (lambda _: httpx.Response(200), "POST: answered 200 and not 405"),
        (lambda _: httpx.Response(200), "scope: answered 200 and not 403"),
        (lambda _: httpx.Response(200), "a blob through the redirect: answered 200 and not 307"),
        (
            lambda _: httpx.Response(307, headers={"Location": f"{URL}/?X-Amz-Signature=0"}),
            "a blob through the redirect: the redirect leads to the service itself, and not to S3",
        ),
        (
            lambda request: (
                httpx.Response(307, headers={"Location": "https://bucket.example.com/?X-Amz-Signature=0"})
                if request.url.host in URL
                else httpx.Response(200)
            ),
            "a blob through the redirect: S3 answered the request for its first byte with 200",
        ),
        (
            lambda _: httpx.Response(403, json={"errors": [{"code": "DENIED", "message": "Ask for another."}]}),
            "a blob through the redirect: answered 403 and not 307: Ask for another.",
        ),
        (lambda _: httpx.Response(503, text="<html>"), "log-in: answered 503 and not 200"),
    ],
)
def test_what_is_wrong_is_said_and_no_secret_is(
    answer: Answer, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    layer = Layer(REPOSITORY, f"sha256:{'1' * 64}", "latest")
    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        assert not EdgeSmokeTest(URL, layer, client, PullTokenAuth(Token("ci", PASSWORD))).run(Console(width=200))
    printed = capsys.readouterr().out
    assert complaint in printed
    assert "X-Amz" not in printed
    assert PASSWORD not in printed


def test_a_blobs_url_is_asked_without_the_token(capsys: pytest.CaptureFixture[str]) -> None:
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(307, headers={"Location": "https://bucket.example.com/a"})

    layer = Layer(REPOSITORY, f"sha256:{'1' * 64}")
    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        EdgeSmokeTest(URL, layer, client, PullTokenAuth(Token("ci", PASSWORD))).run(Console())
    outside = [request for request in sent if request.url.host != "registry.example.com"]
    assert outside
    assert not any("authorization" in request.headers for request in outside)


def test_a_layer_is_found_by_the_registry_itself(edge: RunningEdge, sample: OciLayout) -> None:
    with httpx.Client(trust_env=False) as client:
        layer = find_layer(edge.url, client, PullTokenAuth(Token("ci", PASSWORD)), REPOSITORY)
    assert (layer.repository, layer.image) == (REPOSITORY, "latest")
    assert layer.digest in sample.referenced_blobs


@pytest.mark.parametrize("manifest", ["<html>", "[]", "{}", '{"manifests": []}', '{"config": {}, "layers": [{}]}'])
def test_a_manifest_without_a_layer_is_said(manifest: str) -> None:
    with (
        httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200, text=manifest))) as client,
        pytest.raises(SmokeError, match="has no manifest of team/app:latest"),
    ):
        find_layer(URL, client, PullTokenAuth(Token("ci", PASSWORD)), REPOSITORY, "latest")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--token-file", "/nonexistent"], "Can't read the pull token"),
        ([], "isn't a function URL. Use --token-file"),
    ],
)
def test_what_can_not_be_checked_is_refused_in_one_line(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("ECR_LAYERS_TOKEN", raising=False)
    assert main(["smoke", "--url", URL, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_token_needs_a_repository_that_it_is_for(
    token_file: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["smoke", "--url", URL, "--token-file", token_file("ci")]) == 2
    assert "Name a repository in the token's scope: --repository" in capsys.readouterr().err
