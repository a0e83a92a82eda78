"""A delta has what is missing, and makes the layout that it was made for whole."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from ecr_layers import Client, ClientError, Format, IntegrityError, UsageError, apply, verify
from tests.archives import file, gzipped, tar
from tests.client.commanding import Command, command
from tests.client.faulty_s3 import FaultyS3
from tests.client.fetching import blob_in, files_in, served, skopeo
from tests.client.looking import add_archives
from tests.client.small_parts import QUICK, REPOSITORY
from tests.layouts import Descriptor, LayoutWriter, for_platform

__all__ = ["command"]

PAIRS = 16


@dataclass(frozen=True)
class Origin:
    """A service with pairs of images, `old-N` and `new-N`."""

    client: Client
    s3: FaultyS3
    layout: Path
    images: dict[str, Descriptor]

    def blobs(self, tag: str) -> dict[str, int]:
        """Return the sizes of an image's or index's blobs as its manifests say them, by their digests."""
        return sizes(self.layout, self.images[tag]["digest"])


def sizes(layout: Path, digest: str) -> dict[str, int]:
    document = json.loads(blob_in(layout, digest).read_bytes())
    if "manifests" in document:
        return {d: size for each in document["manifests"] for d, size in sizes(layout, each["digest"]).items()}
    return {each["digest"]: each["size"] for each in (document["config"], *document["layers"])}


def random_image(writer: LayoutWriter, random: Random, archives: list[bytes]) -> Descriptor:
    chosen = [random.choice(archives) for _ in range(random.randint(0, 5))]
    return add_archives(writer, chosen, created=random.choice(["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"]))


@pytest.fixture(scope="module")
def running_origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Origin]:
    random, writer = Random(1), LayoutWriter(tmp_path_factory.mktemp("origin") / "layout")
    archives = [tar(file(f"{number}", random.randbytes(random.randint(1, 40_000)))) for number in range(12)]
    images = {
        f"{version}-{number}": random_image(writer, random, archives)
        for number in range(PAIRS)
        for version in ("old", "new")
    }
    platforms = [for_platform(writer.image(each, each), each) for each in ("amd64", "arm64")]
    images["index"] = writer.index([*platforms, for_platform(images["new-0"], "s390x")])
    images["docker"] = writer.image("docker", is_docker=True)
    for tag, descriptor in images.items():
        writer.name(descriptor, tag)
    writer.write()
    with served(writer.directory) as (s3, url), Client(url, retries=QUICK) as client:
        yield Origin(client, s3, writer.directory, images)


@pytest.fixture
def origin(running_origin: Origin) -> Origin:
    running_origin.s3.forget()
    return running_origin


def save(origin: Origin, tag: str, directory: Path) -> None:
    origin.client.image(f"{REPOSITORY}:{tag}").save(directory)


@pytest.mark.parametrize("number", range(PAIRS))
def test_a_delta_has_exactly_what_is_missing_and_makes_the_old_layout_whole(
    origin: Origin, tmp_path: Path, number: int
) -> None:
    old, new = f"old-{number}", f"new-{number}"
    save(origin, old, tmp_path / "app")
    shutil.copytree(tmp_path / "app", tmp_path / "copy")
    origin.s3.forget()
    image = origin.client.image(f"{REPOSITORY}:{new}")
    base = tmp_path / "copy" if number % 2 else origin.client.image(f"{REPOSITORY}:{old}")
    saved = image.save(tmp_path / "delta", have=[base])
    missing = {digest: size for digest, size in origin.blobs(new).items() if digest not in origin.blobs(old)}
    assert set(saved.blobs) == missing.keys()
    assert saved.loaded_bytes == sum(missing.values())
    assert {each.digest for each in origin.s3.asked} == missing.keys()
    written = {f"blobs/{digest.replace(':', '/')}" for digest in (*missing, image.digest)}
    assert files_in(tmp_path / "delta") == {"index.json", "oci-layout", *written}
    if number % 4 < 2:
        shutil.copytree(tmp_path / "delta", tmp_path / "app", dirs_exist_ok=True)
    else:
        apply(tmp_path / "delta", tmp_path / "app")
        skopeo("copy", f"oci:{tmp_path}/app:{old}", f"dir:{tmp_path}/old")
    assert verify(tmp_path / "app").problems == ()
    skopeo("copy", f"oci:{tmp_path}/app:{new}", f"dir:{tmp_path}/dir")


def test_a_delta_may_be_an_archive_of_an_index_or_of_dockers_image(origin: Origin, tmp_path: Path) -> None:
    save(origin, "new-0", tmp_path / "app")
    images = [origin.client.image(f"{REPOSITORY}:{tag}", all_platforms=True) for tag in ("index", "docker")]
    origin.s3.forget()
    for _ in range(2):
        saved = origin.client.save(images, tmp_path / "delta.tar", Format.OCI_ARCHIVE, have=[tmp_path / "app"])
    assert [each.loaded_bytes for each in saved] == [0, 0]
    missing = (origin.blobs("index").keys() | origin.blobs("docker").keys()) - origin.blobs("new-0").keys()
    assert {each.digest for each in origin.s3.asked} == missing
    applied = apply(tmp_path / "delta.tar", tmp_path / "app")
    assert applied.present_bytes == sum(origin.blobs("new-0").values())
    found = verify(tmp_path / "app")
    assert (found.images, found.problems) == (3, ())
    skopeo("copy", f"oci:{tmp_path}/app:docker", f"dir:{tmp_path}/dir")


def pair_with_a_difference(origin: Origin) -> tuple[str, str]:
    """Return an old and a new image that share a blob, of which the new one has others, too."""
    for number in range(PAIRS):
        old, new = origin.blobs(f"old-{number}").keys(), origin.blobs(f"new-{number}").keys()
        if old & new and new - old:
            return f"old-{number}", f"new-{number}"
    raise AssertionError


@pytest.mark.parametrize("has_layout", [True, False])
def test_a_delta_whose_base_is_missing_is_refused_and_changes_nothing(
    origin: Origin, tmp_path: Path, *, has_layout: bool
) -> None:
    old, new = pair_with_a_difference(origin)
    save(origin, old, tmp_path / "app")
    origin.client.image(f"{REPOSITORY}:{new}").save(tmp_path / "delta", have=[tmp_path / "app"])
    other = tmp_path / "other"
    if has_layout:
        save(origin, "docker", other)
    before = files_in(other)
    with pytest.raises(ClientError, match=r"doesn't have what the delta builds on: sha256:|isn't an OCI image layout"):
        apply(tmp_path / "delta", other)
    assert files_in(other) == before
    assert other.exists() == has_layout


@pytest.mark.parametrize("place", ["delta", "app"])
def test_damaged_bytes_are_refused_and_the_layout_keeps_its_images(origin: Origin, tmp_path: Path, place: str) -> None:
    old, new = pair_with_a_difference(origin)
    save(origin, old, tmp_path / "app")
    origin.client.image(f"{REPOSITORY}:{new}").save(tmp_path / "delta", have=[tmp_path / "app"])
    index = (tmp_path / "app" / "index.json").read_bytes()
    shared = origin.blobs(old).keys() & origin.blobs(new).keys()
    added = origin.blobs(new).keys() - origin.blobs(old).keys()
    digest = min(added if place == "delta" else shared)
    damaged = blob_in(tmp_path / place, digest)
    damaged.write_bytes(bytes(damaged.stat().st_size))
    with pytest.raises(IntegrityError, match=digest):
        apply(tmp_path / "delta", tmp_path / "app")
    assert (tmp_path / "app" / "index.json").read_bytes() == index
    assert not list(tmp_path.rglob("*.part"))
    assert bool(verify(tmp_path / "app").problems) == (place == "app")


def test_what_is_not_a_layout_can_not_be_a_base(origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_bytes(tar(file("a")))
    (tmp_path / "compressed").write_bytes(gzipped(tar(file("index.json"))))
    (tmp_path / "truncated").write_bytes(tar(file("index.json", b"{}"))[:700])
    image = origin.client.image(f"{REPOSITORY}:new-0")
    for name, message in (
        ("directory", "isn't an OCI image layout"),
        ("file", "isn't an OCI image layout"),
        ("compressed", "Decompress it first"),
        ("truncated", "isn't a readable tar archive"),
    ):
        with pytest.raises(ClientError, match=message):
            image.save(tmp_path / "delta", have=[tmp_path / name])
    assert not (tmp_path / "delta").exists()


def test_the_commands_make_and_apply_a_delta(origin: Origin, tmp_path: Path, command: Command) -> None:
    old, new = pair_with_a_difference(origin)
    fetch = ["fetch", "--url", origin.client.url, "--quiet"]
    app, delta = f"{tmp_path}/app", f"{tmp_path}/delta.tar"
    assert command(*fetch, f"{REPOSITORY}:{old}", "-o", app).status == 0
    for base in (app, f"{REPOSITORY}:{old}"):
        made = command(*fetch, f"{REPOSITORY}:{new}", "--have", base, "-o", f"oci-archive:{delta}")
        assert (made.status, made.error) == (0, "")
        applied = command("apply", delta, app)
        assert applied.status == 0, applied.error
        assert f"{app}: {origin.images[new]['digest']} " in applied.error
    assert command("verify", app).output.endswith(": everything verified\n")
    refused = command(*fetch, f"{REPOSITORY}:{new}", "--have", app, "-o", f"docker-archive:{delta}")
    assert (refused.status, refused.error.count("\n")) == (2, 1)


def test_only_an_archive_can_be_streamed_and_only_one_image_named(origin: Origin, tmp_path: Path) -> None:
    image = origin.client.image(f"{REPOSITORY}:new-0")
    with (tmp_path / "file").open("wb") as target, pytest.raises(UsageError, match="Only archives can be streamed"):
        origin.client.save([image], target)
    with pytest.raises(UsageError, match="Only one image can be given a name"):
        origin.client.save([image, image], tmp_path / "app", name="a.example.com/b:1")
