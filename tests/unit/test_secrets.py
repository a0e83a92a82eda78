"""No download URL, and no text of a library's exception, gets into what the function writes or what it refuses."""

import io
import json
import logging
import ssl
import traceback
from collections.abc import Callable, Iterator
from unittest.mock import Mock

import pytest
from botocore.exceptions import (
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    ProxyConnectionError,
    SSLError,
)
from urllib3.exceptions import MaxRetryError

from layer_resolver.ecr import create_client
from layer_resolver.errors import ResolverError
from layer_resolver.handler import create_handler
from layer_resolver.settings import Settings
from tests.faults.server import answer, raw
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
from tests.unit.servers import running_server

TEXT = "hunter2"
SECRET_URL = f"{download_url(digest())}&{TEXT}"
VALUES = (*SECRETS, TEXT, "0123456789abcdef", "IQoJb3JpZ2lu")


def _caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


ANSWERS: list[Exception] = [
    *[ecr_error(code, SECRET_URL) for code in ("LayersNotFoundException", "ThrottlingException", "ExpiredToken")],
    ecr_error(f"a code that is a text, {TEXT}", SECRET_URL),
    EndpointConnectionError(endpoint_url=SECRET_URL, error=SECRET_URL),
    ProxyConnectionError(proxy_url=SECRET_URL),
    SSLError(endpoint_url=SECRET_URL, error=ssl.SSLCertVerificationError(1, SECRET_URL)),
    CredentialRetrievalError(provider=SECRET_URL, error_msg=SECRET_URL),
    _caused(HTTPClientError(error=SECRET_URL), MaxRetryError(None, SECRET_URL, OSError(5, SECRET_URL))),  # type: ignore[arg-type]
    RuntimeError(SECRET_URL),
    UnicodeDecodeError("utf-8", SECRET_URL.encode(), 0, 1, SECRET_URL),
]
LAYER = {"repositoryName": "team/app", "layerDigest": digest()}
IMAGE = {"repositoryName": "team/app", "imageTag": "1.0"}
PUSH = {"action-type": "PUSH", "result": "SUCCESS", "repository-name": "team/app", "image-digest": digest()}


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


def assert_no_secret(*texts: str) -> None:
    for text in texts:
        assert [value for value in VALUES if value in text] == []


@pytest.mark.parametrize("error", ANSWERS, ids=lambda error: f"{type(error).__name__} {str(error)[:60]}")
def test_the_text_of_an_exception_is_neither_logged_nor_counted_nor_answered_nor_put_into_the_queue(
    everything: Written, error: Exception
) -> None:
    settings = Settings(image_pull=True, list_tags=True, pull_event_bus="layers")
    ecr = FakeEcr(answer=error, image_error=error)
    handler = create_handler(ecr, settings, Mock(put_events=Mock(side_effect=error)))
    posted = json.dumps(manifest())
    events = [
        function_url_event("GET", "/download-url", LAYER),
        function_url_event("HEAD", f"/v2/team/app/blobs/{digest()}"),
        function_url_event("POST", "/download-urls", {"repositoryName": "ab"}, posted, content_type=OCI_MANIFEST),
        function_url_event("GET", "/images/config", IMAGE),
        function_url_event("GET", "/v2/team/app/manifests/1.0"),
        function_url_event("GET", "/v2/team/app/tags/list"),
        function_url_event("GET", f"/v2/team/app/referrers/{digest()}"),
    ]
    assert_no_secret(json.dumps([handler(event, Context()) for event in events]))
    for event in (eventbridge_event({**LAYER}), eventbridge_event(PUSH, "ECR Image Action"), {**LAYER}):
        try:
            result = handler(event, Context())
        except Exception as raised:
            # Lambda writes type, message and stack trace into the queue: whatever a traceback may show.
            assert_no_secret(repr(raised), "".join(traceback.format_exception(raised)))
        else:
            assert_no_secret(json.dumps(result))
    ecr.answer = 0.0
    handler(function_url_event("GET", "/download-url", LAYER), Context())
    written = everything()
    assert '"pullEventFailure":' in written
    assert '"message":"Called ECR"' in written
    assert_no_secret(written)


def test_the_text_of_a_bug_is_not_shown_either(everything: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    ecr, broken = FakeEcr(), Mock(get=Mock(side_effect=RuntimeError(SECRET_URL)))
    # The function's own code raises as it reads the answer.
    monkeypatch.setattr(ecr, "get_download_url_for_layer", Mock(return_value=broken, __name__="broken"))
    handler = create_handler(ecr, Settings())
    answered = handler(function_url_event("GET", "/download-url", LAYER), Context())
    assert answered["statusCode"] == 500
    with pytest.raises(ResolverError) as raised:
        handler(eventbridge_event({**LAYER}), Context())
    written = everything()
    assert written.count('"type":"RuntimeError"') == 2
    shown = "".join(traceback.format_exception(raised.value))
    assert_no_secret(written, json.dumps(answered), repr(raised.value), shown)


def test_answered_download_urls_are_not_logged(send: Send, everything: Written) -> None:
    assert "X-Amz-Signature" in send("GET", "/download-url", LAYER).text
    assert "X-Amz-Signature" in send("GET", f"/v2/team/app/blobs/{digest()}").headers["Location"]
    assert_no_secret(everything())


def test_what_boto3_and_urllib3_log_of_requests_and_answers_is_left_out(
    everything: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_server() as server:
        url = f"{server.url}/?X-Amz-Signature={TEXT}"
        server.answers = [
            answer(200, json.dumps({"downloadUrl": url, "layerDigest": digest()}).encode()),
            raw("malformed", b"HTTP/1.1 206 OK\r\nContent-Range: bytes 0-0/7\r\nmalformed\r\n\r\na"),
        ]
        monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", server.url)
        handler = create_handler(create_client("ecr"), Settings())
        head = handler(function_url_event("HEAD", f"/v2/team/app/blobs/{digest()}"), Context())
    assert (head["statusCode"], head["headers"]["Content-Length"]) == (200, "7")
    written = everything()
    assert_no_secret(written)
    assert "AKIDEXAMPLE" not in written
