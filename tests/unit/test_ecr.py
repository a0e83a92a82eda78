"""Calls to ECR with boto3's real client, answered by a server on this machine."""

import json
import threading
import time
from collections.abc import Iterator

import boto3
import pytest

from layer_resolver import __version__
from layer_resolver.calls import Calls, Deadline
from layer_resolver.ecr import ATTEMPTS, Ecr, create_client
from layer_resolver.errors import Repository, ResolverError, Subject
from layer_resolver.handler import create_handler
from layer_resolver.invocation import Invocation
from layer_resolver.settings import Settings
from tests.faults.server import Behaviour, answer, close, hang
from tests.unit.fakes import Answer, Context, Output, digest, download_url, function_url_event
from tests.unit.servers import FakeServer, running_server

OK = answer(200, json.dumps({"downloadUrl": download_url(digest()), "layerDigest": digest()}).encode())
ONE_LAYER = function_url_event("GET", "/download-url", {"repositoryName": "team/app", "layerDigest": digest()})


def refusal(code: str, status: int = 400) -> Behaviour:
    return answer(status, json.dumps({"__type": code, "message": "no"}).encode(), name=code)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    with running_server(OK) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", server.url)
        yield server


@pytest.fixture
def _no_credentials(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    # boto3's default session caches credentials.
    boto3.setup_default_session()
    yield
    boto3.setup_default_session()


def ask(**query: str) -> Answer:
    handler = create_handler(create_client("ecr"), Settings())
    asked = {"repositoryName": "team/app", "layerDigest": digest(), **query}
    given = handler(function_url_event("GET", "/download-url", asked), Context())
    return Answer(given["statusCode"], given["headers"], given["body"])


def test_a_call_is_the_request_that_ecr_documents(server: FakeServer) -> None:
    assert ask(registryId="210987654321").json["downloadUrl"] == download_url(digest())
    (request,) = server.requests
    asked = {"repositoryName": "team/app", "registryId": "210987654321", "layerDigest": digest()}
    assert json.loads(request.body) == asked
    assert request.headers["x-amz-target"] == "AmazonEC2ContainerRegistry_V20150921.GetDownloadUrlForLayer"
    assert request.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert f"ecr-layer-resolver/{__version__}" in request.headers["user-agent"]


@pytest.mark.usefixtures("_no_credentials")
def test_without_credentials_nothing_is_sent(server: FakeServer) -> None:
    answered = ask()
    assert (answered.status, answered.json["code"]) == (503, "CredentialsRefused")
    assert not server.requests


@pytest.mark.parametrize(
    ("outcome", "code", "tries"),
    [
        (refusal("ServerException", 500), "ServerException", ATTEMPTS),
        (answer(502, b"<html>bad gateway</html>"), "ServerException", ATTEMPTS),
        # botocore fails as it reads these.
        (answer(503, b"\xff\xfe"), "ServerException", 1),
        (answer(103), "ServerException", ATTEMPTS),
        (answer(200, b"[" * 100_000), "ServerException", 1),
        (answer(200, b"[]"), "ServerException", 1),
        (close(), "RequestTimeoutException", ATTEMPTS),
        (refusal("ExpiredTokenException"), "CredentialsRefused", 1),
        (refusal("SomethingNew"), "InternalError", 1),
    ],
    ids=lambda value: value.name if isinstance(value, Behaviour) else None,
)
def test_a_failure_is_a_row_of_the_table_and_botocore_retries_what_may_pass(
    server: FakeServer, outcome: Behaviour, code: str, tries: int
) -> None:
    server.answers = [outcome]
    assert ask().json["code"] == code
    assert len(server.requests) == tries


def test_after_a_failure_kept_connections_are_not_used_again(server: FakeServer) -> None:
    # Two calls fail at once; the first to notice closes the connections for both.
    both = threading.Barrier(2)

    def close_both(_: object) -> None:
        both.wait(5)

    closing = Behaviour("close", close_both)
    server.answers = [closing, closing, refusal("LayersNotFoundException")]
    handler = create_handler(create_client("ecr"), Settings())
    body = json.dumps({"repositoryName": "team/app", "layerDigests": [digest(1), digest(2)]})
    given = handler(function_url_event("POST", "/download-urls", body=body), Context())
    assert [each["code"] for each in json.loads(given["body"])["failures"]] == ["LayersNotFoundException"] * 2
    assert len(server.requests) == 4


def test_connections_are_kept_for_a_minute_at_most_even_if_the_environment_was_frozen(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers = [refusal("LayersNotFoundException")]
    handler = create_handler(create_client("ecr"), Settings())
    now = time.time()
    for seconds in (0, 59, 62):
        # The other clock stands still in a frozen environment.
        monkeypatch.setattr(time, "time", lambda: now + seconds)  # noqa: B023
        handler(ONE_LAYER, Context())
    assert [request.connection for request in server.requests] == [1, 1, 2]


def test_a_call_whose_invocation_is_over_makes_no_further_attempt(server: FakeServer) -> None:
    server.answers = [hang()]
    handler = create_handler(create_client("ecr", read_seconds=0.5), Settings())
    assert handler(ONE_LAYER, Context(500 + 530))["statusCode"] == 504
    time.sleep(0.1)
    assert len(server.requests) == 1


@pytest.mark.usefixtures("debugging")
def test_attempts_are_counted_for_the_call_they_belong_to(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, output: Output
) -> None:
    server.answers = [close(), OK]
    with running_server(answer(200, b'{"FailedEntryCount": 0}')) as bus:
        monkeypatch.setenv("AWS_ENDPOINT_URL_EVENTBRIDGE", bus.url)
        handler = create_handler(create_client("ecr"), Settings(pull_event_bus="pulls"), create_client("events"))
        assert handler(ONE_LAYER, Context())["statusCode"] == 200
    called = [line for line in output.lines() if "attempts" in line]
    assert [(line["action"], line["attempts"], line["outcome"]) for line in called] == [
        ("get_download_url_for_layer", 2, "ok")
    ]


def test_a_call_that_ends_late_is_about_what_was_asked(server: FakeServer) -> None:
    subject = Subject(Repository("team/app"), "image", "1.0")
    with pytest.raises(ResolverError) as caught:
        Ecr(create_client("ecr"), Calls()).batch_get_image(subject, Invocation(Deadline.after(0)), imageIds=[])
    assert (caught.value.kind.code, caught.value.subject) == ("RequestTimeoutException", subject)


@pytest.mark.parametrize("url", ["http://localhost:9000", "http://127.0.0.1:9000", None])
def test_a_local_ecr_is_known_by_its_endpoint_and_the_partition_by_the_region(
    monkeypatch: pytest.MonkeyPatch, url: str | None
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "cn-north-1")
    if url is not None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", url)
    ecr = Ecr(create_client("ecr"), Calls())
    assert (ecr.is_local, ecr.partition) == (url is not None, "aws-cn")
