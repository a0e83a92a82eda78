"""A job logs in with the ID token of its platform, and docker, podman and the client find the login."""

import base64
import io
import json
import os
import stat
import sys
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
from tests.client.commanding import Command, Result, command
from tests.client.keyless import KeylessService, id_token, refusal, service
from tests.client.operating import forget_credentials, lead_to

__all__ = ["command", "service"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have a home directory of one's own, outside all platforms."""
    for name in list(os.environ):
        if name.startswith(("ACTIONS_", "AWS_", "CI_", "DOCKER_", "ECR_LAYERS_", "GITHUB_", "GITLAB_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    forget_credentials(monkeypatch)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


@pytest.fixture
def config(home: Path) -> Path:
    """Return where docker has its configuration."""
    (home / ".docker").mkdir()
    return home / ".docker" / "config.json"


@pytest.fixture
def login(service: KeylessService, command: Command, tmp_path: Path) -> Command:
    """Return what logs in with an ID token from a file."""

    def run(*arguments: str, text: str | None = None) -> Result:
        file = tmp_path / "id-token"
        file.write_text(f"{service.id_token()}\n" if text is None else text)
        return command("login", service.url, "--id-token-file", str(file), *arguments)

    return run


def login_in(path: Path, host: str) -> str:
    """Return the login for a host in a file of docker or podman."""
    return base64.b64decode(json.loads(path.read_text())["auths"][host]["auth"]).decode()


def add_helper(home: Path, script: str) -> None:
    helper = home / "docker-credential-test"
    helper.write_text(f"#!/bin/sh\n{script}\n")
    helper.chmod(0o755)


def test_a_github_job_requests_a_token_for_the_services_host(
    service: KeylessService, command: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Response] = []

    def issue(request: Request) -> Response:
        assert request.headers["authorization"] == "Bearer runner-secret"
        assert request.query_params["api-version"] == "2.0"
        return answers[0] if answers else JSONResponse({"value": id_token(request.query_params["audience"], run_id=1)})

    with running(Starlette(routes=[Route("/id", issue)])) as url:
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{url}/id?api-version=2.0")
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "runner-secret")
        result = command("login", service.url)
        assert (result.status, result.output) == (0, "")
        assert result.error == f"Logged in to {service.host} for 60 minutes: {home}/.docker/config.json\n"
        assert service.received == [service.id_token(run_id=1)]
        answers.append(Response("runner-secret", 403))
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


def test_a_token_may_come_from_a_pods_volume_a_file_or_the_standard_input(
    service: KeylessService, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "id-token"
    file.write_text(f"{service.id_token()}\n")
    assert command("login", service.url, "--id-token-file", str(file)).status == 0
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{service.id_token(piped=1)}\n".encode())))
    assert command("login", service.url, "--id-token-file", "-").status == 0
    monkeypatch.setattr(id_tokens, "PROJECTED_TOKEN", file)
    assert command("login", service.url).status == 0
    assert service.received == [service.id_token(), service.id_token(piped=1), service.id_token()]


def test_aws_issues_a_token_for_the_role_or_the_account_is_told_how_to(
    service: KeylessService, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[str] = []

    async def answer(request: Request) -> Response:
        body = parse_qs((await request.body()).decode())
        assert (body["Action"], body["SigningAlgorithm"]) == (["GetWebIdentityToken"], ["RS256"])
        if errors:
            content = f"<ErrorResponse><Error><Code>{errors[-1]}</Code><Message>No.</Message></Error></ErrorResponse>"
            return Response(content, 403, media_type="text/xml")
        token = id_token(body["Audience.member.1"], sub="arn:aws:iam::123456789012:role/build")
        content = (
            '<GetWebIdentityTokenResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetWebIdentityTokenResult>'
            f"<WebIdentityToken>{token}</WebIdentityToken></GetWebIdentityTokenResult></GetWebIdentityTokenResponse>"
        )
        return Response(content, media_type="text/xml")

    with running(Starlette(routes=[Route("/", answer, methods=["POST"])])) as url:
        lead_to(url, monkeypatch)
        assert command("login", service.url).status == 0
        assert service.received == [id_token([service.host], sub="arn:aws:iam::123456789012:role/build")]
        for code, message in (
            ("OutboundWebIdentityFederationDisabledException", "aws iam enable-outbound-web-identity-federation"),
            ("AccessDenied", "AWS denied GetWebIdentityToken to your credentials"),
        ):
            errors.append(code)
            result = command("login", service.url)
            assert (result.status, result.error.count("\n")) == (2, 1)
            assert message in result.error


@pytest.mark.parametrize(
    ("environment", "arguments", "message"),
    [
        ({}, [], "Found no ID token for "),
        ({"GITHUB_ACTIONS": "true"}, [], "Add `permissions: {id-token: write}` to it."),
        ({}, ["--id-token-file", "-", "--id-token-variable", "B"], "Use only one of --id-token-file and"),
    ],
)
def test_without_one_token_where_it_comes_from_is_said(
    service: KeylessService,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    arguments: list[str],
    message: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    result = command("login", service.url, *arguments)
    assert (result.status, result.error.count("\n")) == (2, 1)
    assert message in result.error
    assert not service.received


@pytest.mark.parametrize("further", ["other.example.com", ["other.example.com"], None])
def test_a_token_for_another_audience_stays_here(service: KeylessService, login: Command, further: Any) -> None:
    audience = [service.host, *further] if isinstance(further, list) else further
    result = login(text=id_token(audience))
    assert (result.status, result.error.count("\n")) == (2, 1)
    assert f"Request it with the audience {service.host}." in result.error
    assert not service.received


@pytest.mark.parametrize("text", ["", "ci:password", "a.b.c", "e30.W10.e30", f"e30.{'e' * 9000}.e30", "é.é.é"])
def test_what_is_no_id_token_is_refused_without_its_text(service: KeylessService, login: Command, text: str) -> None:
    result = login(text=text)
    assert result.status == 2
    assert result.error == "ecr-layers: The ID token isn't a JSON Web Token of at most 8192 characters.\n"
    assert not service.received


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (refusal(401, "It has expired."), "HOST refused the ID token: It has expired."),
        (Response("no", 403), "refused the ID token: its claims have to match one of the operator's trustRules."),
        (Response("no", 404), "HOST has no keyless login. The operator has to set trustRules"),
        (JSONResponse({"token": "a b"}), "The token endpoint's answer has no token."),
        (Response("<html>"), "Unexpected answer: this isn't the service's API."),
    ],
)
def test_a_refusal_is_one_line_that_says_what_to_do(
    service: KeylessService, login: Command, home: Path, answer: Response, message: str
) -> None:
    service.answer = answer
    result = login()
    assert (result.status, result.error.count("\n")) == (1, 1)
    assert message.replace("HOST", service.host) in result.error
    assert not (home / ".docker").exists()


def test_a_service_that_is_busy_is_asked_again(service: KeylessService, login: Command) -> None:
    service.first_answers = [refusal(503, "Try again later."), Response("", 502)]
    assert login().status == 0
    assert len(service.received) == 3
    service.answer = refusal(503, "Try again later.", **{"Retry-After": "3600"})
    result = login()
    assert (result.status, result.error) == (1, "ecr-layers: Try again later.\n")


def test_a_token_is_in_no_error(service: KeylessService, login: Command) -> None:
    encoded = base64.b64encode(f"keyless:{service.id_token()}".encode()).decode()
    service.answer = refusal(401, f"{service.id_token()} Basic {encoded}")
    result = login("--verbose")
    assert service.id_token() not in result.error
    assert encoded not in result.error


def test_tokens_go_over_https_only(command: Command, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(id_token("registry.example.com"))
    result = command("login", "http://registry.example.com", "--id-token-file", str(tmp_path / "token"))
    assert result.status == 2
    assert "Credentials are sent over HTTPS only" in result.error


def test_a_printed_login_is_what_the_clients_token_file_takes(
    service: KeylessService, login: Command, home: Path
) -> None:
    result = login("--print")
    assert (result.output, result.error) == (f"keyless:{service.issued}\n", "")
    assert not (home / ".docker").exists()
    assert Authentication(token=result.output).of(service.url) is not None


def test_the_client_uses_the_login(service: KeylessService, login: Command) -> None:
    login()
    authorize = Authentication(environment=os.environ).of(service.url)
    assert authorize is not None
    basic = authorize("GET", service.url, b"")["Authorization"].removeprefix("Basic ")
    assert base64.b64decode(basic).decode() == f"keyless:{service.issued}"


def test_files_keep_what_they_have_and_are_for_their_owner(
    service: KeylessService, login: Command, home: Path, config: Path
) -> None:
    (home / "dotfiles").mkdir()
    config.symlink_to(home / "dotfiles" / "docker.json")
    others = {"other.example.com": {"auth": "b3RoZXI6eA=="}, f"https://{service.host}/v1/": {"auth": "b2xkOng="}}
    config.write_text(json.dumps({"auths": others, "detachKeys": "ctrl-e", "psFormat": "ü"}))
    config.chmod(0o644)
    assert login().status == 0
    written = json.loads(config.read_text())
    assert (written["detachKeys"], written["psFormat"]) == ("ctrl-e", "ü")
    assert written["auths"].keys() == {"other.example.com", service.host}
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert config.is_symlink()
    assert len(list(home.rglob("*.json"))) == 2


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (".docker/config.json", "{"),
        (".docker/config.json", '{"auths": []}'),
        (".docker/config.json", "[" * 100_000),
        (".config/containers/auth.json", "\xff"),
    ],
)
def test_a_malformed_file_is_refused_and_nothing_is_written(
    login: Command, home: Path, name: str, content: str
) -> None:
    file = home / name
    file.parent.mkdir(parents=True)
    file.write_bytes(content.encode("latin-1"))
    result = login()
    assert result.status == 2
    assert f"{file} is malformed. Repair it, or move it away; nothing was written." in result.error
    assert file.read_bytes() == content.encode("latin-1")
    assert [each for each in home.rglob("*.json") if each != file] == []


def test_a_file_that_can_not_be_written_is_said(login: Command, home: Path) -> None:
    (home / ".docker").write_text("in the way")
    result = login()
    assert result.status == 4
    assert f"Can't write {home}/.docker/config.json: " in result.error


def test_podmans_file_gets_the_login_where_podman_reads_it_first(
    service: KeylessService, login: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "run").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "run"))
    monkeypatch.setenv("DOCKER_CONFIG", str(home / "docker"))
    older = home / ".config" / "containers" / "auth.json"
    older.parent.mkdir(parents=True)
    older.write_text(json.dumps({"auths": {service.host: {"auth": "b2xkOng="}}}))
    assert login().status == 0
    for file in (home / "run" / "containers" / "auth.json", home / "docker" / "config.json", older):
        assert login_in(file, service.host) == f"keyless:{service.issued}"
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(home / "auth.json"))
    assert login().status == 0
    assert login_in(home / "auth.json", service.host) == f"keyless:{service.issued}"


@pytest.mark.parametrize("setting", ['{"credsStore": "test"}', '{"credHelpers": {"HOST": "test"}}'])
def test_a_credential_helper_gets_the_login_and_the_file_does_not(
    service: KeylessService, login: Command, command: Command, home: Path, config: Path, setting: str
) -> None:
    config.write_text(setting.replace("HOST", service.host))
    add_helper(home, f'echo "$1" >> {home}/asked; cat > "{home}/$1"')
    assert login().error.endswith(": docker-credential-test\n")
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
    add_helper(home, "cat; exit 3")
    failed = login()
    assert failed.status == 2
    assert "docker-credential-test failed with status 3." in failed.error
    assert service.issued not in failed.error


def test_logging_out_removes_the_login_alone(
    service: KeylessService, login: Command, command: Command, config: Path
) -> None:
    others = {"auths": {"other.example.com": {"auth": "b3RoZXI6eA=="}}}
    config.write_text(json.dumps(others))
    login()
    assert command("logout", service.url).error == f"Logged out of {service.host}: {config}\n"
    assert json.loads(config.read_text()) == others
    assert command("logout", service.url).error == f"You aren't logged in to {service.host}.\n"
