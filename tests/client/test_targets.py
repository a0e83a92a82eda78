"""What is in a target stays there and is verified, and images keep their names."""

import io
import json
import random
from pathlib import Path

import pytest

from ecr_layers import BlobState, Client, ClientError, Progress, TargetError
from ecr_layers.oci.manifests import Descriptor
from ecr_layers.store.layout import ImageName, LayoutIndex
from ecr_layers.transfer.blob_file import BlobFile
from tests.archives import descriptor_of, file, gzipped, tar
from tests.client.faulty_s3 import Fault
from tests.client.fetching import Fetching, blob_in, docker_entries_in, entries_in, files_in, names_in, served
from tests.client.small_parts import REPOSITORY
from tests.layouts import OCI_MANIFEST, LayoutWriter

HOST = "registry.example.com"


def test_blobs_that_are_there_are_verified_and_damaged_ones_loaded_again(origin: Fetching, tmp_path: Path) -> None:
    s3, large = origin.s3, origin.large
    first = origin.save("large", tmp_path)
    s3.forget()
    again = origin.save("large", tmp_path)
    assert (s3.asked, again.loaded_bytes, again.present_bytes) == ([], 0, first.loaded_bytes)
    digest = origin.images["large"]["digest"]
    blob, manifest = blob_in(tmp_path, large), blob_in(tmp_path, digest)
    zeroed = {path: bytes(path.stat().st_size) for path in (blob, manifest)}
    for damaged in ({blob: b"cut"}, zeroed):
        for path, content in damaged.items():
            path.write_bytes(content)
        states: list[Progress] = []
        saved = origin.save("large", tmp_path, progress=states.append)
        assert saved.loaded_bytes == blob.stat().st_size
        assert blob.read_bytes() == origin.blob(large)
        assert manifest.read_bytes() == origin.blob(digest)
        assert BlobState.PRESENT in {each.state for each in states}
    blob.write_bytes(zeroed[blob])
    assert origin.save("large", tmp_path, is_quick=True).loaded_bytes == 0


def test_a_directory_beside_an_archive_that_is_someone_elses_is_left_alone(origin: Fetching, tmp_path: Path) -> None:
    other = tmp_path / "app.tar.partial" / "notes.txt"
    other.parent.mkdir()
    other.write_text("mine")
    with pytest.raises(TargetError, match="isn't from ecr-layers") as caught:
        origin.save_docker("image", tmp_path / "app.tar")
    assert caught.value.code == "target-exists"
    assert other.read_text() == "mine"


def test_a_file_that_somebody_has_put_beside_the_blobs_is_left_alone(origin: Fetching, tmp_path: Path) -> None:
    origin.s3.faults = [Fault("reset", times=1000)]
    with pytest.raises(ClientError):
        origin.save_docker("image", tmp_path / "app.tar")
    (tmp_path / "app.tar.partial" / "notes.txt").write_text("mine")
    origin.s3.forget()
    origin.save_docker("image", tmp_path / "app.tar")
    assert files_in(tmp_path) == {"app.tar", "app.tar.partial/notes.txt", "app.tar.partial/made-by-ecr-layers"}


def test_a_part_of_an_archive_that_is_a_link_is_not_written_through(origin: Fetching, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "app.tar.part").symlink_to(tmp_path / "victim")
    with pytest.raises(TargetError):
        origin.save_docker("image", tmp_path / "app.tar")
    assert (tmp_path / "victim").read_text() == "mine"
    assert (tmp_path / "app.tar.part").is_symlink()


def test_space_for_blobs_and_archive_is_checked_before_anything_is_loaded(
    origin: Fetching, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Disk:
        f_bavail, f_frsize, f_blocks = 4_000_000, 1, 1

    monkeypatch.setattr("os.statvfs", lambda _: Disk)
    with origin.service() as service:
        image = service.image(f"{REPOSITORY}:large")
        origin.s3.forget()
        with pytest.raises(TargetError, match="has 4000000 bytes free, and the download needs 5"):
            image.save_docker(tmp_path / "app.tar")
        assert origin.s3.asked == []
        image.save(tmp_path / "layout")


def test_an_error_of_the_progress_callback_is_the_callers_own(origin: Fetching, tmp_path: Path) -> None:
    def fail(_: Progress) -> None:
        raise ConnectionResetError("the caller's")

    with pytest.raises(ConnectionResetError, match="the caller's"):
        origin.save("image", tmp_path, progress=fail)


def image(number: int) -> Descriptor:
    return Descriptor(f"sha256:{number:064x}", number, OCI_MANIFEST)


def add_image(layout: Path, added: Descriptor, name: ImageName | None) -> str | None:
    index = LayoutIndex.read(layout)
    reference = index.add(added, name)
    index.write(layout)
    return reference


def named(repository: str, tag: str = "1.2") -> ImageName:
    return ImageName(tag, f"{repository}:{tag}", f"{HOST}/{repository}:{tag}")


def test_images_of_two_repositories_with_one_tag_are_both_kept(tmp_path: Path) -> None:
    assert add_image(tmp_path, image(1), named("team/a")) == "1.2"
    assert add_image(tmp_path, image(2), named("team/b")) == "team/b:1.2"
    assert add_image(tmp_path, image(3), named("team/b")) == "team/b:1.2"
    assert add_image(tmp_path, image(4), named("team/a")) == "1.2"
    # An image that has a name needs no entry without one.
    add_image(tmp_path, image(4), None)
    assert names_in(tmp_path) == {"1.2": image(4).digest, "team/b:1.2": image(3).digest}
    full = {each["annotations"]["io.containerd.image.name"] for each in entries_in(tmp_path)}
    assert full == {f"{HOST}/team/a:1.2", f"{HOST}/team/b:1.2"}


def test_an_image_that_another_tool_has_named_is_kept(tmp_path: Path) -> None:
    entry = {"mediaType": OCI_MANIFEST, "digest": image(1).digest, "size": 1}
    named_by_tag = {**entry, "annotations": {"org.opencontainers.image.ref.name": "1.2"}}
    index = {"schemaVersion": 2, "manifests": [named_by_tag], "annotations": {"by": "another tool"}}
    (tmp_path / "index.json").write_text(json.dumps(index))
    assert add_image(tmp_path, image(2), named("team/a")) == "team/a:1.2"
    assert add_image(tmp_path, image(1), named("team/b")) == "1.2"
    assert names_in(tmp_path) == {"1.2": image(1).digest, "team/a:1.2": image(2).digest}
    assert json.loads((tmp_path / "index.json").read_text())["annotations"] == {"by": "another tool"}


def test_an_archive_has_the_full_name_that_containerd_wants(origin: Fetching) -> None:
    with origin.service() as service:
        image = service.image(f"{REPOSITORY}:image")
        for name, expected in (
            (None, [f"{REPOSITORY}:image", f"{service.host}/{REPOSITORY}:image"]),
            (f"{HOST}/x/y:1", [f"{HOST}/x/y:1"]),
        ):
            buffer = io.BytesIO()
            image.save_docker(buffer, name=name)
            assert [each["RepoTags"] for each in docker_entries_in(buffer)] == [expected]


def test_a_digest_is_not_labelled_with_a_tag_that_may_be_anothers(origin: Fetching, tmp_path: Path) -> None:
    digest = origin.images["large"]["digest"]
    with origin.service() as service:
        saved = service.image(f"{REPOSITORY}:image@{digest}").save(tmp_path)
    (entry,) = entries_in(tmp_path)
    assert (saved.name, entry["digest"], entry.get("annotations")) == (None, digest, None)


def test_a_foreign_layer_that_the_registry_has_is_loaded(tmp_path: Path) -> None:
    writer = LayoutWriter(tmp_path / "origin")
    layer = writer.blob(gzipped(tar(file("a", b"1")))) | {"urls": ["https://example.com/layer"]}
    writer.name(writer.image("image", layers=[layer]), "latest")
    writer.write()
    with served(tmp_path / "origin") as (_, url), Client(url) as client:
        found = client.image(REPOSITORY)
        assert found.save(tmp_path / "app").foreign == ()
        assert found.read("/a") == b"1"
    assert blob_in(tmp_path / "app", layer["digest"]).exists()


class WrittenLate(bytes):
    """A block; a new round begins when it is written, but not yet counted."""

    file: BlobFile

    def __len__(self) -> int:
        if self.file.has(0):
            self.file.begin_again()
        return super().__len__()


def test_a_stale_block_does_not_poison_the_next_round(tmp_path: Path) -> None:
    content = random.Random(1).randbytes(30)
    blob = BlobFile(tmp_path / "blob", descriptor_of(content).digest, 30, 10)
    blob.open()
    stale = WrittenLate(b"stale byte")
    stale.file = blob
    blob.write(0, stale, blob.round)
    for block in range(3):
        blob.write(block, content[10 * block : 10 * block + 10], blob.round)
    assert blob.is_right()
    blob.close()
