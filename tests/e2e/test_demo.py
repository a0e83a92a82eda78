import shutil
from pathlib import Path

import pytest

from local.__main__ import main
from local.oci_layout import OciLayout
from tests.commands import local_command


def test_the_demo_verifies_every_blob_of_the_sample_image_without_the_environments_proxy() -> None:
    nobody = "http://127.0.0.1:1"
    result = local_command("demo", HTTP_PROXY=nobody, http_proxy=nobody, NO_PROXY="", no_proxy="")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count(" yes ") == 5
    assert "All 5 blobs of team/app are verified." in result.stdout
    assert "X-Amz" not in result.stdout + result.stderr
    assert "\x1b" not in result.stdout


@pytest.fixture
def layout(sample_directory: Path, tmp_path: Path) -> Path:
    return shutil.copytree(sample_directory, tmp_path / "layout")


def test_a_blob_with_another_content_fails_the_demo(layout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digest, size = max(OciLayout(layout).referenced_blobs.items(), key=lambda blob: blob[1])
    (layout / "blobs" / digest.replace(":", "/")).write_bytes(b"\0" * size)
    assert main(["demo", "--layout", str(layout), "--repository", "team/broken"]) == 1
    printed = capsys.readouterr()
    assert printed.err == f"Digest mismatch: {digest}.\n"
    assert printed.out.count(" yes ") == 4


def test_a_broken_layout_is_one_clear_line_and_status_2(layout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(layout / "blobs")
    assert main(["demo", "--layout", str(layout), "--repository", "team/app"]) == 2
    printed = capsys.readouterr().err
    assert "is missing or a link. Copy the image anew" in printed
    assert printed.count("\n") == 1
