"""What a fetch writes, read by the tools that others use, and what it does on bad days."""

import json
import os
import subprocess
import threading
from pathlib import Path

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
from tests.client.fetching import LARGE, Fetching, blob_in, entries_in, fetching, files_in, inspected, names_in, skopeo
from tests.client.small_parts import BLOCK, QUICK, REPOSITORY
from tests.commands import tool
from tests.layouts import OCI_INDEX


def label_of(index: str, architecture: str) -> str:
    """Return the label of the image that skopeo chooses for an architecture."""
    return skopeo("--override-arch", architecture, "inspect", "--format={{.Labels.name}}", index).strip()


def assert_layout_is_right(layout: Path, origin: Fetching) -> None:
    """Each file in the layout is a blob of the origin's, or what makes it a layout."""
    names = files_in(layout)
    blobs = {name for name in names if name.startswith("blobs/")}
    assert names - blobs == {"index.json", "oci-layout"}
    for name in blobs:
        assert (layout / name).read_bytes() == (origin.layout / name).read_bytes()


@pytest.mark.parametrize("tag", ["image", "large", "empty", "zstd", "artifact", "sha512", "many"])
def test_a_fetched_image_has_every_blob_of_the_image(origin: Fetching, tmp_path: Path, tag: str) -> None:
    fetched = origin.save(tag, tmp_path)
    descriptor = origin.images[tag]
    manifest = json.loads(origin.blob(descriptor["digest"]))
    digests = {each["digest"] for each in [descriptor, manifest["config"], *manifest["layers"]]}
    assert_layout_is_right(tmp_path, origin)
    assert {name for name in files_in(tmp_path) if "/" in name} == {
        f"blobs/{digest.replace(':', '/')}" for digest in digests
    }
    assert fetched.digest == descriptor["digest"]
    assert {fetched.digest, *fetched.blobs} == digests


def test_skopeo_and_umoci_read_fetched_images(origin: Fetching, tmp_path: Path) -> None:
    layout = tmp_path / "app"
    for tag in ("image", "docker", "large", "empty"):
        origin.save(tag, layout)
        layers = inspected(f"oci:{layout}:{tag}")["Layers"]
        assert layers == [each["digest"] for each in origin.layers(tag)]
    skopeo("copy", f"oci:{layout}:image", f"docker-archive:{tmp_path}/app.tar:team/app:image")
    assert inspected(f"docker-archive:{tmp_path}/app.tar")["Labels"] == {"name": "image"}
    umoci = [tool("umoci"), "unpack", "--rootless", "--image", f"{layout}:image", f"{tmp_path}/bundle"]
    subprocess.run(umoci, capture_output=True, timeout=60, check=True)
    assert (tmp_path / "bundle/rootfs/a").read_bytes() == b"image a" * 1000


def test_manifests_of_dockers_are_written_as_ocis_and_are_there_as_they_were(origin: Fetching, tmp_path: Path) -> None:
    origin.save("docker-list", tmp_path, all_platforms=True)
    assert blob_in(tmp_path, origin.images["docker-list"]["digest"]).exists()
    (entry,) = entries_in(tmp_path)
    assert entry["mediaType"] == OCI_INDEX
    for architecture in ("amd64", "arm64"):
        labels = skopeo(
            "--override-arch", architecture, "inspect", "--format={{.Labels}}", f"oci:{tmp_path}:docker-list"
        )
        assert labels == f"map[name:docker {architecture}]\n"
    assert "docker" not in skopeo("inspect", "--raw", f"oci:{tmp_path}:docker-list")


@pytest.mark.parametrize("tag", ["index", "nested"])
def test_an_index_is_fetched_with_all_its_images_or_the_one_of_a_platform(
    origin: Fetching, tmp_path: Path, tag: str
) -> None:
    fetched = origin.save(tag, tmp_path / "all", all_platforms=True)
    assert_layout_is_right(tmp_path / "all", origin)
    assert fetched.digest == origin.images[tag]["digest"]
    assert len(fetched.blobs) == 9
    # skopeo does not look into an index in an index.
    for architecture in ("amd64", "arm64", "s390x") if tag == "index" else ():
        assert label_of(f"oci:{tmp_path}/all:{tag}", architecture) == f"index {architecture}"
    assert len(origin.save(tag, tmp_path / "one", "linux/arm64/v8").blobs) == 3
    assert inspected(f"oci:{tmp_path}/one:{tag}")["Labels"] == {"name": "index arm64"}
    with pytest.raises(UsageError, match="linux/amd64, linux/arm64, linux/s390x"):
        origin.save(tag, tmp_path, "linux/ppc64le")


def test_a_foreign_layer_is_left_out_and_named(origin: Fetching, tmp_path: Path) -> None:
    fetched = origin.save("foreign", tmp_path)
    foreign = origin.layers("foreign")[-1]["digest"]
    assert fetched.foreign == (foreign,)
    assert foreign not in fetched.blobs
    assert_layout_is_right(tmp_path, origin)


def test_layers_are_fetched_by_their_digests_alone(origin: Fetching, tmp_path: Path) -> None:
    digests = [each["digest"] for each in (*origin.layers("large"), *origin.layers("empty"))]
    fetched = origin.save_layers([*digests, digests[0]], tmp_path)
    assert fetched.blobs == tuple(digests)
    assert files_in(tmp_path) == {digest.replace(":", "/") for digest in digests}
    for digest in digests:
        assert (tmp_path / digest.replace(":", "/")).read_bytes() == origin.blob(digest)


def test_progress_is_reported_from_nothing_to_all(origin: Fetching, tmp_path: Path) -> None:
    reports: list[Progress] = []
    origin.save("large", tmp_path, progress=reports.append)
    of_large = [each for each in reports if each.digest == origin.large]
    assert (of_large[0].loaded, of_large[0].state) == (0, BlobState.WAITING)
    assert (of_large[-1].loaded, of_large[-1].state) == (of_large[-1].size, BlobState.FINISHED)
    loaded = [each.loaded for each in of_large]
    assert loaded == sorted(loaded)


def test_a_large_layer_is_asked_for_in_ranges_each_byte_once(origin: Fetching, tmp_path: Path) -> None:
    origin.save_layers([origin.large], tmp_path)
    assert len(origin.s3.asked) > 6
    # But for the request for its size, and what was sent to a connection whose range was halved meanwhile.
    assert origin.s3.sent < LARGE * 1.5


RETRIED: list[Kind] = ["throttled", "reset", "short", "redirect", "wrong"]


@pytest.mark.parametrize("kind", RETRIED)
def test_a_fault_of_s3_is_made_up_for(origin: Fetching, tmp_path: Path, kind: Kind) -> None:
    origin.s3.faults = [Fault(kind, after=3 * BLOCK, times=3)]
    origin.save("large", tmp_path)
    assert not origin.s3.faults
    assert_layout_is_right(tmp_path, origin)


def test_an_expired_url_is_renewed_for_what_is_left(origin: Fetching, tmp_path: Path) -> None:
    large = origin.large
    origin.s3.faults = [
        Fault("reset", after=2 * BLOCK, digest=large),
        Fault("expired", times=2, digest=large),
    ]
    fetched = origin.save("large", tmp_path)
    assert_layout_is_right(tmp_path, origin)
    # What was read before the connection broke was not asked for again.
    assert origin.s3.sent < fetched.loaded_bytes * 1.5


def test_a_server_that_takes_no_ranges_is_read_from_its_beginning_and_given_up_if_it_breaks_there_again(
    origin: Fetching, tmp_path: Path
) -> None:
    origin.s3.faults = [Fault("no ranges", times=2000)]
    origin.save("large", tmp_path / "right")
    assert_layout_is_right(tmp_path / "right", origin)
    origin.s3.read, read = (lambda digest: read(digest)[:-1]), origin.s3.read
    try:
        with pytest.raises((TransferError, IntegrityError), match="sha256:"):
            origin.save("large", tmp_path / "cut")
    finally:
        origin.s3.read = read


@pytest.mark.parametrize("kind", ["stall", "hang"])
def test_a_range_that_stalls_is_asked_for_again_on_a_new_connection(
    origin: Fetching, tmp_path: Path, kind: Kind
) -> None:
    origin.s3.faults = [Fault(kind, after=BLOCK, digest=origin.large)]
    origin.save("large", tmp_path)
    asked = [each for each in origin.s3.asked if each.digest == origin.large]
    stalled = min(asked, key=lambda each: each.sent - (each.last - each.first))
    others = [each for each in asked if each is not stalled and stalled.first < each.first <= stalled.last]
    assert others, "nothing was asked for in the place of what stalled"
    assert_layout_is_right(tmp_path, origin)


def test_a_size_is_not_asked_for_again_after_another_blob_has_failed(origin: Fetching, tmp_path: Path) -> None:
    waits, fails = (each["digest"] for each in origin.layers("large")[:2])
    origin.s3.faults = [
        Fault("throttled", times=1000, digest=waits),
        Fault("other scheme", times=1000, digest=fails),
    ]
    before = set(threading.enumerate())
    with (
        Client(origin.url, retries=Retries(shortest_wait=30)) as service,
        pytest.raises(TransferError, match=fails),
    ):
        service.save_layers(REPOSITORY, [waits, fails], tmp_path)
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("load-"):
            thread.join(10)
            assert not thread.is_alive()
    assert sum(each.digest == waits for each in origin.s3.asked) <= 1


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
    origin: Fetching, tmp_path: Path, kind: Kind, code: str, s3_code: str | None
) -> None:
    origin.s3.faults = [Fault(kind, times=1000, digest=origin.large)]
    with pytest.raises(TransferError) as caught:
        origin.save("large", tmp_path)
    message = str(caught.value)
    assert origin.large in message
    assert "\n" not in message
    assert "://" not in message
    assert (caught.value.code, caught.value.fields["s3_code"]) == (code, s3_code)
    assert len(origin.s3.asked) < 200
    assert not (tmp_path / "index.json").exists()
    origin.s3.forget()
    origin.save("large", tmp_path)
    assert_layout_is_right(tmp_path, origin)


def test_a_redirect_to_another_scheme_is_not_followed(origin: Fetching, tmp_path: Path) -> None:
    origin.s3.faults = [Fault("other scheme", times=1000)]
    with pytest.raises(TransferError, match="another scheme"):
        origin.save("large", tmp_path)
    assert len(origin.s3.asked) <= 6


def test_wrong_bytes_twice_are_an_error_and_leave_nothing_that_looks_finished(origin: Fetching, tmp_path: Path) -> None:
    large = origin.large
    origin.s3.faults = [Fault("wrong", times=10_000, digest=large)]
    with pytest.raises(IntegrityError, match=large):
        origin.save("large", tmp_path)
    names = files_in(tmp_path)
    assert not {name for name in names if large.partition(":")[2] in name}
    assert "index.json" not in names


@pytest.mark.parametrize(
    ("size", "message"),
    [(0, "the manifest says that"), (2_500_212, "bytes in S3"), (9_000_000, "bytes in S3")],
)
def test_a_size_that_is_not_the_blobs_is_an_error(origin: Fetching, tmp_path: Path, size: int, message: str) -> None:
    document = json.loads(origin.blob(origin.images["large"]["digest"]))
    document["layers"][0]["size"] = size
    manifest = Manifest.parse(json.dumps(document).encode())
    with origin.service() as service, pytest.raises(ClientError, match=message):
        service.image(REPOSITORY, manifest=manifest).save(tmp_path)
    assert not (tmp_path / "index.json").exists()


def test_a_blob_that_is_larger_than_allowed_is_refused_before_anything_is_loaded(
    origin: Fetching, tmp_path: Path
) -> None:
    with pytest.raises(ClientError, match=r"over the limit of 1000000\."):
        origin.save("large", tmp_path, max_bytes=1_000_000)
    assert not origin.s3.asked
    with pytest.raises(ClientError, match=r"over the limit of 1000000\."):
        origin.save_layers([origin.large], tmp_path, max_bytes=1_000_000)
    # Nothing but its size was asked for.
    assert origin.s3.sent <= 1
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


def test_runs_into_one_directory_wait_for_each_other_and_say_so(origin: Fetching, tmp_path: Path) -> None:
    waiting = threading.Event()
    threads = [threading.Thread(target=origin.save, args=("image", tmp_path))]
    for _ in range(2):
        options = {"on_wait": waiting.set}
        threads.append(threading.Thread(target=origin.save, args=("large", tmp_path), kwargs=options))
    with locked(tmp_path, lambda: None):
        for thread in threads:
            thread.start()
        assert waiting.wait(30)
        assert not files_in(tmp_path / "blobs")
    for thread in threads:
        thread.join(30)
    assert_layout_is_right(tmp_path, origin)
    asked = [each for each in origin.s3.asked if each.digest == origin.large]
    assert sum(each.sent for each in asked) < LARGE * 1.5
    assert names_in(tmp_path).keys() == {"large", "image"}


def test_a_target_that_cannot_be_one_is_said_and_stays_as_it_is(origin: Fetching, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    (tmp_path / "index.json").write_text("my own file")
    for target, message in (
        (tmp_path / "file", "Choose a directory as the target"),
        (tmp_path, "isn't an image index"),
        # Not even root may make a directory there.
        (Path("/sys/app"), "that you may write to"),
    ):
        with pytest.raises(ClientError, match=message):
            origin.save("image", target)
    assert (tmp_path / "index.json").read_text() == "my own file"


def test_a_disk_that_becomes_full_is_said_and_the_rest_is_fetched_later(
    origin: Fetching, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = os.pwrite, [0]

    def full_after_a_million(descriptor: int, data: bytes, place: int) -> int:
        written[0] += len(data)
        if written[0] > 1_000_000:
            raise OSError(28, "No space left on device")
        return write(descriptor, data, place)

    monkeypatch.setattr(os, "pwrite", full_after_a_million)
    with pytest.raises(TargetError, match=r"No space left on device\. Free up"):
        origin.save("large", tmp_path)
    monkeypatch.undo()
    origin.s3.forget()
    origin.save("large", tmp_path)
    assert_layout_is_right(tmp_path, origin)
    assert origin.s3.sent < LARGE * 0.9


@pytest.mark.parametrize("tag", ["artifact", "foreign"])
def test_what_can_not_be_in_a_docker_archive_is_refused_before_anything_is_loaded(
    origin: Fetching, tmp_path: Path, tag: str
) -> None:
    with pytest.raises(ClientError, match=r"is an artifact|have the foreign layer"):
        origin.save_docker(tag, tmp_path / "app.tar")
    assert files_in(tmp_path) == set()
    assert origin.s3.asked == []
