"""The project's commands as a user runs them, in processes of their own: `python -m local …` and `ecr-layers …`."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.programs import attempt

ROOT = Path(__file__).parents[1]


def tool(name: str) -> str:
    """Return the path of a tool from Debian's packages; only outside of CI may it be missing."""
    path = shutil.which(name)
    if path is None and not os.environ.get("CI"):
        pytest.skip(f"{name} is not installed")
    assert path is not None, f"{name} is not installed"
    return path


CLIENT = (sys.executable, "-m", "ecr_layers")
"""The command `ecr-layers`, which is the same."""


def local_command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m local` to its end, with further environment variables."""
    return attempt(sys.executable, "-m", "local", *arguments, **environment)


def client_command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `ecr-layers` to its end, with further environment variables."""
    return attempt(*CLIENT, *arguments, **environment)


@dataclass
class Server:
    """A running `python -m local serve`."""

    process: subprocess.Popen[str]
    output: list[str]
    log: list[str]

    @property
    def url(self) -> str:
        return self.output[0].rpartition(" ")[2]

    @property
    def ecr_url(self) -> str:
        (line,) = [line for line in self.output if line.startswith("The local ECR is at ")]
        return line.removeprefix("The local ECR is at ").partition(",")[0]

    @property
    def token(self) -> tuple[str, str]:
        """Return the name and the password of the pull token, with `--edge`."""
        (line,) = [line for line in self.output if line.startswith("  TOKEN=")]
        name, _, password = line.removeprefix("  TOKEN=").partition("  ")[0].partition(":")
        return name, password

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(signal_number)
        return self.process.wait(timeout=20)


@contextmanager
def serving(*arguments: str, port: int = 0) -> Iterator[Server]:
    """Run `python -m local serve`; the server is ready when the context is entered."""
    process = subprocess.Popen(
        [sys.executable, "-m", "local", "serve", "--port", str(port), *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    log: list[str] = []
    reader = threading.Thread(target=log.extend, args=(process.stderr,))
    reader.start()
    output: list[str] = []
    for line in process.stdout:
        output.append(line.rstrip("\n"))
        if line.startswith("What the function logs"):
            break
    try:
        yield Server(process, output, log)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(timeout=20)
        reader.join()
        process.stdout.close()
        process.stderr.close()
