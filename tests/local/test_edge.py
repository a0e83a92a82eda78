"""The local edge: the very function of the stack in front, and what CloudFront does to requests and answers."""

import base64
import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from ecr_layers.ops.pull_tokens import PullToken
from local.aws import REGION
from local.edge import CALLER, FORWARDED_HEADERS, EdgeConfiguration, RunningEdge, local_edge
from local.edge_cache import KEY_HEADERS
from local.execution_environment import Result
from local.function_url import create_function_url_app
from local.server import running
from local.sigv4 import RequestVerifier

NOW = datetime.now(UTC)
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


@dataclass
class Origin:
    """A function behind a function URL whose auth is AWS_IAM and that renames headers.

    Attributes:
        events: The events that it got.
        answer: What it answers, whatever the event or by the event.
    """

    events: list[dict[str, Any]] = field(default_factory=list)
    answer: dict[str, Any] | Callable[[dict[str, Any]], dict[str, Any]] = field(
        default_factory=lambda: {"statusCode": 200, "body": "{}"}
    )

    def __call__(self, event: bytes, _: str) -> Result:
        self.events.append(json.loads(event))
        answer = self.answer(self.events[-1]) if callable(self.answer) else self.answer
        return Result(json.dumps(answer).encode(), is_error=False)


@pytest.fixture(scope="module")
def origin() -> Origin:
    return Origin()


@pytest.fixture(scope="module")
def origin_url(origin: Origin) -> Iterator[str]:
    verifier = RequestVerifier(CALLER, REGION)
    with running(create_function_url_app(origin, renames_headers=True, verifier=verifier)) as url:
        yield url


@pytest.fixture(scope="module")
def started_edge(origin_url: str) -> Iterator[RunningEdge]:
    with local_edge(origin_url, EdgeConfiguration(realm="here")) as edge:
        yield edge


@pytest.fixture(scope="module")
def keeping_edge(origin_url: str) -> Iterator[RunningEdge]:
    with local_edge(origin_url, EdgeConfiguration(cache_seconds=60)) as edge:
        yield edge


def add_token(edge: RunningEdge, name: str = "ci", *scope: str, days: int = 1) -> None:
    token = PullToken(name, scope or ("team/*",), NOW + timedelta(days=days), NOW)
    edge.store.put(name, token.value("password"))


@pytest.fixture
def edge(started_edge: RunningEdge, origin: Origin) -> RunningEdge:
    origin.events.clear()
    origin.answer = {"statusCode": 200, "body": "{}"}
    for name in started_edge.store.snapshot():
        started_edge.store.delete(name)
    add_token(started_edge)
    return started_edge


def get(edge: RunningEdge, path: str = "/v2/", method: str = "GET", **options: Any) -> httpx.Response:
    return httpx.request(method, f"{edge.url}{path}", trust_env=False, **{"auth": AUTH, **options})


def test_without_credentials_the_edge_challenges_and_nothing_is_invoked(edge: RunningEdge, origin: Origin) -> None:
    answer = get(edge, auth=None)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Basic realm="here"')
    assert answer.json()["errors"][0]["code"] == "UNAUTHORIZED"
    assert answer.headers["x-cache"] == "FunctionGeneratedResponse from cloudfront"
    assert not origin.events


@pytest.mark.parametrize(
    ("path", "options", "status"),
    [
        (BLOB, {}, 200),
        (BLOB, {"auth": ("ci", "other")}, 401),
        (BLOB, {"auth": ("other", "password")}, 401),
        (BLOB.replace("team", "other"), {}, 403),
        (BLOB.replace("/team", "/210987654321/team"), {}, 403),
        (BLOB.replace("/team", "//team"), {}, 400),
        (BLOB, {"method": "PUT"}, 405),
        ("/v2/", {"method": "POST", "content": b"{}"}, 405),
        ("/download-url?repositoryName=team/app&layerDigest=sha256:00", {}, 200),
        ("/download-url?repositoryName=team/app&repositoryName=other/app&layerDigest=sha256:00", {}, 400),
        ("/nothing", {}, 404),
    ],
)
def test_the_function_at_the_edge_decides(
    edge: RunningEdge, origin: Origin, path: str, options: dict[str, Any], status: int
) -> None:
    assert get(edge, path, **options).status_code == status
    assert len(origin.events) == (status == 200)


def test_what_goes_on_is_signed_and_has_the_tokens_name_and_nothing_of_its_password(
    edge: RunningEdge, origin: Origin
) -> None:
    forged = {"X-Ecr-Layers-Token": "root", "X-Other": "1", "User-Agent": "own/1", "Cookie": "a=b", "Accept": "a/b"}
    assert get(edge, BLOB, headers=forged).status_code == 200
    (event,) = origin.events
    headers = event["headers"]
    assert headers["x-ecr-layers-token"] == "ci"
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=")
    assert headers["accept"] == "a/b"
    assert headers["user-agent"] == "Amazon CloudFront"
    assert {"x-other", "cookie"}.isdisjoint(headers)
    secret = base64.b64encode(b"ci:password").decode()
    assert secret not in json.dumps(event)
    assert "password" not in json.dumps(event)


def test_the_origin_is_told_where_the_request_comes_from(edge: RunningEdge, origin: Origin) -> None:
    get(edge, headers={"CloudFront-Viewer-Address": "192.0.2.1:1"})
    headers = origin.events[0]["headers"]
    address, _, port = headers["cloudfront-viewer-address"].partition(":")
    assert (address, port.isdigit()) == ("127.0.0.1", True)
    assert headers["via"] == "1.1 d111111abcdef8.cloudfront.net (CloudFront)"
    assert headers["host"].startswith("127.0.0.1:")


@pytest.mark.parametrize("name", ["Accept", "If-None-Match", "Origin", "X-Forwarded-For", "User-Agent"])
def test_headers_of_any_bytes_are_answered(edge: RunningEdge, origin: Origin, name: str) -> None:
    url, login = httpx.URL(edge.url), base64.b64encode(":".join(AUTH).encode()).decode()
    lines = ["Host: edge", "Connection: close", f"Authorization: Basic {login}", f"{name}: "]
    with socket.create_connection((url.host, url.port or 80), timeout=30) as connection:
        connection.sendall("\r\n".join([f"GET {MANIFEST} HTTP/1.1", *lines]).encode() + b"\xff\xfe\x80\r\n\r\n")
        assert connection.makefile("rb").readline().split()[1] == b"200"


def test_a_client_cant_pass_for_another_address(edge: RunningEdge, origin: Origin) -> None:
    get(edge, headers={"X-Forwarded-For": "198.51.100.9"})
    assert origin.events[0]["headers"]["cloudfront-viewer-address"].startswith("127.0.0.1:")


@pytest.mark.parametrize("target", [BLOB, "/download-url?repositoryName=team%2Fapp&layerDigest=a"])
def test_a_path_that_goes_on_goes_on_byte_for_byte(edge: RunningEdge, origin: Origin, target: str) -> None:
    answer = get(edge, target)
    sent = [f"{event['rawPath']}?{event['rawQueryString']}".rstrip("?") for event in origin.events]
    assert sent == ([target] if answer.status_code == 200 else [])


def test_answers_come_back_as_the_function_url_gives_them(edge: RunningEdge, origin: Origin) -> None:
    location = "https://bucket.example.com/a?b=c"
    origin.answer = {"statusCode": 307, "headers": {"Location": location, "Content-Length": "17", "X-Other": "1"}}
    answer = get(edge, BLOB)
    assert (answer.status_code, answer.headers["location"], answer.headers["x-other"]) == (307, location, "1")
    assert answer.headers["content-length"] == "0"
    assert "x-amzn-remapped-content-length" not in answer.headers
    assert answer.headers["x-cache"] == "Miss from cloudfront"
    assert answer.headers["via"].endswith("(CloudFront)")
    assert answer.headers.get_list("date") == [answer.headers["date"]]


def test_head_has_the_length_that_get_would_have(edge: RunningEdge, origin: Origin) -> None:
    origin.answer = {"statusCode": 200, "body": "12345"}
    answer = get(edge, MANIFEST, "HEAD")
    assert (answer.status_code, answer.headers["content-length"], answer.content) == (200, "5", b"")
    origin.answer = {"statusCode": 200, "headers": {"Content-Length": "123456789012"}}
    assert get(edge, BLOB, "HEAD").headers["content-length"] == "123456789012"
    refusal = get(edge, MANIFEST, "HEAD", auth=None)
    assert (refusal.status_code, refusal.content) == (401, b"")


def test_an_error_of_the_origin_is_its_own_and_said_to_be_one(edge: RunningEdge, origin: Origin) -> None:
    origin.answer = {"statusCode": 404, "body": '{"errors": []}'}
    answer = get(edge, BLOB)
    assert (answer.status_code, answer.json(), answer.headers["x-cache"]) == (
        404,
        {"errors": []},
        "Error from cloudfront",
    )


def test_a_token_is_let_in_from_its_creation_to_its_revocation_or_expiry(edge: RunningEdge) -> None:
    def status(name: str) -> int:
        return get(edge, auth=(name, "password")).status_code

    assert (status("new"), status("old")) == (401, 401)
    add_token(edge, "new")
    add_token(edge, "old", days=-1)
    assert (status("new"), status("old")) == (200, 401)
    edge.store.delete("new")
    assert status("new") == 401


def test_a_store_that_can_not_be_read_lets_nobody_in(
    edge: RunningEdge, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge.store, "is_readable", False)
    answer = get(edge, BLOB)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert answer.json()["errors"][0]["code"] == "UNAVAILABLE"
    assert not origin.events


@pytest.mark.parametrize("value", ["", "{", "null", "[]", '{"sha256": "", "repositories": ["*"]}', "\x00"])
def test_an_entry_that_is_no_token_lets_nobody_in(edge: RunningEdge, value: str) -> None:
    edge.store.put("bad", value)
    assert get(edge, auth=("bad", "")).status_code == 401
    assert get(edge, auth=("bad", "password")).status_code == 401


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
    edge: RunningEdge, origin: Origin, options: dict[str, Any], status: int
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
        assert get(edge, auth=None).status_code == 401


@pytest.mark.parametrize(
    ("body", "status", "cache"),
    [
        ("throw new Error('x');", 503, "FunctionExecutionError"),
        ("return { statusCode: 1000 };", 502, "FunctionValidationError"),
        ("return { statusCode: 200, body: { encoding: 'base64', data: '%' } };", 502, "FunctionValidationError"),
        ("return { statusCode: 200, body: { encoding: 'base64', data: 'eA==' } };", 200, "FunctionGeneratedResponse"),
        ("return { statusCode: 204 };", 204, "FunctionGeneratedResponse"),
    ],
)
def test_a_function_that_fails_lets_nothing_through(
    origin_url: str, origin: Origin, body: str, status: int, cache: str
) -> None:
    origin.events.clear()
    with local_edge(origin_url, functions={"viewer_request": f"function handler(event) {{ {body} }}"}) as edge:
        answer = get(edge)
    assert (answer.status_code, answer.headers["x-cache"]) == (status, f"{cache} from cloudfront")
    assert not origin.events


def test_a_function_that_fails_for_an_answer_gives_none(origin_url: str, origin: Origin) -> None:
    functions = {
        "viewer_request": "function handler(event) { return event.request; }",
        "viewer_response": "function handler(event) { throw new Error('x'); }",
    }
    with local_edge(origin_url, functions=functions) as edge:
        assert get(edge).status_code == 503


def test_a_function_can_change_where_a_request_goes(origin_url: str, origin: Origin) -> None:
    change = "event.request.uri = '/other'; event.request.querystring.c = { value: '3' };"
    function = f"function handler(event) {{ {change} return event.request; }}"
    origin.events.clear()
    with local_edge(origin_url, functions={"viewer_request": function}) as edge:
        get(edge, "/here?a=1&a=2&b=%20")
    assert [(each["rawPath"], each["rawQueryString"]) for each in origin.events] == [("/other", "a=1&a=2&b=%20&c=3")]


class TestKeptAnswers:
    """The setting edgeCacheSeconds."""

    @pytest.fixture
    def ask(self, keeping_edge: RunningEdge, origin: Origin) -> Callable[..., str]:
        add_token(keeping_edge, "ci", "*")
        origin.events.clear()
        origin.answer = {"statusCode": 307, "headers": {"Location": "https://x/", "Cache-Control": "no-store"}}

        def ask(path: str, method: str = "GET", **options: Any) -> str:
            answer = get(keeping_edge, path, method, **options)
            return f"{answer.status_code} {answer.headers['x-cache'].partition(' ')[0]}"

        return ask

    def test_a_redirect_to_a_blob_is_answered_again_without_the_function(
        self, ask: Callable[..., str], origin: Origin
    ) -> None:
        path = BLOB.replace("team", "kept")
        assert [ask(path), ask(path)] == ["307 Miss", "307 Hit"]
        assert len(origin.events) == 1

    def test_head_is_not_answered_with_what_get_was_answered(self, ask: Callable[..., str], origin: Origin) -> None:
        path = BLOB.replace("team", "head")
        ask(path)
        origin.answer = {"statusCode": 200}
        assert [ask(path, "HEAD"), ask(path, "HEAD"), ask(path)] == ["200 Miss", "200 Hit", "307 Hit"]

    def test_scope_and_revocation_hold_for_what_is_kept(
        self, ask: Callable[..., str], keeping_edge: RunningEdge
    ) -> None:
        path = BLOB.replace("team", "scope")
        ask(path)
        add_token(keeping_edge, "narrow", "team/*")
        assert ask(path, auth=("narrow", "password")).startswith("403")
        keeping_edge.store.delete("narrow")
        assert ask(path, auth=("narrow", "password")).startswith("401")
        assert ask(path, auth=None).startswith("401")
        assert ask(path) == "307 Hit"

    def test_manifests_are_kept_by_digest_alone_and_their_etag_is_understood(
        self, ask: Callable[..., str], origin: Origin
    ) -> None:
        origin.answer = {"statusCode": 200, "headers": {"ETag": '"1"'}, "body": "{}"}
        assert [ask(MANIFEST), ask(MANIFEST)] == ["200 Miss", "200 Hit"]
        assert ask(MANIFEST, headers={"If-None-Match": '"1"'}) == "304 Hit"
        assert [ask("/v2/team/app/manifests/latest") for _ in range(2)] == ["200 Miss"] * 2

    @pytest.mark.parametrize("name", sorted(CLIENT_HEADERS))
    def test_no_header_of_one_client_changes_the_answer_of_the_next(
        self, keeping_edge: RunningEdge, origin: Origin, name: str
    ) -> None:
        def told(event: dict[str, Any]) -> dict[str, Any]:
            """Answer as a function would to which each of these headers matters."""
            if "if-none-match" in event["headers"]:
                return {"statusCode": 304, "headers": {"ETag": '"1"'}}
            told = {header: value for header, value in event["headers"].items() if header in CLIENT_HEADERS}
            told.pop("x-ecr-layers-token", None)
            return {"statusCode": 200, "body": json.dumps([told, event["rawQueryString"]])}

        origin.answer = told
        add_token(keeping_edge, "ci", "*")
        path = f"/v2/header-{name}/app/manifests/sha256:{'1' * 64}"
        first = get(keeping_edge, f"{path}?n=1", headers={name: CLIENT_HEADERS[name]})
        plain = {"Accept": "b"}
        next_one, fresh = get(keeping_edge, path, headers=plain), get(keeping_edge, f"{path}0", headers=plain)
        # A header in the key has an answer of its own.
        is_hit = next_one.headers["x-cache"] == "Hit from cloudfront"
        # The function overwrites what a client sends in these.
        assert is_hit is (name not in KEY_HEADERS - {"x-ecr-layers-host"})
        assert (next_one.status_code, next_one.text) == (fresh.status_code, fresh.text) == (200, '[{}, ""]')
        assert first.status_code == 200

    def test_a_client_revalidates_a_kept_manifest_and_a_tag_that_is_not_kept(
        self, ask: Callable[..., str], origin: Origin
    ) -> None:
        origin.answer = {"statusCode": 200, "headers": {"ETag": '"1"'}, "body": "{}"}
        conditional = {"headers": {"If-None-Match": '"1"'}}
        path = MANIFEST.replace("team", "again")
        assert [ask(path, **conditional), ask(path, **conditional), ask(path)] == ["200 Miss", "304 Hit", "200 Hit"]
        ask("/v2/again/app/manifests/latest", **conditional)
        assert ["if-none-match" in each["headers"] for each in origin.events] == [False, True]

    def test_errors_are_not_kept(self, ask: Callable[..., str], origin: Origin) -> None:
        origin.answer = {"statusCode": 404}
        assert [ask(BLOB.replace("team", "error")) for _ in range(2)] == ["404 Error"] * 2

    def test_nothing_is_kept_where_it_is_not_set(self, edge: RunningEdge, origin: Origin) -> None:
        assert [get(edge, BLOB).headers["x-cache"] for _ in range(2)] == ["Miss from cloudfront"] * 2
        assert len(origin.events) == 2
