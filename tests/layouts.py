"""Writes image layouts of all kinds for tests."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from local.oci_layout import REFERENCE_NAME

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"

Descriptor = dict[str, Any]


class LayoutWriter:
    """Collects blobs and manifests in a directory, and writes its index.

    Args:
        directory: Where the layout is written.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._blobs = directory / "blobs" / "sha256"
        self._blobs.mkdir(parents=True)
        self._entries: list[Descriptor] = []

    def blob(self, content: bytes, media_type: str = OCI_LAYER) -> Descriptor:
        """Write a blob."""
        digest = _digest(content)
        (self._blobs / digest.removeprefix("sha256:")).write_bytes(content)
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

    def document(self, media_type: str, document: dict[str, Any]) -> Descriptor:
        """Write a manifest, an index or a config."""
        return self.blob(json.dumps(document).encode(), media_type)

    def image(self, name: str, architecture: str = "amd64", *, is_docker: bool = False, **members: Any) -> Descriptor:
        """Write an image with two layers that are its own."""
        archives = [_archive(part, f"{name} {part}".encode() * 1000) for part in ("a", "b")]
        config = self.document(
            DOCKER_CONFIG if is_docker else OCI_CONFIG,
            {
                "os": "linux",
                "architecture": architecture,
                "config": {"Labels": {"name": name}},
                "rootfs": {"type": "layers", "diff_ids": [_digest(archive) for archive in archives]},
            },
        )
        layer = DOCKER_LAYER if is_docker else OCI_LAYER
        layers = [self.blob(gzip.compress(archive, mtime=0), layer) for archive in archives]
        media_type = DOCKER_MANIFEST if is_docker else OCI_MANIFEST
        return self.document(
            media_type, {"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers, **members}
        )

    def by_sha512(self, descriptor: Descriptor) -> Descriptor:
        """Write a blob that there is under its other digest too."""
        content = (self._blobs / descriptor["digest"].removeprefix("sha256:")).read_bytes()
        name = hashlib.sha512(content).hexdigest()
        blobs = self.directory / "blobs" / "sha512"
        blobs.mkdir(exist_ok=True)
        (blobs / name).write_bytes(content)
        return {**descriptor, "digest": f"sha512:{name}"}

    def artifact(self, artifact_type: str, subject: Descriptor, content: bytes) -> Descriptor:
        """Write an artifact that refers to an image."""
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": artifact_type,
            "config": self.blob(b"{}", EMPTY),
            "layers": [self.blob(content, "text/plain")],
            "subject": {name: subject[name] for name in ("mediaType", "digest", "size")},
            "annotations": {"org.example.content": content.decode()},
        }
        return self.document(OCI_MANIFEST, document)

    def index(self, manifests: Sequence[Descriptor], media_type: str = OCI_INDEX) -> Descriptor:
        """Write an index."""
        return self.document(media_type, {"schemaVersion": 2, "mediaType": media_type, "manifests": list(manifests)})

    def name(self, descriptor: Descriptor, *tags: str) -> None:
        """Put a manifest into the layout's index, under each tag, or under none."""
        self._entries += [{**descriptor, "annotations": {REFERENCE_NAME: tag}} for tag in tags] or [descriptor]

    def write(self) -> None:
        """Write what makes the directory a layout."""
        (self.directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        (self.directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": self._entries}))


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _archive(name: str, content: bytes) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()


def for_platform(descriptor: Descriptor, architecture: str) -> Descriptor:
    """Return a descriptor as an index has it."""
    return {**descriptor, "platform": {"os": "linux", "architecture": architecture}}


def write_everything(directory: Path) -> dict[str, Descriptor]:
    """Write a layout with a manifest of each kind, and return them by their tags."""
    writer = LayoutWriter(directory)
    image = writer.image("image")
    platforms = [for_platform(writer.image(f"index {each}", each), each) for each in ("amd64", "arm64")]
    docker = [for_platform(writer.image(f"docker {each}", each, is_docker=True), each) for each in ("amd64", "arm64")]
    index = writer.index(platforms)
    named = {
        "image": image,
        "index": index,
        "nested": writer.index([index]),
        "docker": docker[0],
        "docker-list": writer.index(docker, DOCKER_LIST),
        "no-layers": writer.image("no layers", layers=[]),
    }
    for tag, descriptor in named.items():
        writer.name(descriptor, tag)
    for number in range(3):
        writer.name(writer.artifact("application/vnd.example.signature", image, f"signature {number}".encode()))
    writer.name(writer.artifact("application/vnd.example.sbom", image, b"sbom"))
    writer.name(writer.artifact("application/vnd.example.sbom", index, b"sbom of the index"))
    writer.name(writer.by_sha512(image))
    writer.write()
    return named
