"""The client as someone has it who has only the wheel and a service's URL."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import ROOT, Server

UV = Path(sys.executable).with_name("uv")


def run(*command: str | Path, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    result = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the environment in which the wheel is installed, with what it says that it depends on and no more."""
    directory = tmp_path_factory.mktemp("wheel")
    run(UV, "build", "--quiet", "--wheel", "--out-dir", directory, ROOT / "client", cwd=directory)
    (wheel,) = directory.glob("*.whl")
    run(UV, "venv", "--quiet", "--python", sys.executable, directory / "venv", cwd=directory)
    python = directory / "venv" / "bin" / "python"
    constraints = ROOT / "requirements-dev.txt"
    run(UV, "pip", "install", "--quiet", "--python", python, "--constraint", constraints, wheel, cwd=directory)
    return directory / "venv"


MOST_BYTES = 15_000_000
"""Size of an installation without extras; the documents say it."""


def test_the_installed_wheel_and_what_it_depends_on_are_small(installed: Path) -> None:
    (packages,) = (installed / "lib").glob("python*/site-packages")
    files = [path for path in packages.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert 1_000_000 < sum(path.stat().st_size for path in files) <= MOST_BYTES
    assert not list(packages.glob("botocore*"))


def test_the_installed_wheel_fetches_an_image(installed: Path, server: Server, tmp_path: Path) -> None:
    command = ("fetch", "--url", server.url, "team/app:latest", "-o", "app", "--quiet")
    run(installed / "bin" / "ecr-layers", *command, cwd=tmp_path)
    index = json.loads((tmp_path / "app" / "index.json").read_text())
    assert index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] == "latest"
    assert len(list((tmp_path / "app" / "blobs" / "sha256").iterdir())) == 6


def test_the_installed_wheel_is_a_library_of_three_lines(installed: Path, server: Server, tmp_path: Path) -> None:
    program = (
        "from ecr_layers import Client\n"
        f"with Client({server.url!r}) as client:\n"
        "    print(len(client.image('team/app:latest').save('app').blobs))\n"
    )
    assert run(installed / "bin" / "python", "-c", program, cwd=tmp_path) == "5\n"


ALL_HELP = """
from ecr_layers.cli import COMMANDS, main
for words in (["--help"], ["--version"], *([command, "--help"] for command in COMMANDS)):
    assert main(words) == 0
"""


def test_the_installed_wheel_explains_all_its_commands(installed: Path, tmp_path: Path) -> None:
    shown = run(installed / "bin" / "python", "-c", ALL_HELP, cwd=tmp_path)
    for command in ("fetch", "cat", "inspect", "url", "token", "proxy", "smoke"):
        assert f"\n  {command} " in shown
        assert f"Usage: ecr-layers {command} " in shown
