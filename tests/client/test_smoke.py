"""The checks of a deployed service, against the local one: of a function URL, and of an edge with a pull token."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.credentials import Credentials
from rich.console import Console

from ecr_layers.errors import UsageError
from ecr_layers.ops import edge_smoke
from ecr_layers.ops.edge_smoke import EdgeSmokeTest
from ecr_layers.ops.http_auth import FunctionUrlAuth, PullTokenAuth
from ecr_layers.ops.pull_tokens import PullToken
from ecr_layers.ops.smoke import ABSENT_DIGEST, Layer, SmokeError, SmokeTest, find_layer
from ecr_layers.registry.signing import PullToken as Token
from ecr_layers.registry.signing import callers_credentials
from local.aws import local_aws
from local.edge import CALLER, EdgeConfiguration, RunningEdge, local_edge
from local.oci_layout import OciLayout
from local.service import FunctionUrl, Service, local_service
from tests.client.commanding import Command, Result, command
from tests.client.operating import forget_credentials
from tests.layouts import OCI_LAYER, LayoutWriter
from tests.sample import REPOSITORY

__all__ = ["command"]

URL, EDGE = "https://service.example.com/", "https://registry.example.com"
PASSWORD = "0123456789abcdef"
AUTH = FunctionUrlAuth(Credentials("AKIAEXAMPLE", "secret", "session-token"), "eu-west-1")
TOKEN = PullTokenAuth(Token("ci", PASSWORD))


@pytest.fixture(scope="module")
def service(sample: OciLayout) -> Iterator[Service]:
    with local_service({REPOSITORY: sample}, write_log=lambda _: None) as running:
        yield running


@pytest.fixture
def digest(sample: OciLayout) -> str:
    return next(iter(sample.referenced_blobs))


def passes(url: str, layer: Layer, transport: httpx.BaseTransport | None = None, *, is_public: bool = True) -> bool:
    """Tell whether a service passes the checks, whose results are printed."""
    with httpx.Client(transport=transport, trust_env=False) as client:
        return SmokeTest(url, layer, client, AUTH, is_public=is_public).run(Console(width=200))


def test_a_service_that_is_well_passes_every_check_but_not_if_it_is_open_by_mistake(
    service: Service, digest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert passes(service.url, Layer(REPOSITORY, digest, "latest"))
    *others, manifest = capsys.readouterr().out.splitlines()
    names = ("health", "an unsigned request", "a layer", "an error's form", "HEAD", "HEAD of a blob")
    assert others == [f"ok    {name}" for name in names]
    assert manifest == "ok    HEAD of a manifest"
    assert passes(service.url, Layer(REPOSITORY, digest))
    assert capsys.readouterr().out.splitlines() == [*others, "skip  HEAD of a manifest: no image is known"]
    assert not passes(service.url, Layer(REPOSITORY, digest), is_public=False)
    assert "FAIL  an unsigned request: answered 200, expected 403" in capsys.readouterr().out


def test_which_clients_a_renamed_header_affects_is_said_and_fails_nothing(
    sample: OciLayout, digest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    renaming = FunctionUrl(renames_headers=True)
    with local_service({REPOSITORY: sample}, function_url=renaming, opted_into={}, write_log=lambda _: None) as service:
        assert passes(service.url, Layer(REPOSITORY, digest, "latest"))
    *well, blob, manifest = capsys.readouterr().out.splitlines()
    assert all(line.startswith("ok ") for line in well)
    assert blob.startswith("warn  HEAD of a blob: Content-Length is 0, expected ")
    assert "docker-registry as a pull-through cache can't mirror blobs then" in blob
    assert manifest == "skip  HEAD of a manifest: imagePull isn't set, so registry clients get only blobs"


Answer = Callable[[httpx.Request], httpx.Response]
MANIFEST = b"{}"
MANIFEST_DIGEST = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"
MANIFEST_FAILS = "FAIL  HEAD of a manifest:"
PROBLEM = {"Content-Type": "application/problem+json"}
RESOLVED = {"downloadUrl": "https://bucket.example.com/?X-Amz-Signature=0"}


def always(status: int, document: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
    return lambda _: httpx.Response(status, json=document, headers=headers)


def refuse_connection(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


def with_head(headers: Mapping[str, str]) -> Answer:
    """Answer GET with a manifest, and HEAD with these headers."""
    manifest = httpx.Response(200, content=MANIFEST, headers={"Docker-Content-Digest": MANIFEST_DIGEST})
    return lambda request: httpx.Response(200, headers=headers) if request.method == "HEAD" else manifest


@pytest.mark.parametrize(
    ("answer", "finding"),
    [
        (refuse_connection, "FAIL  health: the request failed: ConnectError"),
        (always(500), "FAIL  health: answered 500, expected 200"),
        (always(403, {"detail": "[bold]Ask.[/bold]"}), "FAIL  a layer: answered 403, expected 200: [bold]Ask.[/bold]"),
        (always(200, {}), "FAIL  a layer: the answer isn't the API's"),
        (always(200, RESOLVED), "FAIL  a layer: S3 answered the request for its first byte with 200"),
        (always(404, {}), "FAIL  an error's form: its Content-Type is application/json, expected"),
        (always(404, {"code": "Other"}, PROBLEM), "FAIL  an error's form: its code is Other, expected LayersNot"),
        (always(503), "FAIL  HEAD: answered 503, expected 200"),
        (always(404), "FAIL  HEAD of a manifest: answered 404, expected 200"),
        (always(200, {}, {"Docker-Content-Digest": "sha256:00"}), f"{MANIFEST_FAILS} the manifest has the digest"),
        (
            always(200, RESOLVED, {"Content-Range": "bytes 0-0/9"}),
            "FAIL  HEAD of a blob: Content-Length is 63, expected 9. docker-registry as a pull-through cache can't",
        ),
        (with_head({"Content-Length": "2"}), "ok    HEAD of a manifest"),
        (with_head({"Content-Length": "0"}), f"{MANIFEST_FAILS} Content-Length is 0, expected 2. containerd pulls no"),
        (
            with_head({}),
            f"{MANIFEST_FAILS} Content-Length is None, expected 2. docker-registry as a pull-through cache",
        ),
        (
            with_head({"x-amzn-remapped-content-length": "2"}),
            "warn  HEAD of a manifest: Content-Length is None, expected 2: the function URL renamed the right one",
        ),
    ],
)
def test_what_is_wrong_is_said_with_the_affected_clients_and_no_secret_is(
    digest: str, answer: Answer, finding: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not passes(URL, Layer(REPOSITORY, digest, "latest"), httpx.MockTransport(answer))
    printed = capsys.readouterr().out
    assert [line for line in printed.splitlines() if line.startswith(finding)]
    assert "X-Amz" not in printed


def test_a_layer_to_resolve_is_found_in_ecr_which_is_no_foreign_one(tmp_path: Path) -> None:
    writer = LayoutWriter(tmp_path / "layout")
    foreign = {"mediaType": OCI_LAYER, "digest": ABSENT_DIGEST, "size": 1, "urls": ["https://example.com/layer"]}
    own = writer.blob(b"own")
    image = writer.image("image", layers=[foreign, own])
    writer.name(image, "latest")
    writer.write()
    with local_aws({REPOSITORY: OciLayout(tmp_path / "layout")}) as aws:
        ecr = boto3.client("ecr", endpoint_url=aws.ecr_url, region_name="us-east-1")
        for repository in (None, REPOSITORY):
            assert find_layer(ecr, repository) == Layer(REPOSITORY, own["digest"], image["digest"])
        with pytest.raises(SmokeError, match="Can't find a layer in ECR"):
            find_layer(ecr, "team/missing")


FUNCTION_URL = "https://abc.lambda-url.eu-west-1.on.aws/"


@pytest.mark.parametrize(
    ("url", "arguments", "message"),
    [
        ("ftp://example.com", [], "isn't a valid service URL"),
        (URL, [], "isn't a function URL. Use --token-file for a pull token, or --region"),
        (URL, ["--token-file", "/nonexistent"], "Can't read the pull token"),
        (FUNCTION_URL, ["--digest", "sha256:00"], "needs --repository"),
        (FUNCTION_URL, ["--image", "latest"], "needs --digest"),
        (FUNCTION_URL, [], "There are no AWS credentials"),
    ],
)
def test_what_can_not_be_checked_is_refused_in_one_line(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, arguments: list[str], message: str
) -> None:
    forget_credentials(monkeypatch)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("ECR_LAYERS_TOKEN", raising=False)
    result = command("smoke", "--url", url, *arguments)
    assert (result.status, result.output, result.error.count("\n")) == (2, "", 1)
    assert message in result.error


def test_a_profile_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "missing")
    with pytest.raises(UsageError, match="The AWS credentials can't be used"):
        callers_credentials()


@pytest.fixture(scope="module")
def origin(sample: OciLayout) -> Iterator[Service]:
    function_url = FunctionUrl(caller=CALLER, renames_headers=True)
    with local_service({REPOSITORY: sample}, function_url=function_url, write_log=lambda _: None) as running:
        yield running


@pytest.fixture(scope="module")
def edge(origin: Service) -> Iterator[RunningEdge]:
    with local_edge(origin.url) as edge:
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
    assert result.status == 0
    *well, short, forged = result.output.splitlines()
    assert (len(well), {line[:6] for line in well}) == (9, {"ok    "})
    assert short == "skip  a short token: the service has no trustRules"
    assert forged == "skip  a forged ID token: the service has no trustRules"
    result = smoke(edge.url, "all", "--repository", REPOSITORY)
    assert result.status == 0
    assert "skip  scope: the token is for every repository" in result.output


def test_a_service_with_trust_rules_issues_short_tokens_and_reaches_its_exchange_function(
    origin: Service, smoke: Smoke
) -> None:
    # Nothing answers there.
    configuration = EdgeConfiguration(exchange_origin="http://127.0.0.1:1", layers_origin=origin.aws.s3_url)
    with local_edge(origin.url, configuration) as edge:
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


BASIC, OWN = 'Basic realm="x"', f'Bearer realm="{EDGE}/token",service="x"'
SIGNED = "https://bucket.example.com/?X-Amz-Signature=0"


def challenging(challenge: str | None) -> Answer:
    headers = {"WWW-Authenticate": challenge} if challenge else {"x-amzn-remapped-www-authenticate": BASIC}
    return always(401, {"errors": [{"code": "X"}]}, headers)


def redirect_to(location: str) -> Answer:
    """Redirect requests to the service, and answer others."""
    redirect = httpx.Response(307, headers={"Location": location})
    return lambda request: redirect if request.url.host in EDGE else httpx.Response(200)


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (challenging(None), "the challenge: WWW-Authenticate is None and not Basic or Bearer: no client can log in"),
        (challenging(BASIC), "the challenge: its code is X and not UNAUTHORIZED"),
        (challenging(OWN), "the challenge: its code is X and not UNAUTHORIZED"),
        (
            challenging(OWN.replace("registry", "other")),
            "the challenge: registry.example.com asks to log in at another",
        ),
        (always(200), "the challenge: without a token it answered 200 and not 401"),
        (always(200), "a wrong password: answered 200 and not 401"),
        (always(200), "POST: answered 200 and not 405"),
        (always(200), "scope: answered 200 and not 403"),
        (always(503), "log-in: answered 503 and not 200"),
        (redirect_to(f"{EDGE}/?X-Amz-Signature=0"), "the redirect: the redirect leads to the service itself, and not"),
        (redirect_to(SIGNED), "a blob through the redirect: S3 answered the request for its first byte with 200"),
        (always(403, {"errors": [{"message": "Ask."}]}), "a blob through the redirect: answered 403 and not 307: Ask."),
    ],
)
def test_what_is_wrong_at_the_edge_is_said_and_no_secret_is(
    answer: Answer, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    outside: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        outside.extend([request] if request.url.host not in EDGE else [])
        return answer(request)

    layer = Layer(REPOSITORY, f"sha256:{'1' * 64}", "latest")
    with httpx.Client(transport=httpx.MockTransport(handle)) as client:
        assert not EdgeSmokeTest(EDGE, layer, client, TOKEN).run(Console(width=200))
    printed = capsys.readouterr().out
    assert complaint in printed
    assert "X-Amz" not in printed
    assert PASSWORD not in printed
    # S3 gets no token.
    assert not any("authorization" in request.headers for request in outside)


@pytest.mark.parametrize("manifest", ["<html>", "[]", "{}", '{"manifests": []}', '{"config": {}, "layers": [{}]}'])
def test_a_manifest_without_a_layer_is_said(manifest: str) -> None:
    with (
        httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200, text=manifest))) as client,
        pytest.raises(SmokeError, match="has no manifest of team/app:latest"),
    ):
        edge_smoke.find_layer(EDGE, client, TOKEN, REPOSITORY, "latest")
