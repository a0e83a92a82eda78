"""Starts what is measured: functions and the stand-in for ECR, each in a process of its own."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).parent


class MeasurementError(Exception):
    """A measurement failed; the message says which."""


class _Process:
    """A process that is driven line by line, and ends with its context."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        with suppress(BrokenPipeError):
            self._process.communicate()

    def _read_line(self) -> str:
        stdout, stderr = self._process.stdout, self._process.stderr
        assert stdout is not None
        assert stderr is not None
        line = stdout.readline()
        if not line:
            raise MeasurementError(f"A measured process ended:\n{stderr.read()[-3000:]}")
        return line

    def _write_line(self, line: str) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        with suppress(BrokenPipeError):
            stdin.write(f"{line}\n")
            stdin.flush()


class Ecr(_Process):
    """A running stand-in for ECR."""

    def __init__(self, latency_ms: float = 0.0) -> None:
        command = [sys.executable, str(HERE / "ecr_stand_in.py"), str(latency_ms)]
        super().__init__(command, dict(os.environ))
        self.port = int(self._read_line())

    @property
    def url(self) -> str:
        """The URL of its endpoint."""
        return f"http://127.0.0.1:{self.port}"


class Worker(_Process):
    """A loaded function, in a new process without the developer's AWS settings."""

    def __init__(self, interpreter: Path, handler: str, paths: tuple[Path, ...], ecr: Ecr) -> None:
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            # As in Lambda, where the package's directory is read-only.
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
        # -S: the standard library alone, which proves the package complete.
        command = [str(interpreter), "-S", str(HERE / "worker.py"), handler, *map(str, paths)]
        super().__init__(command, environment)
        self.load_ms = float(self._read_line())

    def invoke(self, events: list[Any], *, status: int = 200, urls: int = 1) -> list[float]:
        """Invoke the function with each event in turn, and return the milliseconds of each.

        Args:
            events: The events.
            status: The status that each answer must have.
            urls: How many download URLs each answer's body must have.
        """
        milliseconds: list[float] = self._do("invoke", events=events, status=status, urls=urls)["ms"]
        return milliseconds

    def first_answer_ms(self, event: Any) -> float:
        """Invoke the function once, and return the processor time in milliseconds."""
        return float(self._do("invoke", events=[event], status=200, urls=1)["cpu_ms"])

    def restore_ms(self) -> float:
        """Run SnapStart's hooks, and return the processor time of those after a restore, in milliseconds."""
        return float(self._do("restore"))

    def memory(self) -> int:
        """Return resident memory in bytes."""
        return int(self._do("memory"))

    def _do(self, command: str, **arguments: Any) -> Any:
        self._write_line(json.dumps([command, arguments]))
        return json.loads(self._read_line())
