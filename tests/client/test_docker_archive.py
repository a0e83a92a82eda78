"""A docker-archive is read by what reads docker-archives, and has the very image."""

import hashlib
import json
import os
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from ecr_layers import ClientError, Manifest, TargetError
from ecr_layers.store import docker_archive
from ecr_layers.store.docker_archive import TaggedImage, is_docker_archive_of, write_docker_archive
from ecr_layers.store.target import new_file, target_errors
from tests.archives import descriptor_of, file, gzipped, tar, zstd
from tests.client.fetching import blob_in, docker_entries_in
from tests.commands import tool
from tests.layouts import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Descriptor, LayoutWriter

PLAIN = "application/vnd.oci.image.layer.v1.tar"
ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
ARCHIVES = [tar(file(name, name.encode() * 5000)) for name in ("a", "b")]


def digest_of(content: bytes) -> str:
    return descriptor_of(content).digest


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


def skopeo(*arguments: str) -> str:
    return subprocess.run(
        [tool("skopeo"), "--insecure-policy", *arguments], capture_output=True, text=True, timeout=60, check=True
    ).stdout


def test_skopeo_reads_the_image_with_its_config_and_layers(layout: Layout, tmp_path: Path) -> None:
    layers = [(gzipped(ARCHIVES[0]), OCI_LAYER), (ARCHIVES[1], PLAIN), (zstd.compress(ARCHIVES[0]), ZSTD)]
    diff_ids = [digest_of(ARCHIVES[number]) for number in (0, 1, 0)]
    manifest = layout.image(layers, diff_ids)
    archive = layout.archive(manifest, "team/app:1.2")
    inspected = json.loads(skopeo("inspect", f"docker-archive:{archive}"))
    assert (inspected["Architecture"], inspected["Labels"]) == ("arm64", {"name": "x"})
    config = json.loads(skopeo("inspect", "--config", f"docker-archive:{archive}:team/app:1.2"))
    assert config["rootfs"]["diff_ids"] == diff_ids
    # skopeo verifies that each layer is what the config says.
    skopeo("copy", f"docker-archive:{archive}", f"dir:{tmp_path}/copy")
    assert manifest.config
    assert json.loads((tmp_path / "copy" / "manifest.json").read_bytes())["config"]["digest"] == manifest.config.digest


def test_the_archive_is_what_docker_load_reads(layout: Layout) -> None:
    layers = [(gzipped(ARCHIVES[0]), OCI_LAYER), (ARCHIVES[1], PLAIN)]
    archive = layout.archive(layout.image(layers, [digest_of(each) for each in ARCHIVES]), "team/app:1.2")
    with tarfile.open(archive) as read:
        names = read.getnames()
        assert names[0] == "manifest.json"
        (entry,) = json.loads(read.extractfile("manifest.json").read())  # type: ignore[union-attr]
        assert entry["RepoTags"] == ["team/app:1.2"]
        assert names[1:] == [entry["Config"], *entry["Layers"]]
        assert [Path(name).suffix for name in entry["Layers"]] == [".gz", ".tar"]
        for name in names[1:]:
            content = read.extractfile(name).read()  # type: ignore[union-attr]
            assert hashlib.sha256(content).hexdigest() == name.partition(".")[0]


def test_images_without_tags_with_a_layer_twice_without_layers_and_of_dockers_types_are_read(layout: Layout) -> None:
    layer, digest = (gzipped(ARCHIVES[0]), OCI_LAYER), digest_of(ARCHIVES[0])
    for manifest, layers in (
        (layout.image([layer], [digest]), 1),
        (layout.image([layer, layer], [digest, digest]), 2),
        (layout.image([], []), 0),
        (layout.manifest(layout.writer.image("docker", is_docker=True)), 2),
    ):
        archive = layout.archive(manifest)
        assert len(json.loads(skopeo("inspect", f"docker-archive:{archive}"))["Layers"]) == layers
        with archive.open("rb") as file:
            assert [each["RepoTags"] for each in docker_entries_in(file)] == [[]]
        with tarfile.open(archive) as read:
            # A layer that is there twice is written once.
            assert len(read.getnames()) == len(set(read.getnames()))


def test_the_same_image_gives_the_same_bytes(layout: Layout) -> None:
    manifest = layout.image([(zstd.compress(ARCHIVES[0]), ZSTD)], [digest_of(ARCHIVES[0])])
    first = layout.archive(manifest, "a:b").read_bytes()
    assert layout.archive(manifest, "a:b").read_bytes() == first


def test_what_can_not_be_in_an_archive_is_an_error_that_says_what_to_do(layout: Layout) -> None:
    subject = {"mediaType": OCI_MANIFEST, "digest": digest_of(b""), "size": 0}
    layer = (gzipped(ARCHIVES[0]), OCI_LAYER)
    for manifest, message in (
        (layout.manifest(layout.writer.artifact("text/plain", subject, b"x")), "is an artifact"),
        (layout.image([layer], []), "lists 0 layers, but the manifest 1"),
        (layout.image([layer], ["md5:../../x"]), "without a sha256"),
        (layout.image([(layer[0], f"{OCI_LAYER}+encrypted")], [digest_of(ARCHIVES[0])]), "is encrypted"),
    ):
        with pytest.raises(ClientError, match=message):
            layout.archive(manifest)
        assert not layout.target.exists()


def left_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize(
    ("layer", "media_type", "archive"),
    [
        (zstd.compress(ARCHIVES[0]), ZSTD, ARCHIVES[1]),
        (gzipped(ARCHIVES[0]), OCI_LAYER, ARCHIVES[1]),
        (gzipped(ARCHIVES[0])[:-20], OCI_LAYER, ARCHIVES[0]),
        (ARCHIVES[0], PLAIN, ARCHIVES[1]),
    ],
    ids=["zstd", "gzip", "truncated", "uncompressed"],
)
def test_a_layer_that_no_tool_would_load_leaves_the_older_archive(
    layout: Layout, tmp_path: Path, layer: bytes, media_type: str, archive: bytes
) -> None:
    layout.target.write_bytes(b"older")
    with pytest.raises(ClientError, match=r"doesn't decompress to|is damaged"):
        layout.archive(layout.image([(layer, media_type)], [digest_of(archive)]))
    assert layout.target.read_bytes() == b"older"
    assert left_in(tmp_path) == ["image.tar", "layout"]


def test_a_layer_that_decompresses_to_too_much_is_refused(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker_archive, "MOST_BYTES", 1_000_000)
    bomb = zstd.compress(bytes(50_000_000))
    with pytest.raises(ClientError, match="more than 1000000 bytes"):
        layout.archive(layout.image([(bomb, ZSTD)], [digest_of(b"")]))
    assert left_in(tmp_path) == ["layout"]


@pytest.mark.skipif(os.geteuid() != 0, reason="a full disk takes a file system of its own")
def test_a_target_that_can_not_be_written_is_one_line(layout: Layout) -> None:
    manifest = layout.image([], [])
    layout.target = Path("/proc/image.tar")
    with pytest.raises(TargetError, match="can't be written"):
        layout.archive(manifest)


def test_an_archive_is_known_by_all_that_is_in_it(layout: Layout) -> None:
    layers = [(gzipped(ARCHIVES[0]), OCI_LAYER), (ARCHIVES[1], PLAIN), (zstd.compress(ARCHIVES[0]), ZSTD)]
    manifest = layout.image(layers, [digest_of(ARCHIVES[number]) for number in (0, 1, 0)])
    other = layout.image(layers[:1], [digest_of(ARCHIVES[0])])
    archive = layout.archive(manifest, "team/app:1.2")
    assert is_docker_archive_of([TaggedImage(manifest, ("team/app:1.2",))], archive)
    assert not is_docker_archive_of([TaggedImage(manifest, ("team/app:1.3",))], archive)
    assert not is_docker_archive_of([TaggedImage(manifest, ())], archive)
    assert not is_docker_archive_of([TaggedImage(other, ("team/app:1.2",))], archive)
    assert not is_docker_archive_of([TaggedImage(manifest, ("team/app:1.2",))], archive.with_name("nowhere"))
    content = archive.read_bytes()
    for place in range(600, len(content) - 2000, len(content) // 40):
        damaged = bytearray(content)
        damaged[place] ^= 1
        archive.write_bytes(damaged)
        is_padding = not content[place]
        assert is_padding or not is_docker_archive_of([TaggedImage(manifest, ("team/app:1.2",))], archive)


def test_an_archive_of_a_sha512_image_is_known(layout: Layout) -> None:
    layer = layout.writer.by_sha512(layout.writer.blob(gzipped(ARCHIVES[0])))
    manifest = layout.image_of([layer], [f"sha512:{hashlib.sha512(ARCHIVES[0]).hexdigest()}"])
    assert is_docker_archive_of([TaggedImage(manifest, ("a:b",))], layout.archive(manifest, "a:b"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
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
