"""One execution environment of Lambda: a process of the real runtime client, and the Runtime API that it asks for work.

Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from local.ecr import ACCOUNT_ID
from local.server import running

# Lambda allows 10 seconds to load the function; a busy machine needs more.
_INITIALIZATION_SECONDS = 60.0

_API = "/2018-06-01/runtime"

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Function:
    """A Lambda function.

    Attributes:
        handler: Module and name of the handler, such as `package.module.name`.
        code: Directory of the deployment package's root.
        environment: Environment variables, credentials and region among them.
        timeout_seconds: How long an invocation may take.
        name: The function's name.
        snap_start: Whether the function is told that it is snapshotted and restored after its initialization, and so
            runs its hooks; there is no snapshot here.
    """

    handler: str
    code: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: float = 15.0
    name: str = "ecr-layer-resolver"
    snap_start: bool = False

    @property
    def arn(self) -> str:
        """The function's ARN."""
        region = self.environment.get("AWS_REGION", "us-east-1")
        return f"arn:aws:lambda:{region}:{ACCOUNT_ID}:function:{self.name}"

    def process_environment(self, runtime_api: str) -> dict[str, str]:
        """Return the environment of a process of the function, and nothing of the developer's own AWS settings.

        Source: https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
        """
        return {
            "PATH": os.environ.get("PATH", ""),
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "PYTHONPATH": str(self.code),
            "LAMBDA_TASK_ROOT": str(self.code),
            "_HANDLER": self.handler,
            "AWS_LAMBDA_RUNTIME_API": runtime_api,
            "AWS_LAMBDA_FUNCTION_NAME": self.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "1",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start" if self.snap_start else "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{self.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": f"local/[1]{uuid.uuid4().hex}",
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info.major}.{sys.version_info.minor}",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            **self.environment,
        }


@dataclass(frozen=True, slots=True)
class Result:
    """The result of an invocation: an answer or an error, as JSON."""

    payload: bytes
    is_error: bool = False

    @classmethod
    def error(cls, error_type: str, message: str) -> "Result":
        """Return an error that Lambda itself gives."""
        return cls(json.dumps({"errorType": error_type, "errorMessage": message}).encode(), is_error=True)


@dataclass(frozen=True, slots=True)
class _Invocation:
    request_id: str
    payload: bytes
    deadline_ms: int
    arn: str


class ExecutionEnvironment:
    """Runs one invocation at a time in a reused process, as Lambda does."""

    def __init__(self, function: Function, write_log: Callable[[str], None]) -> None:
        self._function = function
        self._write_log = write_log
        self._ready: Future[Result | None] = Future()
        self._next: Future[_Invocation | None] = Future()
        self._result: Future[Result] = Future()
        self._stack = ExitStack()
        url = self._stack.enter_context(running(self._runtime_api()))
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "awslambdaric", function.handler],
            cwd=function.code,
            env=function.process_environment(url.removeprefix("http://")),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # Ctrl-C in a terminal goes to its whole process group; ending the process is this class's business.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read_output)
        self._reader.start()
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()

    @property
    def is_alive(self) -> bool:
        """Whether the process can take another invocation."""
        return self._process.poll() is None

    def invoke(self, request_id: str, payload: bytes, qualifier: str) -> Result:
        """Run one invocation to its end, or to the function's time-out, which ends the process."""
        failure = self._wait(self._ready, _INITIALIZATION_SECONDS, Result.error("Sandbox.Timedout", "Init timed out"))
        if failure is not None:
            self.close()
            return failure
        self._result = Future()
        timeout = self._function.timeout_seconds
        deadline_ms = round((time.time() + timeout) * 1000)
        arn = f"{self._function.arn}:{qualifier}"
        _settle(self._next, _Invocation(request_id, payload, deadline_ms, arn))
        if not self.is_alive:
            _settle(self._result, self._exit_error())
        timed_out = Result.error(
            "Sandbox.Timedout", f"RequestId: {request_id} Error: Task timed out after {timeout:.2f} seconds"
        )
        result = self._wait(self._result, timeout, timed_out)
        if result is timed_out:
            self.close()
        return result

    def close(self) -> None:
        """End the process, all that it started, and its Runtime API; an invocation under way ends with an error."""
        if self.is_alive:
            self._process.kill()
        self._watcher.join()
        _settle(self._next, None)
        self._stack.close()

    @staticmethod
    def _wait(future: "Future[Value]", seconds: float, otherwise: Value) -> Value:
        try:
            return future.result(seconds)
        except TimeoutError:
            return otherwise

    def _read_output(self) -> None:
        stream = self._process.stdout
        assert stream is not None  # noqa: S101
        with stream:
            for line in stream:
                self._write_log(line.decode(errors="replace").rstrip("\n"))

    def _watch(self) -> None:
        self._process.wait()
        # The sandbox ends with the runtime, so what the function has started ends too. Only then is the log complete.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._reader.join()
        _settle(self._ready, self._exit_error())
        _settle(self._result, self._exit_error())

    def _exit_error(self) -> Result:
        status = self._process.returncode
        ending = f"exit status {status}" if status >= 0 else f"signal: {-status}"
        return Result.error("Runtime.ExitError", f"Runtime exited with error: {ending}")

    def _runtime_api(self) -> Starlette:
        return Starlette(
            routes=[
                Route(f"{_API}/invocation/next", self._give_next),
                Route(f"{_API}/invocation/{{request_id}}/{{outcome}}", self._take_result, methods=["POST"]),
                Route(f"{_API}/init/error", self._take_init_error, methods=["POST"]),
                Route(f"{_API}/restore/next", lambda _: Response()),
                Route(f"{_API}/restore/error", self._take_init_error, methods=["POST"]),
            ]
        )

    async def _give_next(self, _: Request) -> Response:
        _settle(self._ready, None)
        invocation = await asyncio.wrap_future(self._next)
        if invocation is None:
            return Response(status_code=410)
        self._next = Future()
        return Response(
            invocation.payload,
            headers={
                # Exactly this: with a charset behind it the runtime client crashes.
                "Content-Type": "application/json",
                "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
                "Lambda-Runtime-Deadline-Ms": str(invocation.deadline_ms),
                "Lambda-Runtime-Invoked-Function-Arn": invocation.arn,
                "Lambda-Runtime-Trace-Id": f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]};Sampled=0",
            },
        )

    async def _take_result(self, request: Request) -> Response:
        _settle(self._result, Result(await request.body(), request.path_params["outcome"] == "error"))
        return Response(status_code=202)

    async def _take_init_error(self, request: Request) -> Response:
        _settle(self._ready, Result(await request.body(), is_error=True))
        return Response(status_code=202)


def _settle(future: "Future[Value]", value: Value) -> None:
    """Give a future its value unless it has one: an answer, a time-out and an exit can come together."""
    with suppress(InvalidStateError):
        future.set_result(value)
