"""A docker-archive is read by what reads docker-archives, and has the very image."""

import hashlib
import json
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from ecr_layers import ClientError, Manifest, TargetError
from ecr_layers.store import docker_archive
from ecr_layers.store.docker_archive import TaggedImage, is_docker_archive_of, write_docker_archive
from ecr_layers.store.target import new_file, target_errors
from tests.archives import descriptor_of, file, gzipped, tar, zstd
from tests.client.fetching import blob_in, docker_entries_in, inspected, skopeo
from tests.layouts import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Descriptor, LayoutWriter

PLAIN = "application/vnd.oci.image.layer.v1.tar"
ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
ARCHIVE, OTHER = (tar(file(name, name.encode() * 5000)) for name in ("a", "b"))
DIFF_ID, OTHER_DIFF_ID = (descriptor_of(archive).digest for archive in (ARCHIVE, OTHER))
GZIPPED_LAYER = (gzipped(ARCHIVE), OCI_LAYER)
LAYERS = [GZIPPED_LAYER, (OTHER, PLAIN), (zstd.compress(ARCHIVE), ZSTD)]
DIFF_IDS = [DIFF_ID, OTHER_DIFF_ID, DIFF_ID]


class Layout:
    """An image layout with one image, and what is done with it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "layout"
        self.target = directory / "image.tar"
        self.writer = LayoutWriter(self.directory)

    def image(self, layers: Sequence[tuple[bytes, str]], diff_ids: Sequence[str]) -> Manifest:
        """Write an image."""
        return self.image_of([self.writer.blob(content, media_type) for content, media_type in layers], diff_ids)

    def image_of(self, layers: Sequence[Descriptor], diff_ids: Sequence[str]) -> Manifest:
        """Write an image with layers that have been written."""
        config = {
            "os": "linux",
            "architecture": "arm64",
            "config": {"Labels": {"name": "x"}},
            "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
        }
        written = self.writer.document(OCI_CONFIG, config)
        document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": written, "layers": layers}
        return self.manifest(self.writer.document(OCI_MANIFEST, document))

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """Return a manifest that has been written."""
        content = blob_in(self.directory, descriptor["digest"]).read_bytes()
        return Manifest.parse(content, descriptor["mediaType"], descriptor["digest"])

    def archive(self, manifest: Manifest, *names: str) -> Path:
        """Write an archive."""
        with target_errors(self.target), new_file(self.target) as file:
            write_docker_archive(self.directory / "blobs", [TaggedImage(manifest, names)], file)
        return self.target


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


def test_skopeo_reads_the_image_with_its_config_and_layers(layout: Layout, tmp_path: Path) -> None:
    manifest = layout.image(LAYERS, DIFF_IDS)
    archive = layout.archive(manifest, "team/app:1.2")
    found = inspected(f"docker-archive:{archive}")
    assert (found["Architecture"], found["Labels"]) == ("arm64", {"name": "x"})
    config = json.loads(skopeo("inspect", "--config", f"docker-archive:{archive}:team/app:1.2"))
    assert config["rootfs"]["diff_ids"] == DIFF_IDS
    # skopeo verifies that each layer is what the config says.
    skopeo("copy", f"docker-archive:{archive}", f"dir:{tmp_path}/copy")
    assert manifest.config
    assert json.loads((tmp_path / "copy" / "manifest.json").read_bytes())["config"]["digest"] == manifest.config.digest


def test_the_archive_is_what_docker_load_reads_and_has_the_same_bytes_each_time(layout: Layout) -> None:
    manifest = layout.image(LAYERS[:2], DIFF_IDS[:2])
    archive = layout.archive(manifest, "team/app:1.2")
    with archive.open("rb") as file:
        (entry,) = docker_entries_in(file)
    assert entry["RepoTags"] == ["team/app:1.2"]
    assert [Path(name).suffix for name in entry["Layers"]] == [".gz", ".tar"]
    with tarfile.open(archive) as read:
        assert read.getnames() == ["manifest.json", entry["Config"], *entry["Layers"]]
        for member in read.getmembers()[1:]:
            content = read.extractfile(member)
            assert content is not None
            assert hashlib.sha256(content.read()).hexdigest() == member.name.partition(".")[0]
    first = archive.read_bytes()
    assert layout.archive(manifest, "team/app:1.2").read_bytes() == first


def test_images_without_tags_with_a_layer_twice_without_layers_and_of_dockers_types_are_read(layout: Layout) -> None:
    for manifest, layers in (
        (layout.image([GZIPPED_LAYER], [DIFF_ID]), 1),
        (layout.image([GZIPPED_LAYER, GZIPPED_LAYER], [DIFF_ID, DIFF_ID]), 2),
        (layout.image([], []), 0),
        (layout.manifest(layout.writer.image("docker", is_docker=True)), 2),
    ):
        archive = layout.archive(manifest)
        assert len(inspected(f"docker-archive:{archive}")["Layers"]) == layers
        with archive.open("rb") as file:
            assert [each["RepoTags"] for each in docker_entries_in(file)] == [[]]
        with tarfile.open(archive) as read:
            # A layer that is there twice is written once.
            assert len(read.getnames()) == len(set(read.getnames()))


def test_what_can_not_be_in_an_archive_is_an_error_that_says_what_to_do(layout: Layout) -> None:
    subject = {"mediaType": OCI_MANIFEST, "digest": DIFF_ID, "size": 0}
    for manifest, message in (
        (layout.manifest(layout.writer.artifact("text/plain", subject, b"x")), "is an artifact"),
        (layout.image([GZIPPED_LAYER], []), "lists 0 layers, but the manifest 1"),
        (layout.image([GZIPPED_LAYER], ["md5:../../x"]), "without a sha256"),
        (layout.image([(GZIPPED_LAYER[0], f"{OCI_LAYER}+encrypted")], [DIFF_ID]), "is encrypted"),
    ):
        with pytest.raises(ClientError, match=message):
            layout.archive(manifest)
        assert not layout.target.exists()


@pytest.mark.parametrize(
    ("layer", "media_type", "diff_id", "message"),
    [
        (zstd.compress(ARCHIVE), ZSTD, OTHER_DIFF_ID, "doesn't decompress to"),
        (gzipped(ARCHIVE), OCI_LAYER, OTHER_DIFF_ID, "doesn't decompress to"),
        (ARCHIVE, PLAIN, OTHER_DIFF_ID, "doesn't decompress to"),
        (gzipped(ARCHIVE)[:-20], OCI_LAYER, DIFF_ID, "is damaged"),
        (zstd.compress(bytes(50_000_000)), ZSTD, DIFF_ID, "more than 1000000 bytes"),
    ],
    ids=["zstd", "gzip", "uncompressed", "truncated", "bomb"],
)
def test_a_layer_that_no_tool_would_load_leaves_the_older_archive(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, layer: bytes, media_type: str, diff_id: str, message: str
) -> None:
    monkeypatch.setattr(docker_archive, "MOST_BYTES", 1_000_000)
    layout.target.write_bytes(b"older")
    with pytest.raises(ClientError, match=message):
        layout.archive(layout.image([(layer, media_type)], [diff_id]))
    assert layout.target.read_bytes() == b"older"
    assert {path.name for path in layout.target.parent.iterdir()} == {"image.tar", "layout"}


@pytest.mark.skipif(os.geteuid() != 0, reason="a full disk takes a file system of its own")
def test_a_target_that_can_not_be_written_is_one_line(layout: Layout) -> None:
    layout.target = Path("/proc/image.tar")
    with pytest.raises(TargetError, match="can't be written"):
        layout.archive(layout.image([], []))


def test_an_archive_is_known_by_all_that_is_in_it(layout: Layout) -> None:
    manifest, other = layout.image(LAYERS, DIFF_IDS), layout.image(LAYERS[:1], DIFF_IDS[:1])
    archive = layout.archive(manifest, "team/app:1.2")
    right = [TaggedImage(manifest, ("team/app:1.2",))]
    assert is_docker_archive_of(right, archive)
    assert not is_docker_archive_of(right, archive.with_name("nowhere"))
    for wrong in (
        TaggedImage(manifest, ("team/app:1.3",)),
        TaggedImage(manifest, ()),
        TaggedImage(other, right[0].tags),
    ):
        assert not is_docker_archive_of([wrong], archive)
    content = archive.read_bytes()
    for place in range(600, len(content) - 2000, len(content) // 40):
        damaged = bytearray(content)
        damaged[place] ^= 1
        archive.write_bytes(damaged)
        is_padding = not content[place]
        assert is_padding or not is_docker_archive_of(right, archive)


def test_an_archive_of_a_sha512_image_is_known(layout: Layout) -> None:
    layer = layout.writer.by_sha512(layout.writer.blob(gzipped(ARCHIVE)))
    manifest = layout.image_of([layer], [f"sha512:{hashlib.sha512(ARCHIVE).hexdigest()}"])
    assert is_docker_archive_of([TaggedImage(manifest, ("a:b",))], layout.archive(manifest, "a:b"))


@pytest.mark.parametrize(
    "content",
    [
        b"no archive",
        tar(file("x")),
        tar(file("manifest.json", b"[]")),
        tar(file("manifest.json", b"{}")),
        tar(file("manifest.json", b'[{"Config": "x", "Layers": 5}]')),
        tar(file("manifest.json", b'[{"Config": ["x"]}]')),
        tar(file("manifest.json", b"[" * 100_000)),
    ],
)
def test_any_other_file_is_no_archive_of_an_image(layout: Layout, content: bytes) -> None:
    layout.target.write_bytes(content)
    assert not is_docker_archive_of([TaggedImage(layout.image([], []), ())], layout.target)
