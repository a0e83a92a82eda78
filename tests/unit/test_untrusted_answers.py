"""What ECR would not answer goes on to nobody."""

import hashlib
import json
from typing import Any

import pytest

from layer_resolver.calls import Deadline
from layer_resolver.errors import ResolverError
from layer_resolver.function_url import Api, FunctionUrl, Response, Route
from layer_resolver.invocation import Invocation
from layer_resolver.settings import Settings
from tests.unit.fakes import OCI_MANIFEST, FakeEcr, Send, digest, download_url, function_url_event, manifest

MANIFEST = json.dumps(manifest())
MANIFEST_DIGEST = f"sha256:{hashlib.sha256(MANIFEST.encode()).hexdigest()}"
TRUE_DIGEST = f"sha256:{hashlib.sha256(b'{}').hexdigest()}"


@pytest.fixture
def function_settings() -> Settings:
    return Settings(image_pull=True, list_tags=True)


def image(**parts: Any) -> dict[str, Any]:
    """Return an answer of BatchGetImage with one image, in which these parts are other than they should be."""
    true = {
        "imageId": {"imageDigest": TRUE_DIGEST, "imageTag": "1.0"},
        "imageManifest": "{}",
        "imageManifestMediaType": OCI_MANIFEST,
    }
    return {"images": [true | parts], "failures": []}


def test_the_answer_without_a_fault_is_given_out(send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = image(repositoryName="team/app", registryId="123456789012")
    monkeypatch.setattr(FakeEcr, "batch_get_image", lambda *_, **__: answer)
    assert send("GET", "/v2/team/app/manifests/1.0").text == "{}"


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"images": "x"},
        {"images": [{}]},
        {"images": [], "failures": "x"},
        image(imageManifest=5),
        image(imageManifest="\ud800"),
        image(imageId={"imageDigest": 5, "imageTag": "1.0"}),
        image(imageId={"imageDigest": TRUE_DIGEST, "imageTag": []}),
        image(repositoryName="team/other"),
        image(imageManifestMediaType=None),
        image(imageManifestMediaType="a/b\r\nSet-Cookie: c=d"),
        image(imageManifestMediaType="text"),
    ],
    ids=str,
)
def test_a_manifest_that_can_not_be_read(send: Send, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]) -> None:
    monkeypatch.setattr(FakeEcr, "batch_get_image", lambda *_, **__: answer)
    refused = send("GET", "/v2/team/app/manifests/1.0")
    assert (refused.status, refused.json["errors"][0]["code"]) == (503, "UNAVAILABLE")


@pytest.mark.parametrize(
    ("registry_id", "status"), [("210987654321", 200), (None, 200), ("123456789012", 503), (5, 503)]
)
def test_a_manifest_of_another_registry(
    send: Send, monkeypatch: pytest.MonkeyPatch, registry_id: object, status: int
) -> None:
    answer = image(registryId=registry_id, imageManifest=MANIFEST, imageId={"imageDigest": MANIFEST_DIGEST})
    monkeypatch.setattr(FakeEcr, "batch_get_image", lambda *_, **__: answer)
    query = {"repositoryName": "team/app", "registryId": "210987654321", "imageDigest": MANIFEST_DIGEST}
    assert send("GET", "/images/download-urls", query).status == status


@pytest.mark.parametrize(
    "image_id",
    [
        {"imageTag": "1.0"},
        {"imageDigest": digest(), "imageTag": "1.0"},
        {"imageDigest": TRUE_DIGEST, "imageTag": "2.0"},
        {"imageDigest": TRUE_DIGEST},
    ],
    ids=str,
)
def test_a_manifest_of_another_image(send: Send, monkeypatch: pytest.MonkeyPatch, image_id: dict[str, Any]) -> None:
    monkeypatch.setattr(FakeEcr, "batch_get_image", lambda *_, **__: image(imageId=image_id))
    refused = send("GET", "/v2/team/app/manifests/1.0")
    assert (refused.status, refused.json["errors"][0]["detail"]["code"]) == (502, "ManifestDigestMismatch")


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"imageIds": [{}]},
        {"imageIds": [{"imageTag": "a b"}]},
        {"imageIds": [], "nextToken": "a b"},
    ],
    ids=str,
)
def test_a_list_of_tags(send: Send, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]) -> None:
    monkeypatch.setattr(FakeEcr, "list_images", lambda *_, **__: answer)
    refused = send("GET", "/v2/team/app/tags/list")
    assert (refused.status, refused.json["errors"][0]["code"]) == (503, "UNAVAILABLE")


@pytest.mark.parametrize(
    "url",
    [None, 5, [], {}, "", "javascript:alert(1)", "file:///etc/passwd", f"{download_url(digest())}\r\nSet-Cookie: a=b"],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_download_url(send: Send, monkeypatch: pytest.MonkeyPatch, url: object, method: str) -> None:
    monkeypatch.setattr(FakeEcr, "get_download_url_for_layer", lambda *_, **__: {"downloadUrl": url})
    refused = send(method, f"/v2/team/app/blobs/{digest()}")
    assert refused.status == 503
    assert "Location" not in refused.headers


@pytest.mark.parametrize("layer_digest", [digest(2), "", None, 5, []])
def test_a_download_url_of_another_layer(send: Send, monkeypatch: pytest.MonkeyPatch, layer_digest: object) -> None:
    answer = {"downloadUrl": download_url(digest(1)), "layerDigest": layer_digest}
    monkeypatch.setattr(FakeEcr, "get_download_url_for_layer", lambda *_, **__: answer)
    assert send("GET", f"/v2/team/app/blobs/{digest(1)}").status == 503


def test_a_download_url_whose_layer_ecr_does_not_name(send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {"downloadUrl": download_url(digest(1))}
    monkeypatch.setattr(FakeEcr, "get_download_url_for_layer", lambda *_, **__: answer)
    assert send("GET", f"/v2/team/app/blobs/{digest(1)}").headers["Location"] == answer["downloadUrl"]


def test_the_log_says_that_an_answer_was_unreadable(
    send: Send, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(FakeEcr, "get_download_url_for_layer", lambda *_, **__: {"downloadUrl": "https://example.com"})
    capsys.readouterr()
    send("GET", f"/v2/team/app/blobs/{digest()}")
    (log,) = [line for line in map(json.loads, capsys.readouterr().out.splitlines()) if "failures" in line]
    assert log["failures"][0]["cause"]["type"] == "UnreadableAnswerError"


@pytest.mark.parametrize(
    "part",
    [
        {"digest": "latest"},
        {"mediaType": "text"},
        {"mediaType": None},
        {"size": None},
        {"size": -1},
        {"size": 1.5},
        {"artifactType": "a b"},
        {"artifactType": "a" * 256},
        {"annotations": {"a": float("nan")}},
        {"annotations": {"a": "\ud800"}},
    ],
    ids=str,
)
def test_a_referrer(send: Send, ecr: FakeEcr, part: dict[str, Any]) -> None:
    true = {"digest": digest(1), "mediaType": OCI_MANIFEST, "size": 2**63 - 1, "artifactType": "", "annotations": {}}
    ecr.referrers = [true]
    assert send("GET", f"/v2/team/app/referrers/{digest()}").status == 200
    ecr.referrers = [true | part]
    refused = send("GET", f"/v2/team/app/referrers/{digest()}")
    assert (refused.status, refused.json["errors"][0]["code"]) == (503, "UNAVAILABLE")


class OneHeader(Api):
    """An API whose only route answers with one header."""

    def __init__(self, value: str) -> None:
        self.routes = (Route("/", {"GET": lambda *_: Response(200, {"X-Value": value})}),)

    def error_answer(self, error: ResolverError, request_id: str) -> Response:
        return Response.json({"requestId": request_id}, status=error.kind.http_status)


@pytest.mark.parametrize(
    ("value", "status"),
    [("a b~", 200), ("a\r\nSet-Cookie: b=c", 500), ("\x1f", 500), ("\x7f", 500), ("\x80", 500), ("\u0661", 500)],
)
def test_a_header_has_printable_ascii(value: str, status: int) -> None:
    function_url = FunctionUrl({"": OneHeader(value)})
    answer = function_url.answer(function_url_event("GET", "/"), Invocation(Deadline.after(15)))
    assert answer["statusCode"] == status
    assert (value in answer["headers"].values()) == (status == 200)
