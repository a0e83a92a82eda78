"""What an invocation leaves behind: one log line, and metrics."""

import json
import sys
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from layer_resolver import __version__
from layer_resolver.callers import Caller
from layer_resolver.calls import Deadline
from layer_resolver.errors import INTERNAL_ERROR, Repository, ResolverError, Subject
from layer_resolver.handler import create_handler
from layer_resolver.invocation import EcrCall, Invocation
from layer_resolver.observability import LOGGED_DIGEST_BYTES, LOGGED_LAYERS, first_digests, metrics, publish
from layer_resolver.settings import Settings
from tests.unit.fakes import (
    Context,
    FakeEcr,
    Lines,
    Output,
    Send,
    digest,
    ecr_error,
    eventbridge_event,
    function_url_event,
    metrics_in,
    url_signed_now,
)

LONGEST_LINE = 32 * 1024
LAYER = {"repositoryName": "team/app", "layerDigest": digest()}


def ask(send: Send, *digests: str) -> None:
    send("POST", "/download-urls", body=json.dumps({"repositoryName": "team/app", "layerDigests": digests}))


def publish_alone(invocation: Invocation) -> None:
    publish(invocation, "local")
    metrics.flush_metrics()


def metric(lines: Lines, name: str) -> dict[str, Any]:
    """Return the only metric line that has the metric."""
    (line,) = [line for line in lines if name in line]
    return line


class TestLogLine:
    def test_an_invocation_leaves_one_log_line_that_says_what_was_done_and_nothing_of_the_one_before(
        self, send: Send, ecr: FakeEcr, output: Output
    ) -> None:
        ecr.answers = {digest(2): ecr_error("LayersNotFoundException", "not here")}
        send("GET", "/healthz")
        output.text()
        ask(send, digest(1), digest(2))
        log = output.log()
        at = datetime.strptime(log.pop("timestamp"), "%Y-%m-%d %H:%M:%S,%f%z")
        assert abs(at.timestamp() - time.time()) < 600
        assert log.pop("durationMs") >= 0
        assert "publish" in log.pop("location")
        cause = {"type": "ClientError", "code": "LayersNotFoundException", "status": 400}
        assert log == {
            "level": "INFO",
            "message": "POST /download-urls answered 200",
            "service": "ecr-layer-resolver",
            "version": __version__,
            "cold_start": False,
            "function_name": "ecr-layer-resolver",
            "function_memory_size": 512,
            "function_arn": "arn:aws:lambda:us-east-1:123456789012:function:ecr-layer-resolver:live",
            "function_request_id": "f7a5c1de-0000-4000-8000-000000000000",
            "correlation_id": "9e5d8b70-0000-4000-8000-000000000000",
            "trigger": "http",
            "route": "POST /download-urls",
            "status": 200,
            "callerKind": "public",
            "callerVerified": False,
            "sourceIp": "203.0.113.7",
            "repositoryName": "team/app",
            "ecrCalls": 2,
            "cacheHits": 0,
            "layersRequested": 2,
            "layersResolved": 1,
            "layersFailed": 1,
            "failures": [{"code": "LayersNotFoundException", "layerDigest": digest(2), "cause": cause}],
            "layerDigests": [digest(1), digest(2)],
        }
        send("GET", "/healthz")
        assert not {"repositoryName", "layersRequested", "layerDigests", "failures"} & output.log().keys()

    @pytest.mark.parametrize("path", [f"blobs/{digest()}", "manifests/1.0", "tags/list", f"referrers/{digest()}"])
    def test_the_registry_and_the_repository_that_were_asked_are_logged(
        self, ecr: FakeEcr, output: Output, path: str
    ) -> None:
        settings = Settings(image_pull=True, list_tags=True, allowed_registries=("210987654321",))
        create_handler(ecr, settings)(function_url_event("GET", f"/v2/210987654321/team/app/{path}"), Context())
        log = output.log()
        assert (log["registryId"], log["repositoryName"]) == ("210987654321", "team/app")

    @pytest.mark.parametrize(
        ("error", "level"),
        [
            (RuntimeError("could not read"), "ERROR"),
            (ecr_error("ExpiredTokenException"), "ERROR"),
            (ecr_error("LayersNotFoundException"), "INFO"),
            (ecr_error("ThrottlingException"), "INFO"),
        ],
        ids=repr,
    )
    def test_the_services_own_fault_is_an_error_with_the_place_where_it_was_raised_in_a_batch_too(
        self, send: Send, ecr: FakeEcr, output: Output, error: Exception, level: str
    ) -> None:
        ecr.answer = error
        ask(send, digest())
        log = output.log()
        assert (log["status"], log["level"]) == (200, level)
        assert log["failures"][0]["cause"]["type"] == type(error).__name__
        assert ("trace" in log) == (level == "ERROR")
        assert log.get("trace", ["fakes.py:1"])[-1].startswith("fakes.py:")

    def test_a_refused_request_is_logged_with_the_reason(self, send: Send, output: Output) -> None:
        send("GET", "/download-url", {"repositoryName": "team/app"})
        log, lines = output.log_and_metrics()
        assert (log["level"], log["status"]) == ("INFO", 400)
        assert log["error"]["code"] == "InvalidParameterException"
        assert "layerDigest" in log["error"]["message"]
        assert "repositoryName" not in log
        assert metric(lines, "RequestsFailed")["code"] == "InvalidParameterException"
        assert not [line for line in lines if "LayersFailed" in line]

    def test_an_unknown_path_and_a_query_are_not_logged(self, send: Send, output: Output) -> None:
        send("GET", "/a-secret-path", {"a-secret": "query"})
        log = output.log()
        assert log["route"] == "unmatched"
        assert "a-secret" not in json.dumps(log)

    @pytest.mark.parametrize("account", ["123456789012", "12345678901", "Bearer s3cr3t", 123456789012, None])
    def test_the_account_that_put_an_event_is_the_caller(self, ecr: FakeEcr, output: Output, account: object) -> None:
        with suppress(ResolverError):
            create_handler(ecr, Settings())(eventbridge_event({**LAYER}) | {"account": account}, Context())
        log, lines = output.log_and_metrics()
        assert log.get("caller") == ("123456789012" if account == "123456789012" else None)
        assert log["callerKind"] == metric(lines, "Requests")["callerKind"] == "event"

    def test_an_error_about_tags_or_an_image_says_so(self, ecr: FakeEcr, output: Output) -> None:
        handler = create_handler(ecr, Settings(image_pull=True, list_tags=True))
        ecr.image_error = ecr_error("ThrottlingException")
        for path, about in [
            ("tags/list", {"repositoryName": "team/app"}),
            ("manifests/1.0", {"repositoryName": "team/app", "image": "1.0"}),
            (f"referrers/{digest()}", {"repositoryName": "team/app", "image": digest()}),
        ]:
            answer = handler(function_url_event("GET", f"/v2/team/app/{path}"), Context())
            assert "layer" not in answer["body"]
            error = output.log()["error"]
            assert (error.pop("code"), error.pop("cause")["type"]) == ("ThrottlingException", "ClientError")
            assert error == about

    @pytest.mark.usefixtures("debugging")
    def test_debugging_adds_a_line_for_each_call_to_ecr(self, send: Send, ecr: FakeEcr, output: Output) -> None:
        ecr.answers = {digest(2): ecr_error("LayersNotFoundException")}
        ask(send, digest(1), digest(2))
        calls = [line for line in output.lines() if line.get("message") == "Called ECR"]
        assert {(line["level"], line["action"], line["outcome"]) for line in calls} == {
            ("DEBUG", "get_download_url_for_layer", "ok"),
            ("DEBUG", "get_download_url_for_layer", "LayersNotFoundException"),
        }
        assert {line["correlation_id"] for line in calls} == {"9e5d8b70-0000-4000-8000-000000000000"}

    @pytest.mark.usefixtures("debugging")
    def test_a_call_that_is_still_running_has_no_duration(self, output: Output) -> None:
        publish_alone(Invocation(Deadline.after(5), ecr_calls=[EcrCall("list_images")]))
        lines = output.lines()
        (call,) = [line for line in lines if line.get("message") == "Called ECR"]
        assert "durationMs" not in call
        assert not [line for line in lines if "EcrCallLatency" in line]


class TestSize:
    def test_a_line_has_every_layer_of_an_image_behind_all_other_fields_of_which_logs_insights_finds_200(
        self, send: Send, output: Output
    ) -> None:
        ask(send, *map(digest, range(LOGGED_LAYERS)))
        log = output.log()
        assert log["layerDigests"] == [digest(number) for number in range(LOGGED_LAYERS)]
        fields = list(log)
        assert fields.index("layerDigests") + LOGGED_LAYERS < 200

    def test_a_line_with_all_that_is_longest_at_once_stays_below_32_kb(self, output: Output) -> None:
        longest = f"sha256:{0:0293x}"
        repository = Repository("a" * 256, "123456789012")
        cause = _chained(30)
        error = ResolverError(INTERNAL_ERROR, "x" * 10_000)
        error.__cause__ = cause
        about_layer = ResolverError.about(Subject(repository, "layer", longest), INTERNAL_ERROR, cause)
        publish_alone(
            Invocation(
                Deadline.after(5),
                caller=Caller("iam", f"arn:{'a' * 300}", "f" * 45, is_verified=True),
                image=f"{repository.repository_name} {longest}",
                image_digest=longest,
                repository=repository,
                layer_digests=[longest] * 500,
                failures=[about_layer] * 500,
                error=error,
                pull_event_failure=cause,
            )
        )
        (line,) = [line for line in output.text().splitlines() if "layerDigests" in line]
        assert LONGEST_LINE / 2 < len(line.encode()) < LONGEST_LINE
        log = json.loads(line)
        assert (log["layersFailed"], len(log["failures"]), len(log["error"]["message"])) == (500, 10, 2000)
        assert len(log["layerDigests"]) == LOGGED_DIGEST_BYTES // (300 + len('"",'))

    def test_digests_that_just_fit_are_all_there(self) -> None:
        assert first_digests(["a" * 7] * 3, 30) == ["a" * 7] * 3
        assert first_digests(["a" * 7] * 3, 29) == ["a" * 7] * 2


def _raised(error: Exception, cause: Exception | None) -> Exception:
    """Return an exception as it is once it was raised."""
    with pytest.raises(type(error)) as raised:
        raise error from cause
    return raised.value


def _chained(depth: int) -> Exception:
    """Return an exception that others led to, with texts and a host as long as they get."""
    if not depth:
        return ConnectionResetError(104, "reset")
    url = f"https://{'.'.join(['h' * 62] * 4)}/{'x' * 2000}"
    return _raised(EndpointConnectionError(endpoint_url=url), _chained(depth - 1))


class TestMetrics:
    def test_each_metric_has_its_namespace_unit_and_dimensions_and_counts_what_was_resolved_and_what_failed_by_code(
        self, send: Send, ecr: FakeEcr, output: Output
    ) -> None:
        missing = ecr_error("LayersNotFoundException")
        ecr.answers = {digest(1): missing, digest(2): missing, digest(3): ecr_error("ThrottlingException")}
        send("GET", "/nowhere")
        ask(send, *map(digest, range(6)))
        lines = output.lines()
        found = {
            (name, unit, *sorted(dimensions.items()))
            for line in lines
            for name, unit, dimensions in metrics_in(line)
            if name != "ColdStart"
        }
        service, stack = ("service", "ecr-layer-resolver"), ("stack", "local")
        kind = ("callerKind", "public")
        assert found == {
            ("LayersResolved", "Count", service, stack),
            ("EcrCallLatency", "Milliseconds", service, stack),
            ("LayersFailed", "Count", ("code", "LayersNotFoundException"), service, stack),
            ("LayersFailed", "Count", ("code", "ThrottlingException"), service, stack),
            ("RequestsFailed", "Count", ("code", "RouteNotFound"), service, stack),
            ("Requests", "Count", kind, ("outcome", "answered"), service, stack),
            ("Requests", "Count", kind, ("outcome", "refused"), service, stack),
        }
        assert all(abs(line["_aws"]["Timestamp"] / 1000 - time.time()) < 600 for line in lines if "_aws" in line)
        assert metric(lines, "LayersResolved")["LayersResolved"] == [3.0]
        assert len(metric(lines, "EcrCallLatency")["EcrCallLatency"]) == 6
        failed = {line["code"]: line["LayersFailed"] for line in lines if "LayersFailed" in line}
        assert failed == {"LayersNotFoundException": [2.0], "ThrottlingException": [1.0]}

    @pytest.mark.parametrize(
        ("path", "error", "outcome", "code"),
        [
            ("/healthz", None, "answered", None),
            (f"/v2/team/app/blobs/{digest()}", ecr_error("ThrottlingException"), "refused", "ThrottlingException"),
            (f"/v2/team/app/blobs/{digest()}", RuntimeError(), "failed", "InternalError"),
        ],
    )
    def test_each_request_is_counted_once_by_outcome_and_kind_of_caller_never_by_its_name(
        self,
        send: Send,
        ecr: FakeEcr,
        output: Output,
        path: str,
        error: Exception | None,
        outcome: str,
        code: str | None,
    ) -> None:
        ecr.answer = error or 0.0
        send("GET", path)
        _, lines = output.log_and_metrics()
        line = metric(lines, "Requests")
        assert (line["Requests"], line["callerKind"], line["outcome"]) == ([1.0], "public", outcome)
        assert not {"caller", "sourceIp", "LayersFailed"} & {name for each in lines for name in each}
        assert [each["code"] for each in lines if "RequestsFailed" in each] == ([code] if code else [])

    def test_cache_hits_are_counted(self, send: Send, ecr: FakeEcr, output: Output) -> None:
        ecr.url_of = url_signed_now
        ask(send, digest(1))
        output.text()
        ask(send, digest(1), digest(2))
        log, lines = output.log_and_metrics()
        assert (log["cacheHits"], log["ecrCalls"]) == (1, 1)
        assert metric(lines, "CacheHits")["CacheHits"] == [1.0]

    def test_more_calls_than_one_metric_line_takes_are_all_reported(self, send: Send, output: Output) -> None:
        ask(send, *map(digest, range(250)))
        _, lines = output.log_and_metrics()
        # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
        values = [line.get("EcrCallLatency", []) for line in lines]
        assert max(map(len, values)) <= 100
        assert sum(map(len, values)) == 250


def test_the_answer_is_there_though_standard_output_takes_no_more(
    send: Send, monkeypatch: pytest.MonkeyPatch, output: Output
) -> None:
    with Path("/dev/full").open("w", buffering=1) as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", full)
        answers = [send("GET", "/download-url", LAYER) for _ in range(2)]
        with suppress(OSError):
            full.close()
    assert [answer.status for answer in answers] == [200, 200]
    assert "X-Amz" not in output.text()
