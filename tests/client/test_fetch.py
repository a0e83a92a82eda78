"""What a fetch writes, read by the tools that others use, and what it does on bad days."""

import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from botocore.credentials import Credentials

from ecr_layers import (
    BlobState,
    Client,
    ClientError,
    IntegrityError,
    Manifest,
    Progress,
    Retries,
    ServiceError,
    TargetError,
    TransferError,
    UsageError,
)
from ecr_layers.store.target import locked
from local.service import FunctionUrl
from tests.client.faulty_s3 import Fault, Kind
from tests.client.fetching import LARGE, Fetching, fetching, files_in
from tests.client.small_parts import BLOCK, QUICK, REPOSITORY
from tests.commands import tool
from tests.layouts import OCI_INDEX


def run(*command: str) -> str:
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def assert_layout_is_right(layout: Path, origin: Fetching) -> None:
    """Each file in the layout is a blob of the origin's, or what makes it a layout."""
    names = files_in(layout)
    blobs = {name for name in names if name.startswith("blobs/")}
    assert names - blobs == {"index.json", "oci-layout"}
    for name in blobs:
        assert (layout / name).read_bytes() == (origin.layout / name).read_bytes()


@pytest.mark.parametrize("tag", ["image", "large", "empty", "zstd", "artifact", "sha512", "many"])
def test_a_fetched_image_has_every_blob_of_the_image(service_with_images: Fetching, tmp_path: Path, tag: str) -> None:
    with service_with_images.service() as service:
        fetched = service.image(f"{REPOSITORY}:{tag}").save(tmp_path / "app")
    descriptor = service_with_images.images[tag]
    manifest = json.loads(service_with_images.blob(descriptor["digest"]))
    digests = {each["digest"] for each in [descriptor, manifest["config"], *manifest["layers"]]}
    assert_layout_is_right(tmp_path / "app", service_with_images)
    assert {name for name in files_in(tmp_path / "app") if "/" in name} == {
        f"blobs/{digest.replace(':', '/')}" for digest in digests
    }
    assert fetched.digest == descriptor["digest"]
    assert {fetched.digest, *fetched.blobs} == digests


@pytest.mark.parametrize("tag", ["image", "docker", "large", "empty"])
def test_skopeo_reads_a_fetched_image(service_with_images: Fetching, tmp_path: Path, tag: str) -> None:
    with service_with_images.service() as service:
        service.image(f"{REPOSITORY}:{tag}").save(tmp_path / "app")
    inspected = json.loads(run(tool("skopeo"), "inspect", f"oci:{tmp_path / 'app'}:{tag}"))
    assert inspected["Layers"] == [each["digest"] for each in service_with_images.layers(tag)]


def test_skopeo_makes_a_docker_archive_of_a_fetched_image(service_with_images: Fetching, tmp_path: Path) -> None:
    with service_with_images.service() as service:
        service.image(f"{REPOSITORY}:image").save(tmp_path / "app")
    archive = f"docker-archive:{tmp_path / 'app.tar'}"
    run(tool("skopeo"), "copy", f"oci:{tmp_path / 'app'}:image", f"{archive}:team/app:image")
    assert json.loads(run(tool("skopeo"), "inspect", archive))["Labels"] == {"name": "image"}


def test_manifests_of_dockers_are_written_as_ocis_and_are_there_as_they_were(
    service_with_images: Fetching, tmp_path: Path
) -> None:
    with service_with_images.service() as service:
        service.image(f"{REPOSITORY}:docker-list", all_platforms=True).save(tmp_path)
    original = service_with_images.images["docker-list"]
    assert (tmp_path / "blobs" / original["digest"].replace(":", "/")).exists()
    (entry,) = _entries(tmp_path)
    assert entry["mediaType"] == OCI_INDEX
    for architecture in ("amd64", "arm64"):
        command = (tool("skopeo"), "--override-arch", architecture, "inspect", f"oci:{tmp_path}:docker-list")
        assert json.loads(run(*command))["Labels"] == {"name": f"docker {architecture}"}
    assert "docker" not in run(tool("skopeo"), "inspect", "--raw", f"oci:{tmp_path}:docker-list")


def test_umoci_unpacks_a_fetched_image(service_with_images: Fetching, tmp_path: Path) -> None:
    with service_with_images.service() as service:
        service.image(f"{REPOSITORY}:image").save(tmp_path / "app")
    run(tool("umoci"), "unpack", "--rootless", "--image", f"{tmp_path / 'app'}:image", str(tmp_path / "bundle"))
    assert (tmp_path / "bundle" / "rootfs" / "a").read_bytes() == b"image a" * 1000


@pytest.mark.parametrize("tag", ["index", "nested"])
def test_an_index_is_fetched_with_all_its_images(service_with_images: Fetching, tmp_path: Path, tag: str) -> None:
    with service_with_images.service() as service:
        fetched = service.image(f"{REPOSITORY}:{tag}", all_platforms=True).save(tmp_path / "app")
    assert_layout_is_right(tmp_path / "app", service_with_images)
    assert fetched.digest == service_with_images.images[tag]["digest"]
    assert len(fetched.blobs) == 9
    # skopeo does not look into an index in an index.
    for architecture in ("amd64", "arm64", "s390x") if tag == "index" else ():
        copied = f"oci:{tmp_path / architecture}:one"
        run(tool("skopeo"), "--override-arch", architecture, "copy", f"oci:{tmp_path / 'app'}:{tag}", copied)
        assert json.loads(run(tool("skopeo"), "inspect", copied))["Labels"] == {"name": f"index {architecture}"}


@pytest.mark.parametrize("tag", ["index", "nested"])
def test_of_an_index_the_image_of_a_platform_is_fetched(
    service_with_images: Fetching, tmp_path: Path, tag: str
) -> None:
    with service_with_images.service() as service:
        fetched = service.image(f"{REPOSITORY}:{tag}", platform="linux/arm64/v8").save(tmp_path / "app")
    assert len(fetched.blobs) == 3
    labels = json.loads(run(tool("skopeo"), "inspect", "--config", f"oci:{tmp_path / 'app'}:{tag}"))["config"]["Labels"]
    assert labels == {"name": "index arm64"}


def test_a_platform_that_an_index_does_not_have_is_said_with_those_that_it_has(
    service_with_images: Fetching, tmp_path: Path
) -> None:
    with (
        service_with_images.service() as service,
        pytest.raises(UsageError, match="linux/amd64, linux/arm64, linux/s390x"),
    ):
        service.image(f"{REPOSITORY}:index", platform="linux/ppc64le").save(tmp_path)


def test_a_foreign_layer_is_left_out_and_named(service_with_images: Fetching, tmp_path: Path) -> None:
    with service_with_images.service() as service:
        fetched = service.image(f"{REPOSITORY}:foreign").save(tmp_path)
    foreign = service_with_images.layers("foreign")[-1]["digest"]
    assert fetched.foreign == (foreign,)
    assert foreign not in fetched.blobs
    assert_layout_is_right(tmp_path, service_with_images)


def test_several_images_share_a_layout_and_a_tag_goes_over_to_the_newer(
    service_with_images: Fetching, tmp_path: Path
) -> None:
    images = service_with_images.images
    with service_with_images.service() as service:
        service.image(f"{REPOSITORY}:image").save(tmp_path)
        service.image(f"{REPOSITORY}:index", all_platforms=True).save(tmp_path)
        service.image(f"{REPOSITORY}@{images['large']['digest']}").save(
            tmp_path, name=f"{service.host}/{REPOSITORY}:image"
        )
        service.image(f"{REPOSITORY}@{images['index']['digest']}", all_platforms=True).save(tmp_path)
    entries = json.loads((tmp_path / "index.json").read_text())["manifests"]
    assert [(each["digest"], each["annotations"]["org.opencontainers.image.ref.name"]) for each in entries] == [
        (images["index"]["digest"], "index"),
        (images["large"]["digest"], "image"),
    ]


def test_layers_are_fetched_by_their_digests_alone(service_with_images: Fetching, tmp_path: Path) -> None:
    digests = [each["digest"] for each in (*service_with_images.layers("large"), *service_with_images.layers("empty"))]
    with service_with_images.service() as service:
        fetched = service.save_layers(REPOSITORY, [*digests, digests[0]], tmp_path)
    assert fetched.blobs == tuple(digests)
    assert files_in(tmp_path) == {digest.replace(":", "/") for digest in digests}
    for digest in digests:
        assert (tmp_path / digest.replace(":", "/")).read_bytes() == service_with_images.blob(digest)


def test_what_is_in_the_target_is_not_loaded(service_with_images: Fetching, tmp_path: Path) -> None:
    with service_with_images.service() as service:
        first = service.image(f"{REPOSITORY}:large").save(tmp_path)
        service_with_images.s3.forget()
        second = service.image(f"{REPOSITORY}:large").save(tmp_path)
    assert not service_with_images.s3.asked
    assert (second.loaded_bytes, second.present_bytes) == (0, first.loaded_bytes)


def test_a_blob_that_was_cut_short_in_the_target_is_loaded_anew(service_with_images: Fetching, tmp_path: Path) -> None:
    path = tmp_path / "blobs" / service_with_images.large.replace(":", "/")
    with service_with_images.service() as service:
        service.image(f"{REPOSITORY}:large").save(tmp_path)
        path.write_bytes(b"cut")
        service.image(f"{REPOSITORY}:large").save(tmp_path)
    assert_layout_is_right(tmp_path, service_with_images)


def test_progress_is_reported_from_nothing_to_all(service_with_images: Fetching, tmp_path: Path) -> None:
    reports: list[Progress] = []
    with service_with_images.service() as service:
        service.image(f"{REPOSITORY}:large").save(tmp_path, progress=reports.append)
    of_large = [each for each in reports if each.digest == service_with_images.large]
    assert (of_large[0].loaded, of_large[0].state) == (0, BlobState.WAITING)
    assert (of_large[-1].loaded, of_large[-1].state) == (of_large[-1].size, BlobState.FINISHED)
    loaded = [each.loaded for each in of_large]
    assert loaded == sorted(loaded)


def test_a_large_layer_is_asked_for_in_ranges_each_byte_once(service_with_images: Fetching, tmp_path: Path) -> None:
    with service_with_images.service() as service:
        service.save_layers(REPOSITORY, [service_with_images.large], tmp_path)
    size = len(service_with_images.blob(service_with_images.large))
    assert len(service_with_images.s3.asked) > 6
    # But for the request for its size, and what was sent to a connection whose range was halved meanwhile.
    assert service_with_images.s3.sent < size * 1.5


RETRIED: list[Kind] = ["throttled", "reset", "short", "redirect", "wrong"]


@pytest.mark.parametrize("kind", RETRIED)
@pytest.mark.parametrize("times", [1, 3])
def test_a_fault_of_s3_is_made_up_for(service_with_images: Fetching, tmp_path: Path, kind: Kind, times: int) -> None:
    service_with_images.s3.faults = [Fault(kind, after=3 * BLOCK, times=times)]
    with service_with_images.service() as service:
        service.image(f"{REPOSITORY}:large").save(tmp_path)
    assert not service_with_images.s3.faults
    assert_layout_is_right(tmp_path, service_with_images)


def test_an_expired_url_is_renewed_for_what_is_left(service_with_images: Fetching, tmp_path: Path) -> None:
    s3 = service_with_images.s3
    s3.faults = [
        Fault("reset", after=2 * BLOCK, digest=service_with_images.large),
        Fault("expired", times=2, digest=service_with_images.large),
    ]
    with service_with_images.service() as service:
        fetched = service.image(f"{REPOSITORY}:large").save(tmp_path)
    assert_layout_is_right(tmp_path, service_with_images)
    # What was read before the connection broke was not asked for again.
    assert s3.sent < fetched.loaded_bytes * 1.5


def test_a_server_that_takes_no_ranges_is_read_from_its_beginning(
    service_with_images: Fetching, tmp_path: Path
) -> None:
    service_with_images.s3.faults = [Fault("no ranges", times=1000)]
    with service_with_images.service() as service:
        service.image(f"{REPOSITORY}:large").save(tmp_path)
    assert_layout_is_right(tmp_path, service_with_images)


def test_a_server_that_takes_no_ranges_and_breaks_at_the_same_place_is_given_up(
    service_with_images: Fetching, tmp_path: Path
) -> None:
    with service_with_images.service() as service:
        service_with_images.s3.read, read = (lambda digest: read(digest)[:-1]), service_with_images.s3.read
        try:
            service_with_images.s3.faults = [Fault("no ranges", times=1000)]
            with pytest.raises((TransferError, IntegrityError), match="sha256:"):
                service.image(f"{REPOSITORY}:large").save(tmp_path)
        finally:
            service_with_images.s3.read = read


@pytest.mark.parametrize("kind", ["stall", "hang"])
def test_a_range_that_stalls_is_asked_for_again_on_a_new_connection(
    service_with_images: Fetching, tmp_path: Path, kind: Kind
) -> None:
    service_with_images.s3.faults = [Fault(kind, after=BLOCK, digest=service_with_images.large)]
    with service_with_images.service() as service:
        service.image(f"{REPOSITORY}:large").save(tmp_path)
    asked = [each for each in service_with_images.s3.asked if each.digest == service_with_images.large]
    stalled = min(asked, key=lambda each: each.sent - (each.last - each.first))
    others = [each for each in asked if each is not stalled and stalled.first < each.first <= stalled.last]
    assert others, "nothing was asked for in the place of what stalled"
    assert_layout_is_right(tmp_path, service_with_images)


def test_a_size_is_not_asked_for_again_after_another_blob_has_failed(
    service_with_images: Fetching, tmp_path: Path
) -> None:
    waits, fails = (each["digest"] for each in service_with_images.layers("large")[:2])
    service_with_images.s3.faults = [
        Fault("throttled", times=1000, digest=waits),
        Fault("other scheme", times=1000, digest=fails),
    ]
    before = set(threading.enumerate())
    with (
        Client(service_with_images.url, retries=Retries(shortest_wait=30)) as service,
        pytest.raises(TransferError, match=fails),
    ):
        service.save_layers(REPOSITORY, [waits, fails], tmp_path)
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("load-"):
            thread.join(10)
            assert not thread.is_alive()
    assert sum(each.digest == waits for each in service_with_images.s3.asked) <= 1


@pytest.mark.parametrize("kind", ["throttled", "reset", "short", "expired"])
def test_a_fault_that_does_not_end_is_an_error_that_names_the_blob(
    service_with_images: Fetching, tmp_path: Path, kind: Kind
) -> None:
    service_with_images.s3.faults = [Fault(kind, times=1000, digest=service_with_images.large)]
    with service_with_images.service() as service, pytest.raises(TransferError) as caught:
        service.image(f"{REPOSITORY}:large").save(tmp_path)
    message = str(caught.value)
    assert service_with_images.large in message
    assert "\n" not in message
    assert "://" not in message
    assert not (tmp_path / "index.json").exists()
    service_with_images.s3.forget()
    with service_with_images.service() as service:
        service.image(f"{REPOSITORY}:large").save(tmp_path)
    assert_layout_is_right(tmp_path, service_with_images)


def test_a_redirect_to_another_scheme_is_not_followed(service_with_images: Fetching, tmp_path: Path) -> None:
    service_with_images.s3.faults = [Fault("other scheme", times=1000)]
    with service_with_images.service() as service, pytest.raises(TransferError, match="another scheme"):
        service.image(f"{REPOSITORY}:large").save(tmp_path)
    assert len(service_with_images.s3.asked) <= 6


def test_wrong_bytes_twice_are_an_error_and_leave_nothing_that_looks_finished(
    service_with_images: Fetching, tmp_path: Path
) -> None:
    large = service_with_images.large
    service_with_images.s3.faults = [Fault("wrong", times=10_000, digest=large)]
    with service_with_images.service() as service, pytest.raises(IntegrityError, match=large):
        service.image(f"{REPOSITORY}:large").save(tmp_path)
    names = files_in(tmp_path)
    assert not {name for name in names if large.partition(":")[2] in name}
    assert "index.json" not in names


@pytest.mark.parametrize(
    ("size", "message"),
    [(0, "the manifest says that"), (2_500_212, "bytes in S3"), (9_000_000, "bytes in S3")],
)
def test_a_size_that_is_not_the_blobs_is_an_error(
    service_with_images: Fetching, tmp_path: Path, size: int, message: str
) -> None:
    document = json.loads(service_with_images.blob(service_with_images.images["large"]["digest"]))
    document["layers"][0]["size"] = size
    manifest = Manifest.parse(json.dumps(document).encode())
    with service_with_images.service() as service, pytest.raises(ClientError, match=message):
        service.image(REPOSITORY, manifest=manifest).save(tmp_path)
    assert not (tmp_path / "index.json").exists()


def test_a_blob_that_is_larger_than_allowed_is_refused_before_anything_is_loaded(
    service_with_images: Fetching, tmp_path: Path
) -> None:
    with service_with_images.service() as service, pytest.raises(ClientError, match=r"over the limit of 1000000\."):
        service.image(f"{REPOSITORY}:large").save(tmp_path, max_bytes=1_000_000)
    assert not service_with_images.s3.asked
    assert not files_in(tmp_path)


def test_a_layer_of_unknown_size_that_is_larger_than_allowed_is_refused_before_it_is_loaded(
    service_with_images: Fetching, tmp_path: Path
) -> None:
    with service_with_images.service() as service, pytest.raises(ClientError, match=r"over the limit of 1000000\."):
        service.save_layers(REPOSITORY, [service_with_images.large], tmp_path, max_bytes=1_000_000)
    assert service_with_images.s3.sent <= 1
    assert not files_in(tmp_path)


def test_a_manifest_of_ones_own_takes_one_permission(tmp_path: Path) -> None:
    with fetching(tmp_path / "images", opted_into={}) as origin, origin.service() as service:
        with pytest.raises(ServiceError, match="serves layers, but no manifests"):
            service.image(f"{REPOSITORY}:large").save(tmp_path / "app")
        manifest = Manifest.parse(origin.blob(origin.images["large"]["digest"]))
        service.image(f"{REPOSITORY}:large", manifest=manifest).save(tmp_path / "app")
        assert_layout_is_right(tmp_path / "app", origin)


def test_a_function_url_that_takes_signed_requests_alone_is_asked_with_the_callers_credentials(tmp_path: Path) -> None:
    # tests/conftest.py has put these into the environment.
    caller = Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
    with fetching(tmp_path / "images", function_url=FunctionUrl(caller=caller)) as origin:
        with Client(origin.url, region="us-east-1", retries=QUICK) as service:
            service.image(f"{REPOSITORY}:image").save(tmp_path / "app")
        assert_layout_is_right(tmp_path / "app", origin)
        with Client(origin.url, retries=QUICK) as service, pytest.raises(ServiceError, match="requires credentials"):
            service.image(f"{REPOSITORY}:image").save(tmp_path / "other")


def test_two_runs_into_one_directory_wait_for_each_other(service_with_images: Fetching, tmp_path: Path) -> None:
    service_with_images.s3.chunk_delay = 0.002
    with service_with_images.service() as service:
        threads = [
            threading.Thread(target=service.image(f"{REPOSITORY}:{tag}").save, args=(tmp_path,))
            for tag in ("large", "large", "image")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert_layout_is_right(tmp_path, service_with_images)
    asked = [each for each in service_with_images.s3.asked if each.digest == service_with_images.large]
    assert sum(each.sent for each in asked) < LARGE * 1.5
    tags = {each["annotations"]["org.opencontainers.image.ref.name"] for each in _entries(tmp_path)}
    assert tags == {"large", "image"}


def test_whoever_waits_for_another_run_is_told(tmp_path: Path) -> None:
    waited: list[bool] = []
    with locked(tmp_path, lambda: waited.append(True)):
        second = threading.Thread(target=lambda: locked(tmp_path, lambda: waited.append(True)).__enter__())
        second.start()
        while not waited:
            second.join(0.01)
    second.join(10)
    assert waited == [True]


def _entries(layout: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((layout / "index.json").read_text())["manifests"]
    return entries


def test_a_target_that_is_a_file_is_said(service_with_images: Fetching, tmp_path: Path) -> None:
    (tmp_path / "app").write_text("a file")
    with service_with_images.service() as service, pytest.raises(TargetError, match="Choose a directory as the target"):
        service.image(f"{REPOSITORY}:image").save(tmp_path / "app")


def test_an_index_that_is_none_is_not_written_over(service_with_images: Fetching, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text("my own file")
    with service_with_images.service() as service, pytest.raises(ClientError, match="isn't an image index"):
        service.image(f"{REPOSITORY}:image").save(tmp_path)
    assert (tmp_path / "index.json").read_text() == "my own file"


def test_a_target_that_may_not_be_written_is_said(service_with_images: Fetching) -> None:
    # Not even root may make a directory there.
    with service_with_images.service() as service, pytest.raises(TargetError, match="that you may write to"):
        service.image(f"{REPOSITORY}:image").save("/sys/app")


def test_a_disk_without_the_space_is_said_before_anything_is_loaded(
    service_with_images: Fetching, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result([*real[:3], 1, 1, *real[5:]]))
    with service_with_images.service() as service, pytest.raises(TargetError, match="bytes free"):
        service.image(f"{REPOSITORY}:large").save(tmp_path)
    assert not service_with_images.s3.asked


def test_a_disk_that_becomes_full_is_said_and_the_rest_is_fetched_later(
    service_with_images: Fetching, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = os.pwrite, [0]

    def full_after_a_million(descriptor: int, data: bytes, place: int) -> int:
        written[0] += len(data)
        if written[0] > 1_000_000:
            raise OSError(28, "No space left on device")
        return write(descriptor, data, place)

    monkeypatch.setattr(os, "pwrite", full_after_a_million)
    with (
        service_with_images.service() as service,
        pytest.raises(TargetError, match=r"No space left on device\. Free up"),
    ):
        service.image(f"{REPOSITORY}:large").save(tmp_path)
    monkeypatch.undo()
    service_with_images.s3.forget()
    with service_with_images.service() as service:
        service.image(f"{REPOSITORY}:large").save(tmp_path)
    assert_layout_is_right(tmp_path, service_with_images)
    assert service_with_images.s3.sent < LARGE * 0.9


@pytest.mark.parametrize(("tag", "labels"), [("image", "image"), ("docker", "docker"), ("index", "index amd64")])
def test_a_docker_archive_is_read_by_skopeo_and_nothing_stays_beside_it(
    service_with_images: Fetching, tmp_path: Path, tag: str, labels: str
) -> None:
    with service_with_images.service() as service:
        fetched = service.image(f"{REPOSITORY}:{tag}", platform="x86_64").save_docker(tmp_path / "app.tar")
    assert fetched.output == tmp_path / "app.tar"
    assert files_in(tmp_path) == {"app.tar"}
    inspected = json.loads(run(tool("skopeo"), "inspect", f"docker-archive:{tmp_path / 'app.tar'}:{REPOSITORY}:{tag}"))
    assert inspected["Labels"] == {"name": labels}


def test_a_docker_archive_is_gone_on_with_from_the_directory_beside_it(
    service_with_images: Fetching, tmp_path: Path
) -> None:
    first, second = (layer["digest"] for layer in service_with_images.layers("image"))
    service_with_images.s3.faults = [Fault("reset", times=1000, digest=first)]
    with service_with_images.service() as service:
        service.save_layers(REPOSITORY, [second], tmp_path / "app.tar.partial" / "blobs")
        (tmp_path / "app.tar.partial" / "made-by-ecr-layers").touch()
        with pytest.raises(TransferError):
            service.image(f"{REPOSITORY}:image").save_docker(tmp_path / "app.tar")
        assert not (tmp_path / "app.tar").exists()
        service_with_images.s3.forget()
        service.image(f"{REPOSITORY}:image").save_docker(tmp_path / "app.tar")
    assert second not in {each.digest for each in service_with_images.s3.asked}
    assert files_in(tmp_path) == {"app.tar"}


def test_a_docker_archive_that_is_there_is_not_loaded_again(service_with_images: Fetching, tmp_path: Path) -> None:
    with service_with_images.service() as service:
        first = service.image(f"{REPOSITORY}:image").save_docker(tmp_path / "app.tar")
        service_with_images.s3.forget()
        again = service.image(f"{REPOSITORY}:image").save_docker(tmp_path / "app.tar")
    assert service_with_images.s3.asked == []
    assert (again.loaded_bytes, again.present_bytes) == (0, first.loaded_bytes)
    assert again.blobs == first.blobs
    assert files_in(tmp_path) == {"app.tar"}


@pytest.mark.parametrize("tag", ["artifact", "foreign"])
def test_what_can_not_be_in_a_docker_archive_is_refused_before_anything_is_loaded(
    service_with_images: Fetching, tmp_path: Path, tag: str
) -> None:
    service_with_images.s3.forget()
    with (
        service_with_images.service() as service,
        pytest.raises(ClientError, match=r"is an artifact|have the foreign layer"),
    ):
        service.image(f"{REPOSITORY}:{tag}").save_docker(tmp_path / "app.tar")
    assert files_in(tmp_path) == set()
    assert service_with_images.s3.asked == []
