"""`GET /images/config`: what an image's config says, without its layers."""

import hashlib
import json
from typing import Any

import pytest

from layer_resolver import network
from layer_resolver.handler import create_handler
from layer_resolver.models import INDEX_MEDIA_TYPES
from layer_resolver.network import HttpClient
from layer_resolver.settings import Settings
from tests.unit.fakes import (
    OCI_MANIFEST,
    Context,
    FakeEcr,
    Send,
    digest,
    download_url,
    ecr_error,
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


def put_image(ecr: FakeEcr, config: bytes) -> str:
    """Put an image with a config behind the tag `1.0`, and return the image's digest."""
    descriptor = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of(config), "size": 1}
    content = json.dumps(manifest(config=descriptor)).encode()
    ecr.images |= dict.fromkeys(("1.0", digest_of(content)), (content, OCI_MANIFEST))
    return digest_of(content)


@pytest.fixture
def function_settings() -> Settings:
    return Settings(image_pull=True)


@pytest.fixture(autouse=True)
def image_digest(ecr: FakeEcr) -> str:
    return put_image(ecr, CONFIG)


@pytest.fixture(autouse=True)
def s3(monkeypatch: pytest.MonkeyPatch) -> list[network.Answer | Exception]:
    """Return what S3 is going to answer; the last one goes on for ever."""
    answers: list[network.Answer | Exception] = [network.Answer(200, {}, CONFIG)]

    def request(*_: Any, **__: Any) -> network.Answer:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(HttpClient, "request", request)
    return answers


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


def test_the_environment_is_told_to_whoever_asks_for_it(send: Send) -> None:
    assert send("GET", "/images/config", {**QUERY, "includeEnv": "true"}).json["env"] == ["PASSWORD=hunter2"]
    assert "env" not in send("GET", "/images/config", {**QUERY, "includeEnv": "false"}).json
    assert send("GET", "/images/config", {**QUERY, "includeEnv": "yes"}).status == 400


def test_a_config_that_says_next_to_nothing_is_answered(
    send: Send, ecr: FakeEcr, s3: list[network.Answer | Exception]
) -> None:
    put_image(ecr, b"{}")
    s3[:] = [network.Answer(200, {}, b"{}")]
    answer = send("GET", "/images/config", QUERY)
    assert (answer.json["platform"], answer.json["labels"], answer.json["exposedPorts"]) == (None, {}, [])


def test_a_config_whose_digest_nobody_can_check_is_not_read(send: Send, ecr: FakeEcr) -> None:
    descriptor = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "md5:00", "size": 1}
    ecr.images["1.0"] = (json.dumps(manifest(config=descriptor)).encode(), OCI_MANIFEST)
    assert send("GET", "/images/config", QUERY).status == 502


def test_what_is_no_config_is_refused(send: Send, ecr: FakeEcr, s3: list[network.Answer | Exception]) -> None:
    put_image(ecr, b"[]")
    s3[:] = [network.Answer(200, {}, b"[]")]
    assert send("GET", "/images/config", QUERY).status == 400


def test_a_config_is_read_once(send: Send, s3: list[network.Answer | Exception]) -> None:
    assert send("GET", "/images/config", QUERY).status == 200
    s3[:] = [network.Answer(500, {}, b"")]
    assert send("GET", "/images/config", QUERY).status == 200


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (network.Answer(200, {}, b"{}"), 502),
        (network.Answer(404, {}, b""), 502),
        (network.Answer(503, {}, b""), 502),
        (network.Answer(403, {}, b""), 502),
        (network.AnswerTooLargeError(), 502),
        (network.RequestFailedError(), 504),
    ],
    ids=repr,
)
def test_a_config_that_s3_does_not_give_is_not_guessed(
    send: Send, s3: list[network.Answer | Exception], answer: network.Answer | Exception, status: int
) -> None:
    s3[:] = [answer]
    assert send("GET", "/images/config", QUERY).status == status


def test_a_refused_url_is_replaced(send: Send, ecr: FakeEcr, s3: list[network.Answer | Exception]) -> None:
    s3.insert(0, network.Answer(403, {}, b""))
    assert send("GET", "/images/config", QUERY).status == 200
    assert len(ecr.calls) == 2


def test_nested_indexes_are_followed_and_not_for_ever(send: Send, ecr: FakeEcr, image_digest: str) -> None:
    entry: dict[str, Any] = {
        "mediaType": OCI_MANIFEST,
        "digest": image_digest,
        "size": 1,
        "platform": {"os": "linux", "architecture": "arm64"},
    }
    statuses = []
    for depth in range(1, 5):
        content = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
        ecr.images |= dict.fromkeys((f"nested-{depth}", digest_of(content)), (content, INDEX_MEDIA_TYPES[0]))
        query = {"repositoryName": "team/app", "imageTag": f"nested-{depth}", "platform": "linux/arm64"}
        statuses.append(send("GET", "/images/config", query).status)
        entry = {"mediaType": INDEX_MEDIA_TYPES[0], "digest": digest_of(content), "size": 1}
    assert statuses == [200, 200, 200, 400]


def test_configs_are_for_the_operator_to_turn_on(ecr: FakeEcr) -> None:
    answer = create_handler(lambda: ecr)(function_url_event("GET", "/images/config", QUERY), Context())
    assert answer["statusCode"] == 403


@pytest.mark.parametrize(("image_pull", "says_so"), [(True, True), (False, False)])
def test_a_layers_digest_that_is_an_images_is_called_that_where_it_can_be_found_out(
    ecr: FakeEcr, image_digest: str, image_pull: bool, says_so: bool
) -> None:
    ecr.answer = ecr_error("LayersNotFoundException")
    handler = create_handler(lambda: ecr, Settings(image_pull=image_pull))
    query = {"repositoryName": "team/app", "layerDigest": image_digest}
    answer = handler(function_url_event("GET", "/download-url", query), Context())
    assert answer["statusCode"] == 404
    assert ("imageDigest" in answer["body"]) == says_so
    assert bool(ecr.image_calls) == says_so


def test_a_digest_that_is_nothing_is_not_called_an_images(send: Send, ecr: FakeEcr) -> None:
    ecr.answer = ecr_error("LayersNotFoundException")
    answer = send("GET", "/download-url", {"repositoryName": "team/app", "layerDigest": digest(5)})
    assert answer.status == 404
    assert "imageDigest" not in answer.text


def test_the_config_is_downloaded_from_its_own_url(send: Send, ecr: FakeEcr, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def request(_: HttpClient, method: str, url: str, *__: Any, **___: Any) -> network.Answer:
        asked.append((method, url))
        return network.Answer(200, {}, CONFIG)

    monkeypatch.setattr(HttpClient, "request", request)
    send("GET", "/images/config", QUERY)
    assert asked == [("GET", download_url(digest_of(CONFIG)))]
