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
    ErrorKind,
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
    Output,
    digest,
    download_url,
    ecr_error,
    eventbridge_event,
    manifest,
)

Invoke = Callable[[Any], Any]
Refuse = Callable[[Any, ErrorKind], str]

EVENT_ID = eventbridge_event({})["id"]


@pytest.fixture
def invoke(ecr: FakeEcr, function_settings: Settings) -> Invoke:
    handler = create_handler(ecr, function_settings)
    return lambda event: handler(event, Context())


@pytest.fixture
def refuse(invoke: Invoke, output: Output) -> Refuse:
    """Return a function that sends an event, which is raised for this reason and logged, and returns the message."""

    def refuse_event(event: Any, kind: ErrorKind) -> str:
        output.text()
        with pytest.raises(ResolverError) as caught:
            invoke(event)
        assert caught.value.kind is kind
        assert caught.value.__cause__ is None
        log = output.log()
        assert (log["level"], log.get("layersResolved", 0)) == ("ERROR", 0)
        assert kind.code in {each["code"] for each in (log.get("error"), *log.get("failures", [])) if each}
        return str(caught.value)

    return refuse_event


def request(*numbers: int, **more: Any) -> dict[str, Any]:
    return {"repositoryName": "team/app", "layerDigests": [digest(number) for number in numbers], **more}


def manifest_request(document: Any) -> dict[str, Any]:
    return {"repositoryName": "team/app", "imageManifest": json.dumps(document)}


def digests_in(result: dict[str, Any]) -> list[str]:
    return [each["layerDigest"] for each in result["downloadUrls"]]


class TestResults:
    def test_an_event_is_answered_with_its_id_and_what_was_resolved_and_logged(
        self, invoke: Invoke, ecr: FakeEcr, output: Output
    ) -> None:
        ecr.answers = {digest(2): ecr_error("ThrottlingException")}
        result = invoke(eventbridge_event(request(1, 2)))
        url = {
            "downloadUrl": download_url(digest(1)),
            "layerDigest": digest(1),
            "expiresAt": "2026-11-23T11:00:00Z",
        }
        failure = {
            "layerDigest": digest(2),
            "code": "ThrottlingException",
            "message": "ECR is throttling this account's requests. Try again later, with fewer requests at a time.",
            "retryable": True,
        }
        assert result == {"requestId": EVENT_ID, "downloadUrls": [url], "failures": [failure]}
        assert json.loads(json.dumps(result)) == result
        log = output.log()
        assert (log["trigger"], log["route"], log["status"], log["level"]) == ("eventbridge", "event", 200, "INFO")
        assert (log["correlation_id"], log["layersResolved"]) == (EVENT_ID, 1)

    @pytest.mark.parametrize(
        ("payload", "digests"),
        [
            (request(1, 2), [digest(1), digest(2)]),
            ({"repositoryName": "team/app", "layerDigest": digest(3)}, [digest(3)]),
            *(
                (manifest_request(manifest(media_type)), [digest(100), digest(1), digest(2)])
                for media_type in (OCI_MANIFEST, DOCKER_MANIFEST, None)
            ),
        ],
    )
    def test_a_request_in_an_event_or_by_itself_is_resolved(
        self, invoke: Invoke, payload: dict[str, Any], digests: list[str]
    ) -> None:
        assert digests_in(invoke(eventbridge_event(payload))) == digests
        result = invoke(payload)
        assert (result["requestId"], digests_in(result)) == (Context().aws_request_id, digests)

    def test_an_id_that_is_not_of_aws_form_is_neither_answered_nor_logged(self, invoke: Invoke, output: Output) -> None:
        result = invoke(eventbridge_event(request(1)) | {"id": download_url("x" * 70)})
        assert result["requestId"] == Context().aws_request_id
        assert "starport" not in output.text()


class TestWhatLambdaTriesAgain:
    def test_an_event_that_came_to_nothing_but_can_later_is_raised(self, refuse: Refuse, ecr: FakeEcr) -> None:
        ecr.answers = {
            digest(1): ecr_error("LayersNotFoundException"),
            digest(2): ecr_error("ThrottlingException"),
        }
        message = refuse(eventbridge_event(request(1, 2)), THROTTLED)
        assert message.startswith("ThrottlingException: ECR is throttling")

    @pytest.mark.parametrize(
        "kind", [kind for kind in ERROR_TABLE.values() if kind.ecr_codes], ids=lambda kind: kind.code
    )
    def test_each_error_of_ecr_is_raised_if_and_only_if_another_try_can_help(
        self, invoke: Invoke, refuse: Refuse, ecr: FakeEcr, kind: ErrorKind
    ) -> None:
        ecr.answer = ecr_error(min(kind.ecr_codes))
        event = eventbridge_event(request(1))
        if kind.retryable or kind.is_fault:
            refuse(event, kind)
        else:
            assert [each["code"] for each in invoke(event)["failures"]] == [kind.code]

    @pytest.mark.parametrize("is_call", [True, False], ids=["in a call", "outside"])
    def test_an_event_that_came_to_nothing_by_a_bug_is_raised_without_its_text(
        self, invoke: Invoke, ecr: FakeEcr, monkeypatch: pytest.MonkeyPatch, output: Output, is_call: bool
    ) -> None:
        if is_call:
            ecr.answer = RuntimeError(download_url(digest()))
        else:
            monkeypatch.setattr(ecr, "get_download_url_for_layer", lambda **_: download_url(digest()))
        with pytest.raises(ResolverError) as caught:
            invoke(eventbridge_event(request(1, 2)))
        assert (caught.value.kind, caught.value.__cause__) == (INTERNAL_ERROR, None)
        written = output.text()
        assert f'"cause":{{"type":"{"RuntimeError" if is_call else "AttributeError"}"' in written
        assert "X-Amz" not in written


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("detail", "message"),
        [
            ({}, "repositoryName is missing"),
            ({"repositoryName": "team/app"}, "layerDigests is missing"),
            (request(1, regsitryId="210987654321"), "regsitryId is not a field"),
            (request(*range(10_000)), "layerDigests must have at most 500 entries"),
            ({"repositoryName": "team/app", "imageManifest": "{"}, "not JSON"),
            ({"repositoryName": "team/app", "imageManifest": {}}, "imageManifest"),
            (manifest_request({}), "config is missing"),
            ({"imageManifest": json.dumps(manifest())}, "repositoryName is missing"),
            ("text", "detail"),
            (None, "detail"),
        ],
    )
    def test_a_malformed_detail_is_raised_with_what_is_wrong(self, refuse: Refuse, detail: Any, message: str) -> None:
        assert message in refuse(eventbridge_event(detail), INVALID_PARAMETER)

    @pytest.mark.parametrize("media_type", INDEX_MEDIA_TYPES)
    def test_an_index_is_raised_with_the_manifests_to_pick_from(self, refuse: Refuse, media_type: str) -> None:
        platform = {"os": "linux", "architecture": "arm64"}
        entry = {"mediaType": OCI_MANIFEST, "digest": digest(7), "size": 1, "platform": platform}
        index = {"schemaVersion": 2, "mediaType": media_type, "manifests": [entry]}
        message = refuse(eventbridge_event(manifest_request(index)), INVALID_PARAMETER)
        assert "image index" in message
        assert f"{digest(7)} (linux/arm64)" in message

    @pytest.mark.parametrize("name", ["repositoryName", "layerDigest", "layerDigests", "imageManifest"])
    def test_whatever_has_a_field_of_a_request_is_one_that_lacks_others(self, refuse: Refuse, name: str) -> None:
        message = refuse({name: "ab"}, INVALID_PARAMETER)
        assert "repositoryName" in message or "layerDigests" in message

    @pytest.mark.parametrize("detail_type", ["Scheduled Event", "ECR Image Action", ""])
    @pytest.mark.parametrize("detail", [{}, None], ids=repr)
    def test_an_unknown_detail_type_is_raised_with_the_known_one(
        self, refuse: Refuse, detail_type: str, detail: Any
    ) -> None:
        message = refuse(eventbridge_event(detail, detail_type), UNSUPPORTED_EVENT)
        assert "'ECR Layer Download URL Request'" in message

    @pytest.mark.parametrize(
        "event",
        [
            {"Records": [{"eventSource": "aws:s3", "s3": {"bucket": {"name": "a"}, "object": {"key": "b"}}}]},
            {},
            [],
            "text",
            None,
        ],
        ids=["S3 event", "empty object", "list", "text", "null"],
    )
    def test_an_event_of_another_kind_is_raised_with_what_the_function_answers(
        self, refuse: Refuse, event: Any
    ) -> None:
        assert "direct invocations with the fields of a request" in refuse(event, UNSUPPORTED_EVENT)


class TestSize:
    """Lambda drops a result that is too large for its destination."""

    def test_as_many_layers_as_the_documents_say_fit_into_an_event_and_more_are_raised_with_what_to_do(
        self, invoke: Invoke, refuse: Refuse, ecr: FakeEcr
    ) -> None:
        # ECR's URLs are up to 2 KB long, most of it the security token.
        ecr.url_padding = 1650
        event = eventbridge_event(request(*range(100)))
        result = invoke(event)
        assert len(result["downloadUrls"]) == 100
        assert 2000 < len(result["downloadUrls"][0]["downloadUrl"]) < 2100
        assert len(json.dumps(result)) + len(json.dumps(event)) < 256 * 1024
        message = refuse(eventbridge_event(request(*range(130))), RESULT_TOO_LARGE)
        assert "The result is larger than 256 KB, so it would be lost. Ask for at most 121 layers" in message

    def test_a_direct_invocation_is_told_that_its_result_is_too_large(self, refuse: Refuse, ecr: FakeEcr) -> None:
        ecr.url_padding = 14_000
        refuse(request(*range(500)), RESULT_TOO_LARGE)

    def test_event_result_and_4_kb_for_the_rest_of_the_record_may_fill_the_destination(self, ecr: FakeEcr) -> None:
        handler = create_handler(ecr, Settings(maximum_result_kilobytes=8))
        event = eventbridge_event(request(1))
        result = handler(event, Context())
        ecr.url_padding = 8 * 1024 - 4 * 1024 - len(json.dumps(event)) - len(json.dumps(result))
        assert len(handler(event, Context())["downloadUrls"]) == 1
        ecr.url_padding += 1
        with pytest.raises(ResolverError, match="Ask for at most 1 layers with one event") as caught:
            handler(event, Context())
        assert caught.value.kind is RESULT_TOO_LARGE
        # At least one is advised.
        with pytest.raises(ResolverError, match="Ask for at most 1 layers with one event"):
            handler(eventbridge_event(request(*range(500))), Context())

    def test_an_event_beyond_any_depth_is_refused(self, refuse: Refuse) -> None:
        deep: dict[str, Any] = {}
        for _ in range(30_000):
            deep = {"a": deep}
        assert "nested too deep" in refuse(eventbridge_event(request(1)) | {"more": deep}, INVALID_PARAMETER)

    def test_the_event_counts_as_well_because_the_record_repeats_it(self, refuse: Refuse) -> None:
        padded = manifest(annotations={"org.example": "x" * (256 * 1024 - 2000)})
        refuse(eventbridge_event(manifest_request(padded)), RESULT_TOO_LARGE)

    def test_a_manifest_has_4_mb_at_most(self, invoke: Invoke, refuse: Refuse) -> None:
        document = json.dumps(manifest())
        largest = document + " " * (4 * 2**20 - len(document))
        assert len(invoke({"repositoryName": "team/app", "imageManifest": largest})["downloadUrls"]) == 3
        message = refuse({"repositoryName": "team/app", "imageManifest": f"{largest} "}, INVALID_PARAMETER)
        assert "imageManifest must have at most 4194304 characters" in message


class TestPushes:
    @pytest.fixture
    def function_settings(self) -> Settings:
        return Settings(image_pull=True)

    def pushed(self, ecr: FakeEcr, document: Any, media_type: str = OCI_MANIFEST, **changes: Any) -> Any:
        """Put a manifest, and return the event that ECR sends of it, with changes."""
        content = json.dumps(document).encode()
        image_digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        ecr.images = {image_digest: (content, media_type)}
        detail = {
            "action-type": "PUSH",
            "result": "SUCCESS",
            "repository-name": "team/app",
            "image-digest": image_digest,
            "image-tag": "1.0",
        }
        return eventbridge_event(detail | changes, "ECR Image Action")

    def test_the_layers_of_a_pushed_image_are_resolved(self, invoke: Invoke, ecr: FakeEcr) -> None:
        result = invoke(self.pushed(ecr, manifest()))
        assert result["requestId"] == EVENT_ID
        assert digests_in(result) == [digest(100), digest(1), digest(2)]

    def test_a_pushed_index_has_no_layers_of_its_own(self, invoke: Invoke, ecr: FakeEcr) -> None:
        event = self.pushed(ecr, {"manifests": []}, INDEX_MEDIA_TYPES[0])
        assert invoke(event) == {"requestId": EVENT_ID, "downloadUrls": [], "failures": []}

    def test_an_image_that_ecr_does_not_give_yet_is_raised_for_another_try(self, refuse: Refuse, ecr: FakeEcr) -> None:
        ecr.image_error = ecr_error("ThrottlingException")
        refuse(self.pushed(ecr, manifest()), THROTTLED)

    def test_an_image_that_can_not_be_read_is_called_by_its_digest(
        self, invoke: Invoke, ecr: FakeEcr, output: Output
    ) -> None:
        event = self.pushed(ecr, {"schemaVersion": 1})
        image_digest = event["detail"]["image-digest"]
        with pytest.raises(ResolverError, match=f"image {image_digest} in repository team/app"):
            invoke(event)
        assert output.log()["error"]["image"] == image_digest

    @pytest.mark.parametrize(
        ("changes", "kind"),
        [
            ({"image-digest": "x"}, INVALID_PARAMETER),
            ({"repository-name": None}, INVALID_PARAMETER),
            ({"action-type": "DELETE"}, UNSUPPORTED_EVENT),
            ({"result": "FAILURE"}, UNSUPPORTED_EVENT),
        ],
    )
    def test_a_malformed_push_and_another_action_are_refused(
        self, refuse: Refuse, ecr: FakeEcr, changes: dict[str, Any], kind: ErrorKind
    ) -> None:
        message = refuse(self.pushed(ecr, manifest(), **changes), kind)
        assert ("those of pushed images" in message) == (kind is UNSUPPORTED_EVENT)
        assert not ecr.image_calls

    def test_an_image_of_too_many_layers_for_a_result_says_what_to_do(self, refuse: Refuse, ecr: FakeEcr) -> None:
        layers = [{"mediaType": "x", "digest": digest(number), "size": 1} for number in range(1000, 1400)]
        message = refuse(self.pushed(ecr, manifest(layers=layers)), RESULT_TOO_LARGE)
        assert "lost. GET /images/download-urls of the function URL" in message
        assert not ecr.calls
