"""One event for each request that got something: what it says, and that no answer fails or waits because of it."""

import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl

import botocore.session
import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.validate import validate_parameters

from layer_resolver.ecr import create_client
from layer_resolver.handler import create_handler
from layer_resolver.models import INDEX_MEDIA_TYPES
from layer_resolver.pull_events import PUT_SECONDS
from layer_resolver.settings import Settings
from tests.faults.server import answer as s3_answer
from tests.unit.fakes import (
    OCI_MANIFEST,
    Context,
    FakeEcr,
    Output,
    digest,
    download_url,
    ecr_error,
    eventbridge_event,
    function_url_event,
    manifest,
    url_signed_now,
)
from tests.unit.servers import FakeServer

PUT_EVENTS = botocore.session.get_session().get_service_model("events").shape_for("PutEventsRequest")
SETTINGS = Settings(pull_event_bus="layers", image_pull=True, list_tags=True)

CONFIG = b'{"os": "linux", "architecture": "arm64"}'
CONFIG_DIGEST = f"sha256:{hashlib.sha256(CONFIG).hexdigest()}"
CONFIG_BLOB = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": CONFIG_DIGEST, "size": len(CONFIG)}
IMAGE = json.dumps(manifest(config=CONFIG_BLOB)).encode()
OF_IMAGE = "repositoryName=team/app&imageTag=1.0"


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


Ask = Callable[..., int]


@pytest.fixture
def events() -> FakeEvents:
    return FakeEvents()


@pytest.fixture
def ask(ecr: FakeEcr, events: FakeEvents) -> Ask:
    """Return a function that sends a request to a path with its query, and returns the status of the answer."""
    index = {"manifests": [{"mediaType": OCI_MANIFEST, "digest": digest(number), "size": 1} for number in (1, 2)]}
    ecr.images = {"1.0": (IMAGE, OCI_MANIFEST), "multi": (json.dumps(index).encode(), INDEX_MEDIA_TYPES[0])}
    handler = create_handler(ecr, SETTINGS, events)

    def ask_with(method: str, target: str, **more: Any) -> int:
        path, _, query = target.partition("?")
        event = function_url_event(method, path, dict(parse_qsl(query)), **more)
        event["requestContext"]["authorizer"] = {"iam": {"userArn": "arn:aws:iam::123456789012:user/builder"}}
        return int(handler(event, Context())["statusCode"])

    return ask_with


def batch(*digests: str) -> str:
    return json.dumps({"repositoryName": "team/app", "layerDigests": digests})


def test_an_event_says_who_got_what(ask: Ask, events: FakeEvents) -> None:
    assert ask("GET", f"/v2/team/app/blobs/{digest(1)}") == 307
    (entry,) = events.entries
    assert (entry["EventBusName"], entry["Source"]) == ("layers", "ecr-layer-resolver")
    assert entry["DetailType"] == "ECR Layer Pull"
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
    ask("POST", "/download-urls", body=batch(digest(1), digest(2), digest(3)))
    (detail,) = events.details
    assert (detail["outcome"], detail["layersResolved"], detail["layersFailed"]) == ("partial", 2, 1)
    assert detail["layerDigests"] == [digest(1), digest(3)]


@pytest.mark.parametrize(
    ("target", "error", "outcome", "layers"),
    [
        ("/v2/team/app/manifests/1.0", None, "resolved", []),
        (f"/images/download-urls?{OF_IMAGE}", None, "resolved", [CONFIG_DIGEST, digest(1), digest(2)]),
        # The manifest was given all the same.
        (f"/images/download-urls?{OF_IMAGE}", ecr_error("ServerException"), "partial", []),
    ],
)
def test_an_image_has_its_reference_and_its_digest(
    ask: Ask, ecr: FakeEcr, events: FakeEvents, target: str, error: Exception | None, outcome: str, layers: list[str]
) -> None:
    ecr.answer = error or 0.0
    assert ask("GET", target) == 200
    (detail,) = events.details
    assert (detail["repositoryName"], detail["imageReference"]) == ("team/app", "1.0")
    assert detail["imageDigest"] == f"sha256:{hashlib.sha256(IMAGE).hexdigest()}"
    assert (detail["outcome"], detail["layerDigests"], detail["layersResolved"]) == (outcome, layers, len(layers))


@pytest.mark.parametrize(
    ("method", "target", "headers", "status"),
    [
        ("GET", "/healthz", {}, 200),
        ("GET", "/v2/team/app/tags/list", {}, 200),
        ("GET", "/v2/team/app/manifests/absent", {}, 404),
        ("GET", f"/v2/team/app/blobs/{digest(9)}", {}, 404),
        ("DELETE", f"/v2/team/app/blobs/{digest(1)}", {}, 405),
        # Read and not given:
        ("GET", "/v2/team/app/manifests/1.0", {"accept": f"{OCI_MANIFEST};q=0"}, 404),
        ("GET", "/v2/team/app/manifests/1.0", {"if-none-match": "*"}, 304),
        ("GET", "/images/download-urls?repositoryName=team/app&imageTag=multi", {}, 400),
    ],
)
def test_a_request_that_gave_nothing_has_no_event(
    ask: Ask, ecr: FakeEcr, events: FakeEvents, method: str, target: str, headers: dict[str, str], status: int
) -> None:
    ecr.answers = {digest(9): ecr_error("LayersNotFoundException")}
    assert ask(method, target, headers=headers) == status
    assert events.entries == []


@pytest.mark.parametrize(
    ("method", "target", "looked_at"),
    [
        ("HEAD", f"/v2/team/app/blobs/{digest(1)}", [digest(1)]),
        ("HEAD", f"/download-url?repositoryName=team/app&layerDigest={digest(1)}", [digest(1)]),
        ("HEAD", f"/images/download-urls?{OF_IMAGE}", [CONFIG_DIGEST, digest(1), digest(2)]),
        ("GET", f"/images/config?{OF_IMAGE}", [CONFIG_DIGEST]),
        ("HEAD", "/v2/team/app/manifests/1.0", None),
    ],
)
def test_what_was_only_looked_at_is_logged_and_not_counted_as_a_pull(
    s3: FakeServer, ask: Ask, events: FakeEvents, output: Output, method: str, target: str, looked_at: list[str] | None
) -> None:
    s3.answers = [s3_answer(200, CONFIG)]
    assert ask(method, target) == 200
    log, lines = output.log_and_metrics()
    assert (log["repositoryName"], log.get("layerDigests"), log.get("layersResolved", 0)) == ("team/app", looked_at, 0)
    assert log.get("imageDigest", "").startswith("sha256:") == ("1.0" in target)
    assert not [line for line in lines if "LayersResolved" in line]
    assert events.entries == []


def test_what_an_event_asked_for_has_no_second_event(ecr: FakeEcr, events: FakeEvents) -> None:
    handler = create_handler(ecr, SETTINGS, events)
    handler(eventbridge_event(json.loads(batch(digest()))), Context())
    handler(json.loads(batch(digest())), Context())
    assert events.entries == []


def test_an_event_is_billed_as_one_however_many_layers_there_are(ask: Ask, events: FakeEvents) -> None:
    digests = [f"sha512:{number:0128x}" for number in range(500)]
    ask("POST", "/download-urls", body=batch(*digests))
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
        self, ecr: FakeEcr, output: Output, answer: Any, cause: dict[str, Any]
    ) -> None:
        expected = create_handler(ecr, Settings())(self.EVENT, Context())
        output.text()
        assert create_handler(ecr, SETTINGS, FakeEvents(answer))(self.EVENT, Context()) == expected
        log, lines = output.log_and_metrics()
        assert (log["level"], log["status"], log["pullEventFailure"]) == ("INFO", 307, cause)
        (counted,) = [line for line in lines if "PullEventsFailed" in line]
        assert counted["PullEventsFailed"] == [1.0]

    def test_a_slow_eventbridge_is_waited_for_half_a_second_and_gets_the_event_in_the_background(
        self, ecr: FakeEcr, output: Output
    ) -> None:
        answered = threading.Event()
        events = FakeEvents(until=answered)
        started = time.monotonic()
        assert create_handler(ecr, SETTINGS, events)(self.EVENT, Context(900_000))["statusCode"] == 307
        # Only the deadline ended the wait: EventBridge has not answered yet.
        assert not answered.is_set()
        assert time.monotonic() - started >= PUT_SECONDS
        assert output.log()["pullEventFailure"] == {"type": "OutOfTimeError"}
        answered.set()
        give_up_at = time.monotonic() + 30
        while not events.entries and time.monotonic() < give_up_at:
            time.sleep(0.01)
        assert len(events.entries) == 1

    @pytest.mark.usefixtures("silence")
    def test_a_silent_eventbridge_holds_no_answer_up(self, ecr: FakeEcr, output: Output) -> None:
        handler = create_handler(ecr, SETTINGS, create_client("events", read_seconds=10))
        assert handler(self.EVENT, Context(700))["statusCode"] == 307
        assert output.log()["pullEventFailure"] == {"type": "OutOfTimeError"}

    def test_without_any_time_left_eventbridge_is_not_asked(self, ecr: FakeEcr, output: Output) -> None:
        ecr.url_of = url_signed_now
        events = FakeEvents()
        handler = create_handler(ecr, SETTINGS, events)
        handler(self.EVENT, Context())
        output.text()
        # The layer comes from the cache.
        assert handler(self.EVENT, Context(500))["statusCode"] == 307
        assert output.log()["pullEventFailure"] == {"type": "OutOfTimeError"}
        assert len(events.entries) == 1
