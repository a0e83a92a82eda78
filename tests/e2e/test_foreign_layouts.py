"""Image layouts that other tools wrote are served, and their layers come back."""

import hashlib
import os
import subprocess
from pathlib import Path

import httpx
import pytest

from local.sample_image import write_sample_image
from tests.commands import local_command, serving, tool


def run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@pytest.fixture
def umoci_layout(tmp_path: Path) -> Path:
    """Return a layout whose image umoci made, of a layer of its own."""
    umoci, layout, tree = tool("umoci"), tmp_path / "umoci", tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_bytes(os.urandom(50_000))
    run(umoci, "init", "--layout", layout)
    run(umoci, "new", "--image", f"{layout}:made")
    run(umoci, "insert", "--rootless", "--image", f"{layout}:made", tree, "/tree")
    return layout


@pytest.fixture
def skopeo_layout(tmp_path: Path) -> Path:
    """Return a layout that skopeo wrote, with the layers compressed anew by its own means."""
    skopeo, source, layout = tool("skopeo"), tmp_path / "source", tmp_path / "skopeo"
    write_sample_image(source)
    # Through a directory without compression and back, so that blobs, config and manifest are skopeo's own.
    run(skopeo, "copy", "--dest-decompress", f"oci:{source}:latest", f"dir:{tmp_path / 'plain'}")
    run(
        skopeo,
        "copy",
        "--dest-compress",
        "--dest-compress-format",
        "zstd",
        f"dir:{tmp_path / 'plain'}",
        f"oci:{layout}:v1",
    )
    return layout


@pytest.mark.parametrize("layout", ["umoci_layout", "skopeo_layout"])
def test_a_layout_of_another_tool_is_resolved_by_its_manifest(layout: str, request: pytest.FixtureRequest) -> None:
    directory: Path = request.getfixturevalue(layout)
    index = httpx.Response(200, content=(directory / "index.json").read_bytes()).json()
    descriptor = index["manifests"][0]
    manifest = (directory / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes()
    with serving("--layout", str(directory), "--repository", "other/tool") as server:
        answer = httpx.post(
            f"{server.url}/download-urls",
            params={"repositoryName": "other/tool"},
            content=manifest,
            headers={"Content-Type": descriptor["mediaType"]},
        )
        result = answer.json()
        assert result["failures"] == []
        document = httpx.Response(200, content=manifest).json()
        assert len(result["downloadUrls"]) == 1 + len({layer["digest"] for layer in document["layers"]})
        for blob in result["downloadUrls"]:
            content = httpx.get(blob["downloadUrl"]).content
            assert f"sha256:{hashlib.sha256(content).hexdigest()}" == blob["layerDigest"]
            assert len(content) == blob["size"]


def test_the_demo_takes_a_layout_of_another_tool(umoci_layout: Path) -> None:
    result = local_command("demo", "--layout", str(umoci_layout))
    assert result.returncode == 0, result.stderr
    assert "blobs of umoci are verified." in result.stdout


def test_skopeo_accepts_the_sample_image(tmp_path: Path) -> None:
    write_sample_image(tmp_path / "sample")
    run(tool("skopeo"), "inspect", f"oci:{tmp_path / 'sample'}:latest")
