"""`GET /images/config`: what an image's config says, without its layers."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from layer_resolver import network
from layer_resolver.blobs import BlobReader
from layer_resolver.errors import ResolverError, Subject
from layer_resolver.handler import create_handler
from layer_resolver.models import INDEX_MEDIA_TYPES, Repository
from layer_resolver.network import Deadline, HttpClient, RequestFailedError
from layer_resolver.settings import Settings
from tests.unit.fakes import (
    OCI_MANIFEST,
    Context,
    FakeEcr,
    Send,
    digest,
    download_url,
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


def put_image(ecr: FakeEcr, config: bytes, media_type: str = "application/vnd.oci.image.config.v1+json") -> str:
    """Put an image with a config behind the tag `1.0`, and return the image's digest."""
    descriptor = {"mediaType": media_type, "digest": digest_of(config), "size": 1}
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


def test_what_time_is_left_is_shared_by_the_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []

    def fail(*arguments: Any, **_: Any) -> None:
        (share,) = (each for each in arguments if isinstance(each, Deadline))
        shares.append(share.remaining())
        raise RequestFailedError

    monkeypatch.setattr(HttpClient, "request", fail)
    subject = Subject(Repository(repository_name="team/app"), "layer", digest())
    for seconds, expected in ((6.0, [2.0, 3.0, 3.0]), (90.0, [3.0, 3.0, 3.0])):
        with pytest.raises(ResolverError):
            BlobReader().size(subject, download_url(digest()), Deadline.after(seconds))
        assert shares == pytest.approx(expected, abs=0.5)
        shares.clear()


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


def test_a_config_that_says_next_to_nothing_is_answered(
    send: Send, ecr: FakeEcr, s3: list[network.Answer | Exception]
) -> None:
    put_image(ecr, b"{}")
    s3[:] = [network.Answer(200, {}, b"{}")]
    answer = send("GET", "/images/config", QUERY)
    assert (answer.json["platform"], answer.json["labels"], answer.json["exposedPorts"]) == (None, {}, [])


def test_a_config_is_checked_by_its_digest_of_sha512_as_well(
    send: Send, ecr: FakeEcr, s3: list[network.Answer | Exception]
) -> None:
    digest_of_config = f"sha512:{hashlib.sha512(CONFIG).hexdigest()}"
    descriptor = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of_config, "size": 1}
    ecr.images["1.0"] = (json.dumps(manifest(config=descriptor)).encode(), OCI_MANIFEST)
    s3[:] = [network.Answer(200, {}, CONFIG + b" ")]
    assert send("GET", "/images/config", QUERY).status == 502
    s3[:] = [network.Answer(200, {}, CONFIG)]
    assert send("GET", "/images/config", QUERY).json["platform"] == "linux/arm64"


@pytest.mark.parametrize("part", [b",", b"[", b"{"], ids=["members", "lists", "objects"])
def test_a_config_of_too_many_values_is_not_read(
    send: Send, ecr: FakeEcr, s3: list[network.Answer | Exception], part: bytes
) -> None:
    config = part * 100_001
    put_image(ecr, config)
    s3[:] = [network.Answer(200, {}, config)]
    answer = send("GET", "/images/config", QUERY)
    assert answer.status == 409
    assert "has more than 100000 values" in answer.json["detail"]


def test_no_more_than_4_mb_of_a_config_are_read(
    send: Send, s3: list[network.Answer | Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    bounds = []

    def request(*_: Any, most_bytes: int, **__: Any) -> network.Answer | Exception:
        bounds.append(most_bytes)
        return s3[0]

    monkeypatch.setattr(HttpClient, "request", request)
    assert send("GET", "/images/config", QUERY).status == 200
    assert bounds == [4 * 2**20]


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
    send: Send, ecr: FakeEcr, s3: list[network.Answer | Exception], config: bytes, problem: str
) -> None:
    image_digest = put_image(ecr, config)
    s3[:] = [network.Answer(200, {}, config)]
    answer = send("GET", "/images/config", QUERY)
    assert (answer.status, answer.json["code"], answer.json["retryable"]) == (409, "UnsupportedImage", False)
    assert answer.json["detail"] == (
        f"The config of image {image_digest} in repository team/app can't be read: {problem}"
    )


@pytest.mark.parametrize(
    "media_type",
    [
        "application/json",
        "application/octet-stream",
        "application/vnd.docker.container.image.v1+json",
        "application/vnd.oci.image.config.v1+json",
        "text/html",
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
        f"The {noun} of image {digest_of(content)} in repository team/app can't be read: {problem}"
    )


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
        (network.AnswerTooLargeError(), 409),
        (network.RequestFailedError(), 504),
    ],
    ids=repr,
)
def test_a_config_that_s3_does_not_give_is_not_guessed(
    send: Send,
    s3: list[network.Answer | Exception],
    capsys: pytest.CaptureFixture[str],
    answer: network.Answer | Exception,
    status: int,
) -> None:
    s3[:] = [answer]
    assert send("GET", "/images/config", QUERY).status == status
    assert json.loads(capsys.readouterr().out.splitlines()[0])["error"]["layerDigest"] == digest_of(CONFIG)


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
    answer = create_handler(lambda: ecr)(function_url_event("GET", "/images/config", QUERY), Context())
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
    def test_its_only_image_is_meant(
        self, send: Send, put_index: Callable[..., None], image_digest: str, platform: dict[str, str]
    ) -> None:
        put_index((image_digest, OCI_MANIFEST))
        assert send("GET", "/images/config", {**QUERY, **platform}).json["imageDigest"] == image_digest

    @pytest.mark.parametrize("platform", [{}, {"platform": "linux/arm64"}])
    def test_of_several_images_none_is_guessed(
        self, send: Send, put_index: Callable[..., None], image_digest: str, platform: dict[str, str]
    ) -> None:
        put_index((image_digest, OCI_MANIFEST), (digest(9), OCI_MANIFEST))
        answer = send("GET", "/images/config", {**QUERY, **platform})
        assert (answer.status, answer.json["platforms"]) == (400, [])
        assert answer.json["detail"].endswith("Its entries name no platform: ask for one of them by its imageDigest.")

    def test_its_only_index_is_followed_to_where_platforms_are_named(
        self, send: Send, ecr: FakeEcr, put_index: Callable[..., None]
    ) -> None:
        arm = {"digest": digest(9), "platform": {"os": "linux", "architecture": "arm64"}}
        amd = {"digest": digest(8), "platform": {"os": "linux", "architecture": "amd64"}}
        entries = [{"mediaType": OCI_MANIFEST, "size": 1, **each} for each in (arm, amd)]
        inner = json.dumps({"manifests": entries}).encode()
        ecr.images[digest_of(inner)] = (inner, INDEX_MEDIA_TYPES[0])
        put_index((digest_of(inner), INDEX_MEDIA_TYPES[0]))
        answer = send("GET", "/images/config", QUERY)
        assert (answer.status, answer.json["platforms"]) == (400, ["linux/amd64", "linux/arm64"])


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
        handler = create_handler(lambda: ecr, function_settings)

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
        assert message.startswith(f"{image_digest} is the digest of an image, not of a layer. ")
        assert ("/v2/team/app/manifests/" if way == "registry" else "imageDigest") in message

    @pytest.mark.usefixtures("code")
    def test_of_a_batch_the_other_layers_keep_their_messages_and_ecr_is_asked_once(
        self, ask: Callable[[str, list[str]], list[str]], ecr: FakeEcr, image_digest: str
    ) -> None:
        messages = ask("batch", [digest(number) for number in range(1, 20)] + [image_digest, "md5:00"])
        # It is not among the first ten.
        assert not any("digest of an image" in message for message in messages)
        (call,) = ecr.image_calls
        assert len(call["imageIds"]) == 10
        messages = ask("batch", [digest(1), image_digest])
        assert ["digest of an image" in message for message in messages] == [False, True]

    @pytest.mark.usefixtures("code")
    def test_a_digest_that_is_nothing_is_not_called_an_images(self, ask: Callable[[str, list[str]], list[str]]) -> None:
        assert "digest of an image" not in ask("GET", [digest(5)])[0]

    @pytest.mark.usefixtures("code")
    def test_an_ecr_that_does_not_tell_changes_nothing(
        self, ask: Callable[[str, list[str]], list[str]], ecr: FakeEcr, image_digest: str
    ) -> None:
        ecr.image_error = ecr_error("AccessDeniedException")
        assert "digest of an image" not in ask("GET", [image_digest])[0]

    @pytest.mark.usefixtures("code")
    class TestWhereImagesAreNotTurnedOn:
        @pytest.fixture
        def function_settings(self) -> Settings:
            return Settings()

        @pytest.mark.parametrize("way", ["GET", "batch", "event", "registry"])
        def test_ecr_is_not_asked(
            self, ask: Callable[[str, list[str]], list[str]], ecr: FakeEcr, image_digest: str, way: str
        ) -> None:
            assert "digest of an image" not in ask(way, [image_digest])[0]
            assert not ecr.image_calls

    def test_another_failure_is_not_looked_into(
        self, ask: Callable[[str, list[str]], list[str]], ecr: FakeEcr, image_digest: str
    ) -> None:
        ecr.answer = ecr_error("AccessDeniedException")
        ask("GET", [image_digest])
        assert not ecr.image_calls


def test_the_config_is_downloaded_from_its_own_url(send: Send, ecr: FakeEcr, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def request(_: HttpClient, method: str, url: str, *__: Any, **___: Any) -> network.Answer:
        asked.append((method, url))
        return network.Answer(200, {}, CONFIG)

    monkeypatch.setattr(HttpClient, "request", request)
    send("GET", "/images/config", QUERY)
    assert asked == [("GET", download_url(digest_of(CONFIG)))]
