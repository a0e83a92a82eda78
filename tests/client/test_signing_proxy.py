"""The signing proxy in front of a function URL that verifies signatures, as one with the auth AWS_IAM does."""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ecr_layers.ops.signing_proxy import SigningProxy
from local.server import running
from tests.archives import file, gzipped, tar
from tests.client.commanding import REPOSITORY, Command, command, serving
from tests.client.operating import forget_credentials
from tests.commands import CLIENT, ROOT, tool
from tests.programs import run

__all__ = ["command"]

CREDENTIALS = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "a/session+token==")
REGION = "eu-west-1"
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class VerifyingFunctionUrl:
    """Answers what is signed, and refuses the rest as a function URL does."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self._answer, methods=METHODS)])

    async def _answer(self, request: Request) -> Response:
        body = await request.body()
        self.requests.append(request)
        if not is_signed(request, body):
            return Response('{"Message":"Forbidden"}', 403, media_type="application/json")
        return Response(body or b"answered", 200, {"X-Method": request.method})


def target_of(request: Request) -> bytes:
    query: bytes = request.scope["query_string"]
    path: bytes = request.scope["raw_path"]
    return path + (b"?" + query if query else b"")


def is_signed(request: Request, body: bytes) -> bool:
    """Tell whether botocore's own signer comes to the signature that a request has."""
    authorization = request.headers.get("authorization", "")
    scope = (
        f"Credential={CREDENTIALS.access_key}/{request.headers.get('x-amz-date', '')[:8]}/{REGION}/lambda/aws4_request"
    )
    if scope not in authorization or request.headers.get("x-amz-security-token") != CREDENTIALS.token:
        return False
    names = authorization.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    assert {"host", "x-amz-date", "x-amz-security-token"} <= set(names)
    url = f"http://{request.headers['host']}{target_of(request).decode()}"
    signed = AWSRequest(request.method, url, data=body, headers={name: request.headers[name] for name in names})
    signed.context["timestamp"] = request.headers["x-amz-date"]
    signer = SigV4Auth(CREDENTIALS, "lambda", REGION)
    signature = signer.signature(signer.string_to_sign(signed, signer.canonical_request(signed)), signed)
    return authorization.endswith(f"Signature={signature}")


@contextmanager
def proxy(url: str) -> Iterator[str]:
    """Run a proxy in this process, which takes less time than the command, and yield its address."""
    with httpx.Client() as client, running(SigningProxy(url, CREDENTIALS, REGION, client).app()) as address:
        yield address


@contextmanager
def proxy_command(url: str) -> Iterator[str]:
    """Run `ecr-layers proxy` with credentials in its environment, and yield its address."""
    environment = {
        "AWS_ACCESS_KEY_ID": CREDENTIALS.access_key,
        "AWS_SECRET_ACCESS_KEY": CREDENTIALS.secret_key,
        "AWS_SESSION_TOKEN": str(CREDENTIALS.token),
    }
    command = [*CLIENT, "proxy", "--url", url, "--region", REGION, "--port", "0"]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split()[2].rstrip(",")
    finally:
        process.terminate()
        assert process.wait(timeout=20) == 0
        process.stdout.close()


@pytest.fixture(scope="module")
def function_url() -> VerifyingFunctionUrl:
    return VerifyingFunctionUrl()


@pytest.fixture(scope="module")
def address(function_url: VerifyingFunctionUrl) -> Iterator[str]:
    with running(function_url.app()) as url, proxy(url) as started:
        yield started


@pytest.fixture
def client(address: str, function_url: VerifyingFunctionUrl) -> Iterator[httpx.Client]:
    function_url.requests.clear()
    with httpx.Client(base_url=address, trust_env=False) as running_client:
        yield running_client


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/v2/team/app/blobs/sha256%3A00",
        "/v2/team%2Fapp/tags/list?n=2&last=a%2Fb",
        "/a?b&c=&a=2&a=1&%C3%BC=%20",
        "/a//b/./c",
    ],
)
def test_a_path_is_forwarded_byte_for_byte_and_signed(
    address: str, function_url: VerifyingFunctionUrl, target: str
) -> None:
    function_url.requests.clear()
    options = ("-s", "--path-as-is", "-o", os.devnull, "-w", "%{http_code}")
    assert run(tool("curl"), *options, f"{address}{target}") == "200"
    (request,) = function_url.requests
    assert target_of(request).decode() == target


def test_every_method_goes_through_with_its_body(client: httpx.Client) -> None:
    body = '{"a": "ü"}'
    for method in METHODS:
        answer = client.request(method, "/download-url", content=body.encode())
        assert (answer.status_code, answer.headers["X-Method"]) == (200, method)
        assert answer.headers["Content-Length"] == "11"
        assert answer.text == ("" if method == "HEAD" else body)


def test_the_clients_headers_go_through_but_its_authorization_and_those_of_the_connection(
    client: httpx.Client, function_url: VerifyingFunctionUrl
) -> None:
    connection = {"Connection": "keep-alive, X-Own", "X-Own": "1", "Keep-Alive": "5", "TE": "trailers", "X-Other": "2"}
    headers = [("Accept", "a/b"), ("Accept", "c/d"), ("Authorization", "Bearer secret"), ("User-Agent", "own/1")]
    assert client.get("/", headers=[*headers, *connection.items()]).status_code == 200
    (request,) = function_url.requests
    assert request.headers.getlist("accept") == ["a/b", "c/d"]
    assert (request.headers["user-agent"], request.headers["x-other"]) == ("own/1", "2")
    assert {"x-own", "keep-alive", "te"}.isdisjoint(request.headers.keys())
    assert "secret" not in str(request.headers.raw)
    assert len(request.headers.getlist("authorization")) == 1


def test_an_address_that_nobody_has_is_a_502() -> None:
    with proxy("http://127.0.0.1:1") as address:
        answer = httpx.get(address, trust_env=False)
    assert (answer.status_code, answer.text) == (502, "http://127.0.0.1:1 can't be reached: ConnectError.\n")


def test_without_credentials_the_proxy_does_not_start(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_credentials(monkeypatch)
    result = command("proxy", "--url", "https://abc.lambda-url.eu-west-1.on.aws/")
    assert (result.status, result.output) == (2, "")
    assert result.error.startswith("ecr-layers: There are no AWS credentials.")


def test_a_port_that_is_taken_is_said(command: Command, address: str) -> None:
    port = address.rpartition(":")[2]
    result = command("proxy", "--url", address, "--region", REGION, "--port", port)
    assert result.status == 2
    assert result.error.startswith(f"ecr-layers: Port {port} of 127.0.0.1 can't be used")


def test_the_command_signs_with_the_credentials_in_its_environment(function_url: VerifyingFunctionUrl) -> None:
    with running(function_url.app()) as url, proxy_command(url) as address:
        assert httpx.get(address, trust_env=False).status_code == 200


def test_skopeo_pulls_through_the_proxy_and_follows_redirects_itself(tmp_path: Path) -> None:
    layer = gzipped(tar(file("a", b"a")))
    with serving(tmp_path / "layout", {"1": [layer]}) as url, proxy(url) as address:
        image = f"docker://{address.removeprefix('http://')}/{REPOSITORY}:1"
        run(tool("skopeo"), "copy", "--src-tls-verify=false", image, f"dir:{tmp_path / 'copy'}")
    assert (tmp_path / "copy" / hashlib.sha256(layer).hexdigest()).read_bytes() == layer


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example.com:9001"},
        {"Origin": "https://evil.example.com"},
        {"Origin": "null"},
        {"Host": "[::1"},
    ],
)
def test_a_web_page_gets_no_signed_answers(
    function_url: VerifyingFunctionUrl, address: str, headers: dict[str, str]
) -> None:
    function_url.requests.clear()
    answer = httpx.get(f"{address}/v2/", headers=headers, trust_env=False)
    assert answer.status_code in {400, 403}
    assert not function_url.requests
    assert httpx.get(f"{address}/v2/", headers={"Origin": "http://localhost:3000"}, trust_env=False).status_code == 200
