"""The image that is fetched: eight layers, one of which is by far the largest."""

import gzip
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

MEGABYTE = 10**6
LAYERS = (600, 30, 20, 20, 10, 10, 5, 5)
"""Sizes of the layers in megabytes, the lowest layer first."""

LAST_FILE = f"layer0/file{LAYERS[0] - 1}"
"""The last file of the largest layer."""

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def write_layout(directory: Path) -> None:
    """Write an OCI image layout with the image, tagged `latest`.

    The layers are archives of files of random bytes, which do not compress, in gzip files.
    """
    layers = [_write_layer(directory, number, megabytes) for number, megabytes in enumerate(LAYERS)]
    _write_image(directory, layers)


def write_old_layout(layout: Path, directory: Path) -> None:
    """Write the layout of an older image, which has the largest layer only.

    Args:
        layout: The layout of the image.
        directory: Where to write.
    """
    manifest = _read(layout, json.loads((layout / "index.json").read_text())["manifests"][0])
    diff_id = _read(layout, manifest["config"])["rootfs"]["diff_ids"][0]
    largest = manifest["layers"][0]
    _path(directory, largest["digest"]).parent.mkdir(parents=True)
    _path(directory, largest["digest"]).hardlink_to(_path(layout, largest["digest"]))
    _write_image(directory, [(diff_id, largest)])


def _write_image(directory: Path, layers: list[tuple[str, dict[str, Any]]]) -> None:
    """Write all but the layers, of which diff ids and descriptors are given."""
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [diff_id for diff_id, _ in layers]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": _write(directory, json.dumps(config).encode(), _CONFIG),
        "layers": [descriptor for _, descriptor in layers],
    }
    named = _write(directory, json.dumps(manifest).encode(), _MANIFEST)
    named["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))


def _write_layer(directory: Path, number: int, megabytes: int) -> tuple[str, dict[str, Any]]:
    """Write a layer with files of a megabyte, and return its diff id and descriptor."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for each in range(megabytes):
            member = tarfile.TarInfo(f"layer{number}/file{each}")
            member.size = MEGABYTE
            archive.addfile(member, io.BytesIO(os.urandom(MEGABYTE)))
    content = file.getvalue()
    diff_id = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return diff_id, _write(directory, gzip.compress(content, compresslevel=0), _LAYER)


def _write(directory: Path, content: bytes, media_type: str) -> dict[str, Any]:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    path = _path(directory, digest)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def _read(directory: Path, descriptor: dict[str, Any]) -> Any:
    return json.loads(_path(directory, descriptor["digest"]).read_text())


def _path(directory: Path, digest: str) -> Path:
    return directory / "blobs" / digest.replace(":", "/")
