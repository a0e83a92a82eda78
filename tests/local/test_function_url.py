"""The front of the function URL makes the events and takes the answers that Lambda's own does."""

import base64
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from botocore.credentials import Credentials

from ecr_layers.ops.http_auth import FunctionUrlAuth
from local.execution_environment import Result
from local.function_url import create_function_url_app
from local.server import running
from local.sigv4 import RequestVerifier
from tests.local.fake_function import FakeFunction


@pytest.fixture
def function() -> FakeFunction:
    return FakeFunction()


@pytest.fixture
def client(function: FakeFunction) -> Iterator[httpx.Client]:
    with running(create_function_url_app(function)) as url, httpx.Client(base_url=url) as client:
        yield client


def test_a_request_becomes_an_event_of_payload_format_2(client: httpx.Client, function: FakeFunction) -> None:
    client.get("/a%2Fb/c?x=1&y=%20z&x=2&empty", headers={"User-Agent": "test", "X-Own": "1"})
    (event,) = function.events
    assert event["version"] == "2.0"
    assert event["rawPath"] == "/a%2Fb/c"
    assert event["rawQueryString"] == "x=1&y=%20z&x=2&empty"
    assert event["queryStringParameters"] == {"x": "1,2", "y": " z", "empty": ""}
    assert event["headers"]["x-own"] == "1"
    assert event["headers"]["x-forwarded-proto"] == "http"
    assert "body" not in event
    assert event["isBase64Encoded"] is False
    context = event["requestContext"]
    assert context["http"] == {
        "method": "GET",
        "path": "/a%2Fb/c",
        "protocol": "HTTP/1.1",
        "sourceIp": "127.0.0.1",
        "userAgent": "test",
    }
    assert (context["accountId"], context["stage"], context["routeKey"]) == ("anonymous", "$default", "$default")


def test_repeated_headers_are_joined_and_cookies_are_a_list(client: httpx.Client, function: FakeFunction) -> None:
    client.get("/", headers=[("Accept", "a/b"), ("Accept", "c/d"), ("Cookie", "x=1; y=2")])
    assert "queryStringParameters" not in function.events[0]
    assert function.events[0]["headers"]["accept"] == "a/b,c/d"
    assert function.events[0]["cookies"] == ["x=1", "y=2"]
    assert function.events[0]["headers"]["cookie"] == "x=1; y=2"


def test_a_text_that_is_not_utf_8_arrives_base64_encoded(client: httpx.Client, function: FakeFunction) -> None:
    client.post("/", content=b"\xff", headers={"Content-Type": "text/plain"})
    assert (function.events[0]["body"], function.events[0]["isBase64Encoded"]) == ("/w==", True)


def test_an_answer_becomes_a_response(client: httpx.Client, function: FakeFunction) -> None:
    function.answer = {
        "statusCode": 201,
        "headers": {"X-Own": "1", "Content-Type": "text/plain", "Content-Length": "999"},
        "cookies": ["a=1", "b=2; Secure"],
        "body": base64.b64encode(b"\x00\xff").decode(),
        "isBase64Encoded": True,
    }
    response = client.get("/")
    assert (response.status_code, response.content) == (201, b"\x00\xff")
    assert response.headers["x-own"] == "1"
    assert response.headers["content-type"] == "text/plain"
    assert response.headers["content-length"] == "2"
    assert response.headers.get_list("set-cookie") == ["a=1", "b=2; Secure"]
    assert response.headers["x-amzn-requestid"] == function.events[0]["requestContext"]["requestId"]


def test_head_has_the_length_of_the_body_and_no_body(client: httpx.Client, function: FakeFunction) -> None:
    function.answer = {"statusCode": 200, "body": "12345"}
    response = client.head("/")
    assert (response.headers["content-length"], response.content) == ("5", b"")


@pytest.mark.parametrize(
    "answer",
    [
        {"statusCode": "200"},
        {"statusCode": 99},
        {"statusCode": 200, "body": {"a": 1}},
        {"statusCode": 200, "body": "not base64!", "isBase64Encoded": True},
        {"statusCode": 200, "headers": {"X": "a\r\nSet-Cookie: b"}},
        {"statusCode": 200, "headers": {"not a name": "x"}},
        {"statusCode": 200, "cookies": ["a=1\r\nX: y"]},
        Result(b'{"errorMessage": "secret"}', is_error=True),
    ],
    ids=str,
)
def test_a_malformed_answer_or_an_error_is_a_502_that_tells_nothing(
    client: httpx.Client, function: FakeFunction, answer: Any
) -> None:
    function.answer = answer
    response = client.get("/")
    assert (response.status_code, response.json()) == (502, {"message": "Internal Server Error"})


RENAMED = ["Content-Length", "WWW-Authenticate", "Date", "Connection", "Server"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_headers_that_the_platform_sets_arrive_under_another_name_if_it_renames_them(
    function: FakeFunction, method: str
) -> None:
    function.answer = {"statusCode": 200, "headers": {**dict.fromkeys(RENAMED, "17"), "X-Other": "18"}, "body": "12345"}
    with running(create_function_url_app(function, renames_headers=True)) as url:
        response = httpx.request(method, url)
    for name in RENAMED:
        assert response.headers[f"x-amzn-remapped-{name}"] == "17"
        assert response.headers.get(name) != "17"
    assert (response.headers["x-other"], response.headers["content-length"]) == ("18", "5")


def test_they_keep_their_names_otherwise(client: httpx.Client, function: FakeFunction) -> None:
    function.answer = {"statusCode": 200, "headers": dict.fromkeys(RENAMED, "17")}
    response = client.head("/")
    assert (response.headers["content-length"], response.headers["www-authenticate"]) == ("17", "17")
    assert not any(name.startswith("x-amzn-remapped") for name in response.headers)


class TestSignedRequests:
    """The auth AWS_IAM."""

    CALLER = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "a/session+token==")

    @pytest.fixture
    def client(self, function: FakeFunction) -> Iterator[httpx.Client]:
        app = create_function_url_app(function, verifier=RequestVerifier(self.CALLER, "eu-west-1"))
        with running(app) as url, httpx.Client(base_url=url, auth=self.auth()) as client:
            yield client

    def auth(self, credentials: Credentials = CALLER, region: str = "eu-west-1") -> FunctionUrlAuth:
        return FunctionUrlAuth(credentials, region)

    @pytest.mark.parametrize(
        ("method", "target"),
        [
            ("GET", "/"),
            ("GET", "/v2/team/app/blobs/sha256%3A00"),
            ("HEAD", "/a//b/%2e?b&c=&a=2&a=1&%C3%BC=%20"),
            ("POST", "/download-urls"),
        ],
    )
    def test_what_is_signed_reaches_the_function_with_its_caller(
        self, client: httpx.Client, function: FakeFunction, method: str, target: str
    ) -> None:
        assert client.request(method, target, content=b"{}" if method == "POST" else None).status_code == 200
        iam = function.events[0]["requestContext"]["authorizer"]["iam"]
        assert (iam["accessKey"], iam["userArn"]) == (
            self.CALLER.access_key,
            "arn:aws:iam::123456789012:user/local-caller",
        )

    @pytest.mark.parametrize(
        "change",
        [
            lambda request: request.headers.pop("authorization"),
            lambda request: request.headers.update({"authorization": "Basic dXNlcjpwYXNzd29yZA=="}),
            lambda request: request.headers.update({"x-amz-date": "20200101T000000Z"}),
            lambda request: request.headers.update({"x-amz-security-token": "another"}),
            lambda request: request.headers.update({"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}),
            lambda request: request.headers.update({"host": "example.com"}),
            lambda request: setattr(request, "url", request.url.copy_with(raw_path=b"/healthz?more=1")),
            lambda request: setattr(request, "method", "DELETE"),
        ],
    )
    def test_what_is_changed_after_signing_is_refused(
        self, client: httpx.Client, function: FakeFunction, change: Callable[[httpx.Request], object]
    ) -> None:
        request = client.build_request("GET", "/healthz")
        next(self.auth().auth_flow(request))
        change(request)
        response = client.send(request, auth=None)
        assert (response.status_code, response.json()) == (403, {"Message": "Forbidden"})
        assert not function.events


def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_error(
    client: httpx.Client, function: FakeFunction, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_connection((client.base_url.host, client.base_url.port or 0)) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc")
        time.sleep(0.2)
    time.sleep(0.2)
    assert client.get("/").status_code == 200
    assert len(function.events) == 1
    assert not any(record.exc_info for record in caplog.records)


def test_a_request_over_six_megabytes_does_not_reach_the_function(client: httpx.Client, function: FakeFunction) -> None:
    response = client.post("/", content=b"x" * 6_500_000, headers={"Content-Type": "text/plain"})
    assert response.status_code == 413
    assert not function.events


def test_a_port_that_is_taken_is_an_error_at_once(function: FakeFunction) -> None:
    app: Callable[..., Any] = create_function_url_app(function)
    with running(app) as url, pytest.raises(OSError, match="in use"), running(app, port=int(url.rpartition(":")[2])):
        pass
