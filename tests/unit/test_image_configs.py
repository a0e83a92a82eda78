"""`GET /images/config`: what an image's config says, without its layers."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from layer_resolver.handler import create_handler
from layer_resolver.models import INDEX_MEDIA_TYPES
from layer_resolver.settings import Settings
from tests.unit.fake_s3 import FakeS3, S3Answer
from tests.unit.fakes import (
    OCI_MANIFEST,
    Context,
    FakeEcr,
    Send,
    digest,
    ecr_error,
    eventbridge_event,
    function_url_event,
    manifest,
)

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
QUERY = {"repositoryName": "team/app", "imageTag": "1.0"}


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def put_image(
    ecr: FakeEcr, config: bytes, media_type: str = "application/vnd.oci.image.config.v1+json", **changes: Any
) -> str:
    """Put an image with a config behind the tag `1.0`, and return the image's digest."""
    descriptor = {"mediaType": media_type, "digest": digest_of(config), "size": 1}
    members = manifest(config=descriptor, **changes).items()
    content = json.dumps({name: value for name, value in members if value is not ...}).encode()
    ecr.images |= dict.fromkeys(("1.0", digest_of(content)), (content, OCI_MANIFEST))
    return digest_of(content)


@pytest.fixture
def function_settings() -> Settings:
    return Settings(image_pull=True)


@pytest.fixture(autouse=True)
def image_digest(ecr: FakeEcr) -> str:
    return put_image(ecr, CONFIG)


@pytest.fixture(autouse=True)
def _s3_has_the_config(s3: FakeS3) -> None:
    s3.answers = [S3Answer(200, CONFIG)]


def test_a_config_says_what_the_image_is_and_names_its_layers(send: Send, ecr: FakeEcr, image_digest: str) -> None:
    expected = {
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
    for query in (QUERY, {"repositoryName": "team/app", "imageDigest": image_digest}):
        answer = send("GET", "/images/config", query)
        assert (answer.status, answer.json) == (200, expected)
    # The layers are only named: the config alone is asked for.
    assert {call["layerDigest"] for call in ecr.calls} == {digest_of(CONFIG)}


def test_the_environment_is_told_to_whoever_asks_for_it(send: Send, image_digest: str) -> None:
    for query in (QUERY, {"repositoryName": "team/app", "imageDigest": image_digest}):
        assert send("GET", "/images/config", {**query, "includeEnv": "true"}).json["env"] == ["PASSWORD=hunter2"]
        assert "env" not in send("GET", "/images/config", {**query, "includeEnv": "false"}).json
    assert send("GET", "/images/config", {**QUERY, "includeEnv": "yes"}).status == 400


def test_a_config_that_says_next_to_nothing_is_answered(send: Send, ecr: FakeEcr, s3: FakeS3) -> None:
    put_image(ecr, b"{}")
    s3.answers = [S3Answer(200, b"{}")]
    answer = send("GET", "/images/config", QUERY)
    assert (answer.json["platform"], answer.json["labels"], answer.json["exposedPorts"]) == (None, {}, [])


def test_a_config_is_checked_by_its_digest_of_sha512_as_well(send: Send, ecr: FakeEcr, s3: FakeS3) -> None:
    digest_of_config = f"sha512:{hashlib.sha512(CONFIG).hexdigest()}"
    descriptor = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of_config, "size": 1}
    ecr.images["1.0"] = (json.dumps(manifest(config=descriptor)).encode(), OCI_MANIFEST)
    s3.answers = [S3Answer(200, CONFIG + b" ")]
    assert send("GET", "/images/config", QUERY).status == 502
    s3.answers = [S3Answer(200, CONFIG)]
    assert send("GET", "/images/config", QUERY).json["platform"] == "linux/arm64"


@pytest.mark.parametrize("part", [b",", b"[", b"{"], ids=["members", "lists", "objects"])
def test_a_config_of_too_many_values_is_not_read(send: Send, ecr: FakeEcr, s3: FakeS3, part: bytes) -> None:
    config = part * 100_001
    put_image(ecr, config)
    s3.answers = [S3Answer(200, config)]
    answer = send("GET", "/images/config", QUERY)
    assert answer.status == 409
    assert "has more than 100000 values" in answer.json["detail"]


@pytest.mark.parametrize(("size", "status"), [(4 * 2**20, 200), (4 * 2**20 + 1, 409)])
def test_a_config_has_4_mb_at_most(send: Send, ecr: FakeEcr, s3: FakeS3, size: int, status: int) -> None:
    config = CONFIG.ljust(size)
    put_image(ecr, config)
    s3.answers = [S3Answer(200, config)]
    assert send("GET", "/images/config", QUERY).status == status


def test_a_config_whose_digest_nobody_can_check_is_not_read(send: Send, ecr: FakeEcr) -> None:
    descriptor = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "md5:00", "size": 1}
    ecr.images["1.0"] = (json.dumps(manifest(config=descriptor)).encode(), OCI_MANIFEST)
    assert send("GET", "/images/config", QUERY).status == 502


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (b"[]", "The document must be a JSON object."),
        (b"", "The document is not JSON: EOF while parsing a value at line 1 column 0."),
        (b"\xff\xfe", "The document is not JSON: expected value at line 1 column 1."),
        (b'{"config": {"Labels": {"secret": 1}}}', "config.Labels.secret must be a string."),
        (b'{"os": ["linux"]}', "os must be a string."),
        (b'{"config": {"Labels": ["a"]}}', "config.Labels must be a JSON object."),
        (b'{"config": {"Cmd": "a"}}', "config.Cmd must be a list."),
        (b'{"config": []}', "config must be a JSON object."),
    ],
)
def test_a_config_that_is_none_is_the_images_fault_and_said_to_be(
    send: Send, ecr: FakeEcr, s3: FakeS3, config: bytes, problem: str
) -> None:
    image_digest = put_image(ecr, config)
    s3.answers = [S3Answer(200, config)]
    answer = send("GET", "/images/config", QUERY)
    assert (answer.status, answer.json["code"], answer.json["retryable"]) == (409, "UnsupportedImage", False)
    assert answer.json["detail"] == (f"Can't read the config of image {image_digest} in repository team/app: {problem}")


@pytest.mark.parametrize(
    "media_type",
    [
        "application/json",
        "application/vnd.docker.container.image.v1+json",
        "application/vnd.oci.image.config.v1+json",
        "",
    ],
)
def test_every_media_type_that_docker_takes_for_a_config_is_read(send: Send, ecr: FakeEcr, media_type: str) -> None:
    put_image(ecr, CONFIG, media_type)
    assert send("GET", "/images/config", QUERY).json["platform"] == "linux/arm64"


@pytest.mark.parametrize(
    "media_type", ["application/vnd.oci.empty.v1+json", "application/vnd.cncf.helm.config.v1+json", "x" * 200]
)
def test_an_artifact_has_no_images_config_and_its_blobs_are_not_read(send: Send, ecr: FakeEcr, media_type: str) -> None:
    put_image(ecr, b"{}", media_type)
    answer = send("GET", "/images/config", QUERY)
    assert (answer.status, answer.json["code"]) == (409, "UnsupportedImage")
    assert "/images/download-urls" in answer.json["detail"]
    assert (media_type in answer.json["detail"]) == (len(media_type) < 100)
    assert not ecr.calls


@pytest.mark.parametrize("path", ["/images/config", "/images/download-urls"])
@pytest.mark.parametrize(
    ("content", "media_type", "noun", "problem"),
    [
        (b'{"schemaVersion": 2, "layers": []}', OCI_MANIFEST, "manifest", "config is missing."),
        (b"<html>", OCI_MANIFEST, "manifest", "The document is not JSON: expected value at line 1 column 1."),
        (b"{}", INDEX_MEDIA_TYPES[0], "index", "manifests is missing."),
    ],
)
def test_a_manifest_that_is_none_is_the_images_fault_and_said_to_be(
    send: Send, ecr: FakeEcr, path: str, content: bytes, media_type: str, noun: str, problem: str
) -> None:
    ecr.images["1.0"] = (content, media_type)
    answer = send("GET", path, QUERY)
    assert (answer.status, answer.json["code"]) == (409, "UnsupportedImage")
    assert answer.json["detail"] == (
        f"Can't read the {noun} of image {digest_of(content)} in repository team/app: {problem}"
    )


def test_a_config_is_read_once(send: Send, s3: FakeS3) -> None:
    assert send("GET", "/images/config", QUERY).status == 200
    s3.answers = [S3Answer(500, b"")]
    assert send("GET", "/images/config", QUERY).status == 200


@pytest.mark.parametrize("answer", [S3Answer(200, b"{}"), S3Answer(404), S3Answer(503), S3Answer(403)], ids=str)
def test_a_config_that_s3_does_not_give_is_not_guessed(
    send: Send, s3: FakeS3, capsys: pytest.CaptureFixture[str], answer: S3Answer
) -> None:
    s3.answers = [answer]
    assert send("GET", "/images/config", QUERY).status == 502
    assert json.loads(capsys.readouterr().out.splitlines()[0])["error"]["layerDigest"] == digest_of(CONFIG)


def test_a_config_names_more_layers_than_a_batch_has(send: Send, ecr: FakeEcr) -> None:
    count = 600
    layers = [{"mediaType": "a/b", "digest": digest(number), "size": number} for number in range(count)]
    put_image(ecr, CONFIG, layers=layers)
    assert send("GET", "/images/config", QUERY).json["layers"] == layers


def test_nested_indexes_are_followed_and_not_for_ever(send: Send, ecr: FakeEcr, image_digest: str) -> None:
    entry: dict[str, Any] = {
        "mediaType": OCI_MANIFEST,
        "digest": image_digest,
        "size": 1,
        "platform": {"os": "linux", "architecture": "arm64"},
    }
    statuses = []
    for depth in range(1, 6):
        content = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
        ecr.images |= dict.fromkeys((f"nested-{depth}", digest_of(content)), (content, INDEX_MEDIA_TYPES[0]))
        query = {"repositoryName": "team/app", "imageTag": f"nested-{depth}", "platform": "linux/arm64"}
        statuses.append(send("GET", "/images/config", query).status)
        entry = {"mediaType": INDEX_MEDIA_TYPES[0], "digest": digest_of(content), "size": 1}
    assert statuses == [200, 200, 200, 200, 400]


@pytest.mark.parametrize(("platform", "status"), [({}, 400), ({"platform": "linux/arm64"}, 200)])
def test_an_index_among_images_is_looked_into_for_a_platform_that_they_are_not_for(
    send: Send, ecr: FakeEcr, image_digest: str, platform: dict[str, str], status: int
) -> None:
    inner, outer = (
        {"mediaType": OCI_MANIFEST, "digest": each, "size": 1, "platform": {"os": "linux", "architecture": name}}
        for each, name in ((image_digest, "arm64"), (digest(9), "amd64"))
    )
    nested = json.dumps({"schemaVersion": 2, "manifests": [inner]}).encode()
    entry = {"mediaType": INDEX_MEDIA_TYPES[0], "digest": digest_of(nested), "size": 1}
    content = json.dumps({"schemaVersion": 2, "manifests": [outer, entry]}).encode()
    ecr.images |= {digest_of(nested): (nested, INDEX_MEDIA_TYPES[0]), "multi": (content, INDEX_MEDIA_TYPES[0])}
    query = {"repositoryName": "team/app", "imageTag": "multi", **platform}
    answer = send("GET", "/images/config", query)
    assert answer.status == status
    assert answer.json.get("platforms") == (["linux/amd64"] if status == 400 else None)


def test_configs_are_for_the_operator_to_turn_on(ecr: FakeEcr) -> None:
    answer = create_handler(ecr, Settings())(function_url_event("GET", "/images/config", QUERY), Context())
    assert answer["statusCode"] == 403


class TestAnIndexThatNamesNoPlatform:
    @pytest.fixture
    def put_index(self, ecr: FakeEcr) -> Callable[..., None]:
        """Return a function that puts an index behind the tag `1.0`, with entries of a digest and a media type."""

        def put(*entries: tuple[str, str]) -> None:
            listed = [{"mediaType": media_type, "digest": each, "size": 1} for each, media_type in entries]
            ecr.images["1.0"] = (json.dumps({"manifests": listed}).encode(), INDEX_MEDIA_TYPES[0])

        return put

    @pytest.mark.parametrize("platform", [{}, {"platform": "linux/arm64"}])
    def test_of_several_images_none_is_guessed(
        self, send: Send, put_index: Callable[..., None], image_digest: str, platform: dict[str, str]
    ) -> None:
        put_index((image_digest, OCI_MANIFEST), (digest(9), OCI_MANIFEST))
        answer = send("GET", "/images/config", {**QUERY, **platform})
        assert (answer.status, answer.json["platforms"]) == (400, [])
        assert answer.json["detail"].endswith("Its entries name no platform: ask by imageDigest.")


class TestAnImagesDigestInThePlaceOfALayers:
    """ECR says of it that there is no such layer."""

    @pytest.fixture(params=["LayersNotFoundException", "LayerInaccessibleException"])
    def code(self, ecr: FakeEcr, request: pytest.FixtureRequest) -> str:
        """Return ECR's code for whatever layer is asked for."""
        code = str(request.param)
        ecr.answer = ecr_error(code)
        return code

    @pytest.fixture
    def ask(self, ecr: FakeEcr, function_settings: Settings) -> Callable[[str, list[str]], list[str]]:
        """Return a function that asks in one of the ways, and returns the message of each digest."""
        handler = create_handler(ecr, function_settings)

        def asked(way: str, digests: list[str]) -> list[str]:
            one = {"repositoryName": "team/app", "layerDigest": digests[0]}
            many = {"repositoryName": "team/app", "layerDigests": digests}
            event = {
                "GET": function_url_event("GET", "/download-url", one),
                "POST": function_url_event("POST", "/download-url", body=json.dumps(one)),
                "batch": function_url_event("POST", "/download-urls", body=json.dumps(many)),
                "event": eventbridge_event(many),
                "registry": function_url_event("GET", f"/v2/team/app/blobs/{digests[0]}"),
            }[way]
            answer = handler(event, Context())
            document = json.loads(answer["body"]) if "body" in answer else answer
            if "failures" in document:
                return [failure["message"] for failure in document["failures"]]
            return [document["detail"] if "detail" in document else document["errors"][0]["message"]]

        return asked

    @pytest.mark.usefixtures("code")
    @pytest.mark.parametrize("way", ["GET", "POST", "batch", "event", "registry"])
    def test_it_is_called_that_with_what_to_do(
        self, ask: Callable[[str, list[str]], list[str]], image_digest: str, way: str
    ) -> None:
        (message,) = ask(way, [image_digest])
        assert message.startswith(f"{image_digest} is an image's digest, not a layer's. ")
        assert ("/v2/team/app/manifests/" if way == "registry" else "imageDigest") in message

    @pytest.mark.usefixtures("code")
    def test_of_a_batch_the_other_layers_keep_their_messages_and_ecr_is_asked_once(
        self, ask: Callable[[str, list[str]], list[str]], ecr: FakeEcr, image_digest: str
    ) -> None:
        messages = ask("batch", [digest(number) for number in range(1, 20)] + [image_digest, "md5:00"])
        # It is not among the first ten.
        assert not any("image's digest" in message for message in messages)
        (call,) = ecr.image_calls
        assert len(call["imageIds"]) == 10
        messages = ask("batch", [digest(1), image_digest])
        assert ["image's digest" in message for message in messages] == [False, True]

    @pytest.mark.usefixtures("code")
    def test_an_ecr_that_does_not_tell_changes_nothing(
        self, ask: Callable[[str, list[str]], list[str]], ecr: FakeEcr, image_digest: str
    ) -> None:
        ecr.image_error = ecr_error("AccessDeniedException")
        assert "image's digest" not in ask("GET", [image_digest])[0]

    @pytest.mark.usefixtures("code")
    class TestWhereImagesAreNotTurnedOn:
        @pytest.fixture
        def function_settings(self) -> Settings:
            return Settings()

        @pytest.mark.parametrize("way", ["GET", "batch", "event", "registry"])
        def test_ecr_is_not_asked(
            self, ask: Callable[[str, list[str]], list[str]], ecr: FakeEcr, image_digest: str, way: str
        ) -> None:
            assert "image's digest" not in ask(way, [image_digest])[0]
            assert not ecr.image_calls
