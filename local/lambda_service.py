"""Local Lambda: execution environments on demand, synchronous and asynchronous invocations, and the Invoke API."""

import json
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from local.execution_environment import ExecutionEnvironment, Function, Result

MAXIMUM_PAYLOAD_BYTES = 6 * 1024 * 1024
MAXIMUM_ASYNCHRONOUS_PAYLOAD_BYTES = 1024 * 1024
"""Lambda's quotas; https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""


class LocalLambda:
    """Runs one function in as many execution environments as there are invocations at once, up to a limit.

    Args:
        function: What to run.
        write_log: Gets each line that the function writes.
        concurrency: How many environments there may be; further invocations wait.
    """

    def __init__(self, function: Function, write_log: Callable[[str], None], concurrency: int = 4) -> None:
        self.function = function
        self._write_log = write_log
        self._slots = threading.Semaphore(concurrency)
        self._lock = threading.Lock()
        self._idle: list[ExecutionEnvironment] = []
        self._closed = False

    def __enter__(self) -> "LocalLambda":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def invoke(self, payload: bytes, request_id: str | None = None, qualifier: str = "live") -> Result:
        """Run one invocation and return what it came to.

        Args:
            payload: The event as JSON, in UTF-8.
            request_id: The invocation's id; without it a new one is made.
            qualifier: The alias or version that is invoked.
        """
        with self._slots:
            environment = self._acquire()
            try:
                result = environment.invoke(request_id or str(uuid.uuid4()), payload, qualifier)
            finally:
                self._release(environment)
        if len(result.payload) > MAXIMUM_PAYLOAD_BYTES:
            return Result.error(
                "Function.ResponseSizeTooLarge",
                f"Response payload size exceeded maximum allowed payload size ({MAXIMUM_PAYLOAD_BYTES} bytes).",
            )
        return result

    def close(self) -> None:
        """End every idle environment, and each other one when its invocation ends."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for environment in idle:
            environment.close()

    def _acquire(self) -> ExecutionEnvironment:
        with self._lock:
            while self._idle:
                environment = self._idle.pop()
                if environment.is_alive:
                    return environment
                environment.close()
        return ExecutionEnvironment(self.function, self._write_log)

    def _release(self, environment: ExecutionEnvironment) -> None:
        with self._lock:
            if environment.is_alive and not self._closed:
                self._idle.append(environment)
                return
        environment.close()


@dataclass(frozen=True, slots=True)
class AsynchronousConfiguration:
    """How Lambda treats asynchronous invocations of the function.

    Attributes:
        retry_delays_seconds: How long to wait before each retry; one retry for each. In life it is a minute, then two.
        maximum_age_seconds: How old an event may be when it is tried again.
        destination: Gets the record of each invocation that has ended.
    """

    retry_delays_seconds: tuple[float, ...] = (60.0, 120.0)
    maximum_age_seconds: float = 6 * 60 * 60
    destination: Callable[[dict[str, Any]], None] = lambda _: None


class AsynchronousInvocations:
    """Lambda's queue of asynchronous invocations, with its retries and destinations.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html

    Args:
        service: Runs the function.
        configuration: Retries, maximum age and destination.
    """

    def __init__(self, service: LocalLambda, configuration: AsynchronousConfiguration) -> None:
        self._service = service
        self._configuration = configuration
        self._executor = ThreadPoolExecutor(max_workers=8, thread_name_prefix="asynchronous")
        self._stopping = threading.Event()

    def __enter__(self) -> "AsynchronousInvocations":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._executor.shutdown(cancel_futures=True)

    def submit(self, payload: bytes, qualifier: str = "live") -> str:
        """Queue an event and return the id that its invocation and all its retries have."""
        request_id = str(uuid.uuid4())
        self._executor.submit(self._run, payload, request_id, qualifier)
        return request_id

    def _run(self, payload: bytes, request_id: str, qualifier: str) -> None:
        received = time.monotonic()
        condition = "RetriesExhausted"
        attempts = 0
        for delay in (0.0, *self._configuration.retry_delays_seconds):
            if self._stopping.wait(delay):
                return
            if time.monotonic() - received > self._configuration.maximum_age_seconds:
                condition = "EventAgeExceeded"
                break
            result = self._service.invoke(payload, request_id, qualifier)
            attempts += 1
            if not result.is_error:
                condition = "Success"
                break
        self._configuration.destination(
            {
                "version": "1.0",
                "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                "requestContext": {
                    "requestId": request_id,
                    "functionArn": f"{self._service.function.arn}:{qualifier}",
                    "condition": condition,
                    "approximateInvokeCount": attempts,
                },
                "requestPayload": json.loads(payload),
                "responseContext": {
                    "statusCode": 200,
                    "executedVersion": "1",
                    **({"functionError": "Unhandled"} if result.is_error else {}),
                },
                "responsePayload": json.loads(result.payload),
            }
        )


class LambdaApi:
    """Answers Lambda's Invoke action, for boto3 through `AWS_ENDPOINT_URL_LAMBDA`.

    Source: https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html

    Args:
        service: Runs synchronous invocations.
        asynchronous: Takes asynchronous ones.
    """

    def __init__(self, service: LocalLambda, asynchronous: AsynchronousInvocations) -> None:
        self._service = service
        self._asynchronous = asynchronous

    def app(self) -> Starlette:
        """Return the application that speaks for Lambda over HTTP."""
        return Starlette(routes=[Route("/2015-03-31/functions/{name}/invocations", self._invoke, methods=["POST"])])

    async def _invoke(self, request: Request) -> Response:
        function = self._service.function
        if request.path_params["name"] not in {function.name, function.arn}:
            return _api_error(404, "ResourceNotFoundException", "Function not found")
        payload = await request.body() or b"{}"
        if not _is_json(payload):
            return _api_error(400, "InvalidRequestContentException", "Could not parse request body into json")
        qualifier = request.query_params.get("Qualifier", "$LATEST")
        match request.headers.get("x-amz-invocation-type", "RequestResponse"):
            case "DryRun":
                return Response(status_code=204)
            case "Event":
                return self._accept(payload, qualifier)
            case _:
                return await self._run(payload, qualifier)

    def _accept(self, payload: bytes, qualifier: str) -> Response:
        if len(payload) > MAXIMUM_ASYNCHRONOUS_PAYLOAD_BYTES:
            return _api_error(413, "RequestTooLargeException", "The request payload exceeded 1 MB")
        request_id = self._asynchronous.submit(payload, qualifier)
        return Response(status_code=202, headers={"x-amzn-RequestId": request_id})

    async def _run(self, payload: bytes, qualifier: str) -> Response:
        if len(payload) > MAXIMUM_PAYLOAD_BYTES:
            return _api_error(413, "RequestTooLargeException", "The request payload exceeded 6 MB")
        result = await run_in_threadpool(self._service.invoke, payload, None, qualifier)
        headers = {"X-Amz-Executed-Version": "1", **({"X-Amz-Function-Error": "Unhandled"} if result.is_error else {})}
        return Response(result.payload, media_type="application/json", headers=headers)


def _is_json(payload: bytes) -> bool:
    try:
        json.loads(payload)
    except ValueError:
        return False
    return True


def _api_error(status: int, code: str, message: str) -> Response:
    return Response(
        json.dumps({"Type": "User", "Message": message}),
        status_code=status,
        media_type="application/json",
        headers={"x-amzn-ErrorType": code},
    )
