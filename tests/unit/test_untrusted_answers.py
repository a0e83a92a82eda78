"""What ECR would not answer goes on to nobody."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from layer_resolver.calls import Deadline
from layer_resolver.errors import ResolverError
from layer_resolver.function_url import Api, FunctionUrl, Response, Route
from layer_resolver.invocation import Invocation
from layer_resolver.settings import Settings
from tests.unit.fakes import OCI_MANIFEST, FakeEcr, Output, Send, digest, download_url, function_url_event, manifest

MANIFEST = json.dumps(manifest())
TRUE_DIGEST = f"sha256:{hashlib.sha256(MANIFEST.encode()).hexdigest()}"
BLOB = f"/v2/team/app/blobs/{digest()}"
OTHER_DIGESTS: tuple[object, ...] = (digest(2), "", None, [])
REFERRERS = f"/v2/team/app/referrers/{digest()}"


@pytest.fixture
def function_settings() -> Settings:
    return Settings(image_pull=True, list_tags=True)


@pytest.fixture
def have_ecr_answer(ecr: FakeEcr, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, object], None]:
    """Return a function that has a method of ECR's client answer this."""
    return lambda method, answer: monkeypatch.setattr(ecr, method, lambda **_: answer)


def image(**parts: Any) -> dict[str, Any]:
    """Return an answer of BatchGetImage with one image, in which these parts are other than they should be."""
    true = {
        "imageId": {"imageDigest": TRUE_DIGEST, "imageTag": "1.0"},
        "imageManifest": MANIFEST,
        "imageManifestMediaType": OCI_MANIFEST,
    }
    return {"images": [true | parts], "failures": []}


def url(value: object) -> dict[str, Any]:
    return {"downloadUrl": value, "layerDigest": digest()}


@pytest.mark.parametrize(
    ("method", "path", "answer"),
    [
        *(
            ("batch_get_image", "/v2/team/app/manifests/1.0", answer)
            for answer in (
                {},
                image(imageManifest=5),
                image(imageManifest="\ud800"),
                image(imageId={"imageDigest": 5, "imageTag": "1.0"}),
                image(repositoryName="team/other"),
                image(imageManifestMediaType="a/b\r\nSet-Cookie: c=d"),
            )
        ),
        *(
            ("list_images", "/v2/team/app/tags/list", answer)
            for answer in ({}, {"imageIds": [{"imageTag": "a b"}]}, {"imageIds": [], "nextToken": "a b"})
        ),
        *(
            ("get_download_url_for_layer", BLOB, answer)
            for answer in (
                url(None),
                url(5),
                url("javascript:alert(1)"),
                url("https://example.com/"),
                url(f"{download_url(digest())}\r\nSet-Cookie: a=b"),
                *(url(download_url(digest())) | {"layerDigest": other} for other in OTHER_DIGESTS),
            )
        ),
    ],
)
def test_a_malformed_answer_and_one_about_something_else_is_a_failure_of_ecr_and_logged_as_that(
    send: Send,
    have_ecr_answer: Callable[[str, object], None],
    output: Output,
    method: str,
    path: str,
    answer: dict[str, Any],
) -> None:
    have_ecr_answer(method, answer)
    refused = send("GET", path)
    assert (refused.status, refused.code, "Location" in refused.headers) == (503, "UNAVAILABLE", False)
    assert '"cause":{"type":"UnreadableAnswerError"' in output.text()


def test_a_download_url_whose_layer_ecr_does_not_name_is_given(
    send: Send, have_ecr_answer: Callable[[str, object], None]
) -> None:
    have_ecr_answer("get_download_url_for_layer", {"downloadUrl": download_url(digest())})
    assert send("GET", BLOB).headers["Location"] == download_url(digest())


@pytest.mark.parametrize(
    ("registry_id", "status"), [("210987654321", 200), (None, 200), ("123456789012", 503), (5, 503)]
)
def test_a_manifest_of_another_registry_is_not_given(
    send: Send, have_ecr_answer: Callable[[str, object], None], registry_id: object, status: int
) -> None:
    have_ecr_answer("batch_get_image", image(registryId=registry_id, repositoryName="team/app"))
    query = {"repositoryName": "team/app", "registryId": "210987654321", "imageDigest": TRUE_DIGEST}
    assert send("GET", "/images/download-urls", query).status == status


@pytest.mark.parametrize(
    ("image_id", "status"),
    [
        ({"imageDigest": TRUE_DIGEST, "imageTag": "1.0"}, 200),
        ({"imageTag": "1.0"}, 502),
        ({"imageDigest": digest(), "imageTag": "1.0"}, 502),
        ({"imageDigest": TRUE_DIGEST, "imageTag": "2.0"}, 502),
        ({"imageDigest": TRUE_DIGEST}, 502),
    ],
    ids=str,
)
def test_a_manifest_of_another_image_is_not_given(
    send: Send, have_ecr_answer: Callable[[str, object], None], image_id: dict[str, Any], status: int
) -> None:
    have_ecr_answer("batch_get_image", image(imageId=image_id))
    answer = send("GET", "/v2/team/app/manifests/1.0")
    assert answer.status == status
    assert ("ManifestDigestMismatch" in answer.text) == (status == 502)


@pytest.mark.parametrize(
    "part",
    [
        {"digest": "latest"},
        {"mediaType": "text"},
        {"size": -1},
        {"artifactType": "a b"},
        {"annotations": {"a": float("nan")}},
        {"annotations": {"a": "\ud800"}},
    ],
    ids=str,
)
def test_a_malformed_referrer_is_not_given(send: Send, ecr: FakeEcr, part: dict[str, Any]) -> None:
    true = {"digest": digest(1), "mediaType": OCI_MANIFEST, "size": 2**63 - 1, "artifactType": "", "annotations": {}}
    ecr.referrers = [true]
    assert send("GET", REFERRERS).status == 200
    ecr.referrers = [true | part]
    refused = send("GET", REFERRERS)
    assert (refused.status, refused.code) == (503, "UNAVAILABLE")


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
