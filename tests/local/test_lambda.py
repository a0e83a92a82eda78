"""The local Lambda runs handlers under the real runtime client, as Lambda does."""

import json
import os
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from local.execution_environment import Function, Result
from local.lambda_service import AsynchronousConfiguration, AsynchronousInvocations, LambdaApi, LocalLambda
from local.server import running

HANDLER = """
    import json, os, sys, time

    state = {"invocations": 0}

    def handler(event, context):
        state["invocations"] += 1
        print("handling", json.dumps(event))
        match event.get("do"):
            case "count":
                return state["invocations"]
            case "context":
                return {
                    "request_id": context.aws_request_id, "arn": context.invoked_function_arn,
                    "memory": context.memory_limit_in_mb, "remaining": context.get_remaining_time_in_millis(),
                    "environment": dict(os.environ),
                }
            case "sleep":
                time.sleep(event["seconds"])
                return os.getpid()
            case "fail":
                raise ValueError("on purpose")
            case "exit":
                sys.stdout.flush()
                os._exit(3)
            case "large":
                return "x" * 7_000_000
        return event
"""

Run = Callable[..., AbstractContextManager[LocalLambda]]


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def run(tmp_path: Path, log: list[str]) -> Run:
    @contextmanager
    def start(
        source: str = HANDLER, *, timeout_seconds: float = 10.0, concurrency: int = 4, snap_start: bool = False
    ) -> Iterator[LocalLambda]:
        (tmp_path / "function.py").write_text(textwrap.dedent(source))
        function = Function(
            "function.handler", tmp_path, {"AWS_REGION": "eu-west-1"}, timeout_seconds, snap_start=snap_start
        )
        with LocalLambda(function, log.append, concurrency) as service:
            yield service

    return start


def invoke(service: LocalLambda, **event: Any) -> Any:
    result = service.invoke(json.dumps(event).encode())
    assert not result.is_error, result.payload
    return json.loads(result.payload)


def error_of(result: Result) -> dict[str, Any]:
    assert result.is_error
    error: dict[str, Any] = json.loads(result.payload)
    return error


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_handler_gets_lambdas_context_and_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "the-developers-own")
    with run(timeout_seconds=5) as service:
        result = service.invoke(b'{"do": "context"}', request_id="an-id")
    context = json.loads(result.payload)
    assert context["request_id"] == "an-id"
    assert context["arn"] == "arn:aws:lambda:eu-west-1:123456789012:function:ecr-layer-resolver:live"
    assert context["memory"] == "512"
    assert 0 < context["remaining"] <= 5000
    assert context["environment"]["AWS_LAMBDA_FUNCTION_NAME"] == "ecr-layer-resolver"
    assert "AWS_PROFILE" not in context["environment"]


def test_invocations_at_once_have_environments_of_their_own_up_to_the_limit(run: Run) -> None:
    pids: list[int] = []
    with run(concurrency=2) as service:
        threads = [
            threading.Thread(target=lambda: pids.append(invoke(service, do="sleep", seconds=0.3))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(pids) == 4
    assert len(set(pids)) == 2
    assert not any(is_running(pid) for pid in pids)


HOOKS = """
    from snapshot_restore_py import register_after_restore, register_before_snapshot

    done = []
    register_before_snapshot(done.append, "before the snapshot")
    register_after_restore(done.append, "after the restore")

    def handler(event, context):
        return done
"""


@pytest.mark.parametrize(("snap_start", "done"), [(True, ["before the snapshot", "after the restore"]), (False, [])])
def test_snapstart_runs_the_functions_hooks_before_its_first_invocation(
    run: Run, snap_start: bool, done: list[str]
) -> None:
    with run(HOOKS, snap_start=snap_start) as service:
        assert invoke(service) == done


@pytest.mark.parametrize(
    ("do", "error_type", "message", "invocations"),
    [
        ("fail", "ValueError", "on purpose", 2),
        ("exit", "Runtime.ExitError", "Runtime exited with error: exit status 3", 1),
        ("large", "Function.ResponseSizeTooLarge", "Response payload size exceeded", 2),
    ],
)
def test_a_failure_fails_its_invocation_alone(
    run: Run, do: str, error_type: str, message: str, invocations: int
) -> None:
    with run() as service:
        error = error_of(service.invoke(json.dumps({"do": do}).encode()))
        assert error["errorType"] == error_type
        assert error["errorMessage"].startswith(message)
        assert invoke(service, do="count") == invocations


def test_a_time_out_ends_the_process_and_the_next_invocation_gets_another(run: Run) -> None:
    with run(timeout_seconds=2) as service:
        pid = invoke(service, do="sleep", seconds=0)
        error = error_of(service.invoke(b'{"do": "sleep", "seconds": 30}', request_id="an-id"))
        assert error == {
            "errorType": "Sandbox.Timedout",
            "errorMessage": "RequestId: an-id Error: Task timed out after 2.00 seconds",
        }
        assert not is_running(pid)
        assert invoke(service, do="count") == 1


def test_closing_ends_invocations_under_way(run: Run) -> None:
    results: list[Result] = []
    with run() as service:
        invoke(service, do="count")
        busy = threading.Thread(target=lambda: results.append(service.invoke(b'{"do": "sleep", "seconds": 8}')))
        busy.start()
        time.sleep(0.2)
        started = time.monotonic()
    busy.join()
    assert time.monotonic() - started < 5
    assert error_of(results[0])["errorType"] == "Runtime.ExitError"
    assert error_of(service.invoke(b"{}"))["errorMessage"] == "The local Lambda has stopped."


def test_a_function_that_does_not_load_says_why(run: Run, log: list[str]) -> None:
    with run("import there_is_no_such_module") as service:
        error = error_of(service.invoke(b"{}"))
    assert error["errorType"] == "Runtime.ImportModuleError"
    assert "there_is_no_such_module" in error["errorMessage"]
    assert any("there_is_no_such_module" in line for line in log)


class TestAsynchronousInvocations:
    """Asynchronous invocations through boto3's Lambda client."""

    @pytest.fixture
    def records(self) -> list[dict[str, Any]]:
        return []

    @pytest.fixture
    def start(self, run: Run, records: list[dict[str, Any]]) -> Callable[..., AbstractContextManager[Any]]:
        @contextmanager
        def client(source: str = HANDLER, **configuration: Any) -> Iterator[Any]:
            configured = AsynchronousConfiguration(
                **({"retry_delays_seconds": (0.05, 0.1)} | configuration), destination=records.append
            )
            with (
                run(source) as service,
                AsynchronousInvocations(service, configured) as asynchronous,
                running(LambdaApi(service, asynchronous).app()) as url,
            ):
                yield boto3.client("lambda", endpoint_url=url, config=Config(retries={"total_max_attempts": 1}))

        return client

    @staticmethod
    def wait_for(records: list[dict[str, Any]]) -> dict[str, Any]:
        for _ in range(200):
            if records:
                return records[0]
            time.sleep(0.05)
        raise AssertionError("no record")

    def test_a_synchronous_invocation_answers_the_payload(self, start: Any) -> None:
        with start() as client:
            answer = client.invoke(FunctionName="ecr-layer-resolver", Payload=b'{"a": 1}')
            assert json.load(answer["Payload"]) == {"a": 1}
            failed = client.invoke(FunctionName="ecr-layer-resolver", Payload=b'{"do": "fail"}')
            assert failed["FunctionError"] == "Unhandled"
            assert client.invoke(FunctionName="ecr-layer-resolver", InvocationType="DryRun")["StatusCode"] == 204

    def test_events_that_wait_for_a_retry_hold_up_no_other(self, start: Any, records: list[dict[str, Any]]) -> None:
        with start(retry_delays_seconds=(60.0,)) as client:
            for _ in range(20):
                client.invoke(FunctionName="ecr-layer-resolver", InvocationType="Event", Payload=b'{"do": "fail"}')
            client.invoke(FunctionName="ecr-layer-resolver", InvocationType="Event", Payload=b'{"a": 1}')
            assert self.wait_for(records)["requestContext"]["condition"] == "Success"

    def test_a_success_goes_to_the_destination(self, start: Any, records: list[dict[str, Any]]) -> None:
        with start() as client:
            answer = client.invoke(
                FunctionName="ecr-layer-resolver", InvocationType="Event", Payload=b'{"a": 1}', Qualifier="live"
            )
            record = self.wait_for(records)
        assert answer["StatusCode"] == 202
        assert record["requestContext"] == {
            "requestId": answer["ResponseMetadata"]["RequestId"],
            "functionArn": "arn:aws:lambda:eu-west-1:123456789012:function:ecr-layer-resolver:live",
            "condition": "Success",
            "approximateInvokeCount": 1,
        }
        assert record["requestPayload"] == record["responsePayload"] == {"a": 1}

    def test_a_failure_is_tried_three_times_and_then_goes_to_the_destination_whole(
        self, start: Any, records: list[dict[str, Any]], log: list[str]
    ) -> None:
        with start() as client:
            client.invoke(FunctionName="ecr-layer-resolver", InvocationType="Event", Payload=b'{"do": "fail"}')
            record = self.wait_for(records)
        assert record["requestContext"]["condition"] == "RetriesExhausted"
        assert record["requestContext"]["approximateInvokeCount"] == 3
        assert record["requestPayload"] == {"do": "fail"}
        assert record["responseContext"]["functionError"] == "Unhandled"
        assert log.count('handling {"do": "fail"}') == 3
