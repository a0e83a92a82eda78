"""One event for each request that got something: what it says, and that no answer fails or waits because of it."""

import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import botocore.session
import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.validate import validate_parameters

from layer_resolver.ecr import create_client
from layer_resolver.handler import create_handler
from layer_resolver.models import INDEX_MEDIA_TYPES
from layer_resolver.pull_events import PUT_SECONDS
from layer_resolver.settings import Settings
from tests.unit.fake_s3 import FakeS3, S3Answer
from tests.unit.fakes import (
    OCI_MANIFEST,
    Context,
    FakeEcr,
    digest,
    download_url,
    ecr_error,
    eventbridge_event,
    function_url_event,
    logged,
    manifest,
    url_signed_now,
    written,
)

PUT_EVENTS = botocore.session.get_session().get_service_model("events").shape_for("PutEventsRequest")
SETTINGS = Settings(pull_event_bus="layers", image_pull=True, list_tags=True)


class FakeEvents:
    """Implements what the function uses of EventBridge's client; botocore's service model checks each call."""

    def __init__(self, answer: Any = None, until: threading.Event | None = None) -> None:
        self.answer = answer or {"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]}
        self.until = until
        self.entries: list[dict[str, Any]] = []

    def put_events(self, **parameters: Any) -> Any:
        validate_parameters(parameters, PUT_EVENTS)
        if self.until is not None:
            self.until.wait()
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
    handler = create_handler(ecr, SETTINGS, events)

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
            "callerRule": None,
            "callerTokenId": None,
            "callerVerified": False,
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
        ("GET", "/v2/team/app/tags/list"),
        ("GET", "/v2/team/app/manifests/absent"),
        ("GET", f"/v2/team/app/blobs/{digest(9)}"),
        ("DELETE", f"/v2/team/app/blobs/{digest(1)}"),
        ("HEAD", f"/download-url?repositoryName=team/app&layerDigest={digest(1)}"),
        ("HEAD", "/v2/team/app/manifests/1.0"),
        ("HEAD", "/images/download-urls?repositoryName=team/app&imageTag=1.0"),
    ],
)
def test_a_request_that_gave_nothing_has_no_event(
    ask: Ask, ecr: FakeEcr, events: FakeEvents, method: str, path: str
) -> None:
    ecr.answers = {digest(9): ecr_error("LayersNotFoundException")}
    ecr.images = {"1.0": (json.dumps(manifest()).encode(), OCI_MANIFEST)}
    path, _, query = path.partition("?")
    ask(method, path, dict(part.split("=") for part in query.split("&")) if query else None)
    assert events.entries == []


def test_an_image_whose_layers_all_failed_was_given_as_a_manifest(ask: Ask, ecr: FakeEcr, events: FakeEvents) -> None:
    ecr.images, ecr.answer = {"1.0": (json.dumps(manifest()).encode(), OCI_MANIFEST)}, ecr_error("ServerException")
    assert ask("GET", "/images/download-urls", {"repositoryName": "team/app", "imageTag": "1.0"})["statusCode"] == 200
    (detail,) = events.details
    assert (detail["outcome"], detail["layersResolved"], detail["layersFailed"]) == ("partial", 0, 3)


def test_an_image_that_was_read_and_not_given_has_no_event(ask: Ask, ecr: FakeEcr, events: FakeEvents) -> None:
    entries = [{"mediaType": OCI_MANIFEST, "digest": digest(number), "size": 1} for number in (1, 2)]
    index = {"schemaVersion": 2, "manifests": entries}
    ecr.images = {
        "1.0": (json.dumps(manifest()).encode(), OCI_MANIFEST),
        "multi": (json.dumps(index).encode(), INDEX_MEDIA_TYPES[0]),
    }
    excluded = {"accept": f"{OCI_MANIFEST};q=0"}
    assert ask("GET", "/v2/team/app/manifests/1.0", headers=excluded)["statusCode"] == 404
    known = {"if-none-match": "*"}
    assert ask("GET", "/v2/team/app/manifests/1.0", headers=known)["statusCode"] == 304
    query = {"repositoryName": "team/app", "imageTag": "multi"}
    assert ask("GET", "/images/download-urls", query)["statusCode"] == 400
    assert events.entries == []


CONFIG = b'{"os": "linux", "architecture": "arm64"}'
CONFIG_DIGEST = f"sha256:{hashlib.sha256(CONFIG).hexdigest()}"


@pytest.mark.parametrize(
    ("method", "path", "looked_at"),
    [
        ("HEAD", f"/v2/team/app/blobs/{digest(1)}", digest(1)),
        ("GET", "/images/config?repositoryName=team/app&imageTag=1.0", CONFIG_DIGEST),
        ("HEAD", "/v2/team/app/manifests/1.0", None),
    ],
)
def test_a_blob_or_an_image_that_was_looked_at_is_logged_and_not_counted_as_a_pull(
    s3: FakeS3,
    ask: Ask,
    ecr: FakeEcr,
    events: FakeEvents,
    capsys: pytest.CaptureFixture[str],
    method: str,
    path: str,
    looked_at: str | None,
) -> None:
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": CONFIG_DIGEST, "size": len(CONFIG)}
    ecr.images = {"1.0": (json.dumps(manifest(config=config)).encode(), OCI_MANIFEST)}
    s3.answers = [S3Answer(200, CONFIG)]
    path, _, query = path.partition("?")
    answer = ask(method, path, dict(part.split("=") for part in query.split("&")) if query else None)
    assert answer["statusCode"] == 200
    log, lines = written(capsys)
    assert (log["repositoryName"], log.get("layerDigests")) == ("team/app", [looked_at] if looked_at else None)
    assert log.get("layersResolved", 0) == 0
    assert log.get("imageDigest", "").startswith("sha256:") == ("1.0" in log.get("image", ""))
    assert not [line for line in lines if "LayersResolved" in line]
    assert events.entries == []


def test_what_an_event_asked_for_has_no_second_event(ecr: FakeEcr, events: FakeEvents) -> None:
    handler = create_handler(ecr, SETTINGS, events)
    handler(eventbridge_event(json.loads(batch(1))), Context())
    handler(json.loads(batch(1)), Context())
    assert events.entries == []


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
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("AWS_ENDPOINT_URL_EVENTBRIDGE", f"http://127.0.0.1:{listener.getsockname()[1]}")
        yield listener


class TestFailure:
    EVENT = function_url_event("GET", f"/v2/team/app/blobs/{digest(1)}")

    @pytest.mark.parametrize(
        ("answer", "cause"),
        [
            ({"FailedEntryCount": 1, "Entries": [{"ErrorCode": "InternalException"}]}, {"type": "EventRefusedError"}),
            (
                EndpointConnectionError(endpoint_url="https://events"),
                {"type": "EndpointConnectionError", "host": "events"},
            ),
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
        expected = create_handler(ecr, Settings())(self.EVENT, Context())
        handler = create_handler(ecr, SETTINGS, FakeEvents(answer))
        capsys.readouterr()
        assert handler(self.EVENT, Context()) == expected
        log, lines = written(capsys)
        assert (log["level"], log["status"], log["pullEventFailure"]) == ("INFO", 307, cause)
        (counted,) = [line for line in lines if "PullEventsFailed" in line]
        assert counted["PullEventsFailed"] == [1.0]

    def test_a_slow_eventbridge_is_waited_for_half_a_second_and_gets_the_event_in_the_background(
        self, ecr: FakeEcr, capsys: pytest.CaptureFixture[str]
    ) -> None:
        answered = threading.Event()
        events = FakeEvents(until=answered)
        handler = create_handler(ecr, SETTINGS, events)
        started = time.monotonic()
        assert handler(self.EVENT, Context(900_000))["statusCode"] == 307
        # Only the deadline ended the wait: EventBridge has not answered yet.
        assert not answered.is_set()
        assert time.monotonic() - started >= PUT_SECONDS
        assert logged(capsys)["pullEventFailure"] == {"type": "OutOfTimeError"}
        answered.set()
        give_up_at = time.monotonic() + 30
        while not events.entries and time.monotonic() < give_up_at:
            time.sleep(0.01)
        assert len(events.entries) == 1

    @pytest.mark.usefixtures("silence")
    def test_a_silent_eventbridge_holds_no_answer_up(self, ecr: FakeEcr, capsys: pytest.CaptureFixture[str]) -> None:
        handler = create_handler(ecr, SETTINGS, create_client("events", read_seconds=10))
        assert handler(self.EVENT, Context(700))["statusCode"] == 307
        assert logged(capsys)["pullEventFailure"] == {"type": "OutOfTimeError"}

    def test_without_any_time_left_eventbridge_is_not_asked(
        self, ecr: FakeEcr, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tests.unit.fakes.download_url", url_signed_now)
        events = FakeEvents()
        handler = create_handler(ecr, SETTINGS, events)
        handler(self.EVENT, Context())
        capsys.readouterr()
        # The layer comes from the cache.
        assert handler(self.EVENT, Context(500))["statusCode"] == 307
        assert logged(capsys)["pullEventFailure"] == {"type": "OutOfTimeError"}
        assert len(events.entries) == 1
