"""The routes under /v2."""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest

from layer_resolver.calls import Calls, Deadline, Moment
from layer_resolver.ecr import Ecr
from layer_resolver.errors import ERROR_TABLE, Repository
from layer_resolver.handler import create_handler
from layer_resolver.images import CACHED_LISTINGS, ImageReader
from layer_resolver.invocation import Invocation
from layer_resolver.models import INDEX_MEDIA_TYPES
from layer_resolver.settings import Settings
from tests.unit.fake_s3 import FakeS3, S3Answer
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

BLOB = f"/v2/team/app/blobs/{digest()}"


def error_of(answer: Answer) -> dict[str, Any]:
    """Return the only error of an answer that is one."""
    assert answer.headers["Content-Type"] == "application/json"
    (error,) = answer.json["errors"]
    assert error.keys() == {"code", "message", "detail"}
    return dict(error)


class TestVersion:
    @pytest.mark.parametrize("path", ["/v2/", "/v2"])
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_the_registry_says_that_it_is_one(self, send: Send, path: str, method: str) -> None:
        answer = send(method, path)
        assert answer.status == 200
        assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


class TestGetBlob:
    def test_a_blob_is_a_redirect_to_its_download_url(self, send: Send) -> None:
        answer = send("GET", BLOB)
        assert (answer.status, answer.text) == (307, "")
        assert answer.headers["Location"] == download_url(digest())
        assert answer.headers["Docker-Content-Digest"] == digest()

    def test_a_cache_that_keeps_a_redirect_all_the_same_gives_it_out_no_longer_if_the_function_fails(
        self, send: Send
    ) -> None:
        assert send("GET", BLOB).headers["Cache-Control"] == "no-store, stale-if-error=0"

    @pytest.mark.parametrize(
        ("path", "repository", "layer"),
        [
            (f"/v2/ab/blobs/{digest()}", "ab", digest()),
            (f"/v2/a/b/c/d/blobs/{digest()}", "a/b/c/d", digest()),
            (f"/v2/a/blobs/b/blobs/{digest()}", "a/blobs/b", digest()),
            (f"/v2/manifests/tags/list/blobs/{digest()}", "manifests/tags/list", digest()),
            (f"/v2/a/blobs/uploads/blobs/{digest()}", "a/blobs/uploads", digest()),
            (f"/v2/a/blobs/uploads/b/blobs/{digest()}", "a/blobs/uploads/b", digest()),
            (f"/v2/team%2Fapp/blobs/{quote(digest())}", "team/app", digest()),
            (f"/%76%32/team%2fapp%2Fblobs/{digest()}", "team/app", digest()),
            (f"/v2/team__app/blobs/sha512:{'0' * 128}", "team__app", f"sha512:{'0' * 128}"),
            (f"/v2/123456789012/app/blobs/{digest()}", "123456789012/app", digest()),
        ],
    )
    def test_names_have_slashes_and_may_be_encoded(
        self, send: Send, ecr: FakeEcr, path: str, repository: str, layer: str
    ) -> None:
        assert send("GET", path).status == 307
        assert ecr.calls == [{"repositoryName": repository, "layerDigest": layer}]

    class TestWithAllowedRegistries:
        @pytest.fixture
        def function_settings(self) -> Settings:
            return Settings(allowed_registries=("210987654321",))

        @pytest.mark.parametrize(
            ("name", "expected"),
            [
                ("210987654321/team/app", {"registryId": "210987654321", "repositoryName": "team/app"}),
                ("999999999999/team/app", {"repositoryName": "999999999999/team/app"}),
                ("210987654321", {"repositoryName": "210987654321"}),
            ],
        )
        def test_a_name_may_begin_with_an_allowed_registry(
            self, send: Send, ecr: FakeEcr, name: str, expected: dict[str, str]
        ) -> None:
            send("GET", f"/v2/{name}/blobs/{digest()}")
            assert ecr.calls == [{**expected, "layerDigest": digest()}]


def size(content_range: str) -> S3Answer:
    """Return S3's answer to a request for the first byte."""
    return S3Answer(206, b"x", {"Content-Range": content_range})


class TestHeadBlob:
    @pytest.fixture(autouse=True)
    def _s3_is_there(self, s3: FakeS3) -> None:
        """Have download URLs lead to the fake S3."""

    @pytest.mark.parametrize(
        ("answer", "length"),
        [
            (size("bytes 0-0/3001396"), "3001396"),
            (S3Answer(416, b"", {"Content-Range": "bytes */0"}), "0"),
            (S3Answer(200, b"all of it"), "9"),
        ],
        ids=["range", "empty blob", "no ranges"],
    )
    def test_head_tells_the_size_that_one_byte_from_s3_tells(
        self, send: Send, s3: FakeS3, answer: S3Answer, length: str
    ) -> None:
        s3.answers = [answer]
        head = send("HEAD", BLOB)
        assert (head.status, head.text) == (200, "")
        assert head.headers["Content-Length"] == length
        assert head.headers["Docker-Content-Digest"] == digest()
        assert head.headers["Content-Type"] == "application/octet-stream"
        assert head.headers["Accept-Ranges"] == "bytes"
        assert "Location" not in head.headers
        (request,) = s3.asked
        assert request.headers["range"] == "bytes=0-0"
        # A compressed answer would have another size.
        assert request.headers["accept-encoding"] == "identity"

    def test_the_size_of_a_digest_is_asked_for_once(self, send: Send, ecr: FakeEcr, s3: FakeS3) -> None:
        s3.answers = [size("bytes 0-0/5")]
        assert [send("HEAD", BLOB).headers["Content-Length"] for _ in range(2)] == ["5", "5"]
        assert len(s3.asked) == 1
        # But whether the caller may have the blob is.
        ecr.answer = ecr_error("AccessDeniedException")
        assert send("HEAD", BLOB).status == 403

    @pytest.mark.parametrize(
        "answer",
        [size("bytes 0-0/*"), S3Answer(206, b"x"), S3Answer(302, b"", {"Location": "https://elsewhere.example.com/"})],
    )
    def test_without_a_size_there_is_no_guess(self, send: Send, s3: FakeS3, answer: S3Answer) -> None:
        s3.answers = [answer]
        head = send("HEAD", BLOB)
        assert (head.status, error_of(head)["code"]) == (502, "UNKNOWN")

    def test_an_s3_that_is_not_there_is_a_504_and_its_url_stays_secret(
        self, send: Send, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("tests.unit.fakes.download_url", lambda _: "http://127.0.0.1:1/blob?X-Amz-Signature=0123")
        answer = send("HEAD", BLOB)
        assert (answer.status, error_of(answer)["code"]) == (504, "UNAVAILABLE")
        captured = capsys.readouterr()
        assert "X-Amz-Signature" not in answer.text + captured.out + captured.err

    def test_without_time_left_s3_is_not_asked(self, ecr: FakeEcr, s3: FakeS3) -> None:
        ecr.answer = 0.12
        answer = create_handler(ecr, Settings())(function_url_event("HEAD", BLOB), Context(650))
        assert answer["statusCode"] == 504
        assert not s3.asked

    @pytest.mark.parametrize("status", [400, 401, 403])
    def test_a_url_that_s3_refuses_is_not_used_again_and_ecr_is_asked_for_another(
        self, send: Send, ecr: FakeEcr, s3: FakeS3, monkeypatch: pytest.MonkeyPatch, status: int
    ) -> None:
        url = f"{s3.download_url(digest())}&X-Amz-Date={datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        monkeypatch.setattr("tests.unit.fakes.download_url", lambda _: url)
        assert [send("GET", BLOB).status for _ in range(2)] == [307, 307]
        assert len(ecr.calls) == 1
        s3.answers = [S3Answer(status), size("bytes 0-0/7")]
        assert send("HEAD", BLOB).headers["Content-Length"] == "7"
        assert (len(ecr.calls), len(s3.asked)) == (2, 2)

    def test_an_s3_that_refuses_the_second_url_as_well_is_a_502(
        self, send: Send, ecr: FakeEcr, s3: FakeS3, capsys: pytest.CaptureFixture[str]
    ) -> None:
        s3.answers = [S3Answer(403)]
        answer = send("HEAD", BLOB)
        assert (answer.status, error_of(answer)["code"]) == (502, "UNKNOWN")
        assert len(ecr.calls) == 2
        assert '"cause":{"type":"UrlRefusedError"' in capsys.readouterr().out


class TestErrors:
    @pytest.mark.parametrize(
        "kind", [kind for kind in ERROR_TABLE.values() if kind.ecr_codes], ids=lambda kind: kind.code
    )
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_each_error_of_ecr_has_its_code_and_status(self, send: Send, ecr: FakeEcr, kind: Any, method: str) -> None:
        ecr.answer = ecr_error(min(kind.ecr_codes), "see arn:aws:ecr:us-east-1:123456789012:repository/team/app")
        answer = send(method, BLOB)
        assert answer.status == kind.registry_http_status
        error = error_of(answer)
        assert error["code"] == kind.registry_code
        assert error["detail"] == {
            "code": kind.code,
            "retryable": kind.retryable,
            "requestId": "9e5d8b70-0000-4000-8000-000000000000",
        }
        assert "arn:" not in answer.text
        assert ("Retry-After" in answer.headers) == (kind.retry_after_seconds is not None)

    @pytest.mark.parametrize(
        ("path", "code"),
        [
            (f"/v2/UPPER/blobs/{digest()}", "NAME_INVALID"),
            (f"/v2/a/blobs/{digest()}", "NAME_INVALID"),
            (f"/v2/{'a' * 257}/blobs/{digest()}", "NAME_INVALID"),
            (f"/v2/a//b/blobs/{digest()}", "NAME_INVALID"),
            ("/v2/team/app/blobs/latest", "DIGEST_INVALID"),
            ("/v2/team/app/blobs/sha256:xyz", "DIGEST_INVALID"),
            ("/v2/team/app/blobs/sha256:", "DIGEST_INVALID"),
        ],
    )
    def test_a_bad_name_and_a_bad_digest_are_told_apart(self, send: Send, ecr: FakeEcr, path: str, code: str) -> None:
        answer = send("GET", path)
        assert (answer.status, error_of(answer)["code"]) == (400, code)
        assert not ecr.calls

    @pytest.mark.parametrize(
        ("method", "path", "allow"),
        [
            ("POST", "/v2/team/app/blobs/uploads/", ""),
            ("POST", "/v2/a/blobs/uploads/b/blobs/uploads/", ""),
            ("GET", "/v2/team/app/blobs/uploads/", ""),
            ("DELETE", BLOB, "GET, HEAD"),
            ("PUT", "/v2/team/app/manifests/latest", "GET, HEAD"),
            ("POST", "/v2/", "GET, HEAD"),
        ],
    )
    def test_what_would_write_is_not_supported(self, send: Send, method: str, path: str, allow: str) -> None:
        answer = send(method, path)
        assert (answer.status, error_of(answer)["code"]) == (405, "UNSUPPORTED")
        assert answer.headers["Allow"] == allow
        assert error_of(answer)["message"] == "This is a read-only registry: push to ECR itself."

    @pytest.mark.parametrize(
        "path",
        [
            "/v2/team/app",
            "/v2//",
            f"/v2//blobs/{digest()}",
            f"/v2/blobs/{digest()}",
            "/v2/manifests/latest",
            "/v2/%FF/blobs/x",
            "/v2/a/b/",
            "/v2/team/app/manifests/",
            "/v2/team/app/tags/list/",
            "/v2/team/app/referrers/",
            f"/v2/team/app/blobs/{digest()}/",
            f"/v2/{'a' * 9000}/tags/list",
        ],
    )
    def test_an_unknown_route_is_a_404(self, send: Send, path: str) -> None:
        answer = send("GET", path)
        assert (answer.status, error_of(answer)["code"]) == (404, "UNSUPPORTED")
        assert "openapi" not in answer.text


@pytest.mark.parametrize(
    "path",
    ["/v2/team/app/manifests/latest", "/v2/team/app/tags/list", "/v2/_catalog"],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_is_not_turned_on_is_denied(send: Send, ecr: FakeEcr, path: str, method: str) -> None:
    answer = send(method, path)
    assert (answer.status, error_of(answer)["code"]) == (403, "DENIED")
    assert not ecr.image_calls


class TestManifests:
    CONTENT = json.dumps(manifest(), indent=3).encode()
    DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"

    @pytest.fixture
    def function_settings(self) -> Settings:
        return Settings(image_pull=True)

    @pytest.fixture(autouse=True)
    def _images(self, ecr: FakeEcr) -> None:
        ecr.images = dict.fromkeys(("1.0", self.DIGEST), (self.CONTENT, OCI_MANIFEST))

    @pytest.mark.parametrize("reference", ["1.0", DIGEST, quote(DIGEST)])
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_a_manifest_is_its_very_bytes(self, send: Send, reference: str, method: str) -> None:
        answer = send(method, f"/v2/team/app/manifests/{reference}")
        assert answer.status == 200
        assert answer.text.encode() == self.CONTENT
        assert answer.headers["Content-Type"] == OCI_MANIFEST
        assert answer.headers["Docker-Content-Digest"] == self.DIGEST

    def test_a_part_of_a_name_may_be_called_as_routes_are(self, send: Send, ecr: FakeEcr) -> None:
        assert send("GET", "/v2/a/blobs/uploads/b/manifests/1.0").status == 200
        assert ecr.image_calls[0]["repositoryName"] == "a/blobs/uploads/b"

    def test_every_kind_of_manifest_is_asked_for(self, send: Send, ecr: FakeEcr) -> None:
        send("GET", "/v2/team/app/manifests/1.0")
        (call,) = ecr.image_calls
        assert call == {
            "repositoryName": "team/app",
            "imageIds": [{"imageTag": "1.0"}],
            "acceptedMediaTypes": [OCI_MANIFEST, DOCKER_MANIFEST, *INDEX_MEDIA_TYPES],
        }

    @pytest.mark.parametrize(
        ("accept", "status"),
        [
            ("", 200),
            ("*/*", 200),
            (f"{DOCKER_MANIFEST},{OCI_MANIFEST}", 200),
            (OCI_MANIFEST.upper(), 200),
            (DOCKER_MANIFEST, 200),
            (INDEX_MEDIA_TYPES[0], 404),
            (f"{INDEX_MEDIA_TYPES[0]}, {DOCKER_MANIFEST}", 200),
            (f"{DOCKER_MANIFEST};q=0", 200),
            (f"{OCI_MANIFEST};q=0", 404),
            (f"{OCI_MANIFEST}; Q=0.000, */*", 404),
            ("*/*;q=0", 404),
            (f"*/*;q=0, {OCI_MANIFEST};q=0.001", 200),
            (f"{INDEX_MEDIA_TYPES[0]}, */*;q=0.1", 200),
            (";;q=0,,", 200),
            (f"{OCI_MANIFEST};q=nonsense", 200),
        ],
    )
    def test_accept_is_honoured(self, send: Send, capsys: pytest.CaptureFixture[str], accept: str, status: int) -> None:
        answer = send("GET", "/v2/team/app/manifests/1.0", headers={"Accept": accept})
        assert answer.status == status
        if status == 404:
            assert error_of(answer)["code"] == "MANIFEST_UNKNOWN"
            assert OCI_MANIFEST in answer.text
            assert json.loads(capsys.readouterr().out.splitlines()[0])["error"]["image"] == "1.0"

    @pytest.mark.parametrize(("accept", "status"), [(OCI_MANIFEST, 404), (INDEX_MEDIA_TYPES[1], 200), ("*/*", 200)])
    def test_an_index_is_kept_from_a_client_that_reads_manifests_alone(
        self, send: Send, ecr: FakeEcr, accept: str, status: int
    ) -> None:
        ecr.images["index"] = (b"{}", INDEX_MEDIA_TYPES[0])
        assert send("GET", "/v2/team/app/manifests/index", headers={"accept": accept}).status == status

    @pytest.mark.parametrize("reference", ["2.0", digest(), ".INVALID_MANIFEST_NAME", "a" * 129])
    def test_an_image_that_is_not_there_is_unknown(self, send: Send, reference: str) -> None:
        answer = send("GET", f"/v2/team/app/manifests/{reference}")
        assert (answer.status, error_of(answer)["code"]) == (404, "MANIFEST_UNKNOWN")

    @pytest.mark.parametrize(
        ("failure", "status", "code"),
        [
            ("UpstreamTooManyRequests", 429, "TOOMANYREQUESTS"),
            ("UpstreamUnavailable", 502, "UNKNOWN"),
            ("UpstreamAccessDenied", 502, "UNKNOWN"),
            ("KmsError", 404, "MANIFEST_UNKNOWN"),
            ("ImageReferencedByManifestList", 404, "MANIFEST_UNKNOWN"),
            ("SomethingNew", 500, "UNKNOWN"),
            (None, 404, "MANIFEST_UNKNOWN"),
        ],
    )
    def test_each_reason_of_ecr_has_its_answer(
        self, send: Send, ecr: FakeEcr, failure: str | None, status: int, code: str
    ) -> None:
        ecr.image_failure = failure
        answer = send("GET", "/v2/team/app/manifests/2.0")
        assert (answer.status, error_of(answer)["code"]) == (status, code)

    def test_what_can_be_no_tag_is_not_there_and_not_quoted(self, send: Send, ecr: FakeEcr) -> None:
        error = error_of(send("GET", "/v2/team/app/manifests/-s3cr3t"))
        assert error["message"].startswith("There is no image of that name in repository team/app.")
        assert not ecr.image_calls

    def test_the_log_has_the_reason_that_the_caller_is_not_told(
        self, send: Send, ecr: FakeEcr, capsys: pytest.CaptureFixture[str]
    ) -> None:
        ecr.image_failure = "KmsError"
        answer = send("GET", "/v2/team/app/manifests/2.0")
        assert "KmsError" not in answer.text
        assert '"cause":{"type":"ClientError","code":"KmsError"' in capsys.readouterr().out

    @pytest.mark.parametrize("reference", [digest(), f"sha512:{'0' * 128}"])
    def test_bytes_that_are_not_what_the_digest_says_are_not_given_out(
        self, send: Send, ecr: FakeEcr, reference: str
    ) -> None:
        ecr.images[reference] = (self.CONTENT, OCI_MANIFEST)
        answer = send("GET", f"/v2/team/app/manifests/{reference}")
        assert (answer.status, error_of(answer)["code"]) == (502, "UNKNOWN")

    @pytest.mark.parametrize("reference", ["md5:00", "sha256:xyz", f"sha256:{'A' * 64}", f"sha512:{'0' * 64}"])
    def test_a_digest_that_no_registry_has_is_invalid(self, send: Send, ecr: FakeEcr, reference: str) -> None:
        for path in ("manifests", "blobs", "referrers"):
            answer = send("GET", f"/v2/team/app/{path}/{reference}")
            assert (answer.status, error_of(answer)["code"]) == (400, "DIGEST_INVALID")
        assert not ecr.image_calls

    def test_a_manifest_that_the_client_has_is_not_sent_again(self, send: Send) -> None:
        answer = send("GET", "/v2/team/app/manifests/1.0")
        assert answer.headers["ETag"] == f'"{self.DIGEST}"'
        assert answer.headers["Cache-Control"] == "no-store"
        for known in (f'"{self.DIGEST}"', f'W/"{self.DIGEST}"', f'"other" , W/"{self.DIGEST}"', self.DIGEST, "*"):
            again = send("GET", "/v2/team/app/manifests/1.0", headers={"if-none-match": known})
            assert (again.status, again.text, again.headers["ETag"]) == (304, "", f'"{self.DIGEST}"')
        for other in ('"other"', '"*"', '""', "", f'"{digest(9)}", W/"*"'):
            assert send("GET", "/v2/team/app/manifests/1.0", headers={"if-none-match": other}).status == 200

    def test_a_manifest_by_its_digest_may_be_kept_for_ever(self, send: Send) -> None:
        answer = send("GET", f"/v2/team/app/manifests/{self.DIGEST}")
        assert answer.headers["Cache-Control"] == "private, max-age=31536000, immutable"


class TestReferrers:
    @pytest.fixture
    def function_settings(self) -> Settings:
        return Settings(image_pull=True)

    @pytest.fixture(autouse=True)
    def _referrers(self, ecr: FakeEcr) -> None:
        ecr.referrers = [
            {"digest": digest(1), "mediaType": OCI_MANIFEST, "size": 10, "artifactType": "application/sbom"},
            {"digest": digest(2), "mediaType": OCI_MANIFEST, "size": 20, "annotations": {"a": "b"}},
            {"digest": digest(3), "mediaType": OCI_MANIFEST, "size": 30, "artifactType": "application/sbom"},
        ]

    def test_what_refers_to_an_image_is_an_index_page_by_page(self, send: Send, ecr: FakeEcr) -> None:
        path = f"/v2/team/app/referrers/{digest()}"
        first = send("GET", path)
        assert first.status == 200
        assert first.headers["Content-Type"] == INDEX_MEDIA_TYPES[0]
        assert first.json == {
            "schemaVersion": 2,
            "mediaType": INDEX_MEDIA_TYPES[0],
            "manifests": [
                {"mediaType": OCI_MANIFEST, "digest": digest(1), "size": 10, "artifactType": "application/sbom"},
                {"mediaType": OCI_MANIFEST, "digest": digest(2), "size": 20, "annotations": {"a": "b"}},
            ],
        }
        assert first.headers["Link"] == f'<{path}?nextToken=2>; rel="next"'
        second = send("GET", path, {"nextToken": "2"})
        assert [each["digest"] for each in second.json["manifests"]] == [digest(3)]
        assert "Link" not in second.headers
        assert ecr.image_calls[0]["subjectId"] == {"imageDigest": digest()}
        # https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_ListImageReferrers.html
        assert ecr.image_calls[0]["maxResults"] == 50

    def test_a_filter_by_type_is_applied_and_said_to_be(self, send: Send, ecr: FakeEcr) -> None:
        answer = send("GET", f"/v2/team/app/referrers/{digest()}", {"artifactType": "application/sbom"})
        assert [each["digest"] for each in answer.json["manifests"]] == [digest(1), digest(3)]
        assert answer.headers["OCI-Filters-Applied"] == "artifactType"
        assert ecr.image_calls[0]["filter"] == {"artifactTypes": ["application/sbom"]}

    def test_a_plus_that_arrives_as_a_space_is_one(self, send: Send, ecr: FakeEcr) -> None:
        path = f"/v2/team/app/referrers/{digest()}"
        for sent in ("application/spdx json,a/b", "application/spdx+json,a/b"):
            assert send("GET", path, {"artifactType": sent}).status == 200
        filters = [call["filter"]["artifactTypes"] for call in ecr.image_calls]
        assert filters == [["application/spdx+json", "a/b"]] * 2

    @pytest.mark.parametrize("types", [["a", "b", "c", "d", "e"], ["a" * 255]])
    def test_as_many_types_can_be_asked_for_as_ecr_takes(self, send: Send, ecr: FakeEcr, types: list[str]) -> None:
        answer = send("GET", f"/v2/team/app/referrers/{digest()}", {"artifactType": ",".join(types)})
        assert answer.status == 200
        assert ecr.image_calls[0]["filter"] == {"artifactTypes": types}

    @pytest.mark.parametrize(
        ("query", "code"),
        [
            ({"artifactType": "a\tb"}, "UNSUPPORTED"),
            ({"artifactType": "a" * 256}, "UNSUPPORTED"),
            ({"artifactType": "a/b,"}, "UNSUPPORTED"),
            ({"artifactType": "a,b,c,d,e,f"}, "UNSUPPORTED"),
            ({"nextToken": "a b"}, "PAGINATION_NUMBER_INVALID"),
            ({"nextToken": "a" * 4097}, "PAGINATION_NUMBER_INVALID"),
        ],
    )
    def test_a_malformed_query_is_refused(self, send: Send, ecr: FakeEcr, query: dict[str, str], code: str) -> None:
        answer = send("GET", f"/v2/team/app/referrers/{digest()}", query)
        assert (answer.status, error_of(answer)["code"]) == (400, code)
        assert next(iter(query)) in error_of(answer)["message"]
        assert not ecr.image_calls

    def test_a_token_that_ecr_refuses_is_called_that(self, send: Send, ecr: FakeEcr) -> None:
        path = f"/v2/team/app/referrers/{digest()}"
        answer = send("GET", path, {"nextToken": "none-of-ecrs"})
        assert (answer.status, error_of(answer)["code"]) == (400, "PAGINATION_NUMBER_INVALID")
        assert error_of(answer)["message"].startswith("nextToken must come from the previous page's Link header")
        ecr.image_error = ecr_error("InvalidParameterException")
        assert error_of(send("GET", path))["code"] == "NAME_INVALID"

    def test_a_repository_that_is_not_there_has_no_referrers_either(self, send: Send, ecr: FakeEcr) -> None:
        ecr.image_error = ecr_error("RepositoryNotFoundException")
        answer = send("GET", f"/v2/team/app/referrers/{digest()}", {"nextToken": "2"})
        assert (answer.status, error_of(answer)["code"]) == (404, "NAME_UNKNOWN")

    def test_several_types_may_be_asked_for(self, send: Send, ecr: FakeEcr) -> None:
        ecr.referrers *= 2
        # Parameters of one name arrive joined by a comma.
        answer = send("GET", f"/v2/team/app/referrers/{digest()}", {"artifactType": "application/sbom,a/b"})
        assert [each["digest"] for each in answer.json["manifests"]] == [digest(1), digest(3)]
        assert ecr.image_calls[0]["filter"] == {"artifactTypes": ["application/sbom", "a/b"]}
        assert "?artifactType=application%2Fsbom%2Ca%2Fb&nextToken=2>" in answer.headers["Link"]


def test_without_image_pull_there_is_no_referrers_api_so_that_clients_fall_back(send: Send, ecr: FakeEcr) -> None:
    answer = send("GET", f"/v2/team/app/referrers/{digest()}")
    assert (answer.status, error_of(answer)["code"]) == (404, "UNSUPPORTED")
    assert not ecr.image_calls


class TestTags:
    @pytest.fixture
    def function_settings(self) -> Settings:
        return Settings(list_tags=True)

    @pytest.fixture(autouse=True)
    def _images(self, ecr: FakeEcr) -> None:
        ecr.images = dict.fromkeys(("b", "e", "a", "d", "c"), (b"{}", OCI_MANIFEST))

    def test_all_tags_of_all_of_ecrs_pages_are_listed_in_order(self, send: Send, ecr: FakeEcr) -> None:
        answer = send("GET", "/v2/team/app/tags/list")
        # As few calls as ECR lets a list take, for tags alone.
        assert {(call["maxResults"], call["filter"]["tagStatus"]) for call in ecr.image_calls} == {(1000, "TAGGED")}
        assert answer.json == {"name": "team/app", "tags": ["a", "b", "c", "d", "e"]}
        assert "Link" not in answer.headers

    def test_pages_lead_to_the_next(self, send: Send) -> None:
        seen, query = [], {"n": "2"}
        for _ in range(3):
            answer = send("GET", "/v2/team/app/tags/list", query)
            seen.append(answer.json["tags"])
            if "Link" in answer.headers:
                assert answer.headers["Link"] == f'</v2/team/app/tags/list?n=2&last={seen[-1][-1]}>; rel="next"'
                query = {"n": "2", "last": seen[-1][-1]}
        assert seen == [["a", "b"], ["c", "d"], ["e"]]
        assert "Link" not in answer.headers

    @pytest.mark.parametrize(
        ("query", "tags"),
        [
            ({"n": "0"}, []),
            ({"n": "99"}, ["a", "b", "c", "d", "e"]),
            ({"last": "c"}, ["d", "e"]),
            ({"last": "zzz"}, []),
            ({"n": "1", "last": "bb"}, ["c"]),
            ({"last": "\u00fc"}, []),
            ({"last": "\ufffd"}, []),
            ({"n": "002"}, ["a", "b"]),
            ({"n": "0" * 5000}, []),
            ({"n": "9" * 5000}, ["a", "b", "c", "d", "e"]),
        ],
    )
    def test_n_and_last_pick_tags(self, send: Send, query: dict[str, str], tags: list[str]) -> None:
        answer = send("GET", "/v2/team/app/tags/list", query)
        assert answer.json["tags"] == tags

    @pytest.mark.parametrize("n", ["-1", "x", "", "1.5", "1e3", "+1", " 1", "2,3", "\u0663", "0x1"])
    def test_a_number_that_is_none_is_refused(self, send: Send, n: str) -> None:
        answer = send("GET", "/v2/team/app/tags/list", {"n": n})
        assert (answer.status, error_of(answer)["code"]) == (400, "PAGINATION_NUMBER_INVALID")

    def test_a_page_has_a_thousand_tags_at_the_most(self, send: Send, ecr: FakeEcr) -> None:
        ecr.images = {f"t{number:05}": (b"{}", OCI_MANIFEST) for number in range(1001)}
        for query in ({}, {"n": "1001"}, {"n": "4294967297"}, {"n": "9" * 5000}):
            # Only the first page is read anew, so this asks ECR once.
            answer = send("GET", "/v2/team/app/tags/list", query | {"last": "a"})
            assert len(answer.json["tags"]) == 1000
            assert answer.headers["Link"] == '</v2/team/app/tags/list?n=1000&last=t00999>; rel="next"'

    def test_the_pages_behind_the_first_do_not_ask_ecr_again(self, send: Send, ecr: FakeEcr) -> None:
        send("GET", "/v2/team/app/tags/list", {"n": "1"})
        calls = len(ecr.image_calls)
        assert send("GET", "/v2/team/app/tags/list", {"n": "1", "last": "a"}).json["tags"] == ["b"]
        assert len(ecr.image_calls) == calls
        send("GET", "/v2/team/app/tags/list", {"n": "1"})
        assert len(ecr.image_calls) == 2 * calls

    @pytest.mark.parametrize("clock", ["wall", "uptime"])
    @pytest.mark.parametrize(("seconds", "is_kept"), [(59.0, True), (61.0, False)])
    def test_a_listing_is_kept_for_a_minute_by_either_clock(
        self, ecr: FakeEcr, seconds: float, is_kept: bool, clock: str
    ) -> None:
        moments = [Moment(1000.0, 1000.0)]
        reader = ImageReader(Ecr(ecr, Calls()), is_enabled=True, now=lambda: moments[-1])
        invocation, repository = Invocation(Deadline.after(15)), Repository("team/app")
        assert reader.tags(repository, "", invocation) == ["a", "b", "c", "d", "e"]
        calls = len(ecr.image_calls)
        moments.append(moments[0]._replace(**{clock: 1000.0 + seconds}))
        ecr.images["f"] = (b"{}", OCI_MANIFEST)
        # A page behind the first, which a listing serves as long as it is kept.
        assert reader.tags(repository, "d", invocation) == (["e"] if is_kept else ["e", "f"])
        assert (len(ecr.image_calls) == calls) == is_kept
        # The first page is always read anew.
        assert reader.tags(repository, "", invocation)[-1] == "f"

    def test_few_listings_are_kept_the_latest_ones(self, ecr: FakeEcr) -> None:
        reader = ImageReader(Ecr(ecr, Calls()), is_enabled=True)
        invocation = Invocation(Deadline.after(15))
        repositories = [Repository(f"team/app-{number}") for number in range(CACHED_LISTINGS + 1)]
        for repository in repositories:
            reader.tags(repository, "", invocation)
        calls = len(ecr.image_calls)
        reader.tags(repositories[-1], "a", invocation)
        assert len(ecr.image_calls) == calls
        reader.tags(repositories[0], "a", invocation)
        assert len(ecr.image_calls) > calls

    def test_a_listing_is_one_of_the_repository_that_is_asked_for(self, send: Send, ecr: FakeEcr) -> None:
        send("GET", "/v2/team/app/tags/list")
        send("GET", "/v2/team/web/tags/list", {"last": "a"})
        assert ecr.image_calls[-1]["repositoryName"] == "team/web"
