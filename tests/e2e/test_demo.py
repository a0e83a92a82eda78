import shutil
from pathlib import Path

from local.oci_layout import OciLayout
from local.sample_image import write_sample_image
from tests.commands import local_command


def test_the_demo_verifies_every_blob_of_the_sample_image() -> None:
    result = local_command("demo")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count(" yes ") == 5
    assert "All 5 blobs of team/app are verified." in result.stdout
    assert "X-Amz" not in result.stdout + result.stderr
    assert "\x1b" not in result.stdout


def test_a_proxy_in_the_environment_is_not_asked() -> None:
    nobody = "http://127.0.0.1:1"
    result = local_command("demo", HTTP_PROXY=nobody, http_proxy=nobody, NO_PROXY="", no_proxy="")
    assert result.returncode == 0, result.stderr


def test_a_blob_with_another_content_fails_the_demo(tmp_path: Path) -> None:
    write_sample_image(tmp_path)
    digest, size = max(OciLayout(tmp_path).referenced_blobs.items(), key=lambda blob: blob[1])
    (tmp_path / "blobs" / digest.replace(":", "/")).write_bytes(b"\0" * size)
    result = local_command("demo", "--layout", str(tmp_path), "--repository", "team/broken")
    assert result.returncode == 1
    assert result.stderr == f"Digest mismatch: {digest}.\n"
    assert result.stdout.count(" yes ") == 4


def test_a_broken_layout_is_one_clear_line_and_status_2(tmp_path: Path) -> None:
    write_sample_image(tmp_path)
    shutil.rmtree(tmp_path / "blobs")
    result = local_command("demo", "--layout", str(tmp_path), "--repository", "team/app")
    assert result.returncode == 2
    assert "is missing or a link. Copy the image anew" in result.stderr
    assert result.stderr.count("\n") == 1
