"""How a service is asked: again where that helps, not where it does not, and errors in words for the user."""

import hashlib
import json
import random
import threading
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ecr_layers import Client, ClientError, DownloadUrl, IntegrityError, Retries, ServiceError, UsageError
from ecr_layers.registry.addresses import service_url
from ecr_layers.transfer.downloads import DownloadError, Downloads
from ecr_layers.transfer.retries import Attempts
from ecr_layers.transfer.source import DownloadUrls
from ecr_layers.transfer.transport import Clock, Transport
from local.server import running
from tests.client.scripted import DIGESTS, Scripted, answered, in_turn, problem, resolved, scripted
from tests.layouts import OCI_INDEX, OCI_MANIFEST


def test_what_the_service_calls_retryable_is_asked_for_again_after_retry_after() -> None:
    answers = in_turn(problem(429, retryable=True, **{"Retry-After": "7"}), answered(resolved(DIGESTS[0])))
    with scripted(answers) as (service, client):
        (url,) = client.resolve("team/app", [DIGESTS[0]])
    assert url.digest == DIGESTS[0]
    assert service.slept == [7.0]


def test_waits_become_longer_and_differ() -> None:
    slept: list[float] = []
    before = random.getstate()
    retries = Retries(shortest_wait=1.0, longest_wait=10.0, sleep=slept.append, clock=lambda: 0.0)
    for _ in range(20):
        attempts = Attempts(retries)
        assert all(attempts.wait("busy") for _ in range(5))
    for place, most in enumerate([1.0, 2.0, 4.0, 8.0, 10.0]):
        waits = set(slept[place::5])
        assert len(waits) > 1
        assert all(most / 2 <= wait <= most for wait in waits)
    assert random.getstate() == before, "a program's own random numbers stay as they were"


def test_what_fails_without_progress_is_given_up_when_its_time_is_over() -> None:
    now, slept = [0.0], list[float]()
    reasons: list[str] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    retries = Retries(
        seconds=120.0, sleep=sleep, clock=lambda: now[0], on_wait=lambda reason, _: reasons.append(reason)
    )
    attempts = Attempts(retries)
    while attempts.wait("the network is away"):
        pass
    assert sum(slept) == pytest.approx(120.0)
    assert reasons == ["the network is away"] * len(slept)
    assert not attempts.wait("the network is away")
    attempts.succeeded()
    assert attempts.wait("the network is away")


@pytest.mark.parametrize(
    ("answer", "attempts"),
    [
        (problem(429, retryable=False), 1),
        (problem(503, retryable=False), 1),
        (problem(503, retryable=True, **{"Retry-After": "3600"}), 1),
        (Response("no", 404), 1),
        (Response("<html>", 301, {"Location": "https://example.com/"}), 1),
        (problem(503, retryable=True), 3),
        (Response("<html>", 502), 3),
    ],
)
def test_only_what_may_succeed_later_is_asked_for_again(answer: Response, attempts: int) -> None:
    with scripted(in_turn(answer)) as (service, client), pytest.raises(ServiceError) as caught:
        client.resolve("team/app", [DIGESTS[0]])
    assert (len(service.requests), len(service.slept)) == (attempts, attempts - 1)
    assert "\n" not in str(caught.value)


SIGNED = "https://s3.example.com/x?X-Amz-Signature=1"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (problem(400, retryable=False, detail="layerDigest is missing."), "layerDigest is missing."),
        (problem(500, retryable=False), "It is so. (request id request-1)"),
        (problem(400, retryable=False, detail=f"See {SIGNED} and\nmore."), "See https://… and more."),
        (problem(400, retryable=False, detail="\x1b[31mred"), "?[31mred"),
        (Response('{"Message":"Forbidden"}', 403), "requires credentials (HTTP 403)."),
        (RedirectResponse("https://example.com/?token=1"), "redirects to another address. Use that address."),
        (Response("<html>", 404), "returned an unexpected HTTP 404. Check the address"),
        (Response("<html>", 200), "Unexpected answer: this isn't the service's API."),
        (answered({"downloadUrl": 1, "layerDigest": 2}), "Unexpected answer"),
        (answered({**resolved(DIGESTS[0]), "expiresAt": "soon"}), "Unexpected answer"),
        (Response(b" " * 9_000_000, 200), "The answer is over 8388608 bytes"),
    ],
)
def test_an_error_is_one_line_that_says_what_to_do(answer: Response, message: str) -> None:
    with scripted(in_turn(answer), attempts=1) as (_, client), pytest.raises(ClientError) as caught:
        client.resolve("team/app", [DIGESTS[0]])
    said = str(caught.value)
    assert message in said
    assert said.isprintable()
    assert "token=1" not in said
    assert "Signature" not in said


def test_a_token_is_in_no_error(tmp_path: Any) -> None:
    (tmp_path / "token").write_text("reader:very-secret-password")
    with running(Scripted(in_turn(Response("", 403))).app()) as url:
        service = Client(url, token_file=tmp_path / "token")
        with service, pytest.raises(ServiceError, match=r"refused the credentials \(HTTP 403\)") as caught:
            service.resolve("team/app", [DIGESTS[0]])
    assert "secret" not in repr(caught.value)
    assert "secret" not in repr(service.__dict__)


def test_many_digests_are_asked_for_five_hundred_at_a_time() -> None:
    def answer(_: Request, body: bytes) -> Response:
        digests = json.loads(body)["layerDigests"]
        return answered({"downloadUrls": [resolved(digest) for digest in reversed(digests)], "failures": []})

    with scripted(answer) as (service, client):
        urls = client.resolve("123456789012/team/app", [*DIGESTS, *DIGESTS])
    assert [url.digest for url in urls] == DIGESTS
    bodies = [json.loads(body) for _, _, body in service.requests]
    assert [len(body["layerDigests"]) for body in bodies] == [500, 500, 200]
    assert {(body["repositoryName"], body["registryId"]) for body in bodies} == {("team/app", "123456789012")}


def failure_of(digest: str, message: str, *, retryable: bool) -> dict[str, Any]:
    return {"layerDigest": digest, "code": "SomeException", "message": message, "retryable": retryable}


def test_of_many_layers_those_are_asked_for_again_that_can_succeed_and_others_are_named() -> None:
    later = failure_of(DIGESTS[1], "Later.", retryable=True)
    refused = failure_of(DIGESTS[1], "Not allowed.", retryable=False)
    answers = in_turn(
        answered({"downloadUrls": [resolved(DIGESTS[0])], "failures": [later]}),
        answered({"downloadUrls": [resolved(DIGESTS[1])], "failures": []}),
        answered({"downloadUrls": [resolved(DIGESTS[0])], "failures": [refused]}),
    )
    with scripted(answers) as (service, client):
        assert [url.digest for url in client.resolve("team/app", DIGESTS[:2])] == DIGESTS[:2]
        assert json.loads(service.requests[1][2])["layerDigests"] == [DIGESTS[1]]
        with pytest.raises(ServiceError, match=f"{DIGESTS[1]}: Not allowed"):
            client.resolve("team/app", DIGESTS[:2])


def test_where_post_is_not_let_through_each_layer_is_asked_for_by_get() -> None:
    def answer(request: Request, _: bytes) -> Response:
        if request.method == "POST":
            return Response("", 405)
        return answered(resolved(request.query_params["layerDigest"]))

    with scripted(answer) as (service, client):
        assert [url.digest for url in client.resolve("team/app", DIGESTS[:5])] == DIGESTS[:5]
        assert [url.digest for url in client.resolve("team/app", DIGESTS[5:8])] == DIGESTS[5:8]
    assert [method for method, _, _ in service.requests].count("POST") == 1


def test_a_manifest_that_is_not_what_its_digest_says_is_refused() -> None:
    answer = in_turn(Response("{}", 200, media_type=OCI_MANIFEST))
    with scripted(answer) as (_, client), pytest.raises(IntegrityError, match=DIGESTS[0]):
        client.image(f"team/app@{DIGESTS[0]}")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"schemaVersion": 1}, "Unsupported manifest type"),
        ({}, "has no config and layers"),
        ({"config": {"digest": "sha256:../../etc", "size": 1}}, "without a sha256 or sha512 digest"),
        ({"config": {"digest": DIGESTS[0], "size": -1}}, "say the size"),
        ({"config": {}, "layers": {}}, "layers isn't a list"),
        ({"config": 1}, "a descriptor that isn't an object"),
        (None, "isn't a JSON object"),
    ],
)
def test_a_manifest_that_is_none_is_refused_in_one_line(members: dict[str, Any] | None, message: str) -> None:
    content = "[" * 100_000 if members is None else json.dumps({"schemaVersion": 2, "layers": [], **members})
    answer = in_turn(Response(content, 200, media_type=OCI_MANIFEST))
    with scripted(answer) as (_, client), pytest.raises(ClientError, match=message) as caught:
        client.image("team/app:1")
    assert "\n" not in str(caught.value)


def index_of(*contents: bytes) -> bytes:
    entries = [
        {"mediaType": OCI_INDEX, "digest": f"sha256:{hashlib.sha256(content).hexdigest()}", "size": len(content)}
        for content in contents
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()


DEEP = list(accumulate(range(50), lambda inner, _: index_of(inner), initial=index_of()))
WIDE = [b'{"schemaVersion": 2, "manifests": [], "number": %d}' % number for number in range(100)]


@pytest.mark.parametrize("contents", [DEEP, [*WIDE, index_of(*WIDE)]], ids=["deep", "wide"])
def test_indexes_that_lead_nowhere_are_given_up(contents: list[bytes]) -> None:
    known = {f"sha256:{hashlib.sha256(content).hexdigest()}": content for content in contents}

    def answer(request: Request, _: bytes) -> Response:
        content = known.get(request.url.path.rpartition("/")[2], contents[-1])
        return Response(content, 200, media_type=OCI_INDEX)

    with (
        scripted(answer) as (service, client),
        pytest.raises(ClientError, match=r"indexes are nested|has no image for"),
    ):
        client.image("team/app", platform="linux/arm64")
    assert len(service.requests) < 40


def test_a_service_is_a_url_or_a_domain() -> None:
    assert service_url("registry.example.com") == "https://registry.example.com"
    assert service_url("https://abc.lambda-url.eu-west-1.on.aws/") == "https://abc.lambda-url.eu-west-1.on.aws"
    assert service_url("http://[::1]:9000/") == "http://[::1]:9000"
    for text in (
        "ftp://example.com",
        "https://user:secret@example.com",
        "https://example.com/path",
        "a b",
        "https://?x",
    ):
        with pytest.raises(UsageError, match="isn't a valid service URL") as caught:
            service_url(text)
        assert "secret" not in str(caught.value)
    with pytest.raises(UsageError, match="No service is configured"):
        service_url("", {})


def test_a_download_url_without_tls_is_used_for_a_service_on_this_machine_alone() -> None:
    downloads = Downloads(Transport(), allows_http=False)
    with pytest.raises(DownloadError, match="isn't HTTPS"), downloads.open("http://127.0.0.1:1/", 0, 0):
        pytest.fail("it was asked")


class Resolving:
    """Gives a new URL each time, and counts them."""

    def __init__(self, lifetime: timedelta) -> None:
        self.count = 0
        self.lifetime = lifetime

    def resolve(self, digests: Any) -> list[DownloadUrl]:
        self.count += 1
        return [
            DownloadUrl(digest, f"https://s3/{self.count}", datetime.now(UTC) + self.lifetime) for digest in digests
        ]


def test_a_url_is_used_until_it_expires() -> None:
    service = Resolving(timedelta(hours=1))
    urls = DownloadUrls(service.resolve, Clock())
    assert urls.get(DIGESTS[0]) is urls.get(DIGESTS[0])
    service.lifetime = timedelta(seconds=5)
    first, second = urls.get(DIGESTS[1]), urls.get(DIGESTS[1])
    assert first is not second


def test_a_url_that_was_refused_is_renewed_once_for_all_threads() -> None:
    service = Resolving(timedelta(hours=1))
    urls = DownloadUrls(service.resolve, Clock())
    refused = urls.get(DIGESTS[0])
    renewed: list[DownloadUrl] = []
    threads = [threading.Thread(target=lambda: renewed.append(urls.get(DIGESTS[0], refused))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert service.count == 2
    assert len({url.url for url in renewed}) == 1
    assert "s3" not in repr(refused)
