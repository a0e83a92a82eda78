"""Makes a small real image, for the demo and wherever no image is at hand."""

import gzip
import io
import json
import random
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ecr_layers.oci.config import CONFIG_MEDIA_TYPES
from ecr_layers.oci.manifests import OCI_MANIFEST
from ecr_layers.oci.references import digest_of
from ecr_layers.store.layout import INDEX, VERSION, VERSION_CONTENT
from local.oci_layout import REFERENCE_NAME, OciLayout

Layers = Sequence[Mapping[str, int | bytes]]
"""For each layer, its files: name, and content or a size in bytes, of pseudo-random content then."""

_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_OS_RELEASE = b"""\
NAME="Sample Linux"
ID=sample
VERSION_ID=1.0
"""
# The last layer is empty, as an instruction that changes no file leaves.
_LAYERS: Layers = (
    {"usr/lib/libsample.so": 3_000_000, "etc/os-release": _OS_RELEASE},
    {"opt/app/main": 300_000, "opt/app/data": 100_000},
    {"opt/app/config.json": 9_000},
    {},
)


def sample_image() -> OciLayout:
    """Return the sample image, in memory, so that nothing is left behind however the program ends."""
    files = _files(_LAYERS)
    return OciLayout(Path("the sample image"), lambda name: io.BytesIO(files[name]) if name in files else None)


def write_sample_image(directory: Path) -> None:
    """Write the sample image.

    The same bytes come out on every run with the same zlib: names, times and contents are fixed.
    """
    write_image(directory, _LAYERS)


def write_image(directory: Path, layers: Layers, compression: int = 9) -> None:
    """Write an OCI image layout with one image, tagged `latest`."""
    for name, content in _files(layers, compression).items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _files(layers: Layers, compression: int = 9) -> dict[str, bytes]:
    """Return the files of a layout by their paths."""
    files: dict[str, bytes] = {}
    diff_ids, descriptors = [], []
    for seed, names in enumerate(layers):
        archive = _archive(names, seed)
        diff_ids.append(digest_of(archive))
        descriptors.append(_add_blob(files, _LAYER, _compress(archive, compression)))
    config = _add_blob(files, CONFIG_MEDIA_TYPES[0], _json(_config(diff_ids)))
    manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": descriptors}
    descriptor = _add_blob(files, OCI_MANIFEST, _json(manifest))
    index = {"schemaVersion": 2, "manifests": [{**descriptor, "annotations": {REFERENCE_NAME: "latest"}}]}
    return files | {INDEX: _json(index), VERSION: VERSION_CONTENT}


def _archive(files: Mapping[str, int | bytes], seed: int) -> bytes:
    # Pseudo-random content does not compress, so the layers keep their different sizes.
    random_bytes = random.Random(seed).randbytes  # noqa: S311
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, wanted in files.items():
            content = random_bytes(wanted) if isinstance(wanted, int) else wanted
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _compress(archive: bytes, compression: int) -> bytes:
    buffer = io.BytesIO()
    # gzip.compress would do, but for one byte of the header, which differs between versions of Python.
    with gzip.GzipFile(fileobj=buffer, mode="wb", filename="", mtime=0, compresslevel=compression) as file:
        file.write(archive)
    return buffer.getvalue()


def _config(diff_ids: list[str]) -> dict[str, Any]:
    created = "1970-01-01T00:00:00Z"
    return {
        "created": created,
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["/opt/app/main"], "Labels": {"org.opencontainers.image.version": "1.0"}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created": created, "created_by": f"layer {number}"} for number in range(len(diff_ids))],
    }


def _add_blob(files: dict[str, bytes], media_type: str, content: bytes) -> dict[str, Any]:
    digest = digest_of(content)
    files[f"blobs/{digest.replace(':', '/')}"] = content
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
