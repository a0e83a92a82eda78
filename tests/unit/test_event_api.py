"""EventBridge events and direct invocations."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from layer_resolver.errors import (
    ERROR_TABLE,
    INTERNAL_ERROR,
    INVALID_PARAMETER,
    RESULT_TOO_LARGE,
    THROTTLED,
    UNSUPPORTED_EVENT,
    ResolverError,
)
from layer_resolver.handler import create_handler
from layer_resolver.models import INDEX_MEDIA_TYPES
from layer_resolver.settings import Settings
from tests.unit.fakes import (
    DOCKER_MANIFEST,
    OCI_MANIFEST,
    Context,
    FakeEcr,
    digest,
    download_url,
    ecr_error,
    eventbridge_event,
    manifest,
)

Invoke = Callable[..., Any]

EVENT_ID = eventbridge_event({})["id"]


@pytest.fixture
def invoke(ecr: FakeEcr) -> Invoke:
    handler = create_handler(ecr, Settings())

    def invoke_with(event: Any, remaining_milliseconds: int = 15_000) -> Any:
        return handler(event, Context(remaining_milliseconds))

    return invoke_with


def request(*numbers: int, **more: Any) -> dict[str, Any]:
    return {"repositoryName": "team/app", "layerDigests": [digest(number) for number in numbers], **more}


def test_a_manifest_has_4_mb_at_most(invoke: Invoke) -> None:
    document = json.dumps(manifest())
    largest = document + " " * (4 * 2**20 - len(document))
    assert len(invoke({"repositoryName": "team/app", "imageManifest": largest})["downloadUrls"]) == 3
    with pytest.raises(ResolverError, match="imageManifest must have at most 4194304 characters"):
        invoke({"repositoryName": "team/app", "imageManifest": f"{largest} "})


class TestResults:
    def test_an_event_is_answered_with_its_id_and_what_was_resolved(self, invoke: Invoke, ecr: FakeEcr) -> None:
        ecr.answers = {digest(2): ecr_error("LayersNotFoundException")}
        result = invoke(eventbridge_event(request(1, 2)))
        assert result == {
            "requestId": EVENT_ID,
            "downloadUrls": [
                {
                    "downloadUrl": download_url(digest(1)),
                    "layerDigest": digest(1),
                    "expiresAt": "2026-11-23T11:00:00Z",
                }
            ],
            "failures": [
                {
                    "layerDigest": digest(2),
                    "code": "LayersNotFoundException",
                    "message": f"There is no layer {digest(2)} in repository team/app. "
                    "Use a digest listed in one of its image manifests.",
                    "retryable": False,
                }
            ],
        }
        assert json.loads(json.dumps(result)) == result

    @pytest.mark.parametrize("media_type", [OCI_MANIFEST, DOCKER_MANIFEST, None])
    def test_a_manifests_config_and_layers_are_resolved(self, invoke: Invoke, media_type: str | None) -> None:
        detail = {"repositoryName": "team/app", "imageManifest": json.dumps(manifest(media_type))}
        result = invoke(eventbridge_event(detail))
        assert [(url["layerDigest"], url["size"]) for url in result["downloadUrls"]] == [
            (digest(100), 1470),
            (digest(1), 2811),
            (digest(2), 32),
        ]

    @pytest.mark.parametrize(
        ("payload", "digests"),
        [
            (request(1, 2), [digest(1), digest(2)]),
            ({"repositoryName": "team/app", "layerDigest": digest(3)}, [digest(3)]),
            (
                {"repositoryName": "team/app", "imageManifest": json.dumps(manifest())},
                [digest(100), digest(1), digest(2)],
            ),
        ],
    )
    def test_a_direct_invocation_with_a_request_is_resolved(
        self, invoke: Invoke, payload: dict[str, Any], digests: list[str]
    ) -> None:
        result = invoke(payload)
        assert result["requestId"] == Context().aws_request_id
        assert [url["layerDigest"] for url in result["downloadUrls"]] == digests


class TestWhatLambdaTriesAgain:
    def test_an_event_that_came_to_nothing_but_can_later_is_raised(self, invoke: Invoke, ecr: FakeEcr) -> None:
        ecr.answers = {
            digest(1): ecr_error("LayersNotFoundException"),
            digest(2): ecr_error("ThrottlingException"),
        }
        with pytest.raises(ResolverError) as caught:
            invoke(eventbridge_event(request(1, 2)))
        assert caught.value.kind is THROTTLED
        assert str(caught.value).startswith("ThrottlingException: ECR is throttling")

    def test_what_was_resolved_is_returned_with_the_rest_marked_as_retryable(
        self, invoke: Invoke, ecr: FakeEcr
    ) -> None:
        ecr.answers = {digest(2): ecr_error("ThrottlingException")}
        result = invoke(eventbridge_event(request(1, 2)))
        assert [url["layerDigest"] for url in result["downloadUrls"]] == [digest(1)]
        assert [(each["layerDigest"], each["retryable"]) for each in result["failures"]] == [(digest(2), True)]

    @pytest.mark.parametrize(
        "kind", [kind for kind in ERROR_TABLE.values() if kind.ecr_codes], ids=lambda kind: kind.code
    )
    def test_each_error_of_ecr_is_raised_if_and_only_if_another_try_can_help(
        self, invoke: Invoke, ecr: FakeEcr, kind: Any
    ) -> None:
        ecr.answer = ecr_error(min(kind.ecr_codes))
        event = eventbridge_event(request(1))
        if kind.retryable or kind.is_fault:
            with pytest.raises(ResolverError, match=f"^{kind.code}: "):
                invoke(event)
        else:
            assert [each["code"] for each in invoke(event)["failures"]] == [kind.code]


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("detail", "message"),
        [
            ({}, "repositoryName is missing"),
            ({"repositoryName": "team/app"}, "layerDigests is missing"),
            ({"repositoryName": "team/app", "layerDigests": []}, "layerDigests"),
            ({"repositoryName": "team/app", "layerDigests": [digest(), "nonsense"]}, r"layerDigests\[1\] must be"),
            (request(1, regsitryId="210987654321"), "regsitryId is not a field"),
            (request(*range(10_000)), "layerDigests must have at most 500 entries"),
            ({"repositoryName": "team/app", "imageManifest": "{"}, "not JSON"),
            ({"repositoryName": "team/app", "imageManifest": {}}, "imageManifest"),
            ({"repositoryName": "team/app", "imageManifest": "{}"}, "config is missing"),
            ({"imageManifest": json.dumps(manifest())}, "repositoryName is missing"),
            ("text", "detail"),
            (None, "detail"),
        ],
    )
    def test_a_malformed_detail_is_raised_with_what_is_wrong(self, invoke: Invoke, detail: Any, message: str) -> None:
        with pytest.raises(ResolverError, match=message) as caught:
            invoke(eventbridge_event(detail))
        assert caught.value.kind is INVALID_PARAMETER

    @pytest.mark.parametrize("media_type", INDEX_MEDIA_TYPES)
    def test_an_index_is_raised_with_the_manifests_to_pick_from(self, invoke: Invoke, media_type: str) -> None:
        entry = {
            "mediaType": OCI_MANIFEST,
            "digest": digest(7),
            "size": 1,
            "platform": {"os": "linux", "architecture": "arm64"},
        }
        index = {"schemaVersion": 2, "mediaType": media_type, "manifests": [entry]}
        with pytest.raises(ResolverError, match=rf"image index.*{digest(7)} \(linux/arm64\)"):
            invoke(eventbridge_event({"repositoryName": "team/app", "imageManifest": json.dumps(index)}))

    @pytest.mark.parametrize("name", ["repositoryName", "layerDigest", "layerDigests", "imageManifest"])
    def test_whatever_has_a_field_of_a_request_is_one_that_lacks_others(self, invoke: Invoke, name: str) -> None:
        with pytest.raises(ResolverError, match=r"repositoryName|layerDigests") as caught:
            invoke({name: "ab"})
        assert caught.value.kind is INVALID_PARAMETER

    @pytest.mark.parametrize("detail_type", ["Scheduled Event", "Object Created", "ECR Image Action", ""])
    @pytest.mark.parametrize("detail", [{}, "{}", None], ids=repr)
    def test_an_unknown_detail_type_is_raised_with_the_known_one(
        self, invoke: Invoke, detail_type: str, detail: Any
    ) -> None:
        with pytest.raises(ResolverError, match="'ECR Layer Download URL Request'") as caught:
            invoke(eventbridge_event(detail, detail_type))
        assert caught.value.kind is UNSUPPORTED_EVENT

    @pytest.mark.parametrize(
        "event",
        [
            {"Records": [{"eventSource": "aws:s3", "s3": {"bucket": {"name": "a"}, "object": {"key": "b"}}}]},
            {"key1": "value1", "key2": "value2", "key3": "value3"},
            {},
            [],
            "text",
            None,
        ],
        ids=["S3 event", "the console's test event", "empty object", "list", "text", "null"],
    )
    def test_an_event_of_another_kind_is_raised_with_what_the_function_answers(
        self, invoke: Invoke, event: Any
    ) -> None:
        with pytest.raises(ResolverError, match="direct invocations with the fields of a request") as caught:
            invoke(event)
        assert caught.value.kind is UNSUPPORTED_EVENT


class TestSize:
    """Lambda drops a result that is too large for its destination."""

    def test_as_many_layers_as_the_documents_say_fit_into_an_event(self, invoke: Invoke, ecr: FakeEcr) -> None:
        # ECR's URLs are up to 2 KB long, most of it the security token.
        ecr.url_padding = 1650
        event = eventbridge_event(request(*range(100)))
        result = invoke(event)
        assert len(result["downloadUrls"]) == 100
        assert 2000 < len(result["downloadUrls"][0]["downloadUrl"]) < 2100
        assert len(json.dumps(result)) + len(json.dumps(event)) < 256 * 1024

    def test_a_result_that_is_too_large_is_raised_with_what_to_do(self, invoke: Invoke, ecr: FakeEcr) -> None:
        ecr.url_padding = 1650
        with pytest.raises(ResolverError, match=r"Ask for at most 1[12][0-9] layers with one event") as caught:
            invoke(eventbridge_event(request(*range(130))))
        assert caught.value.kind is RESULT_TOO_LARGE
        assert "The result is larger than 256 KB, so it would be lost." in caught.value.detail

    def test_at_least_one_layer_is_advised(self, ecr: FakeEcr) -> None:
        handler = create_handler(ecr, Settings(maximum_result_kilobytes=8))
        with pytest.raises(ResolverError, match="Ask for at most 1 layers with one event"):
            handler(eventbridge_event(request(*range(500))), Context())

    def test_a_direct_invocation_is_told_that_its_result_is_too_large(self, invoke: Invoke, ecr: FakeEcr) -> None:
        ecr.url_padding = 14_000
        with pytest.raises(ResolverError) as caught:
            invoke(request(*range(500)))
        assert caught.value.kind is RESULT_TOO_LARGE

    def test_event_result_and_4_kb_for_the_rest_of_the_record_may_fill_the_destination(self, ecr: FakeEcr) -> None:
        handler = create_handler(ecr, Settings(maximum_result_kilobytes=8))
        event = eventbridge_event(request(1))
        result = handler(event, Context())
        ecr.url_padding = 8 * 1024 - 4 * 1024 - len(json.dumps(event)) - len(json.dumps(result))
        assert len(handler(event, Context())["downloadUrls"]) == 1
        ecr.url_padding += 1
        with pytest.raises(ResolverError) as caught:
            handler(event, Context())
        assert caught.value.kind is RESULT_TOO_LARGE

    def test_an_event_beyond_any_depth_is_refused(self, invoke: Invoke) -> None:
        deep: dict[str, Any] = {}
        for _ in range(100_000):
            deep = {"a": deep}
        with pytest.raises(ResolverError, match="nested too deep") as caught:
            invoke(eventbridge_event(request(1)) | {"more": deep})
        assert caught.value.kind is INVALID_PARAMETER

    def test_the_event_counts_as_well_because_the_record_repeats_it(self, invoke: Invoke) -> None:
        padded = manifest(annotations={"org.example": "x" * (256 * 1024 - 2000)})
        with pytest.raises(ResolverError) as caught:
            invoke(eventbridge_event({"repositoryName": "team/app", "imageManifest": json.dumps(padded)}))
        assert caught.value.kind is RESULT_TOO_LARGE


class TestWhatIsWritten:
    def test_the_log_names_trigger_and_event(self, invoke: Invoke, capsys: pytest.CaptureFixture[str]) -> None:
        invoke(eventbridge_event(request(1)))
        (log,) = [line for line in map(json.loads, capsys.readouterr().out.splitlines()) if "_aws" not in line]
        assert (log["trigger"], log["route"], log["status"], log["level"]) == ("eventbridge", "event", 200, "INFO")
        assert log["correlation_id"] == EVENT_ID
        assert log["layersResolved"] == 1

    @pytest.mark.parametrize(
        ("event", "trigger"),
        [
            (eventbridge_event({}), "eventbridge"),
            (eventbridge_event({}, "Scheduled Event"), "eventbridge"),
            ({"layerDigests": []}, "direct"),
            ({}, "unknown"),
        ],
    )
    def test_what_is_raised_leaves_one_line_that_says_why(
        self, invoke: Invoke, capsys: pytest.CaptureFixture[str], event: Any, trigger: str
    ) -> None:
        with pytest.raises(ResolverError) as caught:
            invoke(event)
        (log,) = [line for line in map(json.loads, capsys.readouterr().out.splitlines()) if "_aws" not in line]
        assert (log["trigger"], log["level"], log["error"]["code"]) == (trigger, "ERROR", caught.value.kind.code)

    @pytest.mark.parametrize("answer", [RuntimeError(download_url(digest())), None], ids=["in a call", "outside"])
    def test_an_event_that_came_to_nothing_by_a_bug_is_raised(
        self,
        invoke: Invoke,
        ecr: FakeEcr,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        answer: Exception | None,
    ) -> None:
        if answer is not None:
            ecr.answer = answer
        else:
            monkeypatch.setattr(ecr, "get_download_url_for_layer", lambda **_: download_url(digest()))
        with pytest.raises(ResolverError) as caught:
            invoke(eventbridge_event(request(1, 2)))
        assert caught.value.kind is INTERNAL_ERROR
        assert caught.value.__cause__ is None
        written = capsys.readouterr().out
        assert f'"cause":{{"type":"{"RuntimeError" if answer else "AttributeError"}"' in written
        assert "X-Amz" not in written


class TestPushes:
    CONTENT = json.dumps(manifest()).encode()
    DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"

    @pytest.fixture
    def invoke(self, ecr: FakeEcr) -> Invoke:
        ecr.images = {self.DIGEST: (self.CONTENT, OCI_MANIFEST)}
        handler = create_handler(ecr, Settings(image_pull=True))
        return lambda event: handler(event, Context())

    def push(self, **changes: Any) -> dict[str, Any]:
        detail = {
            "action-type": "PUSH",
            "result": "SUCCESS",
            "repository-name": "team/app",
            "image-digest": self.DIGEST,
            "image-tag": "1.0",
        }
        return eventbridge_event(detail | changes, "ECR Image Action")

    def test_the_layers_of_a_pushed_image_are_resolved(self, invoke: Invoke) -> None:
        result = invoke(self.push())
        assert result["requestId"] == EVENT_ID
        assert [url["layerDigest"] for url in result["downloadUrls"]] == [digest(100), digest(1), digest(2)]

    def test_a_pushed_index_has_no_layers_of_its_own(self, invoke: Invoke, ecr: FakeEcr) -> None:
        ecr.images = {self.DIGEST: (self.CONTENT, INDEX_MEDIA_TYPES[0])}
        assert invoke(self.push()) == {"requestId": EVENT_ID, "downloadUrls": [], "failures": []}

    def test_an_image_that_ecr_does_not_give_yet_is_raised_for_another_try(self, invoke: Invoke, ecr: FakeEcr) -> None:
        ecr.image_error = ecr_error("ThrottlingException")
        with pytest.raises(ResolverError) as caught:
            invoke(self.push())
        assert caught.value.kind is THROTTLED

    def test_an_image_that_can_not_be_read_is_called_by_its_digest(
        self, invoke: Invoke, ecr: FakeEcr, capsys: pytest.CaptureFixture[str]
    ) -> None:
        content = b'{"schemaVersion": 1}'
        image_digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        ecr.images = {image_digest: (content, OCI_MANIFEST)}
        with pytest.raises(ResolverError, match=f"image {image_digest} in repository team/app"):
            invoke(self.push(**{"image-digest": image_digest}))
        assert json.loads(capsys.readouterr().out.splitlines()[0])["error"]["image"] == image_digest

    @pytest.mark.parametrize("changes", [{"image-digest": "x"}, {"repository-name": None}])
    def test_a_malformed_push_is_refused(self, invoke: Invoke, changes: dict[str, Any]) -> None:
        with pytest.raises(ResolverError) as caught:
            invoke(self.push(**changes))
        assert caught.value.kind is INVALID_PARAMETER

    @pytest.mark.parametrize("changes", [{"action-type": "DELETE"}, {"result": "FAILURE"}])
    def test_another_action_is_refused(self, invoke: Invoke, changes: dict[str, Any]) -> None:
        with pytest.raises(ResolverError, match="those of pushed images") as caught:
            invoke(self.push(**changes))
        assert caught.value.kind is UNSUPPORTED_EVENT

    def put_layers(self, ecr: FakeEcr, count: int) -> str:
        """Put an image with so many layers, and return its digest."""
        layers = [{"mediaType": "x", "digest": digest(number), "size": 1} for number in range(1000, 1000 + count)]
        content = json.dumps(manifest(layers=layers)).encode()
        image_digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        ecr.images = {image_digest: (content, OCI_MANIFEST)}
        return image_digest

    def test_an_image_of_too_many_layers_for_a_result_says_what_to_do(self, invoke: Invoke, ecr: FakeEcr) -> None:
        image_digest = self.put_layers(ecr, 400)
        with pytest.raises(ResolverError, match=r"lost\. GET /images/download-urls of the function URL") as caught:
            invoke(self.push(**{"image-digest": image_digest}))
        assert caught.value.kind is RESULT_TOO_LARGE
        assert not ecr.calls


def test_an_id_that_is_not_of_aws_form_is_neither_answered_nor_logged(
    ecr: FakeEcr, capsys: pytest.CaptureFixture[str]
) -> None:
    event = eventbridge_event({"repositoryName": "team/app", "layerDigests": [digest()]}) | {
        "id": download_url("x" * 70)
    }
    result = create_handler(ecr, Settings())(event, Context())
    assert result["requestId"] == Context().aws_request_id
    assert "starport" not in capsys.readouterr().out
