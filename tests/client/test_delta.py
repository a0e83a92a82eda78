"""A delta has what is missing, and makes the layout that it was made for whole."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from ecr_layers import ClientError, Format, IntegrityError, UsageError, apply, verify
from tests.archives import file, gzipped, tar
from tests.client.commanding import Command, command
from tests.client.fetching import Fetching, blob_in, files_in, names_in, served, skopeo
from tests.client.looking import add_archives
from tests.client.small_parts import REPOSITORY
from tests.layouts import LayoutWriter, for_platform

__all__ = ["command"]

PAIRS = 16


@pytest.fixture(scope="module")
def running_fetching(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fetching]:
    """Run a service with pairs of random images, `old-N` and `new-N`, and a pair that shares a layer."""
    random, writer = Random(1), LayoutWriter(tmp_path_factory.mktemp("origin") / "layout")
    archives = [tar(file(f"{number}", random.randbytes(random.randint(1, 40_000)))) for number in range(12)]
    images = {"old": add_archives(writer, archives[:3]), "new": add_archives(writer, archives[2:5])}
    for number in range(PAIRS):
        for version in ("old", "new"):
            chosen = [random.choice(archives) for _ in range(random.randint(0, 5))]
            created = random.choice(["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"])
            images[f"{version}-{number}"] = add_archives(writer, chosen, created=created)
    platforms = [for_platform(writer.image(each, each), each) for each in ("amd64", "arm64")]
    images["index"] = writer.index([*platforms, for_platform(images["new"], "s390x")])
    images["docker"] = writer.image("docker", is_docker=True)
    for tag, descriptor in images.items():
        writer.name(descriptor, tag)
    writer.write()
    with served(writer.directory) as (s3, url):
        yield Fetching(url, s3, writer.directory, images)


def blobs_of(origin: Fetching, tag: str) -> dict[str, int]:
    """Return the sizes of an image's or index's blobs as its manifests say them, by their digests."""
    return sizes(origin, origin.images[tag]["digest"])


def sizes(origin: Fetching, digest: str) -> dict[str, int]:
    document = json.loads(origin.blob(digest))
    if "manifests" in document:
        return {d: size for each in document["manifests"] for d, size in sizes(origin, each["digest"]).items()}
    return {each["digest"]: each["size"] for each in (document["config"], *document["layers"])}


@pytest.mark.parametrize("number", range(PAIRS))
def test_a_delta_has_exactly_what_is_missing_and_makes_the_old_layout_whole(
    origin: Fetching, tmp_path: Path, number: int
) -> None:
    old, new = f"old-{number}", f"new-{number}"
    origin.save(old, tmp_path / "app")
    shutil.copytree(tmp_path / "app", tmp_path / "copy")
    with origin.service() as client:
        base = tmp_path / "copy" if number % 2 else client.image(f"{REPOSITORY}:{old}")
        image = client.image(f"{REPOSITORY}:{new}")
        origin.s3.forget()
        saved = image.save(tmp_path / "delta", have=[base])
    missing = {digest: size for digest, size in blobs_of(origin, new).items() if digest not in blobs_of(origin, old)}
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
    skopeo("copy", f"oci:{tmp_path}/app:{new}", f"dir:{tmp_path}/new")


def test_a_delta_may_be_an_archive_of_an_index_or_of_dockers_image(origin: Fetching, tmp_path: Path) -> None:
    app, delta = tmp_path / "app", tmp_path / "delta.tar"
    origin.save("new", app)
    with origin.service() as client:
        images = [client.image(f"{REPOSITORY}:{tag}", all_platforms=True) for tag in ("index", "docker")]
        origin.s3.forget()
        for _ in range(2):
            saved = client.save(images, delta, Format.OCI_ARCHIVE, have=[app])
    assert [each.loaded_bytes for each in saved] == [0, 0]
    missing = (blobs_of(origin, "index").keys() | blobs_of(origin, "docker").keys()) - blobs_of(origin, "new").keys()
    assert {each.digest for each in origin.s3.asked} == missing
    applied = apply(delta, app)
    assert applied.present_bytes == sum(blobs_of(origin, "new").values())
    found = verify(app)
    assert (found.images, found.problems) == (3, ())
    skopeo("copy", f"oci:{app}:docker", f"dir:{tmp_path}/docker")


@pytest.fixture
def delta(origin: Fetching, tmp_path: Path) -> Path:
    """Return a delta to the image in `app`."""
    origin.save("old", tmp_path / "app")
    origin.save("new", tmp_path / "delta", have=[tmp_path / "app"])
    return tmp_path / "delta"


@pytest.mark.parametrize("has_layout", [True, False])
def test_a_delta_whose_base_is_missing_is_refused_and_changes_nothing(
    origin: Fetching, tmp_path: Path, delta: Path, *, has_layout: bool
) -> None:
    other = tmp_path / "other"
    if has_layout:
        origin.save("docker", other)
    before = files_in(other)
    with pytest.raises(ClientError, match=r"doesn't have what the delta builds on: sha256:|isn't an OCI image layout"):
        apply(delta, other)
    assert files_in(other) == before
    assert other.exists() == has_layout


@pytest.mark.parametrize("place", ["delta", "app"])
def test_damaged_bytes_are_refused_and_the_layout_keeps_its_images(
    origin: Fetching, tmp_path: Path, delta: Path, place: str
) -> None:
    app, old, new = tmp_path / "app", blobs_of(origin, "old").keys(), blobs_of(origin, "new").keys()
    index = (app / "index.json").read_bytes()
    digest = min(new - old if place == "delta" else new & old)
    damaged = blob_in(tmp_path / place, digest)
    damaged.write_bytes(bytes(damaged.stat().st_size))
    with pytest.raises(IntegrityError, match=digest):
        apply(delta, app)
    assert (app / "index.json").read_bytes() == index
    assert not list(tmp_path.rglob("*.part"))
    assert bool(verify(app).problems) == (place == "app")


def test_images_of_two_repositories_with_one_tag_are_both_kept_when_a_delta_is_applied(
    origin: Fetching, tmp_path: Path
) -> None:
    origin.save("old", tmp_path / "app", name="a.example.com/team/a:1")
    origin.save("new", tmp_path / "delta", name="a.example.com/team/b:1")
    for _ in range(2):
        apply(tmp_path / "delta", tmp_path / "app")
    images = origin.images
    assert names_in(tmp_path / "app") == {"1": images["old"]["digest"], "team/b:1": images["new"]["digest"]}


def test_what_is_not_a_layout_can_not_be_a_base(origin: Fetching, tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_bytes(tar(file("a")))
    (tmp_path / "compressed").write_bytes(gzipped(tar(file("index.json"))))
    (tmp_path / "truncated").write_bytes(tar(file("index.json", b"{}"))[:700])
    for name, message in (
        ("directory", "isn't an OCI image layout"),
        ("file", "isn't an OCI image layout"),
        ("compressed", "Decompress it first"),
        ("truncated", "isn't a readable tar archive"),
    ):
        with pytest.raises(ClientError, match=message):
            origin.save("new", tmp_path / "delta", have=[tmp_path / name])
    assert not (tmp_path / "delta").exists()


def test_the_commands_make_and_apply_a_delta(origin: Fetching, tmp_path: Path, command: Command) -> None:
    fetch = ["fetch", "--url", origin.url, "--quiet"]
    app, delta = f"{tmp_path}/app", f"{tmp_path}/delta.tar"
    assert command(*fetch, f"{REPOSITORY}:old", "-o", app).status == 0
    for base in (app, f"{REPOSITORY}:old"):
        made = command(*fetch, f"{REPOSITORY}:new", "--have", base, "-o", f"oci-archive:{delta}")
        assert (made.status, made.error) == (0, "")
        applied = command("apply", delta, app)
        assert applied.status == 0, applied.error
        assert f"{app}: {origin.images['new']['digest']} " in applied.error
    assert command("verify", app).output.endswith(": everything verified\n")
    refused = command(*fetch, f"{REPOSITORY}:new", "--have", app, "-o", f"docker-archive:{delta}")
    assert (refused.status, refused.error.count("\n")) == (2, 1)


def test_only_an_archive_can_be_streamed_and_only_one_image_named(origin: Fetching, tmp_path: Path) -> None:
    with origin.service() as client, (tmp_path / "file").open("wb") as target:
        image = client.image(f"{REPOSITORY}:new")
        with pytest.raises(UsageError, match="Only archives can be streamed"):
            client.save([image], target)
        with pytest.raises(UsageError, match="Only one image can be given a name"):
            client.save([image, image], tmp_path / "app", name="a.example.com/b:1")
