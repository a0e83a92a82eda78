"""`GET /images/config`: what an image's config says, without its layers."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from layer_resolver.handler import create_handler
from layer_resolver.models import INDEX_MEDIA_TYPES
from layer_resolver.settings import Settings
from tests.faults.server import Behaviour
from tests.faults.server import answer as s3_answer
from tests.unit.fakes import (
    OCI_MANIFEST,
    Context,
    FakeEcr,
    Output,
    Send,
    digest,
    ecr_error,
    eventbridge_event,
    function_url_event,
    manifest,
)
from tests.unit.servers import FakeServer

CONFIG = json.dumps(
    {
        "architecture": "arm64",
        "os": "linux",
        "created": "2026-11-23T10:00:00Z",
        "config": {
            "User": "1000",
            "ExposedPorts": {"8080/tcp": {}, "53/udp": {}},
            "Env": ["PASSWORD=hunter2"],
            "Entrypoint": ["/app"],
            "Cmd": ["--serve"],
            "WorkingDir": "/srv",
            "Labels": {"org.opencontainers.image.revision": "0123abc"},
        },
        "rootfs": {"type": "layers", "diff_ids": []},
    }
).encode()
SHA512 = f"sha512:{hashlib.sha512(CONFIG).hexdigest()}"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
OCI_INDEX = INDEX_MEDIA_TYPES[0]
PATH = "/images/config"
QUERY = {"repositoryName": "team/app", "imageTag": "1.0"}


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def function_settings() -> Settings:
    return Settings(image_pull=True)


PutImage = Callable[..., str]


@pytest.fixture
def put_image(ecr: FakeEcr, s3: FakeServer) -> PutImage:
    """Return a function that puts an image with a config behind the tag `1.0`, and returns the image's digest."""

    def put(config: bytes, media_type: str = CONFIG_TYPE, config_digest: str = "", **changes: Any) -> str:
        described = {"mediaType": media_type, "digest": config_digest or digest_of(config), "size": 1}
        content = json.dumps(manifest(config=described, **changes)).encode()
        ecr.images |= dict.fromkeys(("1.0", digest_of(content)), (content, OCI_MANIFEST))
        s3.answers = [s3_answer(200, config)]
        return digest_of(content)

    return put


@pytest.fixture(autouse=True)
def image_digest(put_image: PutImage) -> str:
    return put_image(CONFIG)


@pytest.mark.parametrize(("include_env", "env"), [("true", ["PASSWORD=hunter2"]), ("false", None), (None, None)])
def test_a_config_says_what_the_image_is_and_on_demand_its_environment_and_names_its_layers(
    send: Send, ecr: FakeEcr, image_digest: str, include_env: str | None, env: list[str] | None
) -> None:
    expected: dict[str, Any] = {
        "imageDigest": image_digest,
        "platform": "linux/arm64",
        "created": "2026-11-23T10:00:00Z",
        "labels": {"org.opencontainers.image.revision": "0123abc"},
        "entrypoint": ["/app"],
        "cmd": ["--serve"],
        "workingDir": "/srv",
        "user": "1000",
        "exposedPorts": ["53/udp", "8080/tcp"],
        "layers": [
            {"digest": digest(1), "size": 2811, "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip"},
            {"digest": digest(2), "size": 32, "mediaType": "application/vnd.oci.image.layer.v1.tar+zstd"},
        ],
    }
    more = {"includeEnv": include_env} if include_env else {}
    for query in (QUERY, {"repositoryName": "team/app", "imageDigest": image_digest}):
        answer = send("GET", PATH, query | more)
        assert (answer.status, answer.json) == (200, expected | ({"env": env} if env else {}))
    # The layers are only named: the config alone is asked for.
    assert {call["layerDigest"] for call in ecr.calls} == {digest_of(CONFIG)}


def test_a_config_that_says_next_to_nothing_is_answered(send: Send, put_image: PutImage) -> None:
    put_image(b"{}")
    document = send("GET", PATH, QUERY | {"includeEnv": "true"}).json
    assert (document["platform"], document["labels"], document["exposedPorts"], document["env"]) == (None, {}, [], [])
    assert send("GET", PATH, QUERY | {"includeEnv": "yes"}).status == 400


@pytest.mark.parametrize(("size", "status"), [(4 * 2**20, 200), (4 * 2**20 + 1, 409)])
def test_a_config_has_4_mb_at_most(send: Send, put_image: PutImage, size: int, status: int) -> None:
    put_image(CONFIG.ljust(size))
    assert send("GET", PATH, QUERY).status == status


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (b"[]", "The document must be a JSON object."),
        (b"", "The document is not JSON: EOF while parsing a value at line 1 column 0."),
        (b"\xff\xfe", "The document is not JSON: expected value at line 1 column 1."),
        (b'{"config": {"Labels": {"secret": 1}}}', "config.Labels.secret must be a string."),
        (b'{"config": {"Cmd": "a"}}', "config.Cmd must be a list."),
        (b'{"config": []}', "config must be a JSON object."),
        (b"," * 100_001, "The document has more than 100000 values."),
        (b"[" * 100_001, "The document has more than 100000 values."),
        (b"{" * 100_001, "The document has more than 100000 values."),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_a_config_that_is_none_is_the_images_fault_and_said_to_be(
    send: Send, put_image: PutImage, config: bytes, problem: str
) -> None:
    image_digest = put_image(config)
    answer = send("GET", PATH, QUERY)
    assert (answer.status, answer.code, answer.json["retryable"]) == (409, "UnsupportedImage", False)
    assert answer.json["detail"] == f"Can't read the config of image {image_digest} in repository team/app: {problem}"


@pytest.mark.parametrize("path", [PATH, "/images/download-urls"])
@pytest.mark.parametrize(
    ("content", "media_type", "problem"),
    [
        (b'{"schemaVersion": 2, "layers": []}', OCI_MANIFEST, "config is missing."),
        (b"<html>", OCI_MANIFEST, "The document is not JSON: expected value at line 1 column 1."),
        (b"{}", OCI_INDEX, "manifests is missing."),
    ],
)
def test_a_manifest_that_is_none_is_the_images_fault_and_said_to_be(
    send: Send, ecr: FakeEcr, path: str, content: bytes, media_type: str, problem: str
) -> None:
    ecr.images["1.0"] = (content, media_type)
    answer = send("GET", path, QUERY)
    assert (answer.status, answer.code) == (409, "UnsupportedImage")
    noun = "index" if media_type == OCI_INDEX else "manifest"
    subject = f"image {digest_of(content)} in repository team/app"
    assert answer.json["detail"] == f"Can't read the {noun} of {subject}: {problem}"


@pytest.mark.parametrize("media_type", ["application/json", "application/vnd.docker.container.image.v1+json", ""])
def test_every_media_type_that_docker_takes_for_a_config_is_read(
    send: Send, put_image: PutImage, media_type: str
) -> None:
    put_image(CONFIG, media_type)
    assert send("GET", PATH, QUERY).json["platform"] == "linux/arm64"


@pytest.mark.parametrize("media_type", ["application/vnd.cncf.helm.config.v1+json", "x" * 200])
def test_an_artifact_has_no_images_config_and_its_blobs_are_not_read(
    send: Send, put_image: PutImage, ecr: FakeEcr, media_type: str
) -> None:
    put_image(b"{}", media_type)
    answer = send("GET", PATH, QUERY)
    assert (answer.status, answer.code) == (409, "UnsupportedImage")
    assert "/images/download-urls" in answer.json["detail"]
    assert (media_type in answer.json["detail"]) == (len(media_type) < 100)
    assert not ecr.calls


def test_a_config_is_read_once(send: Send, s3: FakeServer) -> None:
    assert send("GET", PATH, QUERY).status == 200
    s3.answers = [s3_answer(500, b"")]
    assert send("GET", PATH, QUERY).status == 200


@pytest.mark.parametrize(
    ("config_digest", "answer", "status"),
    [
        (digest_of(CONFIG), s3_answer(200, b"{}"), 502),
        (digest_of(CONFIG), s3_answer(404), 502),
        (digest_of(CONFIG), s3_answer(503, CONFIG), 502),
        (digest_of(CONFIG), s3_answer(403), 502),
        (SHA512, s3_answer(200, CONFIG), 200),
        (SHA512, s3_answer(200, CONFIG + b" "), 502),
        ("md5:00", s3_answer(200, CONFIG), 502),
    ],
)
def test_a_config_that_s3_does_not_give_or_whose_digest_nobody_can_check_is_not_guessed(
    send: Send, put_image: PutImage, s3: FakeServer, output: Output, config_digest: str, answer: Behaviour, status: int
) -> None:
    put_image(CONFIG, config_digest=config_digest)
    s3.answers = [answer]
    assert send("GET", PATH, QUERY).status == status
    assert output.log().get("error", {}).get("layerDigest") == (config_digest if status == 502 else None)


def test_a_config_names_more_layers_than_a_batch_has(send: Send, put_image: PutImage) -> None:
    layers = [{"mediaType": "a/b", "digest": digest(number), "size": number} for number in range(600)]
    put_image(CONFIG, layers=layers)
    assert send("GET", PATH, QUERY).json["layers"] == layers


class TestIndexes:
    @pytest.fixture
    def put_index(self, ecr: FakeEcr) -> Callable[..., str]:
        """Return a function that puts an index of images and their architectures, and returns its digest."""

        def put(*entries: tuple[str, str | None], media_type: str = OCI_MANIFEST) -> str:
            listed = [
                {"mediaType": media_type if architecture is None else OCI_MANIFEST, "digest": each, "size": 1}
                | ({"platform": {"os": "linux", "architecture": architecture}} if architecture else {})
                for each, architecture in entries
            ]
            content = json.dumps({"schemaVersion": 2, "manifests": listed}).encode()
            ecr.images |= dict.fromkeys(("1.0", digest_of(content)), (content, OCI_INDEX))
            return digest_of(content)

        return put

    def test_nested_indexes_are_followed_and_not_for_ever(
        self, send: Send, put_index: Callable[..., str], image_digest: str
    ) -> None:
        statuses, outer = [], put_index((image_digest, "arm64"))
        for _ in range(5):
            statuses.append(send("GET", PATH, QUERY | {"platform": "linux/arm64"}).status)
            outer = put_index((outer, None), media_type=OCI_INDEX)
        assert statuses == [200, 200, 200, 200, 400]

    @pytest.mark.parametrize(("platform", "status"), [({}, 400), ({"platform": "linux/arm64"}, 200)])
    def test_an_index_among_images_is_looked_into_for_a_platform_that_they_are_not_for(
        self,
        send: Send,
        put_index: Callable[..., str],
        image_digest: str,
        platform: dict[str, str],
        status: int,
    ) -> None:
        nested = put_index((image_digest, "arm64"))
        put_index((digest(9), "amd64"), (nested, None), media_type=OCI_INDEX)
        answer = send("GET", PATH, QUERY | platform)
        assert answer.status == status
        assert answer.json.get("platforms") == (["linux/amd64"] if status == 400 else None)

    @pytest.mark.parametrize("platform", [{}, {"platform": "linux/arm64"}])
    def test_of_several_images_without_platforms_none_is_guessed(
        self, send: Send, put_index: Callable[..., str], image_digest: str, platform: dict[str, str]
    ) -> None:
        put_index((image_digest, None), (digest(9), None))
        answer = send("GET", PATH, QUERY | platform)
        assert (answer.status, answer.json["platforms"]) == (400, [])
        assert answer.json["detail"].endswith("Its entries name no platform: ask by imageDigest.")


class TestAnImagesDigestInThePlaceOfALayers:
    """ECR says of it that there is no such layer."""

    WAYS = ("GET", "batch", "event", "registry")

    def messages(self, way: str, ecr: FakeEcr, digests: list[str], *, image_pull: bool = True) -> list[str]:
        """Ask in one of the ways, and return the message of each digest."""
        one = {"repositoryName": "team/app", "layerDigest": digests[0]}
        many = {"repositoryName": "team/app", "layerDigests": digests}
        event = {
            "GET": function_url_event("GET", "/download-url", one),
            "batch": function_url_event("POST", "/download-urls", body=json.dumps(many)),
            "event": eventbridge_event(many),
            "registry": function_url_event("GET", f"/v2/team/app/blobs/{digests[0]}"),
        }[way]
        answer = create_handler(ecr, Settings(image_pull=image_pull))(event, Context())
        document = json.loads(answer["body"]) if "body" in answer else answer
        if "failures" in document:
            return [failure["message"] for failure in document["failures"]]
        return [document["detail"] if "detail" in document else document["errors"][0]["message"]]

    @pytest.mark.parametrize("code", ["LayersNotFoundException", "LayerInaccessibleException"])
    @pytest.mark.parametrize("way", WAYS)
    def test_it_is_called_that_with_what_to_do_if_images_are_turned_on(
        self, ecr: FakeEcr, image_digest: str, way: str, code: str
    ) -> None:
        ecr.answer = ecr_error(code)
        (message,) = self.messages(way, ecr, [image_digest])
        assert message.startswith(f"{image_digest} is an image's digest, not a layer's. ")
        assert ("/v2/team/app/manifests/" if way == "registry" else "imageDigest") in message
        ecr.image_calls.clear()
        assert "image's digest" not in self.messages(way, ecr, [image_digest], image_pull=False)[0]
        assert not ecr.image_calls

    def test_of_a_batch_the_other_layers_keep_their_messages_and_ecr_is_asked_once_for_ten(
        self, ecr: FakeEcr, image_digest: str
    ) -> None:
        ecr.answer = ecr_error("LayersNotFoundException")
        messages = self.messages("batch", ecr, [*map(digest, range(1, 10)), "md5:00", image_digest])
        assert ["image's digest" in message for message in messages] == [*[False] * 10, True]
        messages = self.messages("batch", ecr, [*map(digest, range(1, 11)), image_digest])
        assert not any("image's digest" in message for message in messages)
        assert [len(call["imageIds"]) for call in ecr.image_calls] == [10, 10]

    def test_an_ecr_that_does_not_tell_changes_nothing(self, ecr: FakeEcr, image_digest: str) -> None:
        ecr.answer = ecr_error("LayersNotFoundException")
        ecr.image_error = ecr_error("AccessDeniedException")
        assert "image's digest" not in self.messages("GET", ecr, [image_digest])[0]
