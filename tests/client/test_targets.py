"""What is in a target stays there and is verified, and images keep their names."""

import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ecr_layers import BlobState, Client, ClientError, IntegrityError, Manifest, Progress, TargetError
from ecr_layers.oci.manifests import Descriptor
from ecr_layers.store.docker_archive import TaggedImage, is_docker_archive_of, write_docker_archive
from ecr_layers.store.layout import ImageName, LayoutIndex
from ecr_layers.transfer.blob_file import BlobFile
from local.aws import S3
from local.oci_layout import OciLayout
from local.service import EVERYTHING, local_service
from tests.archives import descriptor_of, file, gzipped, tar
from tests.client.faulty_s3 import Fault, faulty_s3
from tests.client.fetching import Fetching, files_in
from tests.client.small_parts import QUICK, REPOSITORY
from tests.layouts import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, LayoutWriter

HOST = "registry.example.com"


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def test_blobs_that_are_there_are_verified_and_damaged_ones_loaded_again(
    service_with_images: Fetching, tmp_path: Path
) -> None:
    with service_with_images.service() as service:
        image = service.image(f"{REPOSITORY}:large")
        image.save(tmp_path)
        blob = tmp_path / "blobs" / service_with_images.large.replace(":", "/")
        manifest = tmp_path / "blobs" / image.digest.replace(":", "/")
        zeroed(blob)
        zeroed(manifest)
        states: list[Progress] = []
        saved = image.save(tmp_path, progress=states.append)
        assert saved.loaded_bytes == blob.stat().st_size
        assert blob.read_bytes() == service_with_images.blob(service_with_images.large)
        assert manifest.read_bytes() == image.manifest.content
        assert BlobState.PRESENT in {each.state for each in states}
        zeroed(blob)
        assert image.save(tmp_path, is_quick=True).loaded_bytes == 0


def test_a_directory_beside_an_archive_that_is_someone_elses_is_left_alone(
    service_with_images: Fetching, tmp_path: Path
) -> None:
    other = tmp_path / "app.tar.partial" / "notes.txt"
    other.parent.mkdir()
    other.write_text("mine")
    with service_with_images.service() as service, pytest.raises(TargetError, match="isn't from ecr-layers") as caught:
        service.image(f"{REPOSITORY}:image").save_docker(tmp_path / "app.tar")
    assert caught.value.code == "target-exists"
    assert other.read_text() == "mine"


def test_a_file_that_somebody_has_put_beside_the_blobs_is_left_alone(
    service_with_images: Fetching, tmp_path: Path
) -> None:
    service_with_images.s3.faults = [Fault("reset", times=1000)]
    with service_with_images.service() as service:
        with pytest.raises(ClientError):
            service.image(f"{REPOSITORY}:image").save_docker(tmp_path / "app.tar")
        (tmp_path / "app.tar.partial" / "notes.txt").write_text("mine")
        service_with_images.s3.forget()
        service.image(f"{REPOSITORY}:image").save_docker(tmp_path / "app.tar")
    assert files_in(tmp_path) == {"app.tar", "app.tar.partial/notes.txt", "app.tar.partial/made-by-ecr-layers"}


def test_a_part_of_an_archive_that_is_a_link_is_not_written_through(
    service_with_images: Fetching, tmp_path: Path
) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "app.tar.part").symlink_to(tmp_path / "victim")
    with service_with_images.service() as service, pytest.raises(TargetError):
        service.image(f"{REPOSITORY}:image").save_docker(tmp_path / "app.tar")
    assert (tmp_path / "victim").read_text() == "mine"
    assert (tmp_path / "app.tar.part").is_symlink()


def test_space_for_blobs_and_archive_is_checked_before_anything_is_loaded(
    service_with_images: Fetching, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Disk:
        f_bavail, f_frsize, f_blocks = 4_000_000, 1, 1

    monkeypatch.setattr("os.statvfs", lambda _: Disk)
    with service_with_images.service() as service:
        image = service.image(f"{REPOSITORY}:large")
        service_with_images.s3.forget()
        with pytest.raises(TargetError, match="has 4000000 bytes free, and the download needs 5"):
            image.save_docker(tmp_path / "app.tar")
        assert service_with_images.s3.asked == []
        image.save(tmp_path / "layout")


def test_an_error_of_the_progress_callback_is_the_callers_own(service_with_images: Fetching, tmp_path: Path) -> None:
    def fail(_: Progress) -> None:
        raise ConnectionResetError("the caller's")

    with service_with_images.service() as service, pytest.raises(ConnectionResetError, match="the caller's"):
        service.image(f"{REPOSITORY}:image").save(tmp_path, progress=fail)


def image(number: int) -> Descriptor:
    return Descriptor(f"sha256:{number:064x}", number, OCI_MANIFEST)


def add_image(layout: Path, added: Descriptor, name: ImageName) -> str | None:
    index = LayoutIndex.read(layout)
    reference = index.add(added, name)
    index.write(layout)
    return reference


def named(repository: str, tag: str = "1.2") -> ImageName:
    return ImageName(tag, f"{repository}:{tag}", f"{HOST}/{repository}:{tag}")


def names_in(layout: Path) -> dict[str, str]:
    """Return the digests of a layout's images by their names."""
    entries = json.loads((layout / "index.json").read_text())["manifests"]
    return {each["annotations"]["org.opencontainers.image.ref.name"]: each["digest"] for each in entries}


def test_images_of_two_repositories_with_one_tag_are_both_kept(tmp_path: Path) -> None:
    assert add_image(tmp_path, image(1), named("team/a")) == "1.2"
    assert add_image(tmp_path, image(2), named("team/b")) == "team/b:1.2"
    assert add_image(tmp_path, image(3), named("team/b")) == "team/b:1.2"
    assert add_image(tmp_path, image(4), named("team/a")) == "1.2"
    assert names_in(tmp_path) == {"1.2": image(4).digest, "team/b:1.2": image(3).digest}
    full = {
        each["annotations"]["io.containerd.image.name"]
        for each in json.loads((tmp_path / "index.json").read_text())["manifests"]
    }
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


def test_an_archive_has_the_full_name_that_containerd_wants(service_with_images: Fetching, tmp_path: Path) -> None:
    def names(**options: Any) -> list[str]:
        buffer = io.BytesIO()
        with service_with_images.service() as service:
            service.image(f"{REPOSITORY}:image", **options.pop("image", {})).save_docker(buffer, **options)
        buffer.seek(0)
        with tarfile.open(fileobj=buffer) as archive:
            document = archive.extractfile("manifest.json")
            assert document is not None
            tags: list[str] = json.load(document)[0]["RepoTags"]
            return tags

    host = service_with_images.url.removeprefix("http://")
    assert names() == [f"{REPOSITORY}:image", f"{host}/{REPOSITORY}:image"]
    assert names(name=f"{HOST}/x/y:1") == [f"{HOST}/x/y:1"]


def test_a_digest_is_not_labelled_with_a_tag_that_may_be_anothers(
    service_with_images: Fetching, tmp_path: Path
) -> None:
    digest = service_with_images.images["large"]["digest"]
    with service_with_images.service() as service:
        saved = service.image(f"{REPOSITORY}:image@{digest}").save(tmp_path)
    (entry,) = json.loads((tmp_path / "index.json").read_text())["manifests"]
    assert (saved.name, entry["digest"], entry.get("annotations")) == (None, digest, None)


@contextmanager
def serving(layout: Path) -> Iterator[Client]:
    with (
        faulty_s3(lambda digest: (layout / "blobs" / digest.replace(":", "/")).read_bytes()) as (_, s3_url),
        local_service(
            {REPOSITORY: OciLayout(layout)}, s3=S3(url=s3_url), opted_into=EVERYTHING, write_log=lambda _: None
        ) as running,
        Client(running.url, retries=QUICK) as client,
    ):
        yield client


def test_a_foreign_layer_that_the_registry_has_is_loaded(tmp_path: Path) -> None:
    writer = LayoutWriter(tmp_path / "origin")
    layer = writer.blob(gzipped(tar(file("a", b"1")))) | {"urls": ["https://example.com/layer"]}
    writer.name(writer.image("image", layers=[layer]), "latest")
    writer.write()
    with serving(tmp_path / "origin") as client:
        found = client.image(REPOSITORY)
        assert found.save(tmp_path / "app").foreign == ()
        assert found.read("/a") == b"1"
    assert (tmp_path / "app" / "blobs" / layer["digest"].replace(":", "/")).exists()


@pytest.mark.parametrize(
    ("layer", "diff_id"),
    [
        (gzipped(tar(file("a", b"1"))), hashlib.sha256(b"another").hexdigest()),
        (gzipped(tar(file("a", bytes(5000))))[:-20], hashlib.sha256(tar(file("a", bytes(5000)))).hexdigest()),
        (tar(file("a", b"1")), hashlib.sha256(b"another").hexdigest()),
    ],
    ids=["another diff_id", "truncated", "uncompressed"],
)
def test_an_archive_that_no_tool_would_load_is_not_written(tmp_path: Path, layer: bytes, diff_id: str) -> None:
    writer = LayoutWriter(tmp_path)
    config = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff_id}"]}}
    document = {
        "schemaVersion": 2,
        "config": writer.document(OCI_CONFIG, config),
        "layers": [writer.blob(layer, OCI_LAYER)],
    }
    manifest = Manifest.parse(json.dumps(document).encode(), OCI_MANIFEST)
    written = io.BytesIO()
    with pytest.raises(ClientError, match=r"doesn't decompress|is damaged"):
        write_docker_archive(tmp_path / "blobs", [TaggedImage(manifest, ())], written)
    assert written.getvalue() == b""


def test_an_archive_of_a_sha512_image_is_recognized(tmp_path: Path) -> None:
    layer = tar(file("a", b"1"))
    writer = LayoutWriter(tmp_path)
    diff_id = f"sha512:{hashlib.sha512(layer).hexdigest()}"
    config = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [diff_id]}}
    compressed = gzip.compress(layer)
    digest = f"sha512:{hashlib.sha512(compressed).hexdigest()}"
    path = tmp_path / "blobs" / digest.replace(":", "/")
    path.parent.mkdir(parents=True)
    path.write_bytes(compressed)
    document = {
        "schemaVersion": 2,
        "config": writer.document(OCI_CONFIG, config),
        "layers": [{"mediaType": OCI_LAYER, "digest": digest, "size": len(compressed)}],
    }
    manifest = Manifest.parse(json.dumps(document).encode(), OCI_MANIFEST)
    with (tmp_path / "x.tar").open("wb") as target:
        write_docker_archive(tmp_path / "blobs", [TaggedImage(manifest, ("a:b",))], target)
    assert is_docker_archive_of([TaggedImage(manifest, ("a:b",))], tmp_path / "x.tar")
    assert not is_docker_archive_of([TaggedImage(manifest, ("a:c",))], tmp_path / "x.tar")


def test_an_empty_layer_has_a_digest_too(service_with_images: Fetching) -> None:
    wrong = descriptor_of(b"not empty").digest
    digest = service_with_images.large
    service_with_images.s3.faults = []
    with (
        service_with_images.service() as service,
        service.open_layer(REPOSITORY, digest, 0) as layer,
        pytest.raises(IntegrityError, match="Digest mismatch"),
    ):
        layer.read()
    assert wrong != digest


def test_a_url_that_is_refused_again_and_again_ends_clearly(service_with_images: Fetching, tmp_path: Path) -> None:
    service_with_images.s3.faults = [Fault("expired", times=1000)]
    with service_with_images.service() as service, pytest.raises(ClientError) as caught:
        service.image(f"{REPOSITORY}:large").save(tmp_path)
    assert caught.value.code == "url-refused"
    assert caught.value.fields["s3_code"] == "AccessDenied"
    assert len(service_with_images.s3.asked) < 200


def test_a_stale_block_does_not_poison_the_next_round(tmp_path: Path) -> None:
    content = random.Random(1).randbytes(30)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    blob = BlobFile(tmp_path / "blob", digest, 30, 10)
    blob.open()
    update = blob._hash_if_next
    late: list[Any] = []
    blob._hash_if_next = lambda *of_block: late.append(of_block)  # type: ignore[method-assign]
    blob.write(0, b"stale byte", blob.round)
    blob.begin_again()
    blob._hash_if_next = update  # type: ignore[method-assign]
    # The thread that wrote the stale block goes on only now.
    update(*late[0])
    for block in range(3):
        blob.write(block, content[10 * block : 10 * block + 10], blob.round)
    assert blob.is_right()
    blob.close()
