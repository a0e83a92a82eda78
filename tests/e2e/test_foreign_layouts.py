"""Image layouts that other tools wrote are served under their folders' names, and their layers come back."""

import hashlib
import json
import os
from pathlib import Path

import httpx
import pytest

from tests.commands import serving, tool
from tests.programs import run


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
def skopeo_layout(sample_directory: Path, tmp_path: Path) -> Path:
    """Return a layout that skopeo wrote, with the layers compressed anew by its own means."""
    skopeo, layout, plain = tool("skopeo"), tmp_path / "skopeo", tmp_path / "plain"
    # Through a directory without compression and back, so that blobs, config and manifest are skopeo's own.
    run(skopeo, "copy", "--dest-decompress", f"oci:{sample_directory}:latest", f"dir:{plain}")
    run(skopeo, "copy", "--dest-compress", "--dest-compress-format", "zstd", f"dir:{plain}", f"oci:{layout}:v1")
    return layout


def test_layouts_of_other_tools_are_resolved_by_their_manifests(umoci_layout: Path, skopeo_layout: Path) -> None:
    with serving("--layout", str(umoci_layout), "--layout", str(skopeo_layout)) as server:
        for directory in (umoci_layout, skopeo_layout):
            descriptor = json.loads((directory / "index.json").read_bytes())["manifests"][0]
            manifest = (directory / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes()
            result = httpx.post(
                f"{server.url}/download-urls",
                params={"repositoryName": directory.name},
                content=manifest,
                headers={"Content-Type": descriptor["mediaType"]},
            ).json()
            assert result["failures"] == []
            document = json.loads(manifest)
            assert len(result["downloadUrls"]) == 1 + len({layer["digest"] for layer in document["layers"]})
            for blob in result["downloadUrls"]:
                content = httpx.get(blob["downloadUrl"]).content
                assert f"sha256:{hashlib.sha256(content).hexdigest()}" == blob["layerDigest"]
                assert len(content) == blob["size"]
