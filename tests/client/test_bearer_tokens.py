"""A service may want a token of its own token endpoint instead of a user name and a password."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ecr_layers import Client, ServiceError
from local.server import running
from tests.client.keyless import refusal
from tests.client.scripted import DIGESTS, answered, resolved
from tests.client.small_parts import quick_retries

BASIC = f"Basic {base64.b64encode(b'ci:password').decode()}"


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
