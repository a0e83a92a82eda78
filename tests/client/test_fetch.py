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
from local.service import FunctionUrl
from tests.client.faulty_s3 import Fault, Kind
from tests.client.fetching import LARGE, Fetching, blob_in, entries_in, fetching, files_in, names_in
from tests.client.small_parts import BLOCK, QUICK, REPOSITORY
from tests.commands import tool
from tests.layouts import OCI_INDEX


def run(*command: str) -> str:
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def inspected(reference: str, *options: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(tool("skopeo"), *options, "inspect", reference))
    return found


def assert_layout_is_right(layout: Path, origin: Fetching) -> None:
    """Each file in the layout is a blob of the origin's, or what makes it a layout."""
    names = files_in(layout)
    blobs = {name for name in names if name.startswith("blobs/")}
    assert names - blobs == {"index.json", "oci-layout"}
    for name in blobs:
        assert (layout / name).read_bytes() == (origin.layout / name).read_bytes()


@pytest.mark.parametrize("tag", ["image", "large", "empty", "zstd", "artifact", "sha512", "many"])
def test_a_fetched_image_has_every_blob_of_the_image(service_with_images: Fetching, tmp_path: Path, tag: str) -> None:
    fetched = service_with_images.save(tag, tmp_path)
    descriptor = service_with_images.images[tag]
    manifest = json.loads(service_with_images.blob(descriptor["digest"]))
    digests = {each["digest"] for each in [descriptor, manifest["config"], *manifest["layers"]]}
    assert_layout_is_right(tmp_path, service_with_images)
    assert {name for name in files_in(tmp_path) if "/" in name} == {
        f"blobs/{digest.replace(':', '/')}" for digest in digests
    }
    assert fetched.digest == descriptor["digest"]
    assert {fetched.digest, *fetched.blobs} == digests


def test_skopeo_and_umoci_read_fetched_images(service_with_images: Fetching, tmp_path: Path) -> None:
    layout = tmp_path / "app"
    for tag in ("image", "docker", "large", "empty"):
        service_with_images.save(tag, layout)
        layers = inspected(f"oci:{layout}:{tag}")["Layers"]
        assert layers == [each["digest"] for each in service_with_images.layers(tag)]
    run(tool("skopeo"), "copy", f"oci:{layout}:image", f"docker-archive:{tmp_path}/app.tar:team/app:image")
    assert inspected(f"docker-archive:{tmp_path}/app.tar")["Labels"] == {"name": "image"}
    run(tool("umoci"), "unpack", "--rootless", "--image", f"{layout}:image", f"{tmp_path}/bundle")
    assert (tmp_path / "bundle/rootfs/a").read_bytes() == b"image a" * 1000


def test_manifests_of_dockers_are_written_as_ocis_and_are_there_as_they_were(
    service_with_images: Fetching, tmp_path: Path
) -> None:
    service_with_images.save("docker-list", tmp_path, all_platforms=True)
    assert blob_in(tmp_path, service_with_images.images["docker-list"]["digest"]).exists()
    (entry,) = entries_in(tmp_path)
    assert entry["mediaType"] == OCI_INDEX
    for architecture in ("amd64", "arm64"):
        found = inspected(f"oci:{tmp_path}:docker-list", "--override-arch", architecture)
        assert found["Labels"] == {"name": f"docker {architecture}"}
    assert "docker" not in run(tool("skopeo"), "inspect", "--raw", f"oci:{tmp_path}:docker-list")


@pytest.mark.parametrize("tag", ["index", "nested"])
def test_an_index_is_fetched_with_all_its_images_or_the_one_of_a_platform(
    service_with_images: Fetching, tmp_path: Path, tag: str
) -> None:
    fetched = service_with_images.save(tag, tmp_path / "all", all_platforms=True)
    assert_layout_is_right(tmp_path / "all", service_with_images)
    assert fetched.digest == service_with_images.images[tag]["digest"]
    assert len(fetched.blobs) == 9
    # skopeo does not look into an index in an index.
    for architecture in ("amd64", "arm64", "s390x") if tag == "index" else ():
        found = inspected(f"oci:{tmp_path}/all:{tag}", "--override-arch", architecture)
        assert found["Labels"] == {"name": f"index {architecture}"}
    assert len(service_with_images.save(tag, tmp_path / "one", "linux/arm64/v8").blobs) == 3
    assert inspected(f"oci:{tmp_path}/one:{tag}")["Labels"] == {"name": "index arm64"}
    with pytest.raises(UsageError, match="linux/amd64, linux/arm64, linux/s390x"):
        service_with_images.save(tag, tmp_path, "linux/ppc64le")


def test_a_foreign_layer_is_left_out_and_named(service_with_images: Fetching, tmp_path: Path) -> None:
    fetched = service_with_images.save("foreign", tmp_path)
    foreign = service_with_images.layers("foreign")[-1]["digest"]
    assert fetched.foreign == (foreign,)
    assert foreign not in fetched.blobs
    assert_layout_is_right(tmp_path, service_with_images)


def test_several_images_share_a_layout_and_a_tag_goes_over_to_the_newer(
    service_with_images: Fetching, tmp_path: Path
) -> None:
    images = service_with_images.images
    service_with_images.save("image", tmp_path)
    service_with_images.save("index", tmp_path, all_platforms=True)
    with service_with_images.service() as service:
        name = f"{service.host}/{REPOSITORY}:image"
        service.image(f"{REPOSITORY}@{images['large']['digest']}").save(tmp_path, name=name)
        service.image(f"{REPOSITORY}@{images['index']['digest']}", all_platforms=True).save(tmp_path)
    assert len(entries_in(tmp_path)) == 2
    assert names_in(tmp_path) == {"index": images["index"]["digest"], "image": images["large"]["digest"]}


def test_layers_are_fetched_by_their_digests_alone(service_with_images: Fetching, tmp_path: Path) -> None:
    digests = [each["digest"] for each in (*service_with_images.layers("large"), *service_with_images.layers("empty"))]
    fetched = service_with_images.save_layers([*digests, digests[0]], tmp_path)
    assert fetched.blobs == tuple(digests)
    assert files_in(tmp_path) == {digest.replace(":", "/") for digest in digests}
    for digest in digests:
        assert (tmp_path / digest.replace(":", "/")).read_bytes() == service_with_images.blob(digest)


def test_progress_is_reported_from_nothing_to_all(service_with_images: Fetching, tmp_path: Path) -> None:
    reports: list[Progress] = []
    service_with_images.save("large", tmp_path, progress=reports.append)
    of_large = [each for each in reports if each.digest == service_with_images.large]
    assert (of_large[0].loaded, of_large[0].state) == (0, BlobState.WAITING)
    assert (of_large[-1].loaded, of_large[-1].state) == (of_large[-1].size, BlobState.FINISHED)
    loaded = [each.loaded for each in of_large]
    assert loaded == sorted(loaded)


def test_a_large_layer_is_asked_for_in_ranges_each_byte_once(service_with_images: Fetching, tmp_path: Path) -> None:
    service_with_images.save_layers([service_with_images.large], tmp_path)
    assert len(service_with_images.s3.asked) > 6
    # But for the request for its size, and what was sent to a connection whose range was halved meanwhile.
    assert service_with_images.s3.sent < LARGE * 1.5


RETRIED: list[Kind] = ["throttled", "reset", "short", "redirect", "wrong"]


@pytest.mark.parametrize("kind", RETRIED)
def test_a_fault_of_s3_is_made_up_for(service_with_images: Fetching, tmp_path: Path, kind: Kind) -> None:
    service_with_images.s3.faults = [Fault(kind, after=3 * BLOCK, times=3)]
    service_with_images.save("large", tmp_path)
    assert not service_with_images.s3.faults
    assert_layout_is_right(tmp_path, service_with_images)


def test_an_expired_url_is_renewed_for_what_is_left(service_with_images: Fetching, tmp_path: Path) -> None:
    large = service_with_images.large
    service_with_images.s3.faults = [
        Fault("reset", after=2 * BLOCK, digest=large),
        Fault("expired", times=2, digest=large),
    ]
    fetched = service_with_images.save("large", tmp_path)
    assert_layout_is_right(tmp_path, service_with_images)
    # What was read before the connection broke was not asked for again.
    assert service_with_images.s3.sent < fetched.loaded_bytes * 1.5


def test_a_server_that_takes_no_ranges_is_read_from_its_beginning_and_given_up_if_it_breaks_there_again(
    service_with_images: Fetching, tmp_path: Path
) -> None:
    service_with_images.s3.faults = [Fault("no ranges", times=2000)]
    service_with_images.save("large", tmp_path / "right")
    assert_layout_is_right(tmp_path / "right", service_with_images)
    service_with_images.s3.read, read = (lambda digest: read(digest)[:-1]), service_with_images.s3.read
    try:
        with pytest.raises((TransferError, IntegrityError), match="sha256:"):
            service_with_images.save("large", tmp_path / "cut")
    finally:
        service_with_images.s3.read = read


@pytest.mark.parametrize("kind", ["stall", "hang"])
def test_a_range_that_stalls_is_asked_for_again_on_a_new_connection(
    service_with_images: Fetching, tmp_path: Path, kind: Kind
) -> None:
    service_with_images.s3.faults = [Fault(kind, after=BLOCK, digest=service_with_images.large)]
    service_with_images.save("large", tmp_path)
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


@pytest.mark.parametrize(
    ("kind", "code", "s3_code"),
    [
        ("throttled", "download-failed", "SlowDown"),
        ("reset", "download-failed", None),
        ("short", "download-failed", None),
        ("expired", "url-refused", "AccessDenied"),
    ],
)
def test_a_fault_that_does_not_end_is_an_error_that_names_the_blob(
    service_with_images: Fetching, tmp_path: Path, kind: Kind, code: str, s3_code: str | None
) -> None:
    service_with_images.s3.faults = [Fault(kind, times=1000, digest=service_with_images.large)]
    with pytest.raises(TransferError) as caught:
        service_with_images.save("large", tmp_path)
    message = str(caught.value)
    assert service_with_images.large in message
    assert "\n" not in message
    assert "://" not in message
    assert (caught.value.code, caught.value.fields["s3_code"]) == (code, s3_code)
    assert len(service_with_images.s3.asked) < 200
    assert not (tmp_path / "index.json").exists()
    service_with_images.s3.forget()
    service_with_images.save("large", tmp_path)
    assert_layout_is_right(tmp_path, service_with_images)


def test_a_redirect_to_another_scheme_is_not_followed(service_with_images: Fetching, tmp_path: Path) -> None:
    service_with_images.s3.faults = [Fault("other scheme", times=1000)]
    with pytest.raises(TransferError, match="another scheme"):
        service_with_images.save("large", tmp_path)
    assert len(service_with_images.s3.asked) <= 6


def test_wrong_bytes_twice_are_an_error_and_leave_nothing_that_looks_finished(
    service_with_images: Fetching, tmp_path: Path
) -> None:
    large = service_with_images.large
    service_with_images.s3.faults = [Fault("wrong", times=10_000, digest=large)]
    with pytest.raises(IntegrityError, match=large):
        service_with_images.save("large", tmp_path)
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
    with pytest.raises(ClientError, match=r"over the limit of 1000000\."):
        service_with_images.save("large", tmp_path, max_bytes=1_000_000)
    assert not service_with_images.s3.asked
    with pytest.raises(ClientError, match=r"over the limit of 1000000\."):
        service_with_images.save_layers([service_with_images.large], tmp_path, max_bytes=1_000_000)
    # Nothing but its size was asked for.
    assert service_with_images.s3.sent <= 1
    assert not files_in(tmp_path)


def test_a_function_url_that_takes_signed_requests_alone_is_asked_with_the_callers_credentials(tmp_path: Path) -> None:
    # tests/conftest.py has put these into the environment.
    caller = Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
    with fetching(tmp_path / "images", FunctionUrl(caller=caller)) as origin:
        with Client(origin.url, region="us-east-1", retries=QUICK) as service:
            service.image(f"{REPOSITORY}:image").save(tmp_path / "app")
        assert_layout_is_right(tmp_path / "app", origin)
        with pytest.raises(ServiceError, match="requires credentials"):
            origin.save("image", tmp_path / "other")


def test_runs_into_one_directory_wait_for_each_other_and_say_so(service_with_images: Fetching, tmp_path: Path) -> None:
    service_with_images.s3.chunk_delay = 0.002
    waited: list[None] = []
    threads = [
        threading.Thread(
            target=service_with_images.save, args=(tag, tmp_path), kwargs={"on_wait": lambda: waited.append(None)}
        )
        for tag in ("large", "large", "image")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert waited
    assert_layout_is_right(tmp_path, service_with_images)
    asked = [each for each in service_with_images.s3.asked if each.digest == service_with_images.large]
    assert sum(each.sent for each in asked) < LARGE * 1.5
    assert names_in(tmp_path).keys() == {"large", "image"}


def test_a_target_that_cannot_be_one_is_said_and_stays_as_it_is(service_with_images: Fetching, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    (tmp_path / "index.json").write_text("my own file")
    for target, message in (
        (tmp_path / "file", "Choose a directory as the target"),
        (tmp_path, "isn't an image index"),
        # Not even root may make a directory there.
        (Path("/sys/app"), "that you may write to"),
    ):
        with pytest.raises(ClientError, match=message):
            service_with_images.save("image", target)
    assert (tmp_path / "index.json").read_text() == "my own file"


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
    with pytest.raises(TargetError, match=r"No space left on device\. Free up"):
        service_with_images.save("large", tmp_path)
    monkeypatch.undo()
    service_with_images.s3.forget()
    service_with_images.save("large", tmp_path)
    assert_layout_is_right(tmp_path, service_with_images)
    assert service_with_images.s3.sent < LARGE * 0.9


def test_a_docker_archive_has_the_image_of_a_platform_and_nothing_stays_beside_it(
    service_with_images: Fetching, tmp_path: Path
) -> None:
    fetched = service_with_images.save_docker("index", tmp_path / "app.tar", "x86_64")
    assert fetched.output == tmp_path / "app.tar"
    assert files_in(tmp_path) == {"app.tar"}
    found = inspected(f"docker-archive:{tmp_path / 'app.tar'}:{REPOSITORY}:index")
    assert found["Labels"] == {"name": "index amd64"}


@pytest.mark.parametrize("tag", ["artifact", "foreign"])
def test_what_can_not_be_in_a_docker_archive_is_refused_before_anything_is_loaded(
    service_with_images: Fetching, tmp_path: Path, tag: str
) -> None:
    with pytest.raises(ClientError, match=r"is an artifact|have the foreign layer"):
        service_with_images.save_docker(tag, tmp_path / "app.tar")
    assert files_in(tmp_path) == set()
    assert service_with_images.s3.asked == []
