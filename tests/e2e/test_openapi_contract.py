"""The running function does what its OpenAPI document says, in schemathesis's eyes."""

import subprocess
import sys
from pathlib import Path

import httpx

from scripts.openapi import PATH
from tests.commands import Server

# The document describes parameters one by one, so only words say that imageTag and imageDigest exclude each other.
CONFIGURATION = """
[[operations]]
include-path-regex = "^/images/"
checks.positive_data_acceptance.enabled = false
"""


def test_the_function_serves_the_file(server: Server) -> None:
    assert httpx.get(f"{server.url}/openapi.json").text == PATH.read_text()


def test_schemathesis_finds_no_contradiction(server: Server, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    result = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            "run",
            f"{server.url}/openapi.json",
            "--max-examples=10",
            "--seed=1",
            "--continue-on-failure",
            "--no-color",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-5000:]
    assert "0 selected" not in result.stdout
