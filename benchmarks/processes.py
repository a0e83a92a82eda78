"""Starts what is measured: functions and the stand-in for ECR, each in a process of its own."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.request import urlopen

from benchmarks.stand_in import URL_LIFETIME_SECONDS

HERE = Path(__file__).parent
FUNCTIONS = HERE / "functions"

REMAINING_MS = 15_000
"""The time that an invocation has, as the deployed function by default."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function to measure.

    Attributes:
        handler: Module and name of the handler.
        paths: What it is imported from.
    """

    handler: str
    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Taken:
    """What something takes.

    Attributes:
        seconds: By the clock.
        cpu_seconds: Of the processor.
    """

    seconds: float
    cpu_seconds: float

    def __add__(self, other: "Taken") -> "Taken":
        """Return what both take, one after the other."""
        return Taken(self.seconds + other.seconds, self.cpu_seconds + other.cpu_seconds)


class MeasurementError(Exception):
    """Something that was to be measured failed; the message says what."""


class _Process:
    """A process that is talked to by lines, and is ended with the context that it is used in."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    @property
    def identifier(self) -> int:
        """The process's id."""
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        with suppress(BrokenPipeError):
            self._process.communicate()

    def _read_line(self) -> str:
        stdout, stderr = self._process.stdout, self._process.stderr
        assert stdout is not None
        assert stderr is not None
        line = stdout.readline()
        if not line:
            raise MeasurementError(f"A measured process has ended:\n{stderr.read()[-3000:]}")
        return line

    def _write_line(self, line: str) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        with suppress(BrokenPipeError):
            stdin.write(f"{line}\n")
            stdin.flush()


class Ecr(_Process):
    """A running stand-in for ECR.

    Args:
        latency_ms: How long each answer takes.
        lifetime_seconds: How long its URLs are valid.
    """

    def __init__(self, latency_ms: float = 0.0, lifetime_seconds: int = URL_LIFETIME_SECONDS) -> None:
        command = [sys.executable, str(HERE / "stand_in.py"), str(latency_ms), str(lifetime_seconds)]
        super().__init__(command, dict(os.environ))
        self.port = int(self._read_line())

    @property
    def url(self) -> str:
        """The URL of its endpoint."""
        return f"http://127.0.0.1:{self.port}"

    def calls(self) -> int:
        """Return how many calls it has answered."""
        with urlopen(self.url, timeout=10) as response:
            calls: int = json.load(response)["calls"]
        return calls


class Worker(_Process):
    """A loaded function, in a new process that knows nothing of the developer's own AWS settings.

    Args:
        interpreter: The Python to run it with.
        function: What to load.
        ecr: What it takes for ECR.

    Attributes:
        loaded: What loading its module took.
    """

    def __init__(self, interpreter: Path, function: Function, ecr: Ecr) -> None:
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            # As in Lambda, where the package's directory can't be written to.
            "PYTHONDONTWRITEBYTECODE": "1",
            "AWS_LAMBDA_FUNCTION_NAME": "benchmark",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_ACCESS_KEY_ID": "AKIABENCHMARKXXXXXXX",
            "AWS_SECRET_ACCESS_KEY": "benchmark-secret",
            "AWS_SESSION_TOKEN": "benchmark-session-token".ljust(800, "x"),
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL_ECR": ecr.url,
            "POWERTOOLS_TRACE_DISABLED": "true",
        }
        # Nothing but the standard library, so that the package shows that it is complete.
        command = [str(interpreter), "-S", str(HERE / "worker.py"), function.handler, *map(str, function.paths)]
        super().__init__(command, environment)
        self.loaded = Taken(**json.loads(self._read_line()))

    def invoke(self, events: list[Any], *, status: int = 200, remaining_ms: int = REMAINING_MS) -> dict[str, Any]:
        """Invoke the function with each event in turn; see `worker.Worker.invoke`."""
        return self._do("invoke", events=events, status=status, remaining_ms=remaining_ms)

    def restore(self) -> Taken:
        """Run SnapStart's hooks and return what those of a restore take."""
        return Taken(**self._do("restore"))

    def state(self) -> dict[str, int]:
        """Return what the process holds; see `worker.Worker.state`."""
        return self._do("state")

    def _do(self, command: str, **arguments: Any) -> dict[str, Any]:
        self._write_line(json.dumps([command, arguments]))
        result: dict[str, Any] = json.loads(self._read_line())
        return result
