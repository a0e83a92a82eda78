"""The routes under /v2."""

import errno
import hashlib
import json
import socket
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
from tests.faults.server import Behaviour
from tests.faults.server import answer as s3_answer
from tests.unit.fakes import (
    DOCKER_MANIFEST,
    OCI_MANIFEST,
    Context,
    FakeEcr,
    Output,
    Send,
    digest,
    download_url,
    ecr_error,
    function_url_event,
    manifest,
)
from tests.unit.servers import FakeServer

BLOB = f"/v2/team/app/blobs/{digest()}"
TAGS = "/v2/team/app/tags/list"
REFERRERS = f"/v2/team/app/referrers/{digest()}"
OCI_INDEX = INDEX_MEDIA_TYPES[0]


@pytest.fixture
def function_settings() -> Settings:
    return Settings(image_pull=True, list_tags=True, allowed_registries=("210987654321",))


@pytest.mark.parametrize("path", ["/v2/", "/v2"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_registry_says_that_it_is_one(send: Send, path: str, method: str) -> None:
    answer = send(method, path)
    assert (answer.status, answer.headers["Docker-Distribution-Api-Version"]) == (200, "registry/2.0")


class TestGetBlob:
    def test_a_blob_is_a_redirect_to_its_download_url_which_no_cache_may_keep(self, send: Send) -> None:
        answer = send("GET", BLOB)
        assert (answer.status, answer.text) == (307, "")
        assert answer.headers["Location"] == download_url(digest())
        assert answer.headers["Docker-Content-Digest"] == digest()
        # A cache that keeps it all the same gives it out no longer if the function fails.
        assert answer.headers["Cache-Control"] == "no-store, stale-if-error=0"

    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            (f"/v2/ab/blobs/{digest()}", {"repositoryName": "ab"}),
            (f"/v2/a/blobs/b/blobs/{digest()}", {"repositoryName": "a/blobs/b"}),
            (f"/v2/a/blobs/uploads/b/blobs/{digest()}", {"repositoryName": "a/blobs/uploads/b"}),
            (f"/%76%32/team%2fapp%2Fblobs/{quote(digest())}", {"repositoryName": "team/app"}),
            (f"/v2/999999999999/app/blobs/{digest()}", {"repositoryName": "999999999999/app"}),
            (f"/v2/210987654321/blobs/{digest()}", {"repositoryName": "210987654321"}),
            (f"/v2/210987654321/a/b/blobs/{digest()}", {"registryId": "210987654321", "repositoryName": "a/b"}),
        ],
    )
    def test_names_have_slashes_may_be_encoded_and_may_begin_with_an_allowed_registry(
        self, send: Send, ecr: FakeEcr, path: str, expected: dict[str, str]
    ) -> None:
        assert send("GET", path).status == 307
        assert ecr.calls == [{**expected, "layerDigest": digest()}]


def size(content_range: str) -> Behaviour:
    """Return S3's answer to a request for the first byte."""
    return s3_answer(206, b"x", f"Content-Range: {content_range}")


class TestHeadBlob:
    @pytest.mark.parametrize(
        ("answer", "length"),
        [
            (size("bytes 0-0/3001396"), "3001396"),
            (s3_answer(416, b"", "Content-Range: bytes */0"), "0"),
            (s3_answer(200, b"all of it"), "9"),
        ],
        ids=["range", "empty blob", "no ranges"],
    )
    def test_head_tells_the_size_that_one_byte_from_s3_tells(
        self, s3: FakeServer, send: Send, answer: Behaviour, length: str
    ) -> None:
        s3.answers = [answer]
        head = send("HEAD", BLOB)
        assert (head.status, head.text, head.headers["Content-Length"]) == (200, "", length)
        assert head.headers["Docker-Content-Digest"] == digest()
        assert head.headers["Content-Type"] == "application/octet-stream"
        assert head.headers["Accept-Ranges"] == "bytes"
        assert "Location" not in head.headers
        (request,) = s3.requests
        # A compressed answer would have another size.
        assert (request.headers["range"], request.headers["accept-encoding"]) == ("bytes=0-0", "identity")

    def test_the_size_of_a_digest_is_asked_for_once(self, s3: FakeServer, send: Send, ecr: FakeEcr) -> None:
        s3.answers = [size("bytes 0-0/5")]
        assert [send("HEAD", BLOB).headers["Content-Length"] for _ in range(2)] == ["5", "5"]
        assert len(s3.requests) == 1
        # But whether the caller may have the blob is.
        ecr.answer = ecr_error("AccessDeniedException")
        assert send("HEAD", BLOB).status == 403

    @pytest.mark.parametrize(
        "answer",
        [size("bytes 0-0/*"), s3_answer(206, b"x"), s3_answer(302, b"", "Location: https://elsewhere.example.com/")],
    )
    def test_without_a_size_there_is_no_guess(self, s3: FakeServer, send: Send, answer: Behaviour) -> None:
        s3.answers = [answer]
        head = send("HEAD", BLOB)
        assert (head.status, head.code) == (502, "UNKNOWN")

    def test_without_time_left_s3_is_not_asked(self, s3: FakeServer, send: Send, ecr: FakeEcr) -> None:
        ecr.answer = 0.12
        assert send("HEAD", BLOB, remaining_milliseconds=650).status == 504
        assert not s3.requests

    @pytest.mark.parametrize("status", [400, 401, 403])
    def test_a_url_that_s3_refuses_is_not_used_again_and_ecr_is_asked_for_another(
        self, s3: FakeServer, send: Send, ecr: FakeEcr, status: int
    ) -> None:
        url = f"{s3.download_url(digest())}&X-Amz-Date={datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        ecr.url_of = lambda _: url
        assert [send("GET", BLOB).status for _ in range(2)] == [307, 307]
        assert len(ecr.calls) == 1
        s3.answers = [s3_answer(status), size("bytes 0-0/7")]
        assert send("HEAD", BLOB).headers["Content-Length"] == "7"
        assert (len(ecr.calls), len(s3.requests)) == (2, 2)

    def test_an_s3_that_can_not_be_reached_is_a_504_whose_cause_the_log_names(
        self, s3: FakeServer, send: Send, output: Output
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            s3.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert send("HEAD", BLOB).status == 504
        cause = output.log()["error"]["cause"]
        assert (cause["host"], cause["errno"]) == ("127.0.0.1", errno.ECONNREFUSED)
        assert cause["because"][-1] == "ConnectionRefusedError"

    def test_an_s3_that_refuses_the_second_url_as_well_is_a_502(
        self, s3: FakeServer, send: Send, ecr: FakeEcr, output: Output
    ) -> None:
        s3.answers = [s3_answer(403)]
        answer = send("HEAD", BLOB)
        assert (answer.status, answer.code, len(ecr.calls)) == (502, "UNKNOWN", 2)
        assert output.log()["error"]["cause"] == {"type": "UrlRefusedError"}


class TestErrors:
    @pytest.mark.parametrize(
        "kind", [kind for kind in ERROR_TABLE.values() if kind.ecr_codes], ids=lambda kind: kind.code
    )
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_each_error_of_ecr_has_its_code_and_status(self, send: Send, ecr: FakeEcr, kind: Any, method: str) -> None:
        ecr.answer = ecr_error(min(kind.ecr_codes), "see arn:aws:ecr:us-east-1:123456789012:repository/team/app")
        answer = send(method, BLOB)
        assert (answer.status, answer.headers["Content-Type"]) == (kind.registry_http_status, "application/json")
        (error,) = answer.json["errors"]
        assert error.keys() == {"code", "message", "detail"}
        assert error["code"] == kind.registry_code
        assert error["detail"] == {
            "code": kind.code,
            "retryable": kind.retryable,
            "requestId": "9e5d8b70-0000-4000-8000-000000000000",
        }
        assert "arn:" not in answer.text
        assert ("Retry-After" in answer.headers) == (kind.retry_after_seconds is not None)

    @pytest.mark.parametrize(
        ("name", "reference", "code"),
        [
            ("UPPER", digest(), "NAME_INVALID"),
            ("a//b", digest(), "NAME_INVALID"),
            ("team/app", "md5:00", "DIGEST_INVALID"),
            ("team/app", "sha256:", "DIGEST_INVALID"),
            ("team/app", f"sha256:{'A' * 64}", "DIGEST_INVALID"),
            ("team/app", f"sha512:{'0' * 64}", "DIGEST_INVALID"),
        ],
    )
    @pytest.mark.parametrize("place", ["blobs", "manifests", "referrers"])
    def test_a_bad_name_and_a_digest_that_no_registry_has_are_told_apart(
        self, send: Send, ecr: FakeEcr, place: str, name: str, reference: str, code: str
    ) -> None:
        answer = send("GET", f"/v2/{name}/{place}/{reference}")
        assert (answer.status, answer.code) == (400, code)
        assert not ecr.calls + ecr.image_calls

    @pytest.mark.parametrize(
        ("method", "path", "allow"),
        [
            ("POST", "/v2/team/app/blobs/uploads/", ""),
            ("GET", "/v2/a/blobs/uploads/b/blobs/uploads/", ""),
            ("DELETE", BLOB, "GET, HEAD"),
            ("PUT", "/v2/team/app/manifests/latest", "GET, HEAD"),
            ("POST", "/v2/", "GET, HEAD"),
        ],
    )
    def test_what_would_write_is_not_supported(self, send: Send, method: str, path: str, allow: str) -> None:
        answer = send(method, path)
        assert (answer.status, answer.code, answer.headers["Allow"]) == (405, "UNSUPPORTED", allow)
        assert "This is a read-only registry: push to ECR itself." in answer.text

    @pytest.mark.parametrize(
        "path",
        [
            "/v2/team/app",
            f"/v2//blobs/{digest()}",
            f"/v2/blobs/{digest()}",
            "/v2/%FF/blobs/x",
            "/v2/a/b/",
            "/v2/team/app/manifests/",
            "/v2/team/app/tags/list/",
            f"/v2/team/app/blobs/{digest()}/",
        ],
    )
    def test_an_unknown_route_is_a_404(self, send: Send, path: str) -> None:
        answer = send("GET", path)
        assert (answer.status, answer.code) == (404, "UNSUPPORTED")
        assert "openapi" not in answer.text


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v2/team/app/manifests/latest", 403, "DENIED"),
        (TAGS, 403, "DENIED"),
        ("/v2/_catalog", 403, "DENIED"),
        # Clients fall back to the tag schema only on 404.
        (REFERRERS, 404, "UNSUPPORTED"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_is_not_turned_on_is_denied(ecr: FakeEcr, method: str, path: str, status: int, code: str) -> None:
    answer = create_handler(ecr, Settings())(function_url_event(method, path), Context())
    assert (answer["statusCode"], json.loads(answer["body"])["errors"][0]["code"]) == (status, code)
    assert not ecr.image_calls


class TestManifests:
    CONTENT = json.dumps(manifest(), indent=3).encode()
    DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"

    @pytest.fixture(autouse=True)
    def _images(self, ecr: FakeEcr) -> None:
        ecr.images = dict.fromkeys(("1.0", self.DIGEST), (self.CONTENT, OCI_MANIFEST))
        ecr.images["index"] = (b"{}", OCI_INDEX)

    @pytest.mark.parametrize(
        ("reference", "caching"),
        [
            ("1.0", "no-store"),
            (DIGEST, "private, max-age=31536000, immutable"),
            (quote(DIGEST), "private, max-age=31536000, immutable"),
        ],
    )
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_a_manifest_is_its_very_bytes_and_by_its_digest_may_be_kept_for_ever(
        self, send: Send, reference: str, caching: str, method: str
    ) -> None:
        answer = send(method, f"/v2/team/app/manifests/{reference}")
        assert (answer.status, answer.text.encode()) == (200, self.CONTENT)
        assert answer.headers["Content-Type"] == OCI_MANIFEST
        assert answer.headers["Docker-Content-Digest"] == self.DIGEST
        assert answer.headers["Cache-Control"] == caching

    def test_every_kind_of_manifest_is_asked_for(self, send: Send, ecr: FakeEcr) -> None:
        send("GET", "/v2/a/blobs/uploads/b/manifests/1.0")
        (call,) = ecr.image_calls
        assert call == {
            "repositoryName": "a/blobs/uploads/b",
            "imageIds": [{"imageTag": "1.0"}],
            "acceptedMediaTypes": [OCI_MANIFEST, DOCKER_MANIFEST, *INDEX_MEDIA_TYPES],
        }

    @pytest.mark.parametrize(
        ("reference", "accept", "status"),
        [
            ("1.0", "", 200),
            ("1.0", OCI_MANIFEST.upper(), 200),
            ("1.0", DOCKER_MANIFEST, 200),
            ("1.0", OCI_INDEX, 404),
            ("1.0", f"{OCI_INDEX}, {DOCKER_MANIFEST}", 200),
            ("1.0", f"{OCI_INDEX}, {DOCKER_MANIFEST};q=0", 404),
            ("1.0", f"{OCI_MANIFEST};q=0", 404),
            ("1.0", f"{OCI_MANIFEST}; Q=0.000, */*", 404),
            ("1.0", "*/*;q=0", 404),
            ("1.0", "application/*;q=0, */*", 404),
            ("1.0", f"*/*;q=0, {OCI_MANIFEST};q=0.001", 200),
            ("1.0", ";;q=0,,", 200),
            ("1.0", f"{OCI_MANIFEST};q=nonsense", 200),
            ("index", OCI_MANIFEST, 404),
            ("index", INDEX_MEDIA_TYPES[1], 200),
            ("index", "*/*", 200),
        ],
    )
    def test_accept_is_honoured(self, send: Send, output: Output, reference: str, accept: str, status: int) -> None:
        answer = send("GET", f"/v2/team/app/manifests/{reference}", headers={"Accept": accept})
        assert answer.status == status
        if status == 404:
            assert answer.code == "MANIFEST_UNKNOWN"
            assert f"{'index' if reference == 'index' else 'manifest'}.v1+json" in answer.text
            assert output.log()["error"]["image"] == reference

    @pytest.mark.parametrize("reference", ["2.0", digest()])
    def test_an_image_that_is_not_there_is_unknown(self, send: Send, reference: str) -> None:
        answer = send("GET", f"/v2/team/app/manifests/{reference}")
        assert (answer.status, answer.code) == (404, "MANIFEST_UNKNOWN")
        assert f"There is no image {reference} in repository team/app." in answer.text

    @pytest.mark.parametrize("reference", [".INVALID_MANIFEST_NAME", "-s3cr3t", "Bearer%20s3cr3t", "s3cr3t" * 30])
    def test_what_can_be_no_tag_is_not_there_and_neither_quoted_nor_logged(
        self, send: Send, ecr: FakeEcr, output: Output, reference: str
    ) -> None:
        answer = send("GET", f"/v2/team/app/manifests/{reference}")
        assert (answer.status, answer.code) == (404, "MANIFEST_UNKNOWN")
        assert "There is no image of that name in repository team/app." in answer.text
        assert "s3cr3t" not in answer.text + output.text()
        assert not ecr.image_calls

    @pytest.mark.parametrize(
        ("failure", "status", "code"),
        [
            ("UpstreamTooManyRequests", 429, "TOOMANYREQUESTS"),
            ("KmsError", 404, "MANIFEST_UNKNOWN"),
            ("SomethingNew", 500, "UNKNOWN"),
            (None, 404, "MANIFEST_UNKNOWN"),
        ],
    )
    def test_each_reason_of_ecr_has_its_answer_and_is_only_logged(
        self, send: Send, ecr: FakeEcr, output: Output, failure: str | None, status: int, code: str
    ) -> None:
        ecr.image_failure = failure
        answer = send("GET", "/v2/team/app/manifests/2.0")
        assert (answer.status, answer.code) == (status, code)
        assert output.log()["error"].get("cause", {}).get("code") == failure
        assert str(failure) not in answer.text

    @pytest.mark.parametrize("reference", [digest(), f"sha512:{'0' * 128}"])
    def test_bytes_that_are_not_what_the_digest_says_are_not_given_out(
        self, send: Send, ecr: FakeEcr, reference: str
    ) -> None:
        ecr.images[reference] = (self.CONTENT, OCI_MANIFEST)
        answer = send("GET", f"/v2/team/app/manifests/{reference}")
        assert (answer.status, answer.code) == (502, "UNKNOWN")

    def test_a_manifest_that_the_client_has_is_not_sent_again(self, send: Send) -> None:
        for known in (f'"{self.DIGEST}"', f'"other" , W/"{self.DIGEST}"', self.DIGEST, "*"):
            again = send("GET", "/v2/team/app/manifests/1.0", headers={"if-none-match": known})
            assert (again.status, again.text, again.headers["ETag"]) == (304, "", f'"{self.DIGEST}"')
        for other in ('"other"', '"*"', '""', "", f'"{digest(9)}", W/"*"'):
            answer = send("GET", "/v2/team/app/manifests/1.0", headers={"if-none-match": other})
            assert (answer.status, answer.headers["ETag"]) == (200, f'"{self.DIGEST}"')


class TestReferrers:
    @pytest.fixture(autouse=True)
    def _referrers(self, ecr: FakeEcr) -> None:
        ecr.referrers = [
            {"digest": digest(1), "mediaType": OCI_MANIFEST, "size": 10, "artifactType": "application/sbom"},
            {"digest": digest(2), "mediaType": OCI_MANIFEST, "size": 20, "annotations": {"a": "b"}},
            {"digest": digest(3), "mediaType": OCI_MANIFEST, "size": 30, "artifactType": "application/sbom"},
        ]

    def test_what_refers_to_an_image_is_an_index_page_by_page(self, send: Send, ecr: FakeEcr) -> None:
        first = send("GET", REFERRERS)
        assert (first.status, first.headers["Content-Type"]) == (200, OCI_INDEX)
        assert first.json == {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": ecr.referrers[:2]}
        assert first.headers["Link"] == f'<{REFERRERS}?nextToken=2>; rel="next"'
        second = send("GET", REFERRERS, {"nextToken": "2"})
        assert second.json["manifests"] == ecr.referrers[2:]
        assert not {"Link", "OCI-Filters-Applied"} & second.headers.keys()
        assert ecr.image_calls[0]["subjectId"] == {"imageDigest": digest()}
        # https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_ListImageReferrers.html
        assert ecr.image_calls[0]["maxResults"] == 50

    @pytest.mark.parametrize(
        ("sent", "types"),
        [
            ("application/sbom", ["application/sbom"]),
            # Parameters of one name arrive joined by a comma, and a plus as a space unless it was encoded.
            ("application/sbom,application/spdx json", ["application/sbom", "application/spdx+json"]),
            ("application/spdx+json,application/sbom", ["application/spdx+json", "application/sbom"]),
            (f"application/sbom,b,c,d,{'e' * 255}", ["application/sbom", "b", "c", "d", "e" * 255]),
        ],
        ids=len,
    )
    def test_filters_by_type_are_applied_and_said_to_be(
        self, send: Send, ecr: FakeEcr, sent: str, types: list[str]
    ) -> None:
        ecr.referrers *= 2
        answer = send("GET", REFERRERS, {"artifactType": sent})
        assert [each["digest"] for each in answer.json["manifests"]] == [digest(1), digest(3)]
        assert answer.headers["OCI-Filters-Applied"] == "artifactType"
        assert ecr.image_calls[0]["filter"] == {"artifactTypes": types}
        assert f"?artifactType={quote(','.join(types), safe='')}&nextToken=2>" in answer.headers["Link"]

    @pytest.mark.parametrize(
        ("query", "code"),
        [
            ({"artifactType": "a\tb"}, "UNSUPPORTED"),
            ({"artifactType": "a/b,"}, "UNSUPPORTED"),
            ({"artifactType": "a,b,c,d,e,f"}, "UNSUPPORTED"),
            ({"nextToken": "a b"}, "PAGINATION_NUMBER_INVALID"),
            ({"nextToken": "a" * 4097}, "PAGINATION_NUMBER_INVALID"),
        ],
    )
    def test_a_malformed_query_is_refused(self, send: Send, ecr: FakeEcr, query: dict[str, str], code: str) -> None:
        answer = send("GET", REFERRERS, query)
        assert (answer.status, answer.code) == (400, code)
        assert next(iter(query)) in answer.text
        assert not ecr.image_calls

    def test_a_token_that_ecr_refuses_is_called_that_and_other_refusals_are_what_they_are(
        self, send: Send, ecr: FakeEcr
    ) -> None:
        answer = send("GET", REFERRERS, {"nextToken": "none-of-ecrs"})
        assert (answer.status, answer.code) == (400, "PAGINATION_NUMBER_INVALID")
        assert "nextToken must come from the previous page's Link header" in answer.text
        ecr.image_error = ecr_error("InvalidParameterException")
        assert send("GET", REFERRERS).code == "NAME_INVALID"
        ecr.image_error = ecr_error("RepositoryNotFoundException")
        assert send("GET", REFERRERS, {"nextToken": "2"}).code == "NAME_UNKNOWN"


class TestTags:
    @pytest.fixture(autouse=True)
    def _images(self, ecr: FakeEcr) -> None:
        ecr.images = dict.fromkeys(("b", "e", "a", "d", "c"), (b"{}", OCI_MANIFEST))

    def test_all_tags_of_all_of_ecrs_pages_are_listed_in_order(self, send: Send, ecr: FakeEcr) -> None:
        answer = send("GET", TAGS)
        # As few calls as ECR lets a list take, for tags alone.
        assert {(call["maxResults"], call["filter"]["tagStatus"]) for call in ecr.image_calls} == {(1000, "TAGGED")}
        assert answer.json == {"name": "team/app", "tags": ["a", "b", "c", "d", "e"]}
        assert "Link" not in answer.headers

    @pytest.mark.parametrize(
        ("query", "tags", "link"),
        [
            ({"n": "2"}, "ab", f'<{TAGS}?n=2&last=b>; rel="next"'),
            ({"n": "2", "last": "b"}, "cd", f'<{TAGS}?n=2&last=d>; rel="next"'),
            ({"n": "2", "last": "d"}, "e", None),
            ({"n": "0"}, "", None),
            ({"n": "99"}, "abcde", None),
            ({"n": "1", "last": "bb"}, "c", f'<{TAGS}?n=1&last=c>; rel="next"'),
            ({"last": "\ufffd"}, "", None),
            ({"n": "005"}, "abcde", None),
            ({"n": "0" * 5000}, "", None),
            ({"n": "9" * 5000}, "abcde", None),
        ],
    )
    def test_n_and_last_pick_tags_and_pages_lead_to_the_next(
        self, send: Send, query: dict[str, str], tags: str, link: str | None
    ) -> None:
        answer = send("GET", TAGS, query)
        assert (answer.json["tags"], answer.headers.get("Link")) == ([*tags], link)

    @pytest.mark.parametrize("n", ["-1", "x", "", "1.5", "1e3", "+1", " 1", "2,3", "\u0663", "0x1"])
    def test_a_number_that_is_none_is_refused(self, send: Send, n: str) -> None:
        answer = send("GET", TAGS, {"n": n})
        assert (answer.status, answer.code) == (400, "PAGINATION_NUMBER_INVALID")

    def test_a_page_has_a_thousand_tags_at_the_most(self, send: Send, ecr: FakeEcr) -> None:
        ecr.images, ecr.page = {f"t{number:05}": (b"{}", OCI_MANIFEST) for number in range(1001)}, 1000
        for query in ({}, {"n": "1001"}, {"n": "4294967297"}):
            # Only the first page is read anew, so this asks ECR once.
            answer = send("GET", TAGS, query | {"last": "a"})
            assert len(answer.json["tags"]) == 1000
            assert answer.headers["Link"] == f'<{TAGS}?n=1000&last=t00999>; rel="next"'

    @pytest.mark.parametrize("clock", ["wall", "uptime"])
    @pytest.mark.parametrize(("seconds", "is_kept"), [(59.0, True), (61.0, False)])
    def test_a_listing_is_kept_for_further_pages_for_a_minute_by_either_clock(
        self, ecr: FakeEcr, seconds: float, is_kept: bool, clock: str
    ) -> None:
        moments = [Moment(1000.0, 1000.0)]
        reader = ImageReader(Ecr(ecr, Calls()), is_enabled=True, now=lambda: moments[-1])
        invocation, repository = Invocation(Deadline.after(15)), Repository("team/app")
        assert reader.tags(repository, "", invocation) == ["a", "b", "c", "d", "e"]
        calls = len(ecr.image_calls)
        moments.append(moments[0]._replace(**{clock: 1000.0 + seconds}))
        ecr.images["f"] = (b"{}", OCI_MANIFEST)
        assert reader.tags(repository, "d", invocation) == (["e"] if is_kept else ["e", "f"])
        assert (len(ecr.image_calls) == calls) == is_kept
        # The first page is always read anew.
        assert reader.tags(repository, "", invocation)[-1] == "f"

    def test_few_listings_are_kept_the_latest_ones_each_of_its_repository(self, ecr: FakeEcr) -> None:
        reader = ImageReader(Ecr(ecr, Calls()), is_enabled=True)
        invocation = Invocation(Deadline.after(15))
        repositories = [Repository(f"team/app-{number}") for number in range(CACHED_LISTINGS + 1)]
        for repository in repositories:
            reader.tags(repository, "", invocation)
        calls = len(ecr.image_calls)
        reader.tags(repositories[-1], "a", invocation)
        assert len(ecr.image_calls) == calls
        reader.tags(repositories[0], "a", invocation)
        assert ecr.image_calls[-1]["repositoryName"] == "team/app-0"
