"""Wheels, as someone has them who has no more than the wheel."""

import os
import subprocess
import sys
from pathlib import Path

from tests.commands import ROOT

UV = Path(sys.executable).with_name("uv")


def run_outside(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a program that has to succeed, outside of the project's environment, and return what it prints."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    result = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


def install(directory: Path, lock: str) -> Path:
    """Install the wheel in a directory with its dependencies and no more, and return the environment's Python."""
    (wheel,) = directory.glob("*.whl")
    run_outside(UV, "venv", "--quiet", "--python", sys.executable, directory / "venv", cwd=directory)
    python = directory / "venv" / "bin" / "python"
    options = ("--quiet", "--python", python, "--constraint", ROOT / lock)
    run_outside(UV, "pip", "install", *options, wheel, cwd=directory)
    return python
