"""Which credentials a service is sent: a pull token from a file, the environment or Docker, a signature, or nothing.

A service may want a token of its own token endpoint instead.
"""

import base64
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ecr_layers import Client, ServiceError
from ecr_layers.errors import UsageError
from ecr_layers.registry.authentication import Authentication
from ecr_layers.registry.signing import Authorize, Signature
from local.server import running
from tests.client.keyless import refusal
from tests.client.scripted import DIGESTS, answered, resolved
from tests.client.small_parts import quick_retries

REGISTRY = "https://registry.example.com"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def sent(authorize: Authorize | None, url: str = REGISTRY) -> str | None:
    """Return the user name and password that a request has."""
    if authorize is None:
        return None
    scheme, _, credentials = authorize("GET", url, b"")["Authorization"].partition(" ")
    assert scheme == "Basic"
    return base64.b64decode(credentials).decode()


class Docker:
    """A directory with Docker's configuration and credential helpers."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def configure(self, **content: Any) -> None:
        (self.directory / "config.json").write_text(json.dumps(content))

    def add_helper(self, name: str, script: str) -> None:
        helper = self.directory / f"docker-credential-{name}"
        helper.write_text(f"#!/bin/sh\n{script}\n")
        helper.chmod(0o755)

    def sent_to(self, url: str = REGISTRY) -> str | None:
        path = f"{self.directory}:{os.environ['PATH']}"
        environment = {"DOCKER_CONFIG": str(self.directory), "HOME": "/nowhere", "PATH": path}
        return sent(Authentication(environment=environment).of(url), url)


@pytest.fixture
def docker(tmp_path: Path) -> Docker:
    return Docker(tmp_path)


@pytest.fixture(autouse=True)
def aws_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")


def test_a_token_file_goes_before_a_signature_then_the_environment_then_docker(docker: Docker, tmp_path: Path) -> None:
    docker.configure(auths={"registry.example.com": {"auth": encoded("docker:password")}})
    environment = {"ECR_LAYERS_TOKEN": "ci:password:with:colons", "DOCKER_CONFIG": str(docker.directory)}
    file = tmp_path / "token"
    file.write_text("ci:file-password\n")
    assert Authentication(token_file=file, is_anonymous=True, environment=environment).of(REGISTRY) is None
    assert sent(Authentication(token_file=file, environment=environment).of(REGISTRY)) == "ci:file-password"
    function_url = "https://abc.lambda-url.eu-west-1.on.aws"
    assert isinstance(Authentication(environment=environment).of(function_url), Signature)
    assert isinstance(Authentication(region="eu-west-1", environment=environment).of(REGISTRY), Signature)
    assert sent(Authentication(environment=environment).of(REGISTRY)) == "ci:password:with:colons"
    del environment["ECR_LAYERS_TOKEN"]
    assert sent(Authentication(environment=environment).of(REGISTRY)) == "docker:password"


@pytest.mark.parametrize("content", [b"", b"ci", b"ci:", b":password", b"ci:a\nb:c", b"ci:a\x00", b"\xff:\xff", None])
def test_a_file_without_a_token_is_said_without_its_content(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError) as error:
        Authentication(token_file=file).of(REGISTRY)
    assert str(error.value) in {
        f"{file} isn't a pull token; expected one line, NAME:PASSWORD.",
        f"Can't read the pull token from {file}: it isn't text.",
        f"Can't read the pull token from {file}: No such file or directory.",
    }


@pytest.mark.parametrize(
    ("name", "url", "is_found"),
    [
        ("registry.example.com", f"{REGISTRY}/", True),
        ("registry.example.com", f"{REGISTRY}:443", True),
        ("registry.example.com:443", REGISTRY, True),
        ("https://registry.example.com/v2/", REGISTRY, True),
        ("registry.example.com/v1/", REGISTRY, True),
        ("registry.example.com/team/app", REGISTRY, False),
        ("registry.example.com:8443", f"{REGISTRY}:8443", True),
        ("registry.example.com", f"{REGISTRY}:8443", False),
        ("registry.example.com:8443", REGISTRY, False),
        ("example.com", REGISTRY, False),
        ("other.registry.example.com", REGISTRY, False),
        ("localhost:80", "http://localhost", True),
        ("localhost:443", "http://localhost", False),
        ("[::1]:9000", "http://[::1]:9000", True),
    ],
)
def test_docker_keeps_credentials_by_host_and_port(docker: Docker, name: str, url: str, is_found: bool) -> None:
    docker.configure(auths={name: {"auth": encoded("ci:password")}})
    assert docker.sent_to(url) == ("ci:password" if is_found else None)


@pytest.mark.parametrize("entry", [{}, None, {"auth": 1}, {"auth": "%"}, {"auth": "Y2k="}, {"identitytoken": "abc"}])
def test_an_entry_without_credentials_gives_none(docker: Docker, entry: Any) -> None:
    docker.configure(auths={"registry.example.com": entry})
    assert docker.sent_to() is None


def test_a_malformed_configuration_gives_no_credentials(docker: Docker) -> None:
    helper = b'{"credHelpers": {"registry.example.com": "../evil"}}'
    for content in (b"{", b"[]", b'{"auths": []}', helper, b'{"credsStore": 1}', b"\xff"):
        (docker.directory / "config.json").write_bytes(content)
        assert docker.sent_to() is None


def test_an_entry_may_have_name_and_password_or_line_breaks(docker: Docker) -> None:
    docker.configure(auths={"registry.example.com": {"username": "ci", "password": "apart"}})
    assert docker.sent_to() == "ci:apart"
    auth = encoded("ci:" + "password" * 10)
    docker.configure(auths={"registry.example.com": {"auth": f"{auth[:40]}\r\n{auth[40:]}\n"}})
    assert docker.sent_to() == "ci:" + "password" * 10


ANSWER = """host=$(cat); printf '{"ServerURL": "%s", "Username": "ci", "Secret": "of %s"}' "$host" "$host" """
NOT_FOUND = "echo credentials not found in native keychain; exit 1"


def test_a_credential_helper_is_asked_for_the_host_and_a_hosts_own_first(docker: Docker) -> None:
    docker.add_helper("test", ANSWER)
    docker.add_helper("failing", "exit 3")
    auths: dict[str, Any] = {"registry.example.com": {}}
    docker.configure(auths=auths, credsStore="test")
    assert docker.sent_to() == "ci:of registry.example.com"
    docker.configure(auths=auths, credsStore="failing", credHelpers={"registry.example.com": "test"})
    assert docker.sent_to() == "ci:of registry.example.com"


def test_what_a_helper_does_not_know_or_can_not_say_is_looked_up_in_the_file(docker: Docker) -> None:
    docker.add_helper("test", NOT_FOUND)
    docker.configure(credsStore="test", auths={"registry.example.com": {"auth": encoded("ci:file")}})
    assert docker.sent_to() == "ci:file"
    assert docker.sent_to("https://other.example.com") is None
    docker.configure(credsStore="missing", auths={"registry.example.com": {"auth": encoded("ci:file")}})
    assert docker.sent_to() == "ci:file"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (None, "isn't installed"),
        ("exit 3", "failed with status 3"),
        ("echo secret-in-a-message; exit 1", "failed with status 1"),
    ],
)
def test_a_helper_that_fails_is_said_where_somebody_has_logged_in(
    docker: Docker, script: str | None, message: str
) -> None:
    if script is not None:
        docker.add_helper("test", script)
    docker.configure(credsStore="test", auths={"registry.example.com": {}})
    with pytest.raises(UsageError) as error:
        docker.sent_to()
    assert f"docker-credential-test, which {message}" in str(error.value)
    assert "secret" not in str(error.value)
    assert docker.sent_to("https://other.example.com") is None


@pytest.mark.parametrize("answer", ["", "[]", '{"Username": "<token>", "Secret": "abc"}', '{"Username": "ci"}'])
def test_a_helper_without_a_name_and_password_has_none(docker: Docker, answer: str) -> None:
    docker.add_helper("test", f"echo '{answer}'")
    docker.configure(credsStore="test")
    assert docker.sent_to() is None


def test_podmans_files_go_before_dockers(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")}
    for name, file in (
        ("docker", ".docker/config.json"),
        ("config", ".config/containers/auth.json"),
        ("runtime", "run/containers/auth.json"),
        ("named", "auth.json"),
    ):
        path = tmp_path / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"auths": {"registry.example.com": {"auth": encoded(f"{name}:x")}}}))
        if name == "named":
            environment["REGISTRY_AUTH_FILE"] = str(path)
        assert sent(Authentication(environment=environment).of(REGISTRY)) == f"{name}:x"


@pytest.mark.parametrize("url", ["http://registry.example.com", "http://127.0.0.1.example.com"])
@pytest.mark.parametrize(
    "options",
    [{"region": "eu-west-1"}, {"token": "ci:password"}, {"environment": {"ECR_LAYERS_TOKEN": "ci:password"}}],
    ids=["signature", "token", "variable"],
)
def test_no_credentials_are_sent_over_plain_http_to_other_machines(url: str, options: dict[str, Any]) -> None:
    options = {"environment": {}, **options}
    with pytest.raises(UsageError, match="Credentials are sent over HTTPS only"):
        Authentication(**options).of(url)
    authorize = Authentication(**options).of("http://127.0.0.1:9000")
    assert authorize is not None
    assert "Authorization" in authorize("GET", "http://127.0.0.1:9000/", b"")
    with pytest.raises(UsageError, match="Credentials are sent over HTTPS only"):
        authorize("GET", f"{url}/", b"")


BASIC = f"Basic {encoded('ci:password')}"


class Registry:
    """A service that wants a token, and remembers what it was sent."""

    def __init__(self) -> None:
        self.url = ""
        self.sent: list[tuple[str, str | None]] = []
        self.challenge: Callable[[str], str] = lambda url: (
            f'Bearer realm="{url}/token",service="x",scope="repository:team/app:pull"'
        )
        self.token: Response = JSONResponse({"token": "token-1", "expires_in": 3600})

    async def answer(self, request: Request) -> Response:
        credentials = request.headers.get("authorization")
        self.sent.append((request.url.path, credentials))
        if request.url.path == "/token":
            assert dict(request.query_params) == {"service": self.url.removeprefix("http://")}
            return self.token
        if credentials == "Bearer token-1":
            return answered(resolved(request.query_params["layerDigest"]))
        return refusal(401, "Log in.", **{"WWW-Authenticate": self.challenge(self.url)})


@pytest.fixture
def registry() -> Iterator[Registry]:
    registry = Registry()
    with running(Starlette(routes=[Route("/{path:path}", registry.answer)])) as url:
        registry.url = url
        yield registry


@pytest.fixture
def client(registry: Registry, tmp_path: Path) -> Iterator[Client]:
    (tmp_path / "token").write_text("ci:password")
    with Client(registry.url, token_file=tmp_path / "token", retries=quick_retries(1)) as client:
        yield client


def test_a_token_is_requested_once_and_sent_from_then_on(registry: Registry, client: Client) -> None:
    for digest in DIGESTS[:2]:
        assert client.resolve("team/app", [digest])[0].digest == digest
    assert registry.sent == [
        ("/download-url", BASIC),
        ("/token", BASIC),
        ("/download-url", "Bearer token-1"),
        ("/download-url", "Bearer token-1"),
    ]


def test_a_token_that_expires_within_a_minute_is_sent_once(registry: Registry, client: Client) -> None:
    registry.token = JSONResponse({"access_token": "token-1"})
    for digest in DIGESTS[:2]:
        client.resolve("team/app", [digest])
    assert [path for path, _ in registry.sent].count("/token") == 2


@pytest.mark.parametrize("prefix", ['Basic realm="a, Bearer realm=b", ', "", "Negotiate, "])
def test_a_bearer_challenge_is_found_among_others(registry: Registry, client: Client, prefix: str) -> None:
    registry.challenge = lambda url: f'{prefix}bearer service="a=b, c",  realm="{url}/token"'
    assert client.resolve("team/app", [DIGESTS[0]])


@pytest.mark.parametrize(
    "realm",
    [
        "http://127.0.0.1:1/token",
        "https://HOST/token",
        "http://HOST@example.com/token",
        "http://HOST.example.com/token",
        "http://127.0.0.1:port/token",
        "//HOST/token",
        "",
    ],
)
def test_credentials_are_never_sent_to_another_address(registry: Registry, client: Client, realm: str) -> None:
    realm = realm.replace("HOST", registry.url.removeprefix("http://"))
    registry.challenge = lambda _: f'Bearer realm="{realm}",service="x"'
    with pytest.raises(ServiceError, match="at another address") as caught:
        client.resolve("team/app", [DIGESTS[0]])
    assert registry.sent == [("/download-url", BASIC)]
    assert "password" not in str(caught.value)


@pytest.mark.parametrize("challenge", ['Basic realm="http://127.0.0.1/"', "", "Bearer", "Bearer " + '"' * 100_000])
def test_without_a_token_endpoint_the_refusal_stands(registry: Registry, client: Client, challenge: str) -> None:
    registry.challenge = lambda _: challenge[:8000]
    with pytest.raises(ServiceError, match=r"^Log in\.$"):
        client.resolve("team/app", [DIGESTS[0]])
    assert registry.sent == [("/download-url", BASIC)]


def test_without_credentials_no_token_is_requested(registry: Registry) -> None:
    with Client(registry.url, is_anonymous=True) as client, pytest.raises(ServiceError, match=r"^Log in\.$"):
        client.resolve("team/app", [DIGESTS[0]])
    assert registry.sent == [("/download-url", None)]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (refusal(401, "The token has expired."), "The token has expired."),
        (JSONResponse({}), "has no token"),
        (JSONResponse({"token": "a\r\nb"}), "has no token"),
        (JSONResponse({"token": "token-2"}), "Log in."),
    ],
)
def test_a_token_that_can_not_be_had_or_used_is_said(
    registry: Registry, client: Client, answer: Response, message: str
) -> None:
    registry.token = answer
    with pytest.raises(ServiceError) as caught:
        client.resolve("team/app", [DIGESTS[0]])
    assert message in str(caught.value)
