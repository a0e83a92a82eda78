"""One event for each request that got something: what it says, and that no answer fails or waits because of it."""

import hashlib
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.validate import validate_parameters

from layer_resolver import ecr as ecr_module
from layer_resolver.handler import create_handler
from layer_resolver.models import INDEX_MEDIA_TYPES
from layer_resolver.network import RequestFailedError
from layer_resolver.pull_events import PUT_SECONDS, _beginning, create_events_client
from layer_resolver.settings import Settings
from tests.unit.fakes import (
    OCI_MANIFEST,
    Context,
    FakeEcr,
    digest,
    download_url,
    ecr_error,
    eventbridge_event,
    function_url_event,
    manifest,
)

PUT_EVENTS = botocore.session.get_session().get_service_model("events").shape_for("PutEventsRequest")
SETTINGS = Settings(pull_event_bus="layers", image_pull=True, list_tags=True)


class FakeEvents:
    """Implements what the function uses of EventBridge's client; botocore's service model checks each call."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer or {"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]}
        self.entries: list[dict[str, Any]] = []

    def put_events(self, **parameters: Any) -> Any:
        validate_parameters(parameters, PUT_EVENTS)
        self.entries += parameters["Entries"]
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    @property
    def details(self) -> list[dict[str, Any]]:
        return [json.loads(entry["Detail"]) for entry in self.entries]


Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def events() -> FakeEvents:
    return FakeEvents()


@pytest.fixture
def ask(ecr: FakeEcr, events: FakeEvents) -> Ask:
    handler = create_handler(lambda: ecr, SETTINGS, lambda: events)

    def ask_with(method: str, path: str, query: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
        event = function_url_event(method, path, query, **more)
        event["requestContext"]["authorizer"] = {"iam": {"userArn": "arn:aws:iam::123456789012:user/builder"}}
        return handler(event, Context())

    return ask_with


def batch(*numbers: int) -> str:
    return json.dumps({"repositoryName": "team/app", "layerDigests": [digest(number) for number in numbers]})


def test_an_event_says_who_got_what(ask: Ask, events: FakeEvents) -> None:
    assert ask("GET", f"/v2/team/app/blobs/{digest(1)}")["statusCode"] == 307
    (entry,) = events.entries
    assert (entry["EventBusName"], entry["Source"], entry["DetailType"]) == (
        "layers",
        "ecr-layer-resolver",
        "ECR Layer Pull",
    )
    assert events.details == [
        {
            "requestId": "9e5d8b70-0000-4000-8000-000000000000",
            "callerKind": "iam",
            "caller": "arn:aws:iam::123456789012:user/builder",
            "sourceIp": "203.0.113.7",
            "route": "GET /v2/<name>/blobs/<digest>",
            "status": 307,
            "outcome": "resolved",
            "registryId": None,
            "repositoryName": "team/app",
            "imageReference": None,
            "imageDigest": None,
            "layerDigests": [digest(1)],
            "layersResolved": 1,
            "layersFailed": 0,
        }
    ]


def test_no_event_has_a_download_url(ask: Ask, events: FakeEvents) -> None:
    ask("POST", "/download-urls", body=batch(1, 2, 3))
    assert "X-Amz" not in json.dumps(events.entries)
    assert download_url(digest(1)).partition("?")[0] not in json.dumps(events.entries)


def test_a_batch_that_was_resolved_in_part_has_what_it_got(ask: Ask, ecr: FakeEcr, events: FakeEvents) -> None:
    ecr.answers = {digest(2): ecr_error("LayersNotFoundException")}
    ask("POST", "/download-urls", body=batch(1, 2, 3))
    (detail,) = events.details
    assert (detail["outcome"], detail["layersResolved"], detail["layersFailed"]) == ("partial", 2, 1)
    assert detail["layerDigests"] == [digest(1), digest(3)]


def test_an_image_has_its_reference_and_its_digest(ask: Ask, ecr: FakeEcr, events: FakeEvents) -> None:
    content = json.dumps(manifest()).encode()
    ecr.images = {"1.0": (content, OCI_MANIFEST)}
    ask("GET", "/v2/team/app/manifests/1.0")
    ask("GET", "/images/download-urls", {"repositoryName": "team/app", "imageTag": "1.0"})
    of_manifest, of_image = events.details
    for detail in (of_manifest, of_image):
        assert (detail["repositoryName"], detail["imageReference"]) == ("team/app", "1.0")
        assert detail["imageDigest"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert of_manifest["layerDigests"] == []
    assert (of_manifest["outcome"], of_manifest["layersResolved"], of_manifest["layersFailed"]) == ("resolved", 0, 0)
    assert of_image["layerDigests"] == [digest(100), digest(1), digest(2)]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/healthz"),
        ("GET", "/openapi.json"),
        ("GET", "/v2/"),
        ("GET", "/nowhere"),
        ("GET", "/v2/team/app/tags/list"),
        ("GET", "/v2/team/app/manifests/absent"),
        ("GET", "/v2/team/app/blobs/nonsense"),
        ("GET", f"/v2/team/absent/blobs/{digest(9)}"),
        ("DELETE", f"/v2/team/app/blobs/{digest(1)}"),
    ],
)
def test_a_request_that_got_nothing_has_no_event(
    ask: Ask, ecr: FakeEcr, events: FakeEvents, method: str, path: str
) -> None:
    ecr.answers = {digest(9): ecr_error("RepositoryNotFoundException")}
    ask(method, path)
    assert events.entries == []


def test_an_image_that_was_read_and_not_given_has_no_event(ask: Ask, ecr: FakeEcr, events: FakeEvents) -> None:
    entries = [{"mediaType": OCI_MANIFEST, "digest": digest(number), "size": 1} for number in (1, 2)]
    index = {"schemaVersion": 2, "manifests": entries}
    ecr.images = {
        "1.0": (json.dumps(manifest()).encode(), OCI_MANIFEST),
        "multi": (json.dumps(index).encode(), INDEX_MEDIA_TYPES[0]),
    }
    ruled_out = {"accept": f"{OCI_MANIFEST};q=0"}
    assert ask("GET", "/v2/team/app/manifests/1.0", headers=ruled_out)["statusCode"] == 404
    query = {"repositoryName": "team/app", "imageTag": "multi"}
    assert ask("GET", "/images/download-urls", query)["statusCode"] == 400
    assert events.entries == []


def test_what_an_event_asked_for_has_no_second_event(ecr: FakeEcr, events: FakeEvents) -> None:
    handler = create_handler(lambda: ecr, SETTINGS, lambda: events)
    handler(eventbridge_event(json.loads(batch(1))), Context())
    handler(json.loads(batch(1)), Context())
    assert events.entries == []


def test_digests_that_just_fit_are_all_there() -> None:
    assert _beginning(["a" * 7] * 3, 30) == ["a" * 7] * 3
    assert _beginning(["a" * 7] * 3, 29) == ["a" * 7] * 2


def test_an_event_is_billed_as_one_however_many_layers_there_are(ask: Ask, events: FakeEvents) -> None:
    digests = [f"sha512:{number:0128x}" for number in range(500)]
    ask("POST", "/download-urls", body=json.dumps({"repositoryName": "team/app", "layerDigests": digests}))
    (entry,) = events.entries
    (detail,) = events.details
    assert len(entry["Detail"]) < 64 * 1024
    assert detail["layersResolved"] == 500
    assert detail["layerDigests"] == digests[: len(detail["layerDigests"])]
    # The digests have 48 KB of the 64 that EventBridge bills at once; one more would not fit.
    size = sum(len(f'"{each}",') for each in detail["layerDigests"])
    assert size <= 48 * 1024 < size + len(f'"{digests[0]}",')


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Put something that takes connections and never answers in the place of EventBridge."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("AWS_ENDPOINT_URL_EVENTBRIDGE", f"http://127.0.0.1:{listener.getsockname()[1]}")
        yield listener


class TestFailure:
    @pytest.mark.parametrize(
        ("answer", "cause"),
        [
            ({"FailedEntryCount": 1, "Entries": [{"ErrorCode": "InternalException"}]}, {"type": "NotTakenError"}),
            (EndpointConnectionError(endpoint_url="https://events"), {"type": "EndpointConnectionError"}),
            (RequestFailedError(), {"type": "RequestFailedError"}),
            (
                ecr_error("AccessDeniedException"),
                {"type": "ClientError", "code": "AccessDeniedException", "status": 400},
            ),
            (RuntimeError(download_url("x" * 70)), {"type": "RuntimeError"}),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_the_answer_is_the_same_and_the_failure_is_counted(
        self, ecr: FakeEcr, capsys: pytest.CaptureFixture[str], answer: Any, cause: dict[str, Any]
    ) -> None:
        event = function_url_event("GET", f"/v2/team/app/blobs/{digest(1)}")
        expected = create_handler(lambda: ecr)(event, Context())
        handler = create_handler(lambda: ecr, SETTINGS, lambda: FakeEvents(answer))
        capsys.readouterr()
        assert handler(event, Context()) == expected
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        (log,) = [line for line in lines if "_aws" not in line]
        assert (log["level"], log["status"], log["pullEventFailure"]) == ("INFO", 307, cause)
        (counted,) = [line for line in lines if "PullEventsFailed" in line]
        assert counted["PullEventsFailed"] == [1.0]

    def test_refused_credentials_are_loaded_anew_for_the_next_event(self, ecr: FakeEcr) -> None:
        made: list[FakeEvents] = []

        def create() -> FakeEvents:
            made.append(FakeEvents(ecr_error("ExpiredTokenException") if not made else None))
            return made[-1]

        handler = create_handler(lambda: ecr, SETTINGS, create)
        for _ in range(3):
            handler(function_url_event("GET", f"/v2/team/app/blobs/{digest(1)}"), Context())
        assert [len(client.entries) for client in made] == [1, 2]

    def test_a_silent_eventbridge_is_not_waited_for_to_the_end(
        self,
        ecr: FakeEcr,
        silence: socket.socket,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr("layer_resolver.pull_events.PUT_SECONDS", 0.1)
        handler = create_handler(lambda: ecr, SETTINGS, create_events_client)
        # Whoever waited for EventBridge alone would wait for as long as an invocation may take.
        answer = handler(function_url_event("GET", f"/v2/team/app/blobs/{digest(1)}"), Context(900_000))
        assert answer["statusCode"] == 307
        assert '"pullEventFailure":{"type":"RequestFailedError"}' in capsys.readouterr().out
        connection, _ = silence.accept()
        with connection:
            assert b"X-Amz-Target: AWSEvents.PutEvents\r\n" in connection.recv(64 * 1024)

    def test_without_any_time_left_eventbridge_is_not_asked(
        self, ecr: FakeEcr, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("layer_resolver.pull_events.PUT_SECONDS", 0.0)
        events = FakeEvents()
        handler = create_handler(lambda: ecr, SETTINGS, lambda: events)
        assert handler(function_url_event("GET", f"/v2/team/app/blobs/{digest(1)}"), Context())["statusCode"] == 307
        assert '"pullEventFailure":{"type":"OutOfTimeError"}' in capsys.readouterr().out
        assert events.entries == []

    @pytest.mark.parametrize(("remaining", "most"), [(900_000, PUT_SECONDS), (600, 0.1)])
    def test_an_event_has_half_a_second_and_no_more_than_the_invocation(
        self, ecr: FakeEcr, remaining: int, most: float
    ) -> None:
        seconds: list[float] = []

        class Client:
            def put_events(self, **_: Any) -> Any:
                seconds.append(ecr_module._attempt.get().deadline.remaining())
                return {"FailedEntryCount": 0}

        create_handler(lambda: ecr, SETTINGS, Client)(
            function_url_event("GET", f"/v2/team/app/blobs/{digest(1)}"), Context(remaining)
        )
        (given,) = seconds
        assert 0 < given <= most


def test_without_the_setting_no_client_is_made(ecr: FakeEcr) -> None:
    def create() -> FakeEvents:
        raise AssertionError("a client was made")

    handler = create_handler(lambda: ecr, Settings(), create)
    assert handler(function_url_event("GET", f"/v2/team/app/blobs/{digest(1)}"), Context())["statusCode"] == 307


@pytest.mark.parametrize(
    ("region", "dual_stack", "url"),
    [
        ("eu-west-1", "false", "https://events.eu-west-1.amazonaws.com"),
        ("eu-west-1", "true", "https://events.eu-west-1.api.aws"),
        ("cn-north-1", "false", "https://events.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_the_client_is_that_of_the_functions_region(
    monkeypatch: pytest.MonkeyPatch, region: str, dual_stack: str, url: str
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    monkeypatch.setenv("AWS_USE_DUALSTACK_ENDPOINT", dual_stack)
    client: Any = create_events_client()
    assert client.meta.endpoint_url == url
