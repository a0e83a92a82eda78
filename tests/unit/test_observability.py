import json
import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from layer_resolver.observability import LOGGED_LAYERS, redact_library_logs
from tests.unit.fakes import FakeEcr, Send, digest, download_url, ecr_error

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
    assert log["level"] == "INFO"
    assert log["service"] == "ecr-layer-resolver"
    assert log["correlation_id"] == "9e5d8b70-0000-4000-8000-000000000000"
    assert isinstance(log["cold_start"], bool)
    assert (log["trigger"], log["route"], log["status"]) == ("http", "POST /download-urls", 200)
    assert (log["repositoryName"], log["layerDigests"]) == ("team/app", [digest(1), digest(2)])
    assert (log["layersRequested"], log["layersResolved"], log["layersFailed"]) == (2, 1, 1)
    assert log["durationMs"] >= 0
    (failure,) = log["failures"]
    assert (failure["layerDigest"], failure["code"]) == (digest(2), "LayersNotFoundException")
    assert failure["cause"] == {"type": "ClientError", "code": "LayersNotFoundException", "status": 400}


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


def test_a_refused_request_is_logged_with_the_reason(send: Send, capsys: pytest.CaptureFixture[str]) -> None:
    send("GET", "/download-url", {"repositoryName": "team/app"})
    log, metrics = written(capsys)
    assert (log["level"], log["status"]) == ("INFO", 400)
    assert log["error"] == {"code": "InvalidParameterException", "message": "layerDigest is missing."}
    assert "repositoryName" not in log
    assert metric(metrics, "RequestsFailed")["code"] == "InvalidParameterException"
    assert not [line for line in metrics if "LayersFailed" in line]


def test_a_path_that_is_no_route_and_a_query_are_not_logged(send: Send, capsys: pytest.CaptureFixture[str]) -> None:
    send("GET", "/a-secret-path", {"a-secret": "query"})
    log, _ = written(capsys)
    assert log["route"] == "unmatched"
    assert "a-secret" not in json.dumps(log)


def test_the_log_line_of_a_large_batch_stays_short(
    send: Send, ecr: FakeEcr, capsys: pytest.CaptureFixture[str]
) -> None:
    ecr.answer = ecr_error("LayersNotFoundException")
    ask(send, *map(digest, range(500)))
    log, _ = written(capsys)
    assert log["layersFailed"] == 500
    assert len(log["failures"]) == len(log["layerDigests"]) == LOGGED_LAYERS


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
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == "EcrLayerResolver"
        assert line["service"] == "ecr-layer-resolver"


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
    assert sum(len(line.get("EcrCallLatency", [])) for line in lines) == 250


def test_the_clients_own_mistakes_do_not_count_as_failed_layers(send: Send, capsys: pytest.CaptureFixture[str]) -> None:
    send("GET", "/download-url", {"repositoryName": "team/app", "layerDigest": "x"})
    _, lines = written(capsys)
    assert not [line for line in lines if "LayersFailed" in line]


def test_what_libraries_log_is_redacted() -> None:
    handler = logging.StreamHandler()
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        redact_library_logs()
        record = logging.LogRecord("urllib3", logging.WARNING, "", 0, "retrying %s", (download_url(digest()),), None)
        assert handler.filter(record)
        assert record.getMessage().startswith("retrying https://prod-us-east-1-starport-layer-bucket")
        assert "X-Amz" not in record.getMessage()
    finally:
        root.removeHandler(handler)
