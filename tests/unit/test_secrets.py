"""No download URL, and no text of a library's exception, gets into what the function writes or what it refuses."""

import io
import json
import logging
import ssl
import threading
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from botocore.exceptions import (
    ConnectionClosedError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
)
from urllib3.exceptions import MaxRetryError

from layer_resolver.ecr import create_client
from layer_resolver.errors import ResolverError
from layer_resolver.handler import create_handler
from layer_resolver.settings import Settings
from tests.unit.fakes import (
    OCI_MANIFEST,
    SECRETS,
    Context,
    FakeEcr,
    Send,
    digest,
    download_url,
    ecr_error,
    eventbridge_event,
    function_url_event,
    manifest,
)

TEXT = "hunter2"
SECRET_URL = f"{download_url(digest())}&{TEXT}"
VALUES = (*SECRETS, TEXT, "0123456789abcdef", "IQoJb3JpZ2lu")


def _caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


ANSWERS: list[Exception] = [
    *[ecr_error(code, SECRET_URL) for code in ("LayersNotFoundException", "ThrottlingException", "ExpiredToken")],
    ecr_error("SomethingNew", SECRET_URL, 500),
    ecr_error(f"a code that is a text, {TEXT}", SECRET_URL),
    ReadTimeoutError(endpoint_url=SECRET_URL),
    ConnectionClosedError(endpoint_url=SECRET_URL),
    EndpointConnectionError(endpoint_url=SECRET_URL, error=SECRET_URL),
    ProxyConnectionError(proxy_url=SECRET_URL),
    SSLError(endpoint_url=SECRET_URL, error=ssl.SSLCertVerificationError(1, SECRET_URL)),
    CredentialRetrievalError(provider=SECRET_URL, error_msg=SECRET_URL),
    _caused(HTTPClientError(error=SECRET_URL), MaxRetryError(None, SECRET_URL, OSError(5, SECRET_URL))),  # type: ignore[arg-type]
    RuntimeError(SECRET_URL),
    KeyError({"url": SECRET_URL}),
    UnicodeDecodeError("utf-8", SECRET_URL.encode(), 0, 1, SECRET_URL),
]
LAYER = {"repositoryName": "team/app", "layerDigest": digest()}
IMAGE = {"repositoryName": "team/app", "imageTag": "1.0"}


Written = Callable[[], str]


@pytest.fixture
def everything(debugging: None, capfd: pytest.CaptureFixture[str]) -> Iterator[Written]:
    """Return a function that returns all that was written, with what every library logs at any level."""
    stream = io.StringIO()
    handler, root = logging.StreamHandler(stream), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield lambda: "".join(capfd.readouterr()) + stream.getvalue()
    root.removeHandler(handler)
    root.setLevel(before)


class FailingEvents:
    """A client of EventBridge that fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def put_events(self, **_: Any) -> Any:
        raise self._error


def assert_no_secret(*texts: str) -> None:
    for text in texts:
        assert [value for value in VALUES if value in text] == []


@pytest.mark.parametrize("error", ANSWERS, ids=lambda error: f"{type(error).__name__} {str(error)[:60]}")
def test_the_text_of_an_exception_is_neither_logged_nor_counted_nor_answered(
    everything: Written, error: Exception
) -> None:
    settings = Settings(image_pull=True, list_tags=True, pull_event_bus="layers")
    ecr = FakeEcr(answer=error, image_error=error)
    handler = create_handler(ecr, settings, FailingEvents(error))
    posted = json.dumps(manifest())
    answers = [
        handler(event, Context())
        for event in (
            function_url_event("GET", "/download-url", LAYER),
            function_url_event("HEAD", f"/v2/team/app/blobs/{digest()}"),
            function_url_event(
                "POST", "/download-urls", {"repositoryName": "team/app"}, posted, content_type=OCI_MANIFEST
            ),
            function_url_event("GET", "/images/download-urls", IMAGE),
            function_url_event("GET", "/images/config", IMAGE),
            function_url_event("GET", "/v2/team/app/manifests/1.0"),
            function_url_event("GET", "/v2/team/app/tags/list"),
            function_url_event("GET", f"/v2/team/app/referrers/{digest()}"),
        )
    ]
    assert_no_secret(json.dumps(answers))
    ecr.answer = 0.0
    handler(function_url_event("GET", "/download-url", LAYER), Context())
    written = everything()
    assert '"pullEventFailure":' in written
    assert '"message":"Called ECR"' in written
    assert_no_secret(written)


@pytest.mark.parametrize("error", ANSWERS, ids=lambda error: f"{type(error).__name__} {str(error)[:60]}")
def test_what_lambda_writes_into_the_queue_has_no_text_of_an_exception(everything: Written, error: Exception) -> None:
    handler = create_handler(FakeEcr(answer=error, image_error=error), Settings(image_pull=True))
    push = {"action-type": "PUSH", "result": "SUCCESS", "repository-name": "team/app", "image-digest": digest()}
    for event in (eventbridge_event({**LAYER}), eventbridge_event(push, "ECR Image Action"), {**LAYER}):
        try:
            result = handler(event, Context())
        except Exception as raised:
            # Lambda writes type, message and stack trace: whatever a traceback may show.
            assert_no_secret(repr(raised), "".join(traceback.format_exception(raised)))
        else:
            assert_no_secret(json.dumps(result))
    assert_no_secret(everything())


class BrokenAnswer(dict[str, Any]):
    """Makes the function's own code raise."""

    def get(self, *_: Any) -> Any:
        raise RuntimeError(SECRET_URL)


def test_the_text_of_a_bug_is_not_shown_either(everything: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    ecr = FakeEcr()
    monkeypatch.setattr(ecr, "get_download_url_for_layer", get_download_url_for_layer)
    handler = create_handler(ecr, Settings())
    answer = handler(function_url_event("GET", "/download-url", LAYER), Context())
    assert answer["statusCode"] == 500
    with pytest.raises(ResolverError) as raised:
        handler(eventbridge_event({**LAYER}), Context())
    written = everything()
    assert written.count('"type":"RuntimeError"') == 2
    shown = "".join(traceback.format_exception(raised.value))
    assert_no_secret(written, json.dumps(answer), repr(raised.value), shown)


def get_download_url_for_layer(**_: Any) -> BrokenAnswer:
    return BrokenAnswer()


def test_answered_download_urls_are_not_logged(send: Send, everything: Written) -> None:
    assert "X-Amz-Signature" in send("GET", "/download-url", LAYER).text
    assert "X-Amz-Signature" in send("GET", f"/v2/team/app/blobs/{digest()}").headers["Location"]
    assert_no_secret(everything())


class EcrAndS3(BaseHTTPRequestHandler):
    """Answers as ECR does, and as S3 with a header that is malformed."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        url = f"http://127.0.0.1:{self.server.server_port}/?X-Amz-Signature={TEXT}"  # type: ignore[attr-defined]
        self._answer("200 OK", json.dumps({"downloadUrl": url, "layerDigest": digest()}))

    def do_GET(self) -> None:
        self._answer("206 Partial Content", "a", "Content-Range: bytes 0-0/7\r\nmalformed\r\n")

    def _answer(self, status: str, body: str, headers: str = "") -> None:
        self.wfile.write(f"HTTP/1.0 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n{body}".encode())

    def log_message(self, *_: Any) -> None:
        pass


def test_what_boto3_and_urllib3_log_of_requests_and_answers_is_left_out(
    everything: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HTTPServer(("127.0.0.1", 0), EcrAndS3) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", f"http://127.0.0.1:{server.server_port}")
        handler = create_handler(create_client("ecr"), Settings())
        answer = handler(function_url_event("HEAD", f"/v2/team/app/blobs/{digest()}"), Context())
        server.shutdown()
        thread.join()
    assert (answer["statusCode"], answer["headers"]["Content-Length"]) == (200, "7")
    written = everything()
    assert_no_secret(written)
    assert "AKIDEXAMPLE" not in written
