"""The library: an image is resolved once, for a platform, and read as it is needed."""

import json
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

import ecr_layers
from ecr_layers import (
    Client,
    ClientError,
    ImageConfig,
    IntegrityError,
    Manifest,
    Platform,
    Repository,
    Retries,
    TransferSettings,
    UsageError,
)
from ecr_layers.oci.conversion import as_oci
from ecr_layers.registry.service import Service
from tests.client.fetching import Fetching
from tests.client.scripted import DIGESTS, answered, in_turn, resolved, scripted
from tests.client.small_parts import REPOSITORY
from tests.client.sockets import head_of, serving
from tests.layouts import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Descriptor


def test_every_public_name_is_exported_and_documented() -> None:
    for name in ecr_layers.__all__:
        value = getattr(ecr_layers, name)
        assert name in {"__version__", "ProgressCallback"} or value.__doc__, name
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = ecr_layers.Nothing


def test_an_image_is_resolved_once(origin: Fetching) -> None:
    with origin.service() as client:
        image = client.image(f"{REPOSITORY}:index", platform="linux/arm64")
        assert image.config.platform == Platform("linux", "arm64")
        assert [str(each) for each in image.platforms] == ["linux/amd64", "linux/arm64", "linux/s390x"]
        assert image.read("/a").startswith(b"index arm64")
        layer = image.layers[0]
        with layer.open() as file:
            assert len(file.read()) == layer.size
        assert "secret" not in repr(layer)
        everything = client.image(f"{REPOSITORY}:index", all_platforms=True)
        assert everything.layers == ()
        with pytest.raises(UsageError, match="holds no index"):
            everything.save_docker("never.tar")


def test_no_layer_is_loaded_for_an_images_config(origin: Fetching) -> None:
    with origin.service() as client:
        image = client.image(f"{REPOSITORY}:image")
        assert image.config.labels == {"name": "image"}
    assert image.manifest.config
    assert {each.digest for each in origin.s3.asked} == {image.manifest.config.digest}


@pytest.mark.parametrize(
    ("text", "platform"),
    [
        ("linux/x86_64", "linux/amd64"),
        ("LINUX/AMD64", "linux/amd64"),
        ("aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("amd64/v2", "linux/amd64/v2"),
        ("linux/armv7l", "linux/arm"),
        ("windows/amd64", "windows/amd64"),
    ],
)
def test_platforms_have_the_names_that_other_tools_know(text: str, platform: str) -> None:
    assert str(Platform.parse(text)) == platform


@pytest.mark.parametrize("text", ["", "linux", "linux/", "a/b/c/d", "/amd64"])
def test_anything_else_is_no_platform(text: str) -> None:
    with pytest.raises(UsageError, match="isn't a platform"):
        Platform.parse(text)


def test_a_newer_variant_runs_images_of_older_ones(origin: Fetching) -> None:
    runs = [str(each) for each in Platform.parse("amd64/v3").runs]
    assert runs == ["linux/amd64/v3", "linux/amd64/v2", "linux/amd64"]
    with origin.service() as client:
        for tag in ("index", "image"):
            image = client.image(f"{REPOSITORY}:{tag}", platform="amd64/v3")
            assert image.config.platform == Platform("linux", "amd64")


def entry(digest: str, **members: Any) -> Descriptor:
    return {"mediaType": OCI_MANIFEST, "digest": digest, "size": 2, **members}


def index(*entries: Descriptor) -> Manifest:
    return Manifest.parse(json.dumps({"schemaVersion": 2, "manifests": entries}).encode(), OCI_INDEX)


def test_artifacts_and_attestations_of_an_index_are_no_images() -> None:
    linux = {"os": "linux", "architecture": "amd64"}
    found = index(
        entry(DIGESTS[0], platform=linux, artifactType="application/vnd.example.sbom"),
        entry(DIGESTS[1], platform={"os": "unknown", "architecture": "unknown"}),
        entry(DIGESTS[2], annotations={"vnd.docker.reference.type": "attestation-manifest"}),
        entry(DIGESTS[3], platform=linux, artifactType="application/vnd.oci.image.config.v1+json"),
    )
    assert [each.digest for each in found.entries_for(None)] == [DIGESTS[3]]
    assert [each.digest for each in found.entries_for(Platform("linux", "amd64"))] == [DIGESTS[3]]
    assert found.platforms == (Platform("linux", "amd64"),)


def test_an_image_that_its_index_has_no_platform_for_is_found_by_its_config(origin: Fetching) -> None:
    descriptor = origin.images["image"]
    two = index(*[entry(descriptor["digest"], size=descriptor["size"])] * 2)
    with origin.service() as client:
        found = client.image(REPOSITORY, manifest=two, platform="linux/amd64")
        assert found.digest == descriptor["digest"]
        with pytest.raises(UsageError, match="has no image for linux/s390x"):
            client.image(REPOSITORY, manifest=two, platform="linux/s390x")


@pytest.mark.parametrize("value", [[], {}, 5, True])
def test_a_media_type_that_is_no_text_is_an_error_before_anything_is_loaded(value: object) -> None:
    layer = {"mediaType": value, "digest": DIGESTS[0], "size": 1}
    document = {"schemaVersion": 2, "mediaType": value, "config": entry(DIGESTS[1]), "layers": [layer]}
    with pytest.raises(ClientError, match="isn't a text"):
        Manifest.parse(json.dumps(document).encode(), DOCKER_MANIFEST)
    document["layers"] = []
    (converted,) = as_oci([Manifest.parse(json.dumps(document).encode(), DOCKER_MANIFEST)])
    assert converted.media_type == OCI_MANIFEST


def test_a_config_is_read_as_docker_reads_it() -> None:
    run = {"Cmd": "sh", "Labels": {"a": None, "b": "1", "c": 5}, "Env": ["A=1", 2], "Entrypoint": None}
    config = ImageConfig.parse(json.dumps({"config": run}).encode())
    assert (config.cmd, dict(config.labels), config.environment) == (("sh",), {"a": "", "b": "1"}, ("A=1",))
    assert ImageConfig.parse(b'{"config": {"Labels": null}}').labels == {}


@pytest.mark.parametrize(("count", "size"), [(2000, 500), (3, 40 * 1024 * 1024)])
def test_an_index_of_too_many_or_too_large_manifests_is_an_error(
    origin: Fetching, tmp_path: Path, count: int, size: int
) -> None:
    large = index(*(entry(f"sha256:{number:064x}", size=size) for number in range(count)))
    with origin.service() as client, pytest.raises(ClientError, match="lists over 1000 manifests") as caught:
        client.image(REPOSITORY, manifest=large, all_platforms=True).save(tmp_path)
    assert caught.value.code == "too-many-manifests"


def test_a_manifest_of_another_size_than_its_index_says_is_an_error(origin: Fetching, tmp_path: Path) -> None:
    wrong = index(entry(origin.images["image"]["digest"], size=7))
    with origin.service() as client, pytest.raises(IntegrityError, match="but 7 in its index"):
        client.image(REPOSITORY, manifest=wrong, all_platforms=True).save(tmp_path)


def at(now: datetime, status: str, document: dict[str, Any], seen: list[bytes]) -> Callable[[socket.socket], None]:
    """Return what answers as a service whose clock shows a time."""
    body = json.dumps(document).encode()
    head = f"HTTP/1.1 {status}\r\nDate: {format_datetime(now, usegmt=True)}\r\nContent-Length: {len(body)}\r\n\r\n"

    def handle(connection: socket.socket) -> None:
        while request := head_of(connection):
            seen.append(request)
            connection.sendall(head.encode() + body)

    return handle


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_wrong_clock_costs_no_further_requests(hours: int) -> None:
    now, seen = datetime.now(UTC) + timedelta(hours=hours), list[bytes]()
    url = {**resolved(DIGESTS[0]), "expiresAt": (now + timedelta(minutes=10)).isoformat()}
    with serving(at(now, "200 OK", url, seen)) as address:
        service = Service(f"http://{address}", None, Retries(), TransferSettings(), "test")
        urls = service.urls(Repository("team/app"))
        assert urls.get(DIGESTS[0]) is urls.get(DIGESTS[0])
        service.close()
    assert len(seen) == 1


def test_a_wrong_clock_is_named_instead_of_the_credentials() -> None:
    now = datetime.now(UTC) + timedelta(hours=2)
    with (
        serving(at(now, "403 Forbidden", {"Message": "Forbidden"}, [])) as address,
        Client(f"http://{address}", token="ci:password") as client,
        pytest.raises(ClientError, match="this machine's clock is 1"),
    ):
        client.image("team/app")


def test_an_account_that_may_be_the_services_own_is_explained() -> None:
    error = {"code": "NAME_UNKNOWN", "message": "No.", "detail": {"code": "RepositoryNotFoundException"}}
    with (
        scripted(in_turn(answered({"errors": [error]}, 404))) as (_, client),
        pytest.raises(ClientError, match="own account, leave it out"),
    ):
        client.image("123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app")
