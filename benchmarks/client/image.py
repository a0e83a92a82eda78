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

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def write_layout(directory: Path) -> None:
    """Write an OCI image layout with the image, tagged `latest`.

    The layers are archives of files of random bytes, which do not compress, in gzip files.
    """
    layers = [_write_layer(directory, number, megabytes) for number, megabytes in enumerate(LAYERS)]
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
    encoded = hashlib.sha256(content).hexdigest()
    path = directory / "blobs" / "sha256" / encoded
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return {"mediaType": media_type, "digest": f"sha256:{encoded}", "size": len(content)}
