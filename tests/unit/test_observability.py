import json
import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest

from layer_resolver import __version__
from layer_resolver.errors import ResolverError
from layer_resolver.handler import create_handler
from layer_resolver.invocation import EcrCall, Invocation
from layer_resolver.network import Deadline
from layer_resolver.observability import (
    LONGEST_LINE,
    SERVICE,
    Publisher,
    logger,
    quieten_libraries,
)
from layer_resolver.settings import Settings
from tests.programs import run_python
from tests.unit.fakes import (
    Context,
    FakeEcr,
    Send,
    digest,
    download_url,
    ecr_error,
    eventbridge_event,
    function_url_event,
)

Lines = list[dict[str, Any]]


def written(capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], Lines]:
    """Return the one log line and the metric lines (EMF) that were written since the last call."""
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (log,) = [line for line in lines if "_aws" not in line]
    return log, [line for line in lines if "_aws" in line]


def metric(lines: Lines, name: str) -> dict[str, Any]:
    """Return the only metric line that has the metric."""
    (line,) = [line for line in lines if name in line]
    return line


def ask(send: Send, *digests: str) -> None:
    send("POST", "/download-urls", body=json.dumps({"repositoryName": "team/app", "layerDigests": digests}))


def test_an_invocation_leaves_one_log_line_that_says_what_was_done(
    send: Send, ecr: FakeEcr, capsys: pytest.CaptureFixture[str]
) -> None:
    ecr.answers = {digest(2): ecr_error("LayersNotFoundException", "not here")}
    ask(send, digest(1), digest(2))
    log, _ = written(capsys)
    assert abs(datetime.fromisoformat(log.pop("timestamp")).timestamp() - time.time()) < 600
    assert log.pop("durationMs") >= 0
    cause = {"type": "ClientError", "code": "LayersNotFoundException", "status": 400}
    assert log == {
        "level": "INFO",
        "message": "POST /download-urls answered 200",
        "service": "ecr-layer-resolver",
        "version": __version__,
        "cold_start": True,
        "function_arn": "arn:aws:lambda:us-east-1:123456789012:function:ecr-layer-resolver:live",
        "function_request_id": "f7a5c1de-0000-4000-8000-000000000000",
        "correlation_id": "9e5d8b70-0000-4000-8000-000000000000",
        "trigger": "http",
        "route": "POST /download-urls",
        "status": 200,
        "callerKind": "public",
        "sourceIp": "203.0.113.7",
        "repositoryName": "team/app",
        "registryId": None,
        "layersRequested": 2,
        "layersResolved": 1,
        "layersFailed": 1,
        "failures": [{"code": "LayersNotFoundException", "layerDigest": digest(2), "cause": cause}],
        "layerDigests": [digest(1), digest(2)],
    }
    ask(send, digest(1))
    log, _ = written(capsys)
    assert (log["cold_start"], "failures" in log) == (False, False)


def test_the_registry_that_was_asked_is_logged(ecr: FakeEcr, capsys: pytest.CaptureFixture[str]) -> None:
    handler = create_handler(lambda: ecr, Settings(image_pull=True, allowed_registries=("210987654321",)))
    for path in (f"/v2/210987654321/team/app/blobs/{digest()}", "/v2/210987654321/team/app/manifests/1.0"):
        handler(function_url_event("GET", path), Context())
        log, _ = written(capsys)
        assert (log["registryId"], log["repositoryName"]) == ("210987654321", "team/app")


def test_a_failed_service_is_an_error_with_its_trace(
    send: Send, ecr: FakeEcr, capsys: pytest.CaptureFixture[str]
) -> None:
    ecr.answer = RuntimeError(f"could not read {download_url(digest())}")
    send("GET", "/download-url", {"repositoryName": "team/app", "layerDigest": digest()})
    log, _ = written(capsys)
    assert log["level"] == "ERROR"
    assert log["error" if "error" in log else "failures"]
    assert log["trace"][-1].startswith("fakes.py:")
    assert "could not read" not in json.dumps(log)


def test_a_bug_with_an_image_is_an_error_as_well(ecr: FakeEcr, capsys: pytest.CaptureFixture[str]) -> None:
    ecr.image_error = RuntimeError()
    handler = create_handler(lambda: ecr, Settings(image_pull=True))
    handler(function_url_event("GET", "/v2/team/app/manifests/1.0"), Context())
    log, _ = written(capsys)
    assert (log["status"], log["level"]) == (500, "ERROR")


def test_a_refused_request_is_logged_with_the_reason(send: Send, capsys: pytest.CaptureFixture[str]) -> None:
    send("GET", "/download-url", {"repositoryName": "team/app"})
    log, metrics = written(capsys)
    assert (log["level"], log["status"]) == ("INFO", 400)
    assert log["error"] == {"code": "InvalidParameterException", "message": "layerDigest is missing."}
    assert "repositoryName" not in log
    assert metric(metrics, "RequestsFailed")["code"] == "InvalidParameterException"
    assert metric(metrics, "RequestsFailed")["RequestsFailed"] == [1]
    assert not [line for line in metrics if "LayersFailed" in line]


def test_a_path_that_is_no_route_and_a_query_are_not_logged(send: Send, capsys: pytest.CaptureFixture[str]) -> None:
    send("GET", "/a-secret-path", {"a-secret": "query"})
    log, _ = written(capsys)
    assert log["route"] == "unmatched"
    assert "a-secret" not in json.dumps(log)


@pytest.mark.parametrize("reference", ["Bearer%20s3cr3t", "X-Amz-Signature%3Ds3cr3t", "s3cr3t" * 30, "%22s3cr3t%22"])
def test_a_reference_that_names_no_image_is_not_logged(
    capsys: pytest.CaptureFixture[str], ecr: FakeEcr, reference: str
) -> None:
    handler = create_handler(lambda: ecr, Settings(image_pull=True))
    answer = handler(function_url_event("GET", f"/v2/team/app/manifests/{reference}"), Context())
    captured = capsys.readouterr()
    assert answer["statusCode"] == 404
    assert "s3cr3t" not in captured.out + captured.err + str(answer)


def test_the_log_line_of_a_large_batch_stays_short(
    send: Send, ecr: FakeEcr, capsys: pytest.CaptureFixture[str]
) -> None:
    ecr.answer = ecr_error("LayersNotFoundException")
    ask(send, *map(digest, range(500)))
    log, _ = written(capsys)
    assert log["layersFailed"] == 500
    assert (len(log["failures"]), len(log["layerDigests"])) == (10, 128)


def test_a_line_has_every_layer_of_an_image_behind_all_other_fields_of_which_logs_insights_finds_200(
    send: Send, capsys: pytest.CaptureFixture[str]
) -> None:
    # A config, and as many layers as Docker's images can have.
    ask(send, *map(digest, range(128)))
    log, _ = written(capsys)
    assert log["layerDigests"] == [digest(number) for number in range(128)]
    assert list(log)[-1] == "layerDigests"
    assert len(log) + 128 < 200


def test_metrics_count_what_was_resolved_and_what_failed_by_code(
    send: Send, ecr: FakeEcr, capsys: pytest.CaptureFixture[str]
) -> None:
    ecr.answers = {
        digest(1): ecr_error("LayersNotFoundException"),
        digest(2): ecr_error("LayersNotFoundException"),
        digest(3): ecr_error("ThrottlingException"),
    }
    ask(send, *map(digest, range(6)))
    _, lines = written(capsys)
    assert metric(lines, "LayersResolved")["LayersResolved"] == [3.0]
    assert len(metric(lines, "EcrCallLatency")["EcrCallLatency"]) == 6
    failed = {line["code"]: line["LayersFailed"] for line in lines if "LayersFailed" in line}
    assert failed == {"LayersNotFoundException": [2.0], "ThrottlingException": [1.0]}
    for line in lines:
        assert {each["Namespace"] for each in line["_aws"]["CloudWatchMetrics"]} == {"EcrLayerResolver"}
        assert line["service"] == "ecr-layer-resolver"


def test_each_metric_is_declared_with_its_unit_and_dimensions(
    send: Send, ecr: FakeEcr, capsys: pytest.CaptureFixture[str]
) -> None:
    ecr.answers = {digest(2): ecr_error("LayersNotFoundException")}
    ask(send, digest(1), digest(2))
    send("GET", "/nowhere")
    declared = {
        metric["Name"]: (metric["Unit"], *directive["Dimensions"])
        for line in map(json.loads, capsys.readouterr().out.splitlines())
        for directive in line.get("_aws", {"CloudWatchMetrics": []})["CloudWatchMetrics"]
        for metric in directive["Metrics"]
    }
    assert declared == {
        "ColdStart": ("Count", ["service", "stack"]),
        "LayersResolved": ("Count", ["service", "stack"]),
        "LayersFailed": ("Count", ["service", "stack", "code"]),
        "RequestsFailed": ("Count", ["service", "stack", "code"]),
        "EcrCallLatency": ("Milliseconds", ["service", "stack"]),
        "Requests": ("Count", ["service", "stack", "callerKind", "outcome"]),
    }


def test_each_environment_starts_cold_once(send: Send, capsys: pytest.CaptureFixture[str]) -> None:
    send("GET", "/healthz")
    _, lines = written(capsys)
    assert metric(lines, "ColdStart")["ColdStart"] == [1]
    send("GET", "/healthz")
    _, lines = written(capsys)
    assert not [line for line in lines if "ColdStart" in line]


@pytest.mark.usefixtures("debugging")
def test_debugging_shows_why_ecr_does_not_give_an_image(ecr: FakeEcr, capsys: pytest.CaptureFixture[str]) -> None:
    ecr.failure_reason = "The key is disabled."
    handler = create_handler(lambda: ecr, Settings(image_pull=True))
    handler(function_url_event("GET", "/v2/team/app/manifests/1.0"), Context())
    log, _ = written(capsys)
    assert "The key is disabled." in log["error"]["cause"]["text"]


def test_a_second_is_a_thousand_milliseconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    invocation = Invocation(Deadline.after(5), ecr_calls=[EcrCall("a", 1, 2.0), EcrCall("b", 1, None)])
    monkeypatch.setattr(Invocation, "seconds", lambda _: 3.04567)
    Publisher("local").publish(invocation)
    log, lines = written(capsys)
    assert metric(lines, "EcrCallLatency")["EcrCallLatency"] == [2000]
    assert log["durationMs"] == 3045.7


def test_latency_is_in_milliseconds(send: Send, ecr: FakeEcr, capsys: pytest.CaptureFixture[str]) -> None:
    ecr.answer = 0.05
    ask(send, digest(1))
    log, lines = written(capsys)
    (latency,) = metric(lines, "EcrCallLatency")["EcrCallLatency"]
    assert 50 <= latency <= log["durationMs"] + 1 < 60_000
    (named,) = [
        each
        for line in lines
        for namespace in line["_aws"]["CloudWatchMetrics"]
        for each in namespace["Metrics"]
        if each["Name"] == "EcrCallLatency"
    ]
    assert named["Unit"] == "Milliseconds"
    assert abs(lines[0]["_aws"]["Timestamp"] / 1000 - time.time()) < 600


def test_the_error_code_is_a_dimension_of_failures_alone(
    send: Send, ecr: FakeEcr, capsys: pytest.CaptureFixture[str]
) -> None:
    ecr.answers = {digest(1): ecr_error("LayersNotFoundException")}
    ask(send, digest(1), digest(2))
    _, lines = written(capsys)
    for line in lines:
        (dimensions,) = line["_aws"]["CloudWatchMetrics"][0]["Dimensions"]
        assert ("code" in dimensions) == ("LayersFailed" in line)
        assert {"service", "stack"} <= set(dimensions)
        assert line["stack"] == "local"


@pytest.mark.parametrize(
    ("path", "error", "outcome"),
    [
        ("/healthz", None, "answered"),
        ("/nowhere", None, "refused"),
        ("/download-url", None, "refused"),
        (None, RuntimeError(), "failed"),
        (None, ecr_error("ServerException"), "failed"),
    ],
    ids=["200", "404", "400", "500", "503"],
)
def test_each_request_is_counted_by_its_outcome_and_kind_of_caller_and_by_no_callers_name(
    send: Send,
    ecr: FakeEcr,
    capsys: pytest.CaptureFixture[str],
    path: str | None,
    error: Exception | None,
    outcome: str,
) -> None:
    if error is not None:
        ecr.answer = error
    send("GET", path or f"/v2/team/app/blobs/{digest()}")
    log, lines = written(capsys)
    line = metric(lines, "Requests")
    assert (line["Requests"], line["callerKind"], line["outcome"]) == ([1], "public", outcome)
    assert log["callerKind"] == "public"
    directive = line["_aws"]["CloudWatchMetrics"][-1]
    assert directive["Dimensions"] == [["service", "stack", "callerKind", "outcome"]]
    assert not {"caller", "sourceIp"} & {name for each in lines for name in each}


def test_an_event_is_counted_as_one_and_its_account_is_the_caller(
    ecr: FakeEcr, capsys: pytest.CaptureFixture[str]
) -> None:
    event = eventbridge_event({"repositoryName": "team/app", "layerDigests": [digest()]})
    create_handler(lambda: ecr)(event, Context())
    log, lines = written(capsys)
    assert (log["callerKind"], log["caller"]) == ("event", "123456789012")
    line = metric(lines, "Requests")
    assert (line["callerKind"], line["outcome"]) == ("event", "answered")


@pytest.mark.parametrize("account", ["12345678901", "Bearer s3cr3t", "", 123456789012, None])
def test_who_put_an_event_is_logged_only_if_it_is_an_account(
    ecr: FakeEcr, capsys: pytest.CaptureFixture[str], account: object
) -> None:
    event = {**eventbridge_event({"repositoryName": "team/app", "layerDigests": [digest()]}), "account": account}
    with suppress(ResolverError):
        create_handler(lambda: ecr)(event, Context())
    log, _ = written(capsys)
    assert "caller" not in log


def test_layers_that_come_from_the_cache_are_counted(
    send: Send, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    signed_now = (
        f"https://b.s3.us-east-1.amazonaws.com/?X-Amz-Date={datetime.now(UTC):%Y%m%dT%H%M%SZ}&X-Amz-Expires=3600"
    )
    monkeypatch.setattr("tests.unit.fakes.download_url", lambda _: signed_now)
    ask(send, digest(1))
    capsys.readouterr()
    ask(send, digest(1), digest(2))
    _, lines = written(capsys)
    assert metric(lines, "CacheHits")["CacheHits"] == [1.0]
    assert len(metric(lines, "EcrCallLatency")["EcrCallLatency"]) == 1


def test_more_calls_than_one_metric_line_takes_are_all_reported(send: Send, capsys: pytest.CaptureFixture[str]) -> None:
    ask(send, *map(digest, range(250)))
    _, lines = written(capsys)
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    assert sorted(len(line.get("EcrCallLatency", [])) for line in lines) == [50, 100, 100]


def test_the_clients_own_mistakes_do_not_count_as_failed_layers(send: Send, capsys: pytest.CaptureFixture[str]) -> None:
    send("GET", "/download-url", {"repositoryName": "team/app", "layerDigest": "x"})
    _, lines = written(capsys)
    assert not [line for line in lines if "LayersFailed" in line]


@pytest.mark.parametrize(("variables", "level"), [({}, "INFO"), ({"POWERTOOLS_LOG_LEVEL": "DEBUG"}, "DEBUG")])
def test_the_level_of_the_log_is_the_operators_whatever_lambdas_is(variables: dict[str, str], level: str) -> None:
    script = (
        "import logging; from layer_resolver.observability import SERVICE;"
        "print(logging.getLevelName(logging.getLogger(SERVICE).level))"
    )
    assert run_python(script, AWS_LAMBDA_LOG_LEVEL="WARN", **variables).strip() == level


@pytest.fixture
def debugging() -> Iterator[None]:
    """Set the level DEBUG."""
    level = logging.getLogger(SERVICE)
    before = level.level
    level.setLevel(logging.DEBUG)
    yield
    level.setLevel(before)


class TestLibraries:
    @pytest.fixture
    def handler(self) -> Iterator[logging.Handler]:
        handler = logging.StreamHandler()
        root = logging.getLogger()
        before = root.level
        root.addHandler(handler)
        root.setLevel(logging.DEBUG)
        quieten_libraries()
        yield handler
        root.removeHandler(handler)
        root.setLevel(before)

    @staticmethod
    def record() -> logging.LogRecord:
        return logging.LogRecord("urllib3", logging.WARNING, "", 0, "retrying %s", (download_url(digest()),), None)

    def test_the_log_says_which_library_has_logged_something(self, handler: logging.Handler) -> None:
        record = self.record()
        assert handler.filter(record)
        assert record.getMessage() == "urllib3 logged something; set logLevel to DEBUG to read it"

    @pytest.mark.usefixtures("debugging")
    def test_its_text_is_for_debugging_alone_and_redacted(self, handler: logging.Handler) -> None:
        record = self.record()
        assert handler.filter(record)
        assert record.getMessage().startswith("retrying ")
        assert "X-Amz" not in record.getMessage()

    def test_the_functions_own_lines_are_left_alone(self, handler: logging.Handler) -> None:
        record = logging.LogRecord(SERVICE, logging.INFO, "", 0, "answered %s", (200,), None)
        assert handler.filter(record)
        assert record.getMessage() == "answered 200"

    @pytest.mark.usefixtures("handler", "debugging")
    def test_what_has_credentials_in_it_is_never_logged(self) -> None:
        for name in ("botocore.auth", "botocore.endpoint", "urllib3.connectionpool"):
            assert not logging.getLogger(name).isEnabledFor(logging.DEBUG)


@pytest.mark.usefixtures("debugging")
def test_debugging_shows_what_ecr_was_asked_how_often_and_what_the_cache_had(
    send: Send, ecr: FakeEcr, capsys: pytest.CaptureFixture[str]
) -> None:
    ecr.answers = {digest(2): ecr_error("LayersNotFoundException")}
    ask(send, digest(1), digest(2))
    log, _ = written(capsys)
    assert log["ecrCallsMade"] == 2
    assert log["cacheHits"] == 0
    assert {(call["action"], call["attempts"], call["outcome"]) for call in log["ecrCalls"]} == {
        ("get_download_url_for_layer", 1, "ok"),
        ("get_download_url_for_layer", 1, "LayersNotFoundException"),
    }


@pytest.mark.usefixtures("debugging")
def test_what_asked_for_nothing_had_nothing_from_the_cache(send: Send, capsys: pytest.CaptureFixture[str]) -> None:
    send("GET", "/healthz")
    log, _ = written(capsys)
    assert (log["ecrCalls"], log["ecrCallsMade"], log["cacheHits"]) == ([], 0, 0)


def test_without_debugging_it_is_left_out(send: Send, capsys: pytest.CaptureFixture[str]) -> None:
    ask(send, digest())
    log, _ = written(capsys)
    assert not {"ecrCalls", "ecrCallsMade", "cacheHits"} & log.keys()


def test_what_is_logged_otherwise_is_redacted_and_cut(capsys: pytest.CaptureFixture[str]) -> None:
    logger.warning("see %s", f"{download_url(digest())} {'x' * 100_000}")
    line = capsys.readouterr().out
    assert "X-Amz" not in line
    assert len(line) <= LONGEST_LINE + 1
    log = json.loads(line)
    del log["timestamp"]
    assert log == {"level": "WARNING", "message": "see REDACTED?REDACTED REDACTED", "service": "ecr-layer-resolver"}


def test_a_line_that_would_be_too_long_goes_without_what_it_lists(
    send: Send, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("layer_resolver.observability.LONGEST_LINE", 700)
    ask(send, *map(digest, range(10)))
    log, _ = written(capsys)
    assert log["isShortened"] is True
    assert "layerDigests" not in log
    assert log["layersResolved"] == 10


def test_who_asked_is_logged(send: Send, capsys: pytest.CaptureFixture[str], ecr: FakeEcr) -> None:
    arn = "arn:aws:sts::123456789012:assumed-role/builds/job-7"
    event = function_url_event("GET", "/healthz")
    event["requestContext"]["authorizer"] = {"iam": {"userArn": arn}}
    create_handler(lambda: ecr)(event, Context())
    log, _ = written(capsys)
    assert (log["caller"], log["sourceIp"]) == (arn, "203.0.113.7")


@pytest.mark.parametrize("authorizer", [None, {}, {"iam": None}, {"iam": {"userArn": 5}}, {"iam": {"userArn": "a\nb"}}])
def test_a_caller_that_nobody_has_checked_is_not_logged(
    capsys: pytest.CaptureFixture[str], ecr: FakeEcr, authorizer: object
) -> None:
    event = function_url_event("GET", "/healthz")
    event["requestContext"]["authorizer"] = authorizer
    event["requestContext"]["http"]["sourceIp"] = "not an address"
    create_handler(lambda: ecr)(event, Context())
    log, _ = written(capsys)
    assert not {"caller", "sourceIp"} & log.keys()


def test_an_error_about_tags_or_an_image_says_so(capsys: pytest.CaptureFixture[str], ecr: FakeEcr) -> None:
    handler = create_handler(lambda: ecr, Settings(image_pull=True, list_tags=True))
    ecr.image_error = ecr_error("ThrottlingException")
    answer = handler(function_url_event("GET", "/v2/team/app/tags/list"), Context())
    assert "layer" not in answer["body"]
    log, lines = written(capsys)
    assert log["error"]["repositoryName"] == "team/app"
    assert "layerDigest" not in log["error"]
    assert metric(lines, "RequestsFailed")["code"] == "ThrottlingException"
    handler(function_url_event("GET", "/v2/team/app/manifests/1.0"), Context())
    log, _ = written(capsys)
    assert (log["error"]["image"], log["image"]) == ("1.0", "team/app 1.0")
    assert "layerDigest" not in log["error"]
    handler(function_url_event("GET", f"/v2/team/app/referrers/{digest()}"), Context())
    log, _ = written(capsys)
    assert log["error"]["image"] == digest()


@pytest.mark.usefixtures("debugging")
def test_an_image_that_ecr_gives_no_reason_for_has_a_cause_without_a_code(
    capsys: pytest.CaptureFixture[str], ecr: FakeEcr, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ecr, "batch_get_image", lambda **_: {"images": [], "failures": [{"imageId": {}}]})
    handler = create_handler(lambda: ecr, Settings(image_pull=True))
    handler(function_url_event("GET", "/v2/team/app/manifests/1.0"), Context())
    log, _ = written(capsys)
    assert log["error"]["cause"]["type"] == "ClientError"
    assert not log["error"]["cause"].get("code")
    assert "when calling the BatchGetImage operation" in json.dumps(log["error"])


@pytest.mark.usefixtures("debugging")
@pytest.mark.parametrize(
    ("image", "name"),
    [
        ({"imageManifest": "{}", "imageId": {}}, "imageManifestMediaType"),
        ({"imageManifest": "\ud800", "imageManifestMediaType": "a/b", "imageId": {}}, "imageManifest"),
        ({"imageManifest": "{}", "imageManifestMediaType": "a/b"}, "imageManifest or imageId"),
    ],
)
def test_debugging_shows_what_of_ecrs_answer_can_not_be_read(
    capsys: pytest.CaptureFixture[str],
    ecr: FakeEcr,
    monkeypatch: pytest.MonkeyPatch,
    image: dict[str, object],
    name: str,
) -> None:
    monkeypatch.setattr(ecr, "batch_get_image", lambda **_: {"images": [image], "failures": []})
    handler = create_handler(lambda: ecr, Settings(image_pull=True))
    handler(function_url_event("GET", "/v2/team/app/manifests/1.0"), Context())
    log, _ = written(capsys)
    assert log["error"]["cause"]["text"] == f"{name} is not what ECR answers"


def test_only_the_first_invocation_is_a_cold_start(send: Send, capsys: pytest.CaptureFixture[str]) -> None:
    for is_cold in (True, False):
        send("GET", "/healthz")
        log, lines = written(capsys)
        assert log["cold_start"] is is_cold
        assert bool([line for line in lines if "ColdStart" in line]) is is_cold


def test_the_text_of_a_cause_is_for_debugging_alone_and_redacted(
    send: Send, ecr: FakeEcr, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    ecr.answer = ecr_error("LayersNotFoundException", f"not at {download_url(digest())}")
    ask(send, digest())
    assert "not at" not in capsys.readouterr().out
    request.getfixturevalue("debugging")
    ask(send, digest())
    written_text = capsys.readouterr().out
    assert "not at " in written_text
    assert "X-Amz" not in written_text
