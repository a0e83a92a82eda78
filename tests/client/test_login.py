"""A job logs in with the ID token of its platform, and docker, podman and the client find the login."""

import base64
import io
import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ecr_layers.login import id_tokens
from ecr_layers.registry.authentication import Authentication
from local.server import running
from tests.client.commanding import Command, command
from tests.client.keyless import KeylessService, id_token, refusal, service

__all__ = ["command", "service"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have a home directory of one's own, outside all platforms."""
    for name in list(os.environ):
        if name.startswith(("ACTIONS_", "AWS_", "CI_", "DOCKER_", "ECR_LAYERS_", "GITHUB_", "GITLAB_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in (
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("AWS_CONFIG_FILE", "/nonexistent"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent"),
        ("PATH", f"{tmp_path}:{os.environ['PATH']}"),
    ):
        monkeypatch.setenv(name, value)
    return tmp_path


@pytest.fixture
def token_file(service: KeylessService, tmp_path: Path) -> str:
    file = tmp_path / "id-token"
    file.write_text(f"{service.id_token()}\n")
    return str(file)


def login_in(path: Path, host: str) -> str:
    """Return the login for a host in a file of docker or podman."""
    return base64.b64decode(json.loads(path.read_text())["auths"][host]["auth"]).decode()


def add_helper(home: Path, name: str, script: str) -> None:
    helper = home / f"docker-credential-{name}"
    helper.write_text(f"#!/bin/sh\n{script}\n")
    helper.chmod(0o755)


class GitHub:
    """The endpoint at which a job of GitHub Actions requests ID tokens."""

    def __init__(self) -> None:
        self.answer: Response | None = None

    async def issue(self, request: Request) -> Response:
        assert request.headers["authorization"] == "Bearer runner-secret"
        assert request.query_params["api-version"] == "2.0"
        return self.answer or JSONResponse({"value": id_token(request.query_params["audience"], run_id="1")})


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHub]:
    platform = GitHub()
    with running(Starlette(routes=[Route("/id", platform.issue)])) as url:
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{url}/id?api-version=2.0")
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "runner-secret")
        yield platform


@pytest.mark.usefixtures("github")
def test_a_github_job_requests_a_token_for_the_services_host(
    service: KeylessService, command: Command, home: Path
) -> None:
    result = command("login", service.url)
    assert (result.status, result.output) == (0, "")
    assert result.error == f"Logged in to {service.host} for 60 minutes: {home}/.docker/config.json\n"
    assert service.received == [service.id_token(run_id="1")]
    assert parse_qs(service.queries[0]) == {"service": [service.host]}
    assert login_in(home / ".docker" / "config.json", service.host) == f"keyless:{service.issued}"


def test_a_github_job_without_the_permission_is_told_which(
    service: KeylessService, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    result = command("login", service.url)
    assert result.status == 2
    assert "Add `permissions: {id-token: write}` to it." in result.error


def test_a_github_that_issues_no_token_is_named(service: KeylessService, command: Command, github: GitHub) -> None:
    github.answer = Response("runner-secret", 403)
    result = command("login", service.url, "--verbose")
    assert result.status == 1
    assert "GitHub Actions issued no ID token: it answered HTTP 403." in result.error
    assert "runner-secret" not in result.error


def test_a_gitlab_job_has_the_token_in_a_variable_named_after_the_host(
    service: KeylessService, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITLAB_CI", "true")
    variable = id_tokens.variable_of(service.host)
    result = command("login", service.url)
    assert f"The environment variable {variable} isn't set." in result.error
    monkeypatch.setenv(variable, service.id_token(job_id="1"))
    assert command("login", service.url).status == 0
    monkeypatch.setenv("OTHER", service.id_token(job_id="2"))
    assert command("login", service.url, "--id-token-variable", "OTHER").status == 0
    assert service.received == [service.id_token(job_id="1"), service.id_token(job_id="2")]


def test_a_hosts_variable_is_the_one_that_other_tools_use() -> None:
    assert id_tokens.variable_of("registry.example.com") == "REGISTRY_EXAMPLE_COM_ID_TOKEN"
    assert id_tokens.variable_of("9-registry.example.com:5000") == "__REGISTRY_EXAMPLE_COM_5000_ID_TOKEN"


def test_a_pod_has_the_token_in_a_volume(
    service: KeylessService, command: Command, token_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(id_tokens, "PROJECTED_TOKEN", Path(token_file))
    assert command("login", service.url).status == 0
    assert service.received == [service.id_token()]


def test_a_token_may_come_from_a_file_or_the_standard_input(
    service: KeylessService, command: Command, token_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("login", service.url, "--id-token-file", token_file).status == 0
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{service.id_token(piped=1)}\n".encode())))
    assert command("login", service.url, "--id-token-file", "-").status == 0
    assert service.received == [service.id_token(), service.id_token(piped=1)]


class Sts:
    """AWS STS."""

    def __init__(self) -> None:
        self.requests: list[dict[str, list[str]]] = []
        self.error: str | None = None

    async def answer(self, request: Request) -> Response:
        body = parse_qs((await request.body()).decode())
        self.requests.append(body)
        if self.error is not None:
            content = f"<ErrorResponse><Error><Code>{self.error}</Code><Message>No.</Message></Error></ErrorResponse>"
            return Response(content, 403, media_type="text/xml")
        token = id_token(body["Audience.member.1"], sub="arn:aws:iam::123456789012:role/build")
        content = (
            '<GetWebIdentityTokenResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetWebIdentityTokenResult>'
            f"<WebIdentityToken>{token}</WebIdentityToken></GetWebIdentityTokenResult></GetWebIdentityTokenResponse>"
        )
        return Response(content, media_type="text/xml")


@pytest.fixture
def sts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sts]:
    platform = Sts()
    with running(Starlette(routes=[Route("/", platform.answer, methods=["POST"])])) as url:
        for name, value in (
            ("AWS_ENDPOINT_URL_STS", url),
            ("AWS_ACCESS_KEY_ID", "a"),
            ("AWS_SECRET_ACCESS_KEY", "b"),
            ("AWS_REGION", "eu-west-1"),
        ):
            monkeypatch.setenv(name, value)
        yield platform


def test_aws_issues_a_token_for_the_role(service: KeylessService, command: Command, sts: Sts) -> None:
    assert command("login", service.url).status == 0
    assert service.received == [id_token([service.host], sub="arn:aws:iam::123456789012:role/build")]
    (asked,) = sts.requests
    assert (asked["Action"], asked["SigningAlgorithm"]) == (["GetWebIdentityToken"], ["RS256"])


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("OutboundWebIdentityFederationDisabledException", "aws iam enable-outbound-web-identity-federation"),
        ("AccessDenied", "AWS denied GetWebIdentityToken to your credentials"),
    ],
)
def test_an_aws_account_that_issues_no_token_is_told_how_to(
    service: KeylessService, command: Command, sts: Sts, code: str, message: str
) -> None:
    sts.error = code
    result = command("login", service.url)
    assert (result.status, result.error.count("\n")) == (2, 1)
    assert message in result.error


def test_a_machine_without_any_token_is_told_where_they_come_from(service: KeylessService, command: Command) -> None:
    result = command("login", service.url)
    assert (result.status, result.error.count("\n")) == (2, 1)
    assert f"Found no ID token for {service.host}" in result.error
    assert not service.received


@pytest.mark.parametrize("audience", ["other.example.com", ["HOST", "other.example.com"], [], None, {"a": 1}])
def test_a_token_for_another_audience_stays_here(
    service: KeylessService, command: Command, tmp_path: Path, audience: Any
) -> None:
    if isinstance(audience, list):
        audience = [service.host if each == "HOST" else each for each in audience]
    (tmp_path / "token").write_text(id_token(audience))
    result = command("login", service.url, "--id-token-file", str(tmp_path / "token"))
    assert (result.status, result.error.count("\n")) == (2, 1)
    assert f"Request it with the audience {service.host}." in result.error
    assert not service.received


@pytest.mark.parametrize(
    "text", ["", "ci:password", "a.b.c", "e30.W10.e30", "e30.e30", f"e30.{'e' * 9000}.e30", "é.é.é"]
)
def test_what_is_no_id_token_is_refused_without_its_text(
    service: KeylessService, command: Command, tmp_path: Path, text: str
) -> None:
    (tmp_path / "token").write_text(text)
    result = command("login", service.url, "--id-token-file", str(tmp_path / "token"))
    assert result.status == 2
    assert result.error == "ecr-layers: The ID token isn't a JSON Web Token of at most 8192 characters.\n"
    assert not service.received


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        (refusal(401, "It has expired."), 1, "HOST refused the ID token: It has expired."),
        (refusal(403, "No rule matches."), 1, "HOST refused the ID token: No rule matches."),
        (
            Response("no", 403),
            1,
            "HOST refused the ID token: its claims have to match one of the operator's trustRules.",
        ),
        (Response("no", 404), 1, "HOST has no keyless login. The operator has to set trustRules"),
        (JSONResponse({"token": "a b"}), 1, "The token endpoint's answer has no token."),
        (Response("<html>"), 1, "Unexpected answer: this isn't the service's API."),
    ],
)
def test_a_refusal_is_one_line_that_says_what_to_do(
    service: KeylessService, command: Command, token_file: str, answer: Response, status: int, message: str
) -> None:
    service.answer = answer
    result = command("login", service.url, "--id-token-file", token_file)
    assert (result.status, result.error.count("\n")) == (status, 1)
    assert message.replace("HOST", service.host) in result.error
    assert not Path(os.environ["HOME"], ".docker").exists()


def test_a_service_that_is_busy_is_asked_again(service: KeylessService, command: Command, token_file: str) -> None:
    service.first_answers = [refusal(503, "Try again later."), Response("", 502)]
    assert command("login", service.url, "--id-token-file", token_file).status == 0
    assert len(service.received) == 3
    service.answer = refusal(503, "Try again later.", **{"Retry-After": "3600"})
    result = command("login", service.url, "--id-token-file", token_file)
    assert (result.status, result.error) == (1, "ecr-layers: Try again later.\n")


def test_a_token_is_in_no_error(service: KeylessService, command: Command, token_file: str) -> None:
    encoded = base64.b64encode(f"keyless:{service.id_token()}".encode()).decode()
    service.answer = refusal(401, f"{service.id_token()} Basic {encoded}")
    result = command("login", service.url, "--id-token-file", token_file, "--verbose")
    assert service.id_token() not in result.error
    assert encoded not in result.error


def test_tokens_go_over_https_only(command: Command, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(id_token("registry.example.com"))
    result = command("login", "http://registry.example.com", "--id-token-file", str(tmp_path / "token"))
    assert result.status == 2
    assert "Credentials are sent over HTTPS only" in result.error


def test_a_printed_login_is_what_the_clients_token_file_takes(
    service: KeylessService, command: Command, token_file: str, home: Path
) -> None:
    result = command("login", service.url, "--id-token-file", token_file, "--print")
    assert (result.output, result.error) == (f"keyless:{service.issued}\n", "")
    assert not (home / ".docker").exists()
    authorize = Authentication(token=result.output).of(service.url)
    assert authorize is not None
    assert authorize("GET", service.url, b"")["Authorization"].startswith("Basic ")


def test_files_keep_what_they_have_and_are_for_their_owner(
    service: KeylessService, command: Command, token_file: str, home: Path
) -> None:
    config = home / ".docker" / "config.json"
    config.parent.mkdir()
    others = {"other.example.com": {"auth": "b3RoZXI6eA=="}, f"https://{service.host}/v1/": {"auth": "b2xkOng="}}
    config.write_text(json.dumps({"auths": others, "detachKeys": "ctrl-e", "psFormat": "ü"}))
    config.chmod(0o644)
    assert command("login", service.url, "--id-token-file", token_file).status == 0
    written = json.loads(config.read_text())
    assert (written["detachKeys"], written["psFormat"]) == ("ctrl-e", "ü")
    assert written["auths"].keys() == {"other.example.com", service.host}
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert [each.name for each in config.parent.iterdir()] == ["config.json"]


def test_a_file_behind_a_symbolic_link_is_replaced_there(
    service: KeylessService, command: Command, token_file: str, home: Path
) -> None:
    (home / ".docker").mkdir()
    (home / "dotfiles").mkdir()
    (home / ".docker" / "config.json").symlink_to(home / "dotfiles" / "docker.json")
    assert command("login", service.url, "--id-token-file", token_file).status == 0
    assert (home / ".docker" / "config.json").is_symlink()
    assert login_in(home / "dotfiles" / "docker.json", service.host) == f"keyless:{service.issued}"


@pytest.mark.parametrize("content", ["{", "[]", '{"auths": []}', "\xff", "[" * 100_000])
@pytest.mark.parametrize("name", [".docker/config.json", ".config/containers/auth.json"])
def test_a_malformed_file_is_refused_and_nothing_is_written(
    service: KeylessService, command: Command, token_file: str, home: Path, name: str, content: str
) -> None:
    file = home / name
    file.parent.mkdir(parents=True)
    file.write_bytes(content.encode("latin-1"))
    result = command("login", service.url, "--id-token-file", token_file)
    assert (result.status, result.error) == (
        2,
        f"ecr-layers: {file} is malformed. Repair it, or move it away; nothing was written.\n",
    )
    assert file.read_bytes() == content.encode("latin-1")
    assert [each for each in home.rglob("*.json") if each != file] == []


def test_a_file_that_can_not_be_written_is_said(
    service: KeylessService, command: Command, token_file: str, home: Path
) -> None:
    (home / ".docker").write_text("in the way")
    result = command("login", service.url, "--id-token-file", token_file)
    assert result.status == 4
    assert f"Can't write {home}/.docker/config.json: " in result.error


def test_podmans_file_gets_the_login_where_podman_reads_it_first(
    service: KeylessService, command: Command, token_file: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "run").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "run"))
    monkeypatch.setenv("DOCKER_CONFIG", str(home / "docker"))
    older = home / ".config" / "containers" / "auth.json"
    older.parent.mkdir(parents=True)
    older.write_text(json.dumps({"auths": {service.host: {"auth": "b2xkOng="}}}))
    assert command("login", service.url, "--id-token-file", token_file).status == 0
    for file in (home / "run" / "containers" / "auth.json", home / "docker" / "config.json", older):
        assert login_in(file, service.host) == f"keyless:{service.issued}"
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(home / "auth.json"))
    assert command("login", service.url, "--id-token-file", token_file).status == 0
    assert login_in(home / "auth.json", service.host) == f"keyless:{service.issued}"


@pytest.mark.parametrize("setting", [{"credsStore": "test"}, {"credHelpers": {"HOST": "test"}}])
def test_a_credential_helper_gets_the_login_and_the_file_does_not(
    service: KeylessService, command: Command, token_file: str, home: Path, setting: dict[str, Any]
) -> None:
    config = home / ".docker" / "config.json"
    config.parent.mkdir()
    config.write_text(json.dumps(setting).replace("HOST", service.host))
    add_helper(home, "test", f'echo "$1" >> {home}/asked; cat > "{home}/$1"')
    result = command("login", service.url, "--id-token-file", token_file)
    assert result.error.endswith(": docker-credential-test\n")
    assert json.loads((home / "store").read_text()) == {
        "ServerURL": service.host,
        "Username": "keyless",
        "Secret": service.issued,
    }
    assert json.loads(config.read_text())["auths"] == {service.host: {}}
    assert command("logout", service.url).status == 0
    assert (home / "erase").read_text() == service.host
    assert json.loads(config.read_text())["auths"] == {}
    assert (home / "asked").read_text() == "store\nerase\n"


def test_a_credential_helper_that_fails_is_named(
    service: KeylessService, command: Command, token_file: str, home: Path
) -> None:
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text('{"credsStore": "test"}')
    add_helper(home, "test", "cat; exit 3")
    result = command("login", service.url, "--id-token-file", token_file)
    assert result.status == 2
    assert "docker-credential-test failed with status 3." in result.error
    assert service.issued not in result.error


def test_logging_out_removes_the_login_alone(
    service: KeylessService, command: Command, token_file: str, home: Path
) -> None:
    config = home / ".docker" / "config.json"
    config.parent.mkdir()
    config.write_text('{"auths": {"other.example.com": {"auth": "b3RoZXI6eA=="}}}')
    command("login", service.url, "--id-token-file", token_file)
    assert command("logout", service.url).error == f"Logged out of {service.host}: {config}\n"
    assert json.loads(config.read_text()) == {"auths": {"other.example.com": {"auth": "b3RoZXI6eA=="}}}
    assert command("logout", service.url).error == f"You aren't logged in to {service.host}.\n"


def test_the_client_uses_the_login(service: KeylessService, command: Command, token_file: str) -> None:
    command("login", service.url, "--id-token-file", token_file)
    authorize = Authentication(environment=os.environ).of(service.url)
    assert authorize is not None
    basic = authorize("GET", service.url, b"")["Authorization"].removeprefix("Basic ")
    assert base64.b64decode(basic).decode() == f"keyless:{service.issued}"


def test_a_login_takes_one_token(service: KeylessService, command: Command, token_file: str) -> None:
    result = command("login", service.url, "--id-token-file", token_file, "--id-token-variable", "TOKEN")
    assert result.status == 2
    assert "Use only one of --id-token-file and --id-token-variable." in result.error
