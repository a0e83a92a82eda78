"""What ECR would not answer goes on to nobody."""

import hashlib
from typing import Any

import pytest

from layer_resolver.settings import Settings
from tests.unit.fakes import OCI_MANIFEST, FakeEcr, Send, digest, download_url

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
    monkeypatch.setattr(FakeEcr, "batch_get_image", lambda *_, **__: image())
    assert send("GET", "/v2/team/app/manifests/1.0").text == "{}"


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"images": None},
        {"images": "x"},
        {"images": [1]},
        {"images": [{}]},
        {"images": [], "failures": "x"},
        image(imageManifest=5),
        image(imageManifest="\ud800"),
        image(imageId=None),
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
    "image_id",
    [
        {"imageDigest": 5, "imageTag": "1.0"},
        {"imageDigest": [], "imageTag": "1.0"},
        {"imageDigest": TRUE_DIGEST, "imageTag": "2.0"},
        {"imageDigest": TRUE_DIGEST, "imageTag": []},
        {"imageDigest": TRUE_DIGEST, "imageTag": {}},
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
        {"imageIds": "x"},
        {"imageIds": [{}]},
        {"imageIds": [{"imageTag": "a b"}]},
        {"imageIds": [], "nextToken": "a b"},
        {"imageIds": [], "nextToken": 5},
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


@pytest.mark.parametrize(
    "part",
    [
        {"digest": "latest"},
        {"mediaType": "text"},
        {"mediaType": "a/b\n"},
        {"mediaType": None},
        {"size": None},
        {"size": True},
        {"size": -1},
        {"size": 2**63},
        {"size": 1.5},
        {"artifactType": 5},
        {"artifactType": "a b"},
        {"artifactType": "a" * 256},
        {"annotations": [1]},
        {"annotations": {"a": float("nan")}},
        {"annotations": {"a": "\ud800"}},
        {"annotations": {"\udfff": "a"}},
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


def test_an_answer_without_images_and_without_failures_is_that_of_an_image_that_is_not_there(
    send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeEcr, "batch_get_image", lambda *_, **__: {"images": []})
    assert send("GET", "/v2/team/app/manifests/1.0").status == 404


def test_nothing_reaches_a_header_that_is_no_header_value(send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layer_resolver.download_urls.Hosts.admit", lambda *_: True)
    monkeypatch.setattr("tests.unit.fakes.download_url", lambda _: "https://x/\r\nSet-Cookie: a=b")
    answer = send("GET", f"/v2/team/app/blobs/{digest()}")
    assert answer.status == 500
    assert "Set-Cookie" not in str(answer)


@pytest.mark.parametrize(("end", "status"), [(" ", 307), ("~", 307), ("\x1f", 500), ("\x7f", 500), ("\x80", 500)])
def test_a_header_value_is_what_shows_in_ascii(
    send: Send, monkeypatch: pytest.MonkeyPatch, end: str, status: int
) -> None:
    monkeypatch.setattr("layer_resolver.download_urls.Hosts.admit", lambda *_: True)
    monkeypatch.setattr("tests.unit.fakes.download_url", lambda _: f"https://x/{end}")
    assert send("GET", f"/v2/team/app/blobs/{digest()}").status == status
