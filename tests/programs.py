"""Programs that tests run, clients of registries above all."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx


def attempt(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, with further environment variables."""
    return subprocess.run(
        [str(part) for part in command],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def run(*command: str | Path, **environment: str) -> str:
    """Run a program that has to succeed, and return its standard output."""
    result = attempt(*command, **environment)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def run_python(script: str, *arguments: str, **environment: str) -> str:
    """Run a script that has to succeed, with the modules that this process finds, and return its standard output."""
    return run(sys.executable, "-c", script, *arguments, PYTHONPATH=os.pathsep.join(sys.path), **environment)


@contextmanager
def started(*command: str | Path, log: Path, **options: Any) -> Iterator[None]:
    """Run a program while the context lasts."""
    with log.open("w") as output:
        process = subprocess.Popen([str(part) for part in command], stdout=output, stderr=output, **options)
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=20)


def answers(url: str) -> bool:
    """Tell whether a server answers a request well."""
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.TransportError:
        return False
