"""The running function does what its OpenAPI document says, in schemathesis's eyes."""

import subprocess
import sys
from pathlib import Path

import httpx

from layer_resolver.openapi import openapi_document
from tests.commands import Server


def test_the_served_document_is_the_generated_one(server: Server) -> None:
    assert httpx.get(f"{server.url}/openapi.json").json() == openapi_document()


def test_schemathesis_finds_no_contradiction(server: Server, tmp_path: Path) -> None:
    result = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            "run",
            f"{server.url}/openapi.json",
            "--checks=all",
            "--max-examples=20",
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
