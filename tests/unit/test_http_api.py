import base64
import hashlib
import itertools
import json
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

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

    def test_a_base64_encoded_body_is_decoded(self, send: Send) -> None:
        encoded = base64.b64encode(json.dumps(ONE_LAYER).encode()).decode()
        answer = send("POST", "/download-url", body=encoded, is_base64_encoded=True)
        assert answer.json["layerDigest"] == digest()

    def test_the_registry_is_passed_on(self, send: Send, ecr: FakeEcr) -> None:
        assert send("GET", "/download-url", ONE_LAYER | {"registryId": "210987654321"}).status == 200
        assert ecr.calls == [ONE_LAYER | {"registryId": "210987654321"}]

    def test_a_registry_of_null_is_the_services_own(self, send: Send, ecr: FakeEcr) -> None:
        assert send("POST", "/download-url", body=json.dumps(ONE_LAYER | {"registryId": None})).status == 200
        assert ecr.calls == [ONE_LAYER]

    def test_a_url_that_does_not_say_when_it_expires_has_a_null_there(
        self, send: Send, ecr: FakeEcr, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tests.unit.fakes.download_url", lambda _: "https://bucket.s3.amazonaws.com/key")
        assert send("GET", "/download-url", ONE_LAYER).json["expiresAt"] is None

    def test_head_answers_what_get_answers_and_the_platform_leaves_the_body_out(self, send: Send) -> None:
        assert send("HEAD", "/download-url", ONE_LAYER) == send("GET", "/download-url", ONE_LAYER)

    def test_methods_are_told_apart_whatever_their_case(self, send: Send) -> None:
        assert send("get", "/download-url", ONE_LAYER).status == 200


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

    def test_500_layers_are_resolved(self, send: Send) -> None:
        digests = [digest(number) for number in range(500)]
        body = json.dumps({"repositoryName": "team/app", "layerDigests": digests})
        answer = send("POST", "/download-urls", body=body)
        assert len(answer.json["downloadUrls"]) == 500
        assert len(answer.text) < 6 * 2**20

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

    def test_one_malformed_digest_is_named_by_its_place(self, send: Send, ecr: FakeEcr) -> None:
        body = json.dumps({"repositoryName": "team/app", "layerDigests": [digest(1), "sha256", digest(2)]})
        answer = send("POST", "/download-urls", body=body)
        assert answer.status == 400
        assert "layerDigests[1] must be" in answer.json["detail"]
        assert not ecr.calls

    def test_one_malformed_digest_is_named_among_as_many_as_there_can_be(self, send: Send) -> None:
        body = json.dumps({"repositoryName": "team/app", "layerDigests": [*[digest()] * 499, "x"]})
        assert "layerDigests[499] must be" in send("POST", "/download-urls", body=body).json["detail"]

    def test_the_only_digest_is_named_as_well(self, send: Send) -> None:
        body = json.dumps({"repositoryName": "team/app", "layerDigests": ["x"]})
        assert "layerDigests[0] must be an algorithm" in send("POST", "/download-urls", body=body).json["detail"]

    def test_a_message_names_all_of_few_problems(self, send: Send) -> None:
        body = json.dumps({"repositoryName": "team/app", "layerDigests": ["x"] * 5})
        assert "layerDigests[4] must be an algorithm" in send("POST", "/download-urls", body=body).json["detail"]

    def test_a_message_names_some_of_many_problems_and_counts_the_rest(self, send: Send) -> None:
        body = json.dumps({"repositoryName": "team/app", "layerDigests": ["x"] * 100})
        assert " and 95 more must be an algorithm" in send("POST", "/download-urls", body=body).json["detail"]

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

    def test_a_foreign_layer_is_a_failure_and_ecr_is_not_asked_for_it(self, send: Send, ecr: FakeEcr) -> None:
        foreign = {
            "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            "digest": digest(7),
            "size": 1000,
            "urls": ["https://example.com/layer"],
        }
        posted = manifest(DOCKER_MANIFEST)
        posted["layers"].append(foreign)
        answer = send(
            "POST",
            "/download-urls",
            {"repositoryName": "team/app"},
            body=json.dumps(posted),
            content_type=DOCKER_MANIFEST,
        )
        assert len(answer.json["downloadUrls"]) == 3
        (failure,) = answer.json["failures"]
        assert (failure["layerDigest"], failure["code"]) == (digest(7), "ForeignLayer")
        assert digest(7) not in {call["layerDigest"] for call in ecr.calls}

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
        assert "Pick a platform" in answer.json["detail"]
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

    def test_a_manifest_needs_its_repository_in_the_query(self, send: Send) -> None:
        answer = send("POST", "/download-urls", body=json.dumps(manifest()), content_type=OCI_MANIFEST)
        assert answer.json["detail"] == "repositoryName is missing."


class TestBadRequests:
    @pytest.mark.parametrize(
        "repository",
        ["a", "", "a" * 257, "Team/app", "team//app", "/team", "team/", "team app", "team..app", "team___app", "-app",
         "app-", "team/app\n", "tëam", "team/app,team/app"],
    )  # fmt: skip
    def test_a_malformed_repository_name_is_refused(self, send: Send, ecr: FakeEcr, repository: str) -> None:
        answer = send("GET", "/download-url", ONE_LAYER | {"repositoryName": repository})
        assert answer.status == 400
        assert answer.json["detail"].startswith("repositoryName must be 2 to 256")
        assert not ecr.calls

    @pytest.mark.parametrize(
        "repository", ["ab", "a" * 256, "a/b", "team_app", "team__app", "team----app", "1.2-3/4_5"]
    )
    def test_a_repository_name_that_the_api_or_the_sdk_admits_is_admitted(self, send: Send, repository: str) -> None:
        assert send("GET", "/download-url", ONE_LAYER | {"repositoryName": repository}).status == 200

    @pytest.mark.parametrize(
        "layer_digest",
        ["", "sha256", "sha256:", ":00", "sha256:xyz", "sha256:00\n", "sha256:00,sha256:00", "sha 256:00"],
    )
    def test_a_malformed_digest_is_refused(self, send: Send, ecr: FakeEcr, layer_digest: str) -> None:
        answer = send("GET", "/download-url", ONE_LAYER | {"layerDigest": layer_digest})
        assert answer.status == 400
        assert answer.json["detail"].startswith("layerDigest must be")
        assert not ecr.calls

    @pytest.mark.parametrize("layer_digest", ["sha512:" + "aB" * 64, "a+b.c_d-e:0"])
    def test_digests_of_all_algorithms_are_admitted(self, send: Send, layer_digest: str) -> None:
        assert send("GET", "/download-url", ONE_LAYER | {"layerDigest": layer_digest}).status == 200

    @pytest.mark.parametrize("registry_id", ["", "12345678901", "1234567890123", "12345678901a", "١٢٣٤٥٦٧٨٩٠١٢"])
    def test_a_malformed_registry_id_is_refused(self, send: Send, ecr: FakeEcr, registry_id: str) -> None:
        answer = send("GET", "/download-url", ONE_LAYER | {"registryId": registry_id})
        assert answer.status == 400
        assert answer.json["detail"].startswith("registryId must be an AWS account id")
        assert not ecr.calls

    def test_missing_fields_are_all_named(self, send: Send) -> None:
        detail = send("GET", "/download-url").json["detail"]
        assert detail == "repositoryName is missing; layerDigest is missing."

    def test_an_unknown_field_is_refused_and_the_known_ones_are_listed(self, send: Send) -> None:
        detail = send("GET", "/download-url", ONE_LAYER | {"registryID": "1"}).json["detail"]
        assert detail == (
            "registryID is not a field of this request; its fields are repositoryName, registryId, layerDigest."
        )

    def test_the_answer_repeats_no_value_and_no_strange_name(self, send: Send) -> None:
        secret = download_url(digest())
        text = send("POST", "/download-url", body=json.dumps({"repositoryName": secret, secret: secret})).text
        assert "X-Amz" not in text
        assert "starport" not in text

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

    @pytest.mark.parametrize("body", ["not base64!", base64.b64encode(b"\xff\xfe").decode()])
    def test_a_body_that_can_not_be_decoded_is_refused(self, send: Send, body: str) -> None:
        answer = send("POST", "/download-url", body=body, is_base64_encoded=True)
        assert answer.status == 400
        assert "not UTF-8 text" in answer.json["detail"]


class TestErrors:
    @pytest.mark.parametrize(
        ("code", "status", "retryable"),
        [
            ("InvalidParameterException", 400, False),
            ("RepositoryNotFoundException", 404, False),
            ("LayersNotFoundException", 404, False),
            ("LayerInaccessibleException", 409, False),
            ("UnableToGetUpstreamLayerException", 502, True),
            ("ServerException", 503, True),
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

    def test_a_silent_ecr_is_a_504(self, send: Send, ecr: FakeEcr) -> None:
        ecr.answer = ReadTimeoutError(endpoint_url="https://api.ecr.us-east-1.amazonaws.com")
        answer = send("GET", "/download-url", ONE_LAYER)
        assert (answer.status, answer.json["code"], answer.json["retryable"]) == (504, "RequestTimeoutException", True)

    def test_at_the_end_of_the_invocation_the_answer_is_a_504_and_ecr_is_not_asked(
        self, send: Send, ecr: FakeEcr
    ) -> None:
        assert send("GET", "/download-url", ONE_LAYER, remaining_milliseconds=540).status == 504
        assert not ecr.calls

    def test_a_bug_of_ours_is_a_500_that_tells_nothing(self, send: Send, ecr: FakeEcr) -> None:
        ecr.answer = RuntimeError("the password is x")
        answer = send("GET", "/download-url", ONE_LAYER)
        assert (answer.status, answer.json["code"]) == (500, "InternalError")
        assert "password" not in answer.text

    def test_a_bug_outside_of_resolution_is_a_500_as_well(self, send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("layer_resolver.openapi.openapi_document", lambda: 1 / 0)
        answer = send("GET", "/openapi.json")
        assert (answer.status, answer.json["code"]) == (500, "InternalError")
        assert "division" not in answer.text

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
        document = {
            "schemaVersion": 2,
            "manifests": [{"mediaType": OCI_MANIFEST, "size": 1, **each} for each in entries],
        }
        ecr.images["multi"] = (json.dumps(document).encode(), INDEX_MEDIA_TYPES[0])

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
        assert send("GET", "/images/download-urls", query).json["imageDigest"] == image[1]

    @pytest.mark.parametrize(("short", "long"), [("amd64", "amd64/v1"), ("arm", "arm/v7"), ("arm64", "arm64/v8")])
    def test_a_variant_that_goes_without_saying_makes_no_difference(
        self, send: Send, ecr: FakeEcr, image: tuple[str, str], short: str, long: str
    ) -> None:
        for stored, asked in itertools.product((short, long), repeat=2):
            self.put_index(ecr, {f"linux/{stored}": image[1], "linux/arm/v6": digest(9)})
            query = {"repositoryName": "team/app", "imageTag": "multi", "platform": f"linux/{asked}"}
            assert send("GET", "/images/download-urls", query).json["imageDigest"] == image[1]

    @pytest.mark.parametrize(("asked", "status"), [("linux/arm64", 200), ("linux/arm64/v8", 404)])
    def test_the_very_platform_comes_before_one_that_means_the_same(
        self, send: Send, ecr: FakeEcr, image: tuple[str, str], asked: str, status: int
    ) -> None:
        # The second of the two is not in the repository.
        self.put_index(ecr, {"linux/arm64": image[1], "linux/arm64/v8": digest(9)})
        query = {"repositoryName": "team/app", "imageTag": "multi", "platform": asked}
        assert send("GET", "/images/download-urls", query).status == status

    def test_of_two_images_for_a_platform_the_first_is_taken(
        self, send: Send, ecr: FakeEcr, image: tuple[str, str]
    ) -> None:
        platform = {"os": "linux", "architecture": "arm64"}
        # The second of the two is not in the repository.
        entries = [
            {"mediaType": OCI_MANIFEST, "size": 1, "digest": each, "platform": platform}
            for each in (image[1], digest(9))
        ]
        content = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
        ecr.images["multi"] = (content, INDEX_MEDIA_TYPES[0])
        query = {"repositoryName": "team/app", "imageTag": "multi", "platform": "linux/arm64"}
        assert send("GET", "/images/download-urls", query).json["imageDigest"] == image[1]

    def test_an_attestation_is_no_image_of_a_platform(self, send: Send, ecr: FakeEcr, image: tuple[str, str]) -> None:
        self.put_index(ecr, {"linux/amd64": image[1], "unknown/unknown": digest(9)})
        answer = send("GET", "/images/download-urls", {"repositoryName": "team/app", "imageTag": "multi"})
        assert answer.json["platforms"] == ["linux/amd64"]

    @staticmethod
    def put_index(ecr: FakeEcr, digests: dict[str, str]) -> None:
        """Put an index behind the tag `multi`, with a digest for each platform."""
        parts = [dict(zip(("os", "architecture", "variant"), name.split("/"), strict=False)) for name in digests]
        entries = [
            {"mediaType": OCI_MANIFEST, "size": 1, "digest": each, "platform": platform}
            for each, platform in zip(digests.values(), parts, strict=True)
        ]
        document = {"schemaVersion": 2, "manifests": entries}
        ecr.images["multi"] = (json.dumps(document).encode(), INDEX_MEDIA_TYPES[0])

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
        assert answer.json["platforms"] == ["linux/arm/v7", "linux/arm64"]
        assert answer.json["detail"].endswith(f"{problem}. It has linux/arm/v7, linux/arm64.")

    def test_of_more_platforms_than_ten_the_others_are_counted(self, send: Send, ecr: FakeEcr) -> None:
        self.put_index(ecr, {f"linux/{letter}": digest(number) for number, letter in enumerate("abcdefghijkl")})
        answer = send("GET", "/images/download-urls", {"repositoryName": "team/app", "imageTag": "multi"})
        assert answer.json["platforms"] == [f"linux/{letter}" for letter in "abcdefghij"]
        assert answer.json["detail"].endswith("linux/i, linux/j and 2 more.")

    @pytest.mark.parametrize(("length", "is_shown"), [(100, True), (101, False)])
    def test_a_platform_of_a_hundred_characters_is_the_longest_that_is_quoted(
        self, send: Send, ecr: FakeEcr, length: int, is_shown: bool
    ) -> None:
        name = f"{'o' * (length - 6)}/arm64"
        self.put_index(ecr, {name: digest(1), "linux/386": digest(2)})
        answer = send("GET", "/images/download-urls", {"repositoryName": "team/app", "imageTag": "multi"})
        assert answer.json["platforms"] == ["linux/386"] + [name] * is_shown

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

    @pytest.mark.parametrize(
        ("error", "status", "code"),
        [
            (None, 404, "ImageNotFoundException"),
            (ecr_error("RepositoryNotFoundException"), 404, "RepositoryNotFoundException"),
            (ecr_error("UnableToGetUpstreamImageException"), 502, "UnableToGetUpstreamImageException"),
            (ecr_error("AccessDeniedException"), 403, "AccessDeniedException"),
            (ReadTimeoutError(endpoint_url="https://ecr"), 504, "RequestTimeoutException"),
        ],
    )
    def test_what_ecr_does_not_give_has_its_answer(
        self, send: Send, ecr: FakeEcr, error: Exception | None, status: int, code: str
    ) -> None:
        ecr.image_error = error
        answer = send("GET", "/images/download-urls", {"repositoryName": "team/app", "imageTag": "1.0"})
        assert (answer.status, answer.json["code"]) == (status, code)

    def test_a_manifest_that_is_not_what_the_digest_says_is_refused(self, send: Send, ecr: FakeEcr) -> None:
        ecr.images = {digest(): (b"{}", OCI_MANIFEST)}
        answer = send("GET", "/images/download-urls", {"repositoryName": "team/app", "imageDigest": digest()})
        assert (answer.status, answer.json["code"]) == (502, "ManifestDigestMismatch")


def test_images_are_for_the_operator_to_turn_on(send: Send, ecr: FakeEcr) -> None:
    answer = send("GET", "/images/download-urls", {"repositoryName": "team/app", "imageTag": "1.0"})
    assert (answer.status, answer.json["code"]) == (403, "NotEnabled")
    assert "imagePull" in answer.json["detail"]
    assert not ecr.image_calls
