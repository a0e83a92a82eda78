"""Mirrors, checks, and caches of layouts, and archives of several images."""

import io
import os
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecr_layers import Client, ClientError, Format, UsageError, prune, verify
from ecr_layers.store.cache import BlobCache
from ecr_layers.store.target import locked
from local.oci_layout import OciLayout
from local.service import EVERYTHING, local_service
from tests.client.commanding import Command, command
from tests.client.faulty_s3 import Fault
from tests.client.fetching import Fetching, blob_in, docker_entries_in, files_in, inspected, names_in
from tests.client.small_parts import QUICK, REPOSITORY
from tests.layouts import LayoutWriter

__all__ = ["command"]


@pytest.fixture
def tags(tmp_path: Path) -> dict[str, str]:
    """Return the tags of `registry`, which a test may change."""
    writer = LayoutWriter(tmp_path / "origin")
    images = {name: writer.image(name, is_docker=name == "docker") for name in ("a", "b", "docker")}
    for name, descriptor in images.items():
        writer.name(descriptor, name)
    writer.name(images["a"], "1.0", "1.1", "latest")
    writer.write()
    return OciLayout(writer.directory).tags


@pytest.fixture
def registry(tmp_path: Path, tags: dict[str, str]) -> Iterator[Client]:
    layout = OciLayout(tmp_path / "origin")
    layout.tags = tags
    with (
        local_service({REPOSITORY: layout}, opted_into=EVERYTHING, write_log=lambda _: None) as running,
        Client(running.url, retries=QUICK) as client,
    ):
        yield client


def test_a_mirror_has_what_is_new_and_keeps_or_removes_what_is_gone(
    registry: Client, tags: dict[str, str], tmp_path: Path
) -> None:
    everything = {"1.0", "1.1", "a", "b", "docker", "latest"}
    first = registry.mirror(REPOSITORY, tmp_path / "m")
    assert {each.name for each in first.saved} == everything == names_in(tmp_path / "m").keys()
    # The layout's manifest of a Docker image isn't the registry's.
    assert set(registry.mirror(REPOSITORY, tmp_path / "m").unchanged) == everything
    tags["latest"] = tags["b"]
    del tags["1.1"], tags["a"]
    second = registry.mirror(REPOSITORY, tmp_path / "m")
    assert [(each.name, each.loaded_bytes) for each in second.saved] == [("latest", 0)]
    assert names_in(tmp_path / "m").keys() == everything
    assert names_in(tmp_path / "m")["latest"] == tags["b"]
    assert registry.mirror(REPOSITORY, tmp_path / "m", "1.*", removes=True).removed == ("1.1",)
    registry.image(f"{REPOSITORY}:b").save(tmp_path / "m", name="other.example.com/team/app:a2")
    assert registry.mirror(REPOSITORY, tmp_path / "m", removes=True).removed == ("a",)
    assert names_in(tmp_path / "m").keys() == {"1.0", "b", "docker", "latest", "a2"}
    assert verify(tmp_path / "m").problems == ()


def test_the_commands_mirror_and_prune(
    registry: Client, tags: dict[str, str], tmp_path: Path, command: Command
) -> None:
    mirror = ["mirror", "--url", registry.url, REPOSITORY, "-o", f"{tmp_path}/m", "--quiet", "--tag", "[ab]"]
    assert command(*mirror).status == 0
    assert names_in(tmp_path / "m").keys() == {"a", "b"}
    del tags["b"]
    assert command(*mirror, "--delete").status == 0
    before = files_in(tmp_path / "m")
    listed = command("prune", f"{tmp_path}/m", "--dry-run").output.splitlines()
    assert files_in(tmp_path / "m") == before
    assert command("prune", f"{tmp_path}/m").status == 0
    assert before - files_in(tmp_path / "m") == set(listed[:-1])
    assert len(listed) == 1 + 4
    assert listed[-1].startswith(f"{tmp_path}/m: 4 files, ")
    assert verify(tmp_path / "m").problems == ()


def test_verify_names_everything_that_is_wrong(origin: Fetching, tmp_path: Path, command: Command) -> None:
    for tag in ("large", "image", "foreign", "sha512"):
        origin.save(tag, tmp_path)
    right = verify(tmp_path)
    assert (right.images, right.problems, len(right.foreign)) == (4, (), 1)
    missing, short, other = (each["digest"] for each in origin.layers("large"))
    manifest = origin.images["image"]["digest"]
    blob_in(tmp_path, missing).unlink()
    blob_in(tmp_path, short).write_bytes(b"short")
    for digest in (other, manifest):
        path = blob_in(tmp_path, digest)
        path.write_bytes(path.read_bytes()[:-1] + b"X")
    assert set(verify(tmp_path).problems) == {
        f"{missing} is missing.",
        f"{short} has 5 bytes instead of {len(origin.blob(short))}.",
        f"{other} has other bytes.",
        f"{manifest} has other bytes.",
    }
    result = command("verify", str(tmp_path))
    assert (result.status, result.output.count("\n")) == (3, 5)
    with pytest.raises(ClientError, match="Digest mismatch"):
        prune(tmp_path)


def test_prune_removes_only_what_is_the_clients_and_only_in_layouts(origin: Fetching, tmp_path: Path) -> None:
    layout = tmp_path / "app"
    origin.save("image", layout)
    kept = files_in(layout) | {"notes.txt", "blobs/notes.txt", "blobs/sha256/notes.txt"}
    unused = [f"blobs/sha256/{'0' * 64}{suffix}" for suffix in ("", ".part", ".journal")]
    for name in (*(kept - files_in(layout)), *unused):
        (layout / name).write_bytes(b"x")
    pruned = prune(layout)
    assert ({str(path) for path in pruned.paths}, pruned.size) == (set(unused), 3)
    assert files_in(layout) == kept
    for directory in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UsageError, match="isn't an OCI image layout"):
            prune(directory)
    assert not (tmp_path / "nowhere").exists()
    (layout / "blobs").rename(tmp_path / "shared")
    (layout / "blobs").symlink_to(tmp_path / "shared")
    with pytest.raises(UsageError, match="other layouts may share it"):
        prune(layout)


def test_prune_waits_for_a_download_into_the_layout(origin: Fetching, tmp_path: Path) -> None:
    origin.save("image", tmp_path)
    unused, waiting = blob_in(tmp_path, f"sha256:{'0' * 64}"), threading.Event()
    with locked(tmp_path, lambda: None):
        unused.write_bytes(b"x")
        thread = threading.Thread(target=prune, args=(tmp_path,), kwargs={"on_wait": waiting.set})
        thread.start()
        assert waiting.wait(30)
        assert unused.exists()
    thread.join(30)
    assert not unused.exists()


def test_layouts_and_archives_share_a_cache_whose_blobs_are_verified(
    origin: Fetching, tmp_path: Path, command: Command
) -> None:
    s3, cache = origin.s3, tmp_path / "cache"
    with origin.service() as client:
        image = client.image(f"{REPOSITORY}:large")
        first = image.save(tmp_path / "first", cache=cache)
        s3.forget()
        second = image.save(tmp_path / "second", cache=cache)
        archived = client.save([image], tmp_path / "app.tar", Format.OCI_ARCHIVE, cache=cache)
        assert (second.loaded_bytes, second.present_bytes) == (0, first.loaded_bytes)
        assert [each.loaded_bytes for each in archived] == [0]
        assert s3.asked == []
        cached = blob_in(cache, origin.large)
        assert cached.samefile(blob_in(tmp_path / "first", origin.large))
        # A damaged blob, which every layout that shares the file has, too.
        cached.write_bytes(bytes(cached.stat().st_size))
        third = image.save(tmp_path / "third", cache=cache, is_quick=True)
        assert third.loaded_bytes == cached.stat().st_size
    assert verify(tmp_path / "third").problems == ()
    assert cached.read_bytes() == origin.blob(origin.large)
    words = ["fetch", "--url", origin.url, f"{REPOSITORY}:large", "--quiet", "-o", f"{tmp_path}/fourth"]
    s3.forget()
    assert command(*words, "--cache", str(cache), "--cache-size", "1kB").status == 0
    assert s3.asked == []
    assert sum(path.stat().st_size for path in cache.rglob("*") if path.is_file()) <= 1000
    assert verify(tmp_path / "fourth").problems == ()


def test_a_cache_keeps_what_was_used_last(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path / "cache", 25)
    digests = [f"sha256:{number:064x}" for number in range(3)]
    for age, digest in enumerate(reversed(digests)):
        path = tmp_path / digest
        path.write_bytes(bytes(10))
        cache.add(digest, path)
        os.utime(path, (age, age))
    assert cache.take(digests[2], 10, tmp_path / "taken")
    assert not cache.take(digests[2], 11, tmp_path / "other size")
    (tmp_path / "taken").unlink()
    cache.trim()
    assert [cache.take(digest, None, tmp_path / "again" / digest) for digest in digests] == [True, False, True]


def test_a_link_in_a_cache_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    digest = f"sha256:{0:064x}"
    blob_in(tmp_path, digest).parent.mkdir(parents=True)
    blob_in(tmp_path, digest).symlink_to(tmp_path / "secret")
    assert not BlobCache(tmp_path, 100).take(digest, None, tmp_path / "taken")
    assert not (tmp_path / "taken").exists()


def test_an_oci_archive_is_read_by_skopeo_and_stays_as_it_is(
    origin: Fetching, tmp_path: Path, command: Command
) -> None:
    images = [f"{REPOSITORY}:image", f"{REPOSITORY}:docker", f"{REPOSITORY}:foreign"]
    words = ["fetch", "--url", origin.url, *images, "--quiet", "-o", f"oci-archive:{tmp_path}/app.tar"]
    assert command(*words).status == 0
    for tag in ("image", "docker"):
        assert inspected(f"oci-archive:{tmp_path}/app.tar:{tag}")["Labels"] == {"name": tag}
    found = verify(tmp_path / "app.tar")
    assert (found.images, found.problems, len(found.foreign)) == (3, (), 1)
    before = (tmp_path / "app.tar").stat()
    origin.s3.forget()
    assert command(*words).status == 0
    assert (tmp_path / "app.tar").stat().st_mtime_ns == before.st_mtime_ns
    assert origin.s3.asked == []
    assert files_in(tmp_path) == {"app.tar"}
    content = bytearray((tmp_path / "app.tar").read_bytes())
    content[content.index(b"\x1f\x8b") + 30] ^= 1
    (tmp_path / "app.tar").write_bytes(content)
    assert command(*words).status == 0
    assert verify(tmp_path / "app.tar").problems == ()
    streamed = io.BytesIO()
    with origin.service() as client:
        client.save([client.image(name) for name in images], streamed, Format.OCI_ARCHIVE)
    assert streamed.getvalue() == (tmp_path / "app.tar").read_bytes()


def test_a_docker_archive_has_several_images_with_shared_layers_once(origin: Fetching, tmp_path: Path) -> None:
    digest = origin.images["image"]["digest"]
    with origin.service() as client:
        names = (f"{REPOSITORY}:image", f"{REPOSITORY}:docker", f"{REPOSITORY}@{digest}")
        images = [client.image(name) for name in names]
        first = client.save(images, tmp_path / "app.tar", Format.DOCKER_ARCHIVE)
        origin.s3.forget()
        again = client.save(images, tmp_path / "app.tar", Format.DOCKER_ARCHIVE)
    assert origin.s3.asked == []
    assert [each.blobs for each in again] == [each.blobs for each in first]
    assert [each.loaded_bytes for each in again] == [0, 0, 0]
    with (tmp_path / "app.tar").open("rb") as file:
        assert [len(each["RepoTags"]) for each in docker_entries_in(file)] == [2, 2, 0]
    with tarfile.open(tmp_path / "app.tar") as archive:
        assert len(archive.getnames()) == len(set(archive.getnames()))
    assert inspected(f"docker-archive:{tmp_path}/app.tar:{REPOSITORY}:docker")["Labels"] == {"name": "docker"}


@pytest.mark.parametrize("kind", [Format.OCI_ARCHIVE, Format.DOCKER_ARCHIVE])
def test_an_interrupted_archive_is_resumed_from_the_directory_beside_it(
    origin: Fetching, tmp_path: Path, kind: Format
) -> None:
    first, *others = (layer["digest"] for layer in origin.layers("image"))
    origin.s3.faults = [Fault("reset", times=1000, digest=first)]
    origin.save_layers(others, tmp_path / "app.tar.partial" / "blobs")
    (tmp_path / "app.tar.partial" / "made-by-ecr-layers").touch()
    with origin.service() as client:
        image = client.image(f"{REPOSITORY}:image")
        with pytest.raises(ClientError):
            client.save([image], tmp_path / "app.tar", kind)
        assert not (tmp_path / "app.tar").exists()
        origin.s3.forget()
        client.save([image], tmp_path / "app.tar", kind)
    assert not set(others) & {each.digest for each in origin.s3.asked}
    assert files_in(tmp_path) == {"app.tar"}
