"""Nothing that the function writes holds a part of a download URL's signature, whatever happens."""

import json
import logging
from collections.abc import Iterator

import pytest
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

from layer_resolver.download_urls import PresignedUrl
from layer_resolver.errors import ERROR_TABLE
from layer_resolver.models import INDEX_MEDIA_TYPES, MANIFEST_MEDIA_TYPES, DownloadUrl, Layer
from tests.unit.fakes import SECRETS, FakeEcr, Send, digest, download_url, ecr_error, manifest

SECRET_URL = download_url(digest())
ANSWERS = [
    0.0,
    *[ecr_error(code, f"{code} at {SECRET_URL}") for kind in ERROR_TABLE.values() for code in sorted(kind.ecr_codes)],
    ecr_error("SomethingNew", SECRET_URL),
    ReadTimeoutError(endpoint_url=SECRET_URL),
    ConnectionClosedError(endpoint_url=SECRET_URL),
    RuntimeError(SECRET_URL),
    ValueError({"url": SECRET_URL, "X-Amz-Signature": "0123456789abcdef"}),
]


@pytest.fixture
def all_loggers() -> Iterator[None]:
    """Let every library log everything, as the most talkative configuration would."""
    handler = logging.StreamHandler()
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield
    root.removeHandler(handler)
    root.setLevel(before)


def test_what_holds_a_url_does_not_show_it() -> None:
    for holder in (PresignedUrl.of(SECRET_URL, 0.0), DownloadUrl(Layer(digest()), SECRET_URL, None)):
        assert holder.url == SECRET_URL
        assert "amazonaws" not in repr(holder)


@pytest.mark.usefixtures("all_loggers")
@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: str(answer).partition("://")[0])
def test_no_route_writes_a_secret(
    send: Send, ecr: FakeEcr, capfd: pytest.CaptureFixture[str], answer: Exception | float
) -> None:
    ecr.answer = answer
    layer = {"repositoryName": "team/app", "layerDigest": digest()}
    answers = [
        send("GET", "/download-url", layer),
        send("POST", "/download-url", body=json.dumps(layer)),
        send("POST", "/download-urls", body=json.dumps({"repositoryName": "ab", "layerDigests": [digest()]})),
        *[
            send("POST", "/download-urls", {"repositoryName": "ab"}, body=json.dumps(manifest(None)), content_type=each)
            for each in (*MANIFEST_MEDIA_TYPES, *INDEX_MEDIA_TYPES)
        ],
        send("GET", "/openapi.json"),
        send("GET", "/healthz"),
        # A caller who mistakes the places puts the secret where it does not belong.
        send("GET", "/download-url", {"repositoryName": SECRET_URL, "layerDigest": SECRET_URL}),
        send("GET", "/download-url", {SECRET_URL: SECRET_URL}),
        send("POST", "/download-url", body=SECRET_URL),
        send("POST", "/download-url", body=json.dumps({SECRET_URL: SECRET_URL})),
        send("GET", f"/{SECRET_URL}", {"X-Amz-Signature": "0123456789abcdef"}),
        send("PUT", "/healthz", {"X-Amz-Signature": "0123456789abcdef"}),
    ]
    captured = capfd.readouterr()
    assert '"route":"GET /download-url"' in captured.out
    refused = [each.text for each in answers if each.status >= 400]
    for text in (captured.out, captured.err, *refused):
        for secret in (*SECRETS, "0123456789abcdef", "IQoJb3JpZ2lu"):
            assert secret not in text
