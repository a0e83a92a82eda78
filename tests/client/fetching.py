"""A running service with images of all kinds behind it, whose S3 can be told to fail."""

import gzip
import hashlib
import json
import random
import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ecr_layers import Client, Saved, TransferSettings
from local.aws import S3
from local.oci_layout import REFERENCE_NAME, OciLayout
from local.service import EVERYTHING, FunctionUrl, local_service
from tests.client.faulty_s3 import FaultyS3, faulty_s3
from tests.client.small_parts import QUICK, REPOSITORY, SMALL_PARTS
from tests.commands import tool
from tests.layouts import DOCKER_LIST, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Descriptor, LayoutWriter, for_platform

LARGE = 2_500_000
"""Size of the largest layer in bytes: many blocks, and some ranges."""


@dataclass(frozen=True)
class Fetching:
    """A service, its S3, and the images that it has.

    Attributes:
        url: The service's URL.
        s3: The S3.
        layout: Where the images are read from.
        images: Their descriptors by their tags.
    """

    url: str
    s3: FaultyS3
    layout: Path
    images: Mapping[str, Descriptor]

    def service(self, transfers: TransferSettings = SMALL_PARTS) -> Client:
        return Client(self.url, retries=QUICK, transfers=transfers)

    def save(
        self, tag: str, target: Path, platform: str | None = None, *, all_platforms: bool = False, **options: Any
    ) -> Saved:
        """Save an image in a layout, by a client of its own."""
        with self.service() as client:
            image = client.image(f"{REPOSITORY}:{tag}", platform=platform, all_platforms=all_platforms)
            return image.save(target, **options)

    def save_docker(self, tag: str, target: Path, platform: str | None = None) -> Saved:
        """Save an image in an archive, by a client of its own."""
        with self.service() as client:
            return client.image(f"{REPOSITORY}:{tag}", platform=platform).save_docker(target)

    def save_layers(self, digests: Iterable[str], target: Path, **options: Any) -> Saved:
        """Save layers, by a client of their own."""
        with self.service() as client:
            return client.save_layers(REPOSITORY, digests, target, **options)

    def blob(self, digest: str) -> bytes:
        return blob_in(self.layout, digest).read_bytes()

    def layers(self, tag: str) -> list[Descriptor]:
        layers: list[Descriptor] = json.loads(self.blob(self.images[tag]["digest"]))["layers"]
        return layers

    @property
    def large(self) -> str:
        """The digest of the largest layer."""
        digest: str = self.layers("large")[0]["digest"]
        return digest


@contextmanager
def fetching(directory: Path, function_url: FunctionUrl | None = None) -> Iterator[Fetching]:
    """Write the images to a directory, and run the service."""
    images = write_images(directory)
    with served(directory, function_url) as (s3, url):
        yield Fetching(url, s3, directory, images)


@contextmanager
def served(layout: Path, function_url: FunctionUrl | None = None) -> Iterator[tuple[FaultyS3, str]]:
    """Serve a layout's images, and yield the S3 and the service's URL."""
    with (
        faulty_s3(lambda digest: blob_in(layout, digest).read_bytes()) as (s3, s3_url),
        local_service(
            {REPOSITORY: OciLayout(layout)},
            function_url=function_url or FunctionUrl(),
            s3=S3(url=s3_url),
            opted_into=EVERYTHING,
            write_log=lambda _: None,
        ) as running,
    ):
        yield s3, running.url


def write_images(directory: Path) -> dict[str, Descriptor]:
    """Write an image of each kind, and return them by their tags."""
    writer = LayoutWriter(directory)
    noise = random.Random(1)
    foreign = {
        "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "digest": f"sha256:{hashlib.sha256(b'elsewhere').hexdigest()}",
        "size": 9,
        "urls": ["https://example.com/layer"],
    }
    platforms = [for_platform(writer.image(f"index {each}", each), each) for each in ("amd64", "arm64", "s390x")]
    index = writer.index(platforms)
    dockers = [for_platform(writer.image(f"docker {each}", each, is_docker=True), each) for each in ("amd64", "arm64")]
    images = {
        "image": writer.image("image"),
        "docker": writer.image("docker", is_docker=True),
        "large": _image(writer, [gzip.compress(noise.randbytes(size), 0) for size in (LARGE, 300_000, 5_000)]),
        "docker-list": writer.index(dockers, DOCKER_LIST),
        "index": index,
        "nested": writer.index([index]),
        "foreign": _image(writer, [b"own layer"], foreign),
        "empty": _image(writer, [b"", gzip.compress(bytes(1024), mtime=0)]),
        "zstd": _image(writer, [b"\x28\xb5\x2f\xfd zstd"], media_type=f"{OCI_LAYER.removesuffix('gzip')}zstd"),
        "many": _image(writer, [b"%d" % number for number in range(100)]),
        "sha512": _image(writer, [], _sha512_layer(directory, b"a layer with a long digest")),
    }
    images["artifact"] = writer.artifact("application/vnd.example.sbom", images["image"], b"sbom")
    for tag, descriptor in images.items():
        writer.name(descriptor, tag)
    writer.write()
    return images


def _image(writer: LayoutWriter, layers: list[bytes], *others: Descriptor, media_type: str = OCI_LAYER) -> Descriptor:
    config = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []}}
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": writer.document(OCI_CONFIG, config),
        "layers": [*(writer.blob(layer, media_type) for layer in layers), *others],
    }
    return writer.document(OCI_MANIFEST, manifest)


def _sha512_layer(directory: Path, content: bytes) -> Descriptor:
    encoded = hashlib.sha512(content).hexdigest()
    path = directory / "blobs" / "sha512" / encoded
    path.parent.mkdir()
    path.write_bytes(content)
    return {"mediaType": OCI_LAYER, "digest": f"sha512:{encoded}", "size": len(content)}


def blob_in(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")


def entries_in(layout: Path) -> list[dict[str, Any]]:
    """Return the entries of a layout's index."""
    entries: list[dict[str, Any]] = json.loads((layout / "index.json").read_bytes())["manifests"]
    return entries


def names_in(layout: Path) -> dict[str, str]:
    """Return the digests of a layout's images by their names."""
    return {each["annotations"][REFERENCE_NAME]: each["digest"] for each in entries_in(layout)}


def docker_entries_in(archive: BinaryIO) -> list[dict[str, Any]]:
    """Return the images of a Docker archive as its `manifest.json` lists them."""
    archive.seek(0)
    with tarfile.open(fileobj=archive) as members:
        document = members.extractfile("manifest.json")
        assert document is not None
        entries: list[dict[str, Any]] = json.load(document)
    return entries


def skopeo(*arguments: str) -> str:
    """Run skopeo, and return its output."""
    command = [tool("skopeo"), "--insecure-policy", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def inspected(reference: str) -> dict[str, Any]:
    """Return what skopeo finds out about an image."""
    found: dict[str, Any] = json.loads(skopeo("inspect", reference))
    return found


def files_in(directory: Path) -> set[str]:
    """Return the paths of all files in a directory."""
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
