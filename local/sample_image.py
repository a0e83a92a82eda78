"""Makes a small real image, for the demo and wherever no image is at hand."""

import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from local.oci_layout import REFERENCE_NAME, MemoryFiles, OciLayout

TAG = "latest"

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"

_OS_RELEASE = b"""\
NAME="Sample Linux"
ID=sample
VERSION_ID=1.0
"""

# Each layer's files: name, and size in bytes or content. The last layer is empty, as an instruction that changes no
# file leaves.
_LAYERS: tuple[dict[str, int | bytes], ...] = (
    {"usr/lib/libsample.so": 3_000_000, "etc/os-release": _OS_RELEASE},
    {"opt/app/main": 300_000, "opt/app/data": 100_000},
    {"opt/app/config.json": 9_000},
    {},
)


def write_sample_image(directory: Path) -> None:
    """Write an OCI image layout with one image, tagged `latest`, of four gzip-compressed layers.

    The same bytes come out on every run with the same zlib: names, times and contents are fixed.

    Args:
        directory: Where to write it; is made if it is not there.
    """
    write_image(directory, _LAYERS)


def sample_image() -> OciLayout:
    """Return the same layout, in memory."""
    return OciLayout(Path("the sample image"), MemoryFiles(_files(_LAYERS)))


def write_image(directory: Path, layers: Sequence[Mapping[str, int | bytes]]) -> None:
    """Write an OCI image layout with one image, tagged `latest`.

    Args:
        directory: Where to write it; is made if it is not there.
        layers: For each layer, the names of its files and their contents, or their sizes in bytes; what is in the
            latter is pseudo-random.
    """
    for name, content in _files(layers).items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _files(layers: Sequence[Mapping[str, int | bytes]]) -> dict[str, bytes]:
    """Return the files of a layout by their paths."""
    files: dict[str, bytes] = {}
    archives = [_archive(names, seed) for seed, names in enumerate(layers)]
    descriptors = [_add_blob(files, _LAYER, _compress(archive)) for archive in archives]
    config = _add_blob(files, _CONFIG, _json(_config(archives)))
    manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": config, "layers": descriptors}
    descriptor = _add_blob(files, _MANIFEST, _json(manifest))
    index = {"schemaVersion": 2, "manifests": [{**descriptor, "annotations": {REFERENCE_NAME: TAG}}]}
    files["index.json"] = _json(index)
    files["oci-layout"] = _json({"imageLayoutVersion": "1.0.0"})
    return files


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


def _compress(archive: bytes) -> bytes:
    buffer = io.BytesIO()
    # gzip.compress would do, but for one byte of the header, which differs between versions of Python.
    with gzip.GzipFile(fileobj=buffer, mode="wb", filename="", mtime=0) as file:
        file.write(archive)
    return buffer.getvalue()


def _config(archives: list[bytes]) -> dict[str, Any]:
    return {
        "created": "1970-01-01T00:00:00Z",
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["/opt/app/main"], "Labels": {"org.opencontainers.image.version": "1.0"}},
        "rootfs": {"type": "layers", "diff_ids": [_digest(archive) for archive in archives]},
        "history": [
            {"created": "1970-01-01T00:00:00Z", "created_by": f"layer {number}"} for number in range(len(archives))
        ],
    }


def _add_blob(files: dict[str, bytes], media_type: str, content: bytes) -> dict[str, Any]:
    digest = _digest(content)
    files[f"blobs/{digest.replace(':', '/')}"] = content
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
