import base64
import hashlib
import json
from typing import Any

import pytest

from layer_resolver.models import INDEX_MEDIA_TYPES, MANIFEST_MEDIA_TYPES
from layer_resolver.settings import Settings
from tests.unit.fakes import DOCKER_MANIFEST, OCI_MANIFEST, FakeEcr, Send, digest, download_url, ecr_error, manifest

ONE_LAYER = {"repositoryName": "team/app", "layerDigest": digest()}


def one_layer(times: int = 1, **members: Any) -> dict[str, Any]:
    """Return a manifest with a layer, some members of which are others."""
    return manifest(layers=[{"mediaType": "x", "digest": digest(), "size": 1} | members] * times)


class TestOneLayer:
    def test_get_answers_the_download_url_and_when_it_expires(self, send: Send) -> None:
        answer = send("GET", "/download-url", ONE_LAYER)
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json == {
            "downloadUrl": download_url(digest()),
            "layerDigest": digest(),
            "expiresAt": "2026-11-23T11:00:00Z",
        }

    def test_post_answers_the_same(self, send: Send) -> None:
        assert send("POST", "/download-url", body=json.dumps(ONE_LAYER)) == send("GET", "/download-url", ONE_LAYER)

    @pytest.mark.parametrize(
        "content_type", ["application/json", "application/x-www-form-urlencoded", "text/plain", None]
    )
    def test_a_posted_request_is_json_whatever_its_content_type_says(
        self, send: Send, content_type: str | None
    ) -> None:
        assert send("POST", "/download-url", body=json.dumps(ONE_LAYER), content_type=content_type).status == 200

    def test_the_registry_is_passed_on(self, send: Send, ecr: FakeEcr) -> None:
        assert send("GET", "/download-url", ONE_LAYER | {"registryId": "210987654321"}).status == 200
        assert ecr.calls == [ONE_LAYER | {"registryId": "210987654321"}]

    def test_a_registry_of_null_is_the_services_own(self, send: Send, ecr: FakeEcr) -> None:
        assert send("POST", "/download-url", body=json.dumps(ONE_LAYER | {"registryId": None})).status == 200
        assert ecr.calls == [ONE_LAYER]

    def test_head_answers_what_get_answers_and_the_platform_leaves_the_body_out(self, send: Send) -> None:
        assert send("HEAD", "/download-url", ONE_LAYER) == send("GET", "/download-url", ONE_LAYER)


class TestManyLayers:
    def test_each_layer_is_resolved_in_the_order_of_the_request(self, send: Send) -> None:
        digests = [digest(3), digest(1), digest(2)]
        answer = send("POST", "/download-urls", body=json.dumps({"repositoryName": "ab", "layerDigests": digests}))
        assert answer.status == 200
        assert answer.json == {
            "downloadUrls": [
                {"downloadUrl": download_url(each), "layerDigest": each, "expiresAt": "2026-11-23T11:00:00Z"}
                for each in digests
            ],
            "failures": [],
        }

    def test_what_can_not_be_resolved_is_a_failure_and_the_answer_is_200(self, send: Send, ecr: FakeEcr) -> None:
        ecr.answers = {digest(1): ecr_error("LayersNotFoundException"), digest(3): ecr_error("ThrottlingException")}
        body = json.dumps({"repositoryName": "team/app", "layerDigests": [digest(1), digest(2), digest(3)]})
        answer = send("POST", "/download-urls", body=body)
        assert answer.status == 200
        assert [url["layerDigest"] for url in answer.json["downloadUrls"]] == [digest(2)]
        missing, throttled = answer.json["failures"]
        assert missing.keys() == {"layerDigest", "code", "message", "retryable"}
        assert (missing["layerDigest"], missing["code"], missing["retryable"]) == (
            digest(1),
            "LayersNotFoundException",
            False,
        )
        assert "team/app" in missing["message"]
        assert (throttled["code"], throttled["retryable"]) == ("ThrottlingException", True)

    @pytest.mark.parametrize(("layers", "status"), [(499, 200), (500, 400)])
    def test_a_config_and_499_layers_are_resolved_and_no_more(self, send: Send, layers: int, status: int) -> None:
        layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar", "size": 1}
        document = manifest(layers=[{**layer, "digest": digest(number)} for number in range(1000, 1000 + layers)])
        query = {"repositoryName": "team/app"}
        answer = send("POST", "/download-urls", query, body=json.dumps(document), content_type=OCI_MANIFEST)
        assert answer.status == status

    @pytest.mark.parametrize("count", [0, 501])
    def test_no_layer_or_too_many_are_refused(self, send: Send, ecr: FakeEcr, count: int) -> None:
        body = json.dumps({"repositoryName": "team/app", "layerDigests": [digest(1)] * count})
        answer = send("POST", "/download-urls", body=body)
        assert answer.status == 400
        assert "layerDigests" in answer.json["detail"]
        assert not ecr.calls

    @pytest.mark.parametrize(
        ("digests", "place"), [(["x"], 0), ([digest(1), "sha256", digest(2)], 1), ([*[digest()] * 499, "x"], 499)]
    )
    def test_a_malformed_digest_is_named_by_its_place(
        self, send: Send, ecr: FakeEcr, digests: list[str], place: int
    ) -> None:
        answer = send("POST", "/download-urls", body=json.dumps({"repositoryName": "ab", "layerDigests": digests}))
        assert answer.status == 400
        assert answer.json["detail"].startswith(f"layerDigests[{place}] must be an algorithm")
        assert not ecr.calls

    @pytest.mark.parametrize(("count", "end"), [(5, "layerDigests[4] must be an algorithm"), (100, "; and 95 more.")])
    def test_a_message_names_five_problems_and_counts_the_rest(self, send: Send, count: int, end: str) -> None:
        body = json.dumps({"repositoryName": "team/app", "layerDigests": ["x"] * count})
        detail = send("POST", "/download-urls", body=body).json["detail"]
        assert end in detail
        assert detail.count("must be") == 5

    def test_a_layer_that_fails_by_a_bug_does_not_fail_the_others(self, send: Send, ecr: FakeEcr) -> None:
        ecr.answers = {digest(2): RuntimeError("the password is x")}
        body = json.dumps({"repositoryName": "team/app", "layerDigests": [digest(1), digest(2), digest(3)]})
        answer = send("POST", "/download-urls", body=body)
        assert [url["layerDigest"] for url in answer.json["downloadUrls"]] == [digest(1), digest(3)]
        (failure,) = answer.json["failures"]
        assert (failure["layerDigest"], failure["code"], failure["retryable"]) == (digest(2), "InternalError", False)
        assert "password" not in answer.text

    def test_fields_in_the_query_of_a_request_by_digests_are_refused_with_advice(self, send: Send) -> None:
        answer = send("POST", "/download-urls", {"repositoryName": "team/app"}, body=json.dumps(manifest()))
        assert answer.status == 400
        assert OCI_MANIFEST in answer.json["detail"]


class TestManifest:
    @pytest.mark.parametrize("media_type", MANIFEST_MEDIA_TYPES)
    def test_config_and_layers_are_resolved_with_media_type_and_size(self, send: Send, media_type: str) -> None:
        answer = send(
            "POST",
            "/download-urls",
            {"repositoryName": "team/app"},
            body=json.dumps(manifest(media_type)),
            content_type=media_type,
        )
        assert answer.status == 200
        assert answer.json["failures"] == []
        assert [(blob["layerDigest"], blob["mediaType"], blob["size"]) for blob in answer.json["downloadUrls"]] == [
            (digest(100), "application/vnd.oci.image.config.v1+json", 1470),
            (digest(1), "application/vnd.oci.image.layer.v1.tar+gzip", 2811),
            (digest(2), "application/vnd.oci.image.layer.v1.tar+zstd", 32),
        ]

    def test_content_type_is_read_without_case_and_parameters(self, send: Send) -> None:
        answer = send(
            "POST",
            "/download-urls",
            {"repositoryName": "team/app", "registryId": "210987654321"},
            body=base64.b64encode(json.dumps(manifest(None)).encode()).decode(),
            content_type=f"{OCI_MANIFEST.upper()}; charset=utf-8",
            is_base64_encoded=True,
        )
        assert len(answer.json["downloadUrls"]) == 3

    def test_whole_numbers_may_be_written_with_a_fraction_of_zero(self, send: Send) -> None:
        posted = manifest(schemaVersion=2.0, layers=[{"mediaType": "x", "digest": digest(), "size": 5.0}])
        answer = send(
            "POST", "/download-urls", {"repositoryName": "ab"}, body=json.dumps(posted), content_type=OCI_MANIFEST
        )
        assert answer.json["downloadUrls"][1]["size"] == 5

    @pytest.mark.parametrize("missing", ["LayersNotFoundException", "LayerInaccessibleException", None])
    def test_a_foreign_layer_is_a_failure_unless_ecr_has_it(
        self, send: Send, ecr: FakeEcr, missing: str | None
    ) -> None:
        foreign = {
            "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            "digest": digest(7),
            "size": 1000,
            "urls": ["https://example.com/layer"],
        }
        ecr.answers = {digest(7): ecr_error(missing)} if missing else {}
        answer = send(
            "POST",
            "/download-urls",
            {"repositoryName": "team/app"},
            body=json.dumps(manifest(DOCKER_MANIFEST, layers=[foreign])),
            content_type=DOCKER_MANIFEST,
        )
        assert [url["layerDigest"] for url in answer.json["downloadUrls"]] == [digest(100), digest(7)][
            : 1 + (not missing)
        ]
        failures = [(each["layerDigest"], each["code"]) for each in answer.json["failures"]]
        assert failures == ([(digest(7), "ForeignLayer")] if missing else [])

    @pytest.mark.parametrize("media_type", INDEX_MEDIA_TYPES)
    def test_an_index_is_refused_and_its_manifests_are_listed(self, send: Send, media_type: str) -> None:
        entries = [
            {
                "mediaType": OCI_MANIFEST,
                "digest": digest(1),
                "size": 500,
                "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"},
            },
            {"mediaType": OCI_MANIFEST, "digest": digest(2), "size": 501},
            {
                "mediaType": OCI_MANIFEST,
                "digest": digest(3),
                "size": 502,
                "platform": {"os": "linux", "architecture": "386"},
            },
        ]
        answer = send(
            "POST",
            "/download-urls",
            {"repositoryName": "team/app"},
            body=json.dumps({"schemaVersion": 2, "manifests": entries}),
            content_type=media_type,
        )
        assert answer.status == 400
        assert answer.json["manifests"] == entries
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
            (one_layer(size="1"), "layers[0].size must be a whole number."),
            (one_layer(size=1.5), "layers[0].size must be a whole number."),
            (one_layer(mediaType=1), "layers[0].mediaType must be a string."),
            (one_layer(mediaType="x" * 256), "layers[0].mediaType must have at most 255 characters."),
            (manifest(layers="x"), "layers must be a list."),
            (manifest(layers=["x"]), "layers[0] must be a JSON object."),
            (one_layer(times=500), "layers must have at most 499 entries."),
            (one_layer(times=5, size=-1), "; layers[4].size must be 0 or more."),
            (one_layer(times=8, size=-1), "; layers[4].size must be 0 or more; and 3 more."),
            (manifest(config=None), "config must be a JSON object."),
            ({"schemaVersion": 2, "manifests": []}, "config is missing; layers is missing"),
            ([], "The document must be a JSON object"),
        ],
    )
    def test_what_is_no_image_manifest_is_refused(self, send: Send, ecr: FakeEcr, posted: Any, complaint: str) -> None:
        answer = send(
            "POST",
            "/download-urls",
            {"repositoryName": "team/app"},
            body=json.dumps(posted),
            content_type=OCI_MANIFEST,
        )
        assert answer.status == 400
        assert complaint in answer.json["detail"]
        assert not ecr.calls


class TestBadRequests:
    def test_missing_fields_are_all_named(self, send: Send) -> None:
        detail = send("GET", "/download-url").json["detail"]
        assert detail == "repositoryName is missing; layerDigest is missing."

    def test_an_unknown_field_is_refused_and_the_known_ones_are_listed(self, send: Send) -> None:
        detail = send("GET", "/download-url", ONE_LAYER | {"registryID": "1"}).json["detail"]
        assert detail == (
            "registryID is not a field of this request; its fields are repositoryName, registryId, layerDigest."
        )

    @pytest.mark.parametrize(
        ("body", "complaint"),
        [
            (None, "has no body"),
            ("", "has no body"),
            ("{", "is not JSON"),
            ("[]", "must be a JSON object"),
            ("null", "must be a JSON object"),
            ('{"repositoryName": 12, "layerDigest": []}', "repositoryName"),
            ("repositoryName=team/app&layerDigest=sha256:00", "is not JSON"),
        ],
    )
    def test_a_body_that_is_no_json_object_is_refused(self, send: Send, body: str | None, complaint: str) -> None:
        answer = send("POST", "/download-url", body=body)
        assert answer.status == 400
        assert complaint in answer.json["detail"]


class TestErrors:
    @pytest.mark.parametrize(
        ("code", "status", "retryable"),
        [
            ("LayersNotFoundException", 404, False),
            ("ThrottlingException", 429, True),
            ("AccessDeniedException", 403, False),
        ],
    )
    def test_an_error_of_ecr_is_answered_as_problem_details(
        self, send: Send, ecr: FakeEcr, code: str, status: int, retryable: bool
    ) -> None:
        ecr.answer = ecr_error(code, "User: arn:aws:sts::123456789012:assumed-role/x is not authorized")
        answer = send("GET", "/download-url", ONE_LAYER)
        assert answer.status == status
        assert answer.headers["Content-Type"] == "application/problem+json"
        problem = answer.json
        assert problem.keys() == {"type", "title", "status", "detail", "code", "retryable", "requestId"}
        assert (problem["code"], problem["status"], problem["retryable"]) == (code, status, retryable)
        assert problem["type"].endswith(code)
        assert problem["requestId"] == "9e5d8b70-0000-4000-8000-000000000000"
        assert "arn:" not in answer.text

    @pytest.mark.parametrize("code", ["ServerException", "TooManyRequestsException", "ExpiredTokenException"])
    def test_an_error_that_passes_says_when_to_try_again(self, send: Send, ecr: FakeEcr, code: str) -> None:
        ecr.answer = ecr_error(code)
        assert send("GET", "/download-url", ONE_LAYER).headers["Retry-After"] == "2"

    def test_a_bug_of_ours_is_a_500_that_tells_nothing(self, send: Send, ecr: FakeEcr) -> None:
        ecr.answer = RuntimeError("the password is x")
        answer = send("GET", "/download-url", ONE_LAYER)
        assert (answer.status, answer.json["code"]) == (500, "InternalError")
        assert "password" not in answer.text

    @pytest.mark.parametrize("path", ["/", "/download-url/", "/Download-url", "/favicon.ico", "", "//", "/v1/", "/v2x"])
    def test_an_unknown_route_is_a_404(self, send: Send, path: str) -> None:
        answer = send("GET", path)
        assert (answer.status, answer.json["code"]) == (404, "RouteNotFound")
        assert answer.headers["Content-Type"] == "application/problem+json"

    @pytest.mark.parametrize(
        ("method", "path", "allow"),
        [
            ("DELETE", "/download-url", "GET, HEAD, POST"),
            ("GET", "/download-urls", "POST"),
            ("HEAD", "/download-urls", "POST"),
            ("POST", "/healthz", "GET, HEAD"),
            ("OPTIONS", "/openapi.json", "GET, HEAD"),
            ("BREW", "/healthz", "GET, HEAD"),
        ],
    )
    def test_a_wrong_method_is_a_405_that_names_the_right_ones(
        self, send: Send, method: str, path: str, allow: str
    ) -> None:
        answer = send(method, path)
        assert (answer.status, answer.json["code"]) == (405, "MethodNotAllowed")
        assert answer.headers["Allow"] == allow
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_health_is_answered_without_asking_ecr(send: Send, ecr: FakeEcr) -> None:
    ecr.answer = ecr_error("ServerException")
    answer = send("GET", "/healthz")
    assert (answer.status, answer.json) == (200, {"status": "ok"})
    assert not ecr.calls


def test_no_answer_may_be_cached_or_sniffed(send: Send, ecr: FakeEcr) -> None:
    ecr.answers = {digest(2): ecr_error("LayersNotFoundException")}
    answers = [
        send("GET", "/download-url", ONE_LAYER),
        send("GET", "/download-url", ONE_LAYER | {"layerDigest": digest(2)}),
        send("POST", "/download-urls", body=json.dumps({"repositoryName": "ab", "layerDigests": [digest()]})),
        send("GET", "/openapi.json"),
        send("GET", "/healthz"),
        send("GET", "/nowhere"),
        send("PUT", "/healthz"),
    ]
    assert [answer.status for answer in answers] == [200, 404, 200, 200, 200, 404, 405]
    for answer in answers:
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


class TestImages:
    @pytest.fixture
    def function_settings(self) -> Settings:
        return Settings(image_pull=True)

    @pytest.fixture
    def image(self, ecr: FakeEcr) -> tuple[str, str]:
        """Return an image's manifest and digest; its tag is `1.0`."""
        content = json.dumps(manifest()).encode()
        image_digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        ecr.images = {"1.0": (content, OCI_MANIFEST), image_digest: (content, OCI_MANIFEST)}
        return content.decode(), image_digest

    @pytest.fixture
    def index(self, ecr: FakeEcr, image: tuple[str, str]) -> None:
        """Put an index behind the tag `multi`, with the image for linux/arm64."""
        entries: list[dict[str, Any]] = [
            {"digest": image[1], "platform": {"os": "linux", "architecture": "arm64"}},
            {"digest": digest(9), "platform": {"os": "linux", "architecture": "arm", "variant": "v7"}},
            {"digest": digest(8)},
        ]
        self.put_entries(ecr, entries)

    @pytest.mark.parametrize("by", ["tag", "digest"])
    def test_an_image_comes_with_its_manifest_and_the_urls_of_all_its_blobs(
        self, send: Send, image: tuple[str, str], by: str
    ) -> None:
        content, image_digest = image
        reference = {"imageTag": "1.0"} if by == "tag" else {"imageDigest": image_digest}
        answer = send("GET", "/images/download-urls", {"repositoryName": "team/app", **reference})
        assert answer.status == 200
        assert answer.json["imageManifest"] == content
        assert (answer.json["imageDigest"], answer.json["imageManifestMediaType"]) == (image_digest, OCI_MANIFEST)
        assert [(url["layerDigest"], url["size"]) for url in answer.json["downloadUrls"]] == [
            (digest(100), 1470),
            (digest(1), 2811),
            (digest(2), 32),
        ]
        assert answer.json["failures"] == []

    @pytest.mark.usefixtures("index")
    def test_the_image_of_a_platform_is_picked_from_an_index(self, send: Send, image: tuple[str, str]) -> None:
        query = {"repositoryName": "team/app", "imageTag": "multi", "platform": "linux/arm64"}
        answer = send("GET", "/images/download-urls", query)
        assert (answer.json["imageDigest"], answer.json["imagePlatform"]) == (image[1], "linux/arm64")
        assert "imagePlatform" not in send("GET", "/images/download-urls", query | {"imageTag": "1.0"}).json

    @staticmethod
    def put_entries(ecr: FakeEcr, entries: list[dict[str, Any]]) -> None:
        """Put an index with these entries behind the tag `multi`."""
        described = [{"mediaType": OCI_MANIFEST, "size": 1, **each} for each in entries]
        content = json.dumps({"schemaVersion": 2, "manifests": described}).encode()
        ecr.images["multi"] = (content, INDEX_MEDIA_TYPES[0])

    @staticmethod
    def put_index(ecr: FakeEcr, digests: dict[str, str]) -> None:
        """Put an index behind the tag `multi`, with a digest for each platform."""
        parts = [dict(zip(("os", "architecture", "variant"), name.split("/"), strict=False)) for name in digests]
        pairs = zip(digests.values(), parts, strict=True)
        TestImages.put_entries(ecr, [{"digest": each, "platform": platform} for each, platform in pairs])

    @pytest.mark.usefixtures("index")
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
        answer = send("GET", "/images/download-urls", {"repositoryName": "team/app", "imageTag": "multi", **platform})
        assert (answer.status, answer.json["code"]) == (400, "InvalidParameterException")
        assert answer.json["platforms"] == ["linux/arm64", "linux/arm/v7"]
        assert answer.json["detail"].endswith(f"{problem}. It has linux/arm64, linux/arm/v7.")

    def test_of_more_platforms_than_ten_the_others_are_counted(self, send: Send, ecr: FakeEcr) -> None:
        self.put_index(ecr, {f"linux/{letter}": digest(number) for number, letter in enumerate("abcdefghijkl")})
        answer = send("GET", "/images/download-urls", {"repositoryName": "team/app", "imageTag": "multi"})
        assert answer.json["platforms"] == [f"linux/{letter}" for letter in "abcdefghij"]
        assert answer.json["detail"].endswith("linux/i, linux/j and 2 more.")

    @pytest.mark.usefixtures("image")
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

    @staticmethod
    def put_layers(ecr: FakeEcr, count: int) -> None:
        """Put an image with so many layers behind the tag `1.0`."""
        layers = [{"mediaType": "a/b", "digest": digest(number), "size": 1} for number in range(1000, 1000 + count)]
        ecr.images["1.0"] = (json.dumps(manifest(layers=layers)).encode(), OCI_MANIFEST)

    def test_an_image_may_have_more_layers_than_a_batch(self, send: Send, ecr: FakeEcr) -> None:
        self.put_layers(ecr, 600)
        answer = send("GET", "/images/download-urls", {"repositoryName": "team/app", "imageTag": "1.0"})
        assert (answer.status, len(answer.json["downloadUrls"]), answer.json["failures"]) == (200, 601, [])

    def test_an_image_of_more_layers_than_an_answer_holds_is_told_so_before_ecr_is_asked_for_them(
        self, send: Send, ecr: FakeEcr
    ) -> None:
        self.put_layers(ecr, 7000)
        answer = send("GET", "/images/download-urls", {"repositoryName": "team/app", "imageTag": "1.0"})
        assert (answer.status, answer.json["code"], answer.json["retryable"]) == (413, "ResultTooLarge", False)
        assert "has 7001 layers, more than one answer holds" in answer.json["detail"]
        assert not ecr.calls

    @pytest.mark.parametrize("layers", [{"layers": None}, {"layers": []}, {}], ids=str)
    def test_an_image_without_layers_has_its_config(self, send: Send, ecr: FakeEcr, layers: dict[str, Any]) -> None:
        document = {name: value for name, value in manifest().items() if name != "layers"} | layers
        ecr.images["1.0"] = (json.dumps(document).encode(), OCI_MANIFEST)
        answer = send("GET", "/images/download-urls", {"repositoryName": "team/app", "imageTag": "1.0"})
        assert [url["layerDigest"] for url in answer.json["downloadUrls"]] == [digest(100)]


def test_images_are_for_the_operator_to_turn_on(send: Send, ecr: FakeEcr) -> None:
    answer = send("GET", "/images/download-urls", {"repositoryName": "team/app", "imageTag": "1.0"})
    assert (answer.status, answer.json["code"]) == (403, "NotEnabled")
    assert "imagePull" in answer.json["detail"]
    assert not ecr.image_calls
