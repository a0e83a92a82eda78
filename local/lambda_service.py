"""Local Lambda: execution environments on demand, synchronous and asynchronous invocations, and the Invoke API."""

import json
import re
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.execution_environment import ExecutionEnvironment, Function, Result

# The API reference's forms of FunctionName: a name, a partial or a full ARN, each with or without a qualifier.
_FUNCTION_NAME = re.compile(r"(?:(?:arn:aws:lambda:[^:]+:)?\d{12}:function:)?([\w-]+)(?::([\w$-]+))?", re.ASCII)

MAXIMUM_PAYLOAD_BYTES = 6 * 1024 * 1024
MAXIMUM_ASYNCHRONOUS_PAYLOAD_BYTES = 1024 * 1024
"""Lambda's quotas; https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""


class LocalLambda:
    """Runs one function in as many execution environments as there are invocations at once, up to a limit."""

    def __init__(self, function: Function, write_log: Callable[[str], None], concurrency: int = 4) -> None:
        self.function = function
        self._write_log = write_log
        self._slots = threading.Semaphore(concurrency)
        self._lock = threading.Lock()
        self._environments: set[ExecutionEnvironment] = set()
        self._idle: list[ExecutionEnvironment] = []
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def invoke(self, payload: bytes, request_id: str | None = None, qualifier: str = "live") -> Result:
        """Run one invocation of an event, JSON in UTF-8."""
        with self._slots:
            if self._closed:
                return Result.error("ServiceException", "The local Lambda has stopped.")
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
        """End every environment; invocations under way end with an error."""
        with self._lock:
            self._closed = True
            environments, self._environments, self._idle = self._environments, set(), []
        for environment in environments:
            environment.close()

    def _acquire(self) -> ExecutionEnvironment:
        with self._lock:
            while self._idle:
                environment = self._idle.pop()
                if environment.is_alive:
                    return environment
                self._environments.discard(environment)
                environment.close()
        environment = ExecutionEnvironment(self.function, self._write_log)
        with self._lock:
            self._environments.add(environment)
        return environment

    def _release(self, environment: ExecutionEnvironment) -> None:
        with self._lock:
            if environment.is_alive and not self._closed:
                self._idle.append(environment)
                return
            self._environments.discard(environment)
        environment.close()


@dataclass(frozen=True, slots=True)
class AsynchronousConfiguration:
    """How Lambda treats asynchronous invocations of the function.

    Attributes:
        retry_delays_seconds: How long to wait before each retry. In life it is a minute, then two.
        maximum_age_seconds: How old an event may be when it is tried again.
        destination: Gets the record of each invocation that has ended.
    """

    retry_delays_seconds: tuple[float, ...] = (60.0, 120.0)
    maximum_age_seconds: float = 6 * 60 * 60
    destination: Callable[[dict[str, Any]], None] = lambda _: None


@dataclass(slots=True)
class _Event:
    payload: bytes
    request_id: str
    qualifier: str
    received: float
    attempts: int = 0
    result: Result | None = None


class AsynchronousInvocations:
    """Lambda's asynchronous invocations, with its retries and destinations. Each event waits in a thread of its own.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    """

    def __init__(self, service: LocalLambda, configuration: AsynchronousConfiguration) -> None:
        self._service = service
        self._configuration = configuration
        self._closed = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()

    def submit(self, payload: bytes, qualifier: str = "live") -> str:
        """Queue an event and return the id that its invocation and all its retries have."""
        event = _Event(payload, str(uuid.uuid4()), qualifier, received=time.monotonic())
        threading.Thread(target=self._process, args=(event,), daemon=True).start()
        return event.request_id

    def _process(self, event: _Event) -> None:
        condition = self._attempt(event)
        for delay in self._configuration.retry_delays_seconds:
            if condition != "RetriesExhausted" or self._closed.wait(delay):
                break
            condition = self._attempt(event)
        if not self._closed.is_set():
            self._configuration.destination(self._record(event, condition))

    def _attempt(self, event: _Event) -> str:
        """Run the function once, and return the event's condition unless it is tried again."""
        if time.monotonic() - event.received > self._configuration.maximum_age_seconds:
            return "EventAgeExceeded"
        event.result = self._service.invoke(event.payload, event.request_id, event.qualifier)
        event.attempts += 1
        return "RetriesExhausted" if event.result.is_error else "Success"

    def _record(self, event: _Event, condition: str) -> dict[str, Any]:
        record = {
            "version": "1.0",
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "requestContext": {
                "requestId": event.request_id,
                "functionArn": f"{self._service.function.arn}:{event.qualifier}",
                "condition": condition,
                "approximateInvokeCount": event.attempts,
            },
            "requestPayload": json.loads(event.payload),
        }
        if event.result is None:
            return record
        return record | {
            "responseContext": {
                "statusCode": 200,
                "executedVersion": "1",
                **({"functionError": "Unhandled"} if event.result.is_error else {}),
            },
            "responsePayload": json.loads(event.result.payload),
        }


class LambdaApi:
    """Answers Lambda's Invoke action, for boto3 through `AWS_ENDPOINT_URL_LAMBDA`.

    Source: https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
    """

    def __init__(self, service: LocalLambda, asynchronous: AsynchronousInvocations) -> None:
        self._service = service
        self._asynchronous = asynchronous

    def app(self) -> Starlette:
        """Return the application that speaks for Lambda over HTTP."""
        return Starlette(routes=[Route("/2015-03-31/functions/{name}/invocations", self._invoke, methods=["POST"])])

    async def _invoke(self, request: Request) -> Response:
        name = _FUNCTION_NAME.fullmatch(request.path_params["name"])
        if name is None or name[1] != self._service.function.name:
            return _api_error(404, "ResourceNotFoundException", "Function not found")
        payload = await request.body() or b"{}"
        try:
            json.loads(payload)
        except (ValueError, RecursionError):
            return _api_error(400, "InvalidRequestContentException", "Could not parse request body into json")
        invocation_type = request.headers.get("x-amz-invocation-type", "RequestResponse")
        is_asynchronous = invocation_type == "Event"
        if len(payload) > (MAXIMUM_ASYNCHRONOUS_PAYLOAD_BYTES if is_asynchronous else MAXIMUM_PAYLOAD_BYTES):
            return _api_error(413, "RequestTooLargeException", "The request payload is too large")
        if invocation_type == "DryRun":
            return Response(status_code=204)
        qualifier = name[2] or request.query_params.get("Qualifier", "$LATEST")
        if is_asynchronous:
            return Response(None, 202, {"x-amzn-RequestId": self._asynchronous.submit(payload, qualifier)})
        return await self._run(payload, qualifier)

    async def _run(self, payload: bytes, qualifier: str) -> Response:
        request_id = str(uuid.uuid4())
        result = await run_in_threadpool(self._service.invoke, payload, request_id, qualifier)
        headers = {"x-amzn-RequestId": request_id, "X-Amz-Executed-Version": "1"}
        if result.is_error:
            headers["X-Amz-Function-Error"] = "Unhandled"
        return Response(result.payload, headers=headers, media_type="application/json")


def _api_error(status: int, code: str, message: str) -> Response:
    return JSONResponse({"Type": "User", "Message": message}, status, {"x-amzn-ErrorType": code})
