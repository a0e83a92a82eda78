"""The client as someone has it who has only the wheel and a service's URL."""

import json
from pathlib import Path

import pytest

from tests.commands import ROOT, Server
from tests.e2e.wheels import UV, install, run_outside


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the environment in which the wheel is installed."""
    directory = tmp_path_factory.mktemp("wheel")
    run_outside(UV, "build", "--quiet", "--wheel", "--out-dir", directory, ROOT / "client", cwd=directory)
    return install(directory, "requirements-dev.txt").parents[1]


MOST_BYTES = 15_000_000
"""Size of an installation without extras; the documents say it."""


def test_the_installed_wheel_and_what_it_depends_on_are_small(installed: Path) -> None:
    (packages,) = (installed / "lib").glob("python*/site-packages")
    files = [path for path in packages.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert 1_000_000 < sum(path.stat().st_size for path in files) <= MOST_BYTES
    assert not list(packages.glob("botocore*"))


def test_the_installed_wheel_fetches_an_image(installed: Path, server: Server, tmp_path: Path) -> None:
    command = ("fetch", "--url", server.url, "team/app:latest", "-o", "app", "--quiet")
    run_outside(installed / "bin" / "ecr-layers", *command, cwd=tmp_path)
    index = json.loads((tmp_path / "app" / "index.json").read_text())
    assert index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] == "latest"
    assert len(list((tmp_path / "app" / "blobs" / "sha256").iterdir())) == 6


def test_the_installed_wheel_is_a_library_of_three_lines(installed: Path, server: Server, tmp_path: Path) -> None:
    program = (
        "from ecr_layers import Client\n"
        f"with Client({server.url!r}) as client:\n"
        "    print(len(client.image('team/app:latest').save('app').blobs))\n"
    )
    assert run_outside(installed / "bin" / "python", "-c", program, cwd=tmp_path) == "5\n"


ALL_HELP = """
from ecr_layers.cli import COMMANDS, main
for words in (["--help"], ["--version"], *([command, "--help"] for command in COMMANDS)):
    assert main(words) == 0
"""


def test_the_installed_wheel_explains_all_its_commands(installed: Path, tmp_path: Path) -> None:
    shown = run_outside(installed / "bin" / "python", "-c", ALL_HELP, cwd=tmp_path)
    for command in ("fetch", "cat", "inspect", "url", "token", "proxy", "smoke"):
        assert f"\n  {command} " in shown
        assert f"Usage: ecr-layers {command} " in shown
