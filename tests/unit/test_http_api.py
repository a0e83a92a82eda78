import base64
import hashlib
import json
from typing import Any

import pytest

from layer_resolver.handler import create_handler
from layer_resolver.models import INDEX_MEDIA_TYPES, MANIFEST_MEDIA_TYPES
from layer_resolver.settings import Settings
from tests.unit.fakes import (
    DOCKER_MANIFEST,
    OCI_MANIFEST,
    Answer,
    Context,
    FakeEcr,
    Send,
    digest,
    download_url,
    ecr_error,
    function_url_event,
    manifest,
)

ONE_LAYER = {"repositoryName": "team/app", "layerDigest": digest()}
IMAGE = {"repositoryName": "team/app", "imageTag": "1.0"}


@pytest.fixture
def function_settings() -> Settings:
    return Settings(image_pull=True)


def post_digests(send: Send, digests: list[str]) -> Answer:
    return send("POST", "/download-urls", body=json.dumps({"repositoryName": "team/app", "layerDigests": digests}))


def post_manifest(send: Send, document: Any, media_type: str = OCI_MANIFEST) -> Answer:
    query = {"repositoryName": "team/app"}
    return send("POST", "/download-urls", query, json.dumps(document), content_type=media_type)


def one_layer(times: int = 1, **members: Any) -> dict[str, Any]:
    """Return a manifest with a layer, some members of which are others."""
    return manifest(layers=[{"mediaType": "x", "digest": digest(), "size": 1} | members] * times)


class TestOneLayer:
    def test_get_answers_the_download_url_and_when_it_expires_and_head_and_post_do_too(self, send: Send) -> None:
        answer = send("GET", "/download-url", ONE_LAYER)
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
        assert answer.json == {
            "downloadUrl": download_url(digest()),
            "layerDigest": digest(),
            "expiresAt": "2026-11-23T11:00:00Z",
        }
        # The platform leaves the body out.
        assert send("HEAD", "/download-url", ONE_LAYER) == answer
        for content_type in ("application/json", "application/x-www-form-urlencoded", None):
            assert send("POST", "/download-url", body=json.dumps(ONE_LAYER), content_type=content_type) == answer

    def test_the_registry_is_passed_on_and_null_is_the_services_own(self, send: Send, ecr: FakeEcr) -> None:
        send("GET", "/download-url", ONE_LAYER | {"registryId": "210987654321"})
        send("POST", "/download-url", body=json.dumps(ONE_LAYER | {"registryId": None}))
        assert ecr.calls == [ONE_LAYER | {"registryId": "210987654321"}, ONE_LAYER]


class TestManyLayers:
    def test_what_can_not_be_resolved_even_by_a_bug_is_a_failure_and_the_answer_is_200(
        self, send: Send, ecr: FakeEcr
    ) -> None:
        failing = (ecr_error("LayersNotFoundException"), ecr_error("ThrottlingException"), RuntimeError("password"))
        ecr.answers = dict(zip(map(digest, (1, 3, 5)), failing, strict=True))
        answer = post_digests(send, [*map(digest, range(1, 6))])
        assert (answer.status, answer.json["requestId"]) == (200, "9e5d8b70-0000-4000-8000-000000000000")
        assert [url["layerDigest"] for url in answer.json["downloadUrls"]] == [digest(2), digest(4)]
        failures = answer.json["failures"]
        assert failures[0].keys() == {"layerDigest", "code", "message", "retryable"}
        assert [(each["layerDigest"], each["code"], each["retryable"]) for each in failures] == [
            (digest(1), "LayersNotFoundException", False),
            (digest(3), "ThrottlingException", True),
            (digest(5), "InternalError", False),
        ]
        assert "team/app" in failures[0]["message"]
        assert "password" not in answer.text

    @pytest.mark.parametrize(
        ("digests", "problem"),
        [
            ([], "layerDigests must have at least 1 entry"),
            ([digest()] * 501, "layerDigests must have at most 500 entries"),
            ([digest(1), "sha256", digest(2)], "layerDigests[1] must be an algorithm"),
            ([*[digest()] * 499, "x"], "layerDigests[499] must be an algorithm"),
            (["x"] * 5, "; layerDigests[4] must be an algorithm"),
            (["x"] * 100, "; and 95 more."),
        ],
    )
    def test_digests_that_are_none_or_too_many_are_refused_with_five_problems_at_most(
        self, send: Send, ecr: FakeEcr, digests: list[str], problem: str
    ) -> None:
        answer = post_digests(send, digests)
        assert answer.status == 400
        assert problem in answer.json["detail"]
        assert answer.json["detail"].count("must ") <= 5
        assert not ecr.calls

    def test_fields_in_the_query_of_a_request_by_digests_are_refused_with_advice(self, send: Send) -> None:
        answer = send("POST", "/download-urls", {"repositoryName": "team/app"}, body=json.dumps(manifest()))
        assert answer.status == 400
        assert OCI_MANIFEST in answer.json["detail"]


class TestManifest:
    @pytest.mark.parametrize("media_type", MANIFEST_MEDIA_TYPES)
    def test_config_and_layers_are_resolved_with_media_type_and_size(self, send: Send, media_type: str) -> None:
        answer = post_manifest(send, manifest(media_type), media_type)
        assert (answer.status, answer.json["failures"]) == (200, [])
        assert [(blob["layerDigest"], blob["mediaType"], blob["size"]) for blob in answer.json["downloadUrls"]] == [
            (digest(100), "application/vnd.oci.image.config.v1+json", 1470),
            (digest(1), "application/vnd.oci.image.layer.v1.tar+gzip", 2811),
            (digest(2), "application/vnd.oci.image.layer.v1.tar+zstd", 32),
        ]

    def test_content_type_is_read_without_case_and_parameters_and_a_fraction_of_zero_as_none(self, send: Send) -> None:
        posted = one_layer(size=5.0) | {"mediaType": None, "schemaVersion": 2.0}
        answer = send(
            "POST",
            "/download-urls",
            {"repositoryName": "team/app", "registryId": "210987654321"},
            body=base64.b64encode(json.dumps(posted).encode()).decode(),
            content_type=f"{OCI_MANIFEST.upper()}; charset=utf-8",
            is_base64_encoded=True,
        )
        assert [each["size"] for each in answer.json["downloadUrls"]] == [1470, 5]

    def test_a_config_and_499_layers_are_resolved(self, send: Send) -> None:
        assert post_manifest(send, one_layer(times=499)).status == 200

    def test_an_index_is_refused_and_its_manifests_are_listed(self, send: Send) -> None:
        entries = [
            {"platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}},
            {},
            {"platform": {"os": "linux", "architecture": "386"}},
        ]
        listed = [
            {"mediaType": OCI_MANIFEST, "digest": digest(size), "size": size, **each}
            for size, each in enumerate(entries, 1)
        ]
        for media_type in INDEX_MEDIA_TYPES:
            answer = post_manifest(send, {"schemaVersion": 2, "manifests": listed}, media_type)
            assert (answer.status, answer.json["manifests"]) == (400, listed)
            assert "Choose a platform" in answer.json["detail"]
            assert f"{digest(1)} (linux/arm64/v8), {digest(2)} (no platform)" in answer.json["detail"]

    @pytest.mark.parametrize(
        ("posted", "complaint"),
        [
            (manifest(DOCKER_MANIFEST), "Make them agree"),
            (manifest(schemaVersion=1), "schemaVersion must be 2."),
            (one_layer(digest="sha256:zz"), "layers[0].digest must be"),
            (one_layer(size=-1), "layers[0].size must be 0 or more."),
            (one_layer(size=2**63), "layers[0].size must be 9223372036854775807 or less."),
            (one_layer(size=1.5), "layers[0].size must be a whole number."),
            (one_layer(mediaType="x" * 256), "layers[0].mediaType must have at most 255 characters."),
            (manifest(layers="x"), "layers must be a list."),
            (one_layer(times=500), "layers must have at most 499 entries."),
            (manifest(config=None), "config must be a JSON object."),
            ({"schemaVersion": 2, "manifests": []}, "config is missing; layers is missing"),
            ([], "The document must be a JSON object"),
        ],
    )
    def test_what_is_no_image_manifest_is_refused(self, send: Send, ecr: FakeEcr, posted: Any, complaint: str) -> None:
        answer = post_manifest(send, posted)
        assert answer.status == 400
        assert complaint in answer.json["detail"]
        assert not ecr.calls


class TestErrors:
    def test_missing_and_unknown_fields_are_all_named(self, send: Send) -> None:
        detail = send("GET", "/download-url", {"repository_name": "ab"}).json["detail"]
        assert detail == (
            "repositoryName is missing; layerDigest is missing; repository_name is not a field of this request; "
            "its fields are repositoryName, registryId, layerDigest."
        )

    @pytest.mark.parametrize(
        ("body", "complaint"),
        [
            ("", "has no body"),
            ("{", "is not JSON"),
            ("[]", "The request must be a JSON object."),
            (f'{{"layerDigest": {"9" * 5000}}}', "The request has a number too large or values nested too deep."),
            ('{"repositoryName": 12, "layerDigest": []}', "repositoryName"),
            ("repositoryName=team/app&layerDigest=sha256:00", "is not JSON"),
        ],
    )
    def test_a_body_that_is_no_json_object_is_refused(self, send: Send, body: str | None, complaint: str) -> None:
        answer = send("POST", "/download-url", body=body)
        assert answer.status == 400
        assert complaint in answer.json["detail"]

    @pytest.mark.parametrize(
        ("error", "code", "status", "retry_after"),
        [
            (ecr_error("AccessDeniedException", "see arn:aws:iam::1:role/x"), "AccessDeniedException", 403, None),
            (ecr_error("TooManyRequestsException"), "ThrottlingException", 429, "2"),
            (ecr_error("ExpiredTokenException"), "CredentialsRefused", 503, "2"),
            (RuntimeError("the ARN is arn:aws:iam::1:role/x"), "InternalError", 500, None),
        ],
    )
    def test_an_error_is_answered_as_problem_details_and_tells_when_to_try_again_but_not_ecrs_words(
        self, send: Send, ecr: FakeEcr, error: Exception, code: str, status: int, retry_after: str | None
    ) -> None:
        ecr.answer = error
        answer = send("GET", "/download-url", ONE_LAYER)
        assert answer.status == status
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers.get("Retry-After") == retry_after
        problem = answer.json
        assert problem.keys() == {"type", "title", "status", "detail", "code", "retryable", "requestId"}
        assert (problem["code"], problem["status"]) == (code, status)
        assert problem["retryable"] == (retry_after is not None)
        assert problem["type"].endswith(code)
        assert problem["requestId"] == "9e5d8b70-0000-4000-8000-000000000000"
        assert "arn:" not in answer.text

    @pytest.mark.parametrize("path", ["/", "/download-url/", "/Download-url", "", "//", "/v2x"])
    def test_an_unknown_route_is_a_404(self, send: Send, path: str) -> None:
        answer = send("GET", path)
        assert (answer.status, answer.code) == (404, "RouteNotFound")
        assert answer.headers["Content-Type"] == "application/problem+json"

    @pytest.mark.parametrize(
        ("method", "path", "allow"),
        [
            ("DELETE", "/download-url", "GET, HEAD, POST"),
            ("HEAD", "/download-urls", "POST"),
            ("BREW", "/healthz", "GET, HEAD"),
        ],
    )
    def test_a_wrong_method_is_a_405_that_names_the_right_ones(
        self, send: Send, method: str, path: str, allow: str
    ) -> None:
        answer = send(method, path)
        assert (answer.status, answer.code, answer.headers["Allow"]) == (405, "MethodNotAllowed", allow)


def test_no_answer_may_be_cached_or_sniffed(send: Send) -> None:
    answers = [
        send("GET", "/download-url", ONE_LAYER),
        post_digests(send, [digest()]),
        send("GET", "/openapi.json"),
        send("GET", "/healthz"),
        send("GET", "/nowhere"),
        send("PUT", "/healthz"),
    ]
    assert [answer.status for answer in answers] == [200, 200, 200, 200, 404, 405]
    for answer in answers:
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


class TestImages:
    CONTENT = json.dumps(manifest()).encode()
    DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"

    @pytest.fixture(autouse=True)
    def _images(self, ecr: FakeEcr) -> None:
        """Put an image behind the tag `1.0`, and behind the tag `multi` an index with it."""
        ecr.images = dict.fromkeys(("1.0", self.DIGEST), (self.CONTENT, OCI_MANIFEST))
        platform = {"os": "linux", "architecture": "arm", "variant": "v7"}
        self.put_entries(
            ecr,
            {"digest": self.DIGEST, "platform": {"os": "linux", "architecture": "arm64"}},
            {"digest": digest(9), "platform": platform},
            {"digest": digest(8)},
        )

    @staticmethod
    def put_entries(ecr: FakeEcr, *entries: dict[str, Any]) -> None:
        described = [{"mediaType": OCI_MANIFEST, "size": 1, **each} for each in entries]
        content = json.dumps({"schemaVersion": 2, "manifests": described}).encode()
        ecr.images["multi"] = (content, INDEX_MEDIA_TYPES[0])

    @pytest.mark.parametrize(
        ("reference", "chosen"),
        [
            ({"imageTag": "1.0"}, {}),
            ({"imageDigest": DIGEST}, {}),
            ({"imageTag": "multi", "platform": "linux/arm64"}, {"imagePlatform": "linux/arm64"}),
        ],
        ids=["tag", "digest", "platform of an index"],
    )
    def test_an_image_comes_with_its_manifest_and_the_urls_of_all_its_blobs(
        self, send: Send, reference: dict[str, str], chosen: dict[str, str]
    ) -> None:
        answer = send("GET", "/images/download-urls", {"repositoryName": "team/app", **reference})
        document = answer.json
        urls = [(url["layerDigest"], url["size"]) for url in document.pop("downloadUrls")]
        assert (answer.status, urls) == (200, [(digest(100), 1470), (digest(1), 2811), (digest(2), 32)])
        assert document == {
            "failures": [],
            "imageDigest": self.DIGEST,
            "imageManifest": self.CONTENT.decode(),
            "imageManifestMediaType": OCI_MANIFEST,
            **chosen,
        }

    @pytest.mark.parametrize(
        ("platform", "problem"),
        [
            ({}, "is an image index: name a platform"),
            ({"platform": "windows/amd64"}, "has no image for windows/amd64"),
        ],
    )
    def test_without_such_a_platform_the_answer_lists_those_that_there_are(
        self, send: Send, platform: dict[str, str], problem: str
    ) -> None:
        answer = send("GET", "/images/download-urls", IMAGE | {"imageTag": "multi"} | platform)
        assert (answer.status, answer.code) == (400, "InvalidParameterException")
        assert answer.json["platforms"] == ["linux/arm64", "linux/arm/v7"]
        assert answer.json["detail"].endswith(f"{problem}. It has linux/arm64, linux/arm/v7.")

    def test_of_more_platforms_than_ten_the_others_are_counted(self, send: Send, ecr: FakeEcr) -> None:
        platforms = [{"os": "linux", "architecture": letter} for letter in "abcdefghijkl"]
        self.put_entries(ecr, *({"digest": digest(), "platform": each} for each in platforms))
        answer = send("GET", "/images/download-urls", IMAGE | {"imageTag": "multi"})
        assert answer.json["platforms"] == [f"linux/{letter}" for letter in "abcdefghij"]
        assert answer.json["detail"].endswith("linux/i, linux/j and 2 more.")

    @pytest.mark.parametrize(
        ("query", "message"),
        [
            ({}, "Name the image by either imageTag or imageDigest."),
            ({"imageTag": "-"}, "imageTag must be a tag"),
            ({"imageDigest": "x"}, "imageDigest must be an algorithm"),
            ({"imageTag": "1.0", "imageDigest": digest()}, "Name the image by either imageTag or imageDigest."),
            ({"imageTag": "1.0", "imageTags": "1.0"}, "imageTags is not a field of this request"),
            ({"imageTag": "1.0", "platform": "arm64"}, "platform must be"),
        ],
    )
    def test_a_bad_request_is_told_what_is_wrong(self, send: Send, query: dict[str, str], message: str) -> None:
        answer = send("GET", "/images/download-urls", {"repositoryName": "team/app", **query})
        assert answer.status == 400
        assert message in answer.json["detail"]

    @pytest.mark.parametrize(("count", "status"), [(501, 200), (7000, 413)])
    def test_an_image_may_have_more_layers_than_a_batch_but_ecr_is_not_asked_for_more_than_an_answer_holds(
        self, send: Send, ecr: FakeEcr, count: int, status: int
    ) -> None:
        layers = [{"mediaType": "a/b", "digest": digest(number), "size": 1} for number in range(1000, 1000 + count)]
        ecr.images["1.0"] = (json.dumps(manifest(layers=layers)).encode(), OCI_MANIFEST)
        answer = send("GET", "/images/download-urls", IMAGE)
        assert answer.status == status
        assert len(ecr.calls) == len(answer.json.get("downloadUrls", [])) == (502 if status == 200 else 0)
        if status == 413:
            assert (answer.code, answer.json["retryable"]) == ("ResultTooLarge", False)
            assert "has 7001 layers, more than one answer holds" in answer.json["detail"]

    @pytest.mark.parametrize("layers", [{"layers": None}, {"layers": []}, {}], ids=str)
    def test_an_image_without_layers_has_its_config(self, send: Send, ecr: FakeEcr, layers: dict[str, Any]) -> None:
        document = {name: value for name, value in manifest().items() if name != "layers"} | layers
        ecr.images["1.0"] = (json.dumps(document).encode(), OCI_MANIFEST)
        answer = send("GET", "/images/download-urls", IMAGE)
        assert [url["layerDigest"] for url in answer.json["downloadUrls"]] == [digest(100)]


@pytest.mark.parametrize("path", ["/images/download-urls", "/images/config"])
def test_images_are_for_the_operator_to_turn_on(ecr: FakeEcr, path: str) -> None:
    answer = create_handler(ecr, Settings())(function_url_event("GET", path, IMAGE), Context())
    problem = json.loads(answer["body"])
    assert (answer["statusCode"], problem["code"]) == (403, "NotEnabled")
    assert "imagePull" in problem["detail"]
    assert not ecr.image_calls
