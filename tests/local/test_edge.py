"""The local edge: the very function of the stack in front, and what CloudFront does to requests and answers."""

import base64
import json
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from ecr_layers.ops.pull_tokens import PullToken
from local.aws import REGION
from local.edge import CALLER, FORWARDED_HEADERS, EdgeConfiguration, RunningEdge, local_edge
from local.edge_cache import KEY_HEADERS
from local.function_url import create_function_url_app
from local.server import running
from local.sigv4 import RequestVerifier
from tests.local.fake_function import FakeFunction

# What the function reads, and what other caches and clients send.
CLIENT_HEADERS = {
    **dict.fromkeys(FORWARDED_HEADERS | {"accept-encoding", "accept-language", "cookie", "range", "x-other"}, "a"),
    "if-match": '"1"',
    "if-none-match": '"1"',
    "if-modified-since": "Wed, 21 Oct 2026 07:28:00 GMT",
}
AUTH = ("ci", "password")
BLOB = f"/v2/team/app/blobs/sha256:{'0' * 64}"
MANIFEST = f"/v2/team/app/manifests/sha256:{'1' * 64}"


@pytest.fixture(scope="module")
def running_origin() -> Iterator[tuple[FakeFunction, str]]:
    origin, verifier = FakeFunction(), RequestVerifier(CALLER, REGION)
    with running(create_function_url_app(origin, renames_headers=True, verifier=verifier)) as url:
        yield origin, url


@pytest.fixture
def origin(running_origin: tuple[FakeFunction, str]) -> FakeFunction:
    origin, _ = running_origin
    origin.events.clear()
    origin.answer = {"statusCode": 200, "body": "{}"}
    return origin


@pytest.fixture(scope="module")
def edge(running_origin: tuple[FakeFunction, str]) -> Iterator[RunningEdge]:
    with local_edge(running_origin[1], EdgeConfiguration(realm="here")) as edge:
        add_token(edge)
        yield edge


@pytest.fixture(scope="module")
def keeping_edge(running_origin: tuple[FakeFunction, str]) -> Iterator[RunningEdge]:
    with local_edge(running_origin[1], EdgeConfiguration(cache_seconds=60)) as edge:
        add_token(edge, scope="*")
        yield edge


def add_token(edge: RunningEdge, name: str = "ci", scope: str = "team/*") -> None:
    now = datetime.now(UTC)
    edge.store.put(name, PullToken(name, (scope,), now + timedelta(days=1), now).value("password"))


def get(edge: RunningEdge, path: str = "/v2/", method: str = "GET", **options: Any) -> httpx.Response:
    return httpx.request(method, f"{edge.url}{path}", trust_env=False, **{"auth": AUTH, **options})


def test_requests_that_the_function_at_the_edge_refuses_invoke_nothing(edge: RunningEdge, origin: FakeFunction) -> None:
    for method in ("GET", "HEAD"):
        answer = get(edge, MANIFEST, method, auth=None)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Basic realm="here"')
        assert answer.headers["x-cache"] == "FunctionGeneratedResponse from cloudfront"
    assert get(edge, BLOB.replace("team", "other")).json()["errors"][0]["code"] == "DENIED"
    assert not origin.events


def test_what_goes_on_is_signed_and_has_the_tokens_name_and_nothing_of_its_password(
    edge: RunningEdge, origin: FakeFunction
) -> None:
    forged = {"X-Ecr-Layers-Token": "root", "X-Other": "1", "User-Agent": "own/1", "Cookie": "a=b", "Accept": "a/b"}
    forged |= {"CloudFront-Viewer-Address": "192.0.2.1:1", "X-Forwarded-For": "198.51.100.9"}
    assert get(edge, BLOB, headers=forged).status_code == 200
    (event,) = origin.events
    headers = event["headers"]
    assert headers["x-ecr-layers-token"] == "ci"
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=")
    assert headers["accept"] == "a/b"
    assert headers["user-agent"] == "Amazon CloudFront"
    assert headers["cloudfront-viewer-address"].startswith("127.0.0.1:")
    assert headers["host"].startswith("127.0.0.1:")
    assert {"x-other", "cookie"}.isdisjoint(headers)
    assert base64.b64encode(b"ci:password").decode() not in json.dumps(event)
    assert "password" not in json.dumps(event)


@pytest.mark.parametrize("name", ["If-None-Match", "X-Forwarded-For", "User-Agent"])
def test_headers_of_any_bytes_are_answered(edge: RunningEdge, origin: FakeFunction, name: str) -> None:
    url, login = httpx.URL(edge.url), base64.b64encode(":".join(AUTH).encode()).decode()
    lines = ["Host: edge", "Connection: close", f"Authorization: Basic {login}", f"{name}: "]
    with socket.create_connection((url.host, url.port or 80), timeout=30) as connection:
        connection.sendall("\r\n".join([f"GET {MANIFEST} HTTP/1.1", *lines]).encode() + b"\xff\xfe\x80\r\n\r\n")
        assert connection.makefile("rb").readline().split()[1] == b"200"


@pytest.mark.parametrize("target", [BLOB, "/download-url?repositoryName=team%2Fapp&layerDigest=a"])
def test_a_path_that_goes_on_goes_on_byte_for_byte(edge: RunningEdge, origin: FakeFunction, target: str) -> None:
    assert get(edge, target).status_code == 200
    (event,) = origin.events
    assert f"{event['rawPath']}?{event['rawQueryString']}".rstrip("?") == target


def test_answers_come_back_as_the_function_url_gives_them(edge: RunningEdge, origin: FakeFunction) -> None:
    location = "https://bucket.example.com/a?b=c"
    origin.answer = {"statusCode": 307, "headers": {"Location": location, "Content-Length": "17", "X-Other": "1"}}
    answer = get(edge, BLOB)
    assert (answer.status_code, answer.headers["location"], answer.headers["x-other"]) == (307, location, "1")
    assert answer.headers["content-length"] == "0"
    assert "x-amzn-remapped-content-length" not in answer.headers
    assert answer.headers["x-cache"] == "Miss from cloudfront"
    assert answer.headers["via"].endswith("(CloudFront)")
    assert answer.headers.get_list("date") == [answer.headers["date"]]
    origin.answer = {"statusCode": 404, "body": '{"errors": []}'}
    answer = get(edge, BLOB)
    assert (answer.status_code, answer.json()) == (404, {"errors": []})
    assert answer.headers["x-cache"] == "Error from cloudfront"


def test_head_has_the_length_that_get_would_have(edge: RunningEdge, origin: FakeFunction) -> None:
    origin.answer = {"statusCode": 200, "body": "12345"}
    answer = get(edge, MANIFEST, "HEAD")
    assert (answer.status_code, answer.headers["content-length"], answer.content) == (200, "5", b"")
    origin.answer = {"statusCode": 200, "headers": {"Content-Length": "123456789012"}}
    assert get(edge, BLOB, "HEAD").headers["content-length"] == "123456789012"


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"path": "/v2/" + "a" * 8190}, 413),
        ({"headers": {"X-Long": "a" * 33000}}, 413),
        ({"method": "GET", "content": b"x"}, 403),
        ({"method": "PROPFIND"}, 403),
    ],
)
def test_cloudfronts_own_limits_hold_before_the_function(
    edge: RunningEdge, origin: FakeFunction, options: dict[str, Any], status: int
) -> None:
    answer = get(edge, **options)
    assert (answer.status_code, answer.headers["x-cache"]) == (status, "Error from cloudfront")
    assert not origin.events


def test_an_origin_that_can_not_be_reached_is_a_502() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with local_edge(f"http://127.0.0.1:{port}") as edge:
        add_token(edge)
        assert get(edge).status_code == 502


class TestKeptAnswers:
    """The setting edgeCacheSeconds."""

    @pytest.fixture
    def edge(self, keeping_edge: RunningEdge) -> RunningEdge:
        return keeping_edge

    @pytest.fixture
    def ask(self, edge: RunningEdge, origin: FakeFunction) -> Callable[..., str]:
        origin.answer = {"statusCode": 307, "headers": {"Location": "https://x/", "Cache-Control": "no-store"}}

        def ask(path: str, method: str = "GET", **options: Any) -> str:
            answer = get(edge, path, method, **options)
            return f"{answer.status_code} {answer.headers['x-cache'].partition(' ')[0]}"

        return ask

    def test_a_redirect_to_a_blob_is_answered_again_without_the_function_and_head_on_its_own(
        self, ask: Callable[..., str], origin: FakeFunction
    ) -> None:
        assert [ask(BLOB), ask(BLOB)] == ["307 Miss", "307 Hit"]
        assert len(origin.events) == 1
        origin.answer = {"statusCode": 200}
        assert [ask(BLOB, "HEAD"), ask(BLOB, "HEAD"), ask(BLOB)] == ["200 Miss", "200 Hit", "307 Hit"]

    def test_scope_and_revocation_hold_for_what_is_kept(self, ask: Callable[..., str], edge: RunningEdge) -> None:
        path = BLOB.replace("team", "scope")
        ask(path)
        add_token(edge, "narrow")
        assert ask(path, auth=("narrow", "password")).startswith("403")
        edge.store.delete("narrow")
        assert ask(path, auth=("narrow", "password")).startswith("401")
        assert ask(path, auth=None).startswith("401")
        assert ask(path) == "307 Hit"

    def test_manifests_are_kept_by_digest_alone_and_a_client_revalidates_them(
        self, ask: Callable[..., str], origin: FakeFunction
    ) -> None:
        origin.answer = {"statusCode": 200, "headers": {"ETag": '"1"'}, "body": "{}"}
        conditional = {"headers": {"If-None-Match": '"1"'}}
        answers = [ask(MANIFEST, **conditional), ask(MANIFEST, **conditional), ask(MANIFEST)]
        assert answers == ["200 Miss", "304 Hit", "200 Hit"]
        assert [ask("/v2/team/app/manifests/latest", **conditional) for _ in range(2)] == ["200 Miss"] * 2
        assert ["if-none-match" in each["headers"] for each in origin.events] == [False, True, True]

    @pytest.mark.parametrize("name", sorted(CLIENT_HEADERS))
    def test_no_header_of_one_client_changes_the_answer_of_the_next(
        self, edge: RunningEdge, origin: FakeFunction, name: str
    ) -> None:
        def told(event: dict[str, Any]) -> dict[str, Any]:
            """Answer as a function would to which each of these headers matters."""
            if "if-none-match" in event["headers"]:
                return {"statusCode": 304, "headers": {"ETag": '"1"'}}
            told = {header: value for header, value in event["headers"].items() if header in CLIENT_HEADERS}
            told.pop("x-ecr-layers-token", None)
            return {"statusCode": 200, "body": json.dumps([told, event["rawQueryString"]])}

        origin.answer = told
        path = f"/v2/header-{name}/app/manifests/sha256:{'1' * 64}"
        first = get(edge, f"{path}?n=1", headers={name: CLIENT_HEADERS[name]})
        plain = {"Accept": "b"}
        next_one, fresh = get(edge, path, headers=plain), get(edge, f"{path}0", headers=plain)
        # A header in the key has an answer of its own.
        is_hit = next_one.headers["x-cache"] == "Hit from cloudfront"
        # The function overwrites what a client sends in these.
        assert is_hit is (name not in KEY_HEADERS - {"x-ecr-layers-host"})
        assert (next_one.status_code, next_one.text) == (fresh.status_code, fresh.text) == (200, '[{}, ""]')
        assert first.status_code == 200

    def test_errors_are_not_kept(self, ask: Callable[..., str], origin: FakeFunction) -> None:
        origin.answer = {"statusCode": 404}
        assert [ask(BLOB.replace("team", "error")) for _ in range(2)] == ["404 Error"] * 2


def test_nothing_is_kept_where_it_is_not_set(edge: RunningEdge, origin: FakeFunction) -> None:
    assert [get(edge, BLOB).headers["x-cache"] for _ in range(2)] == ["Miss from cloudfront"] * 2
    assert len(origin.events) == 2
