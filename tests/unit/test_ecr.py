"""The one door to ECR, with the real client; what it sends is answered by a list."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest
from botocore.hooks import HierarchicalEmitter
from botocore.session import get_session
from botocore.utils import ContainerMetadataFetcher

from layer_resolver import __version__, ecr
from layer_resolver.ecr import ATTEMPTS, Ecr, create_ecr_client, rehearse
from layer_resolver.errors import (
    ACCESS_DENIED,
    CREDENTIALS_REFUSED,
    INTERNAL_ERROR,
    SERVER_ERROR,
    THROTTLED,
    TIMED_OUT,
    ErrorKind,
    ResolverError,
    Subject,
)
from layer_resolver.invocation import Invocation
from layer_resolver.models import Repository
from layer_resolver.network import Answer, Deadline, HttpClient, RequestFailedError
from tests.unit.fakes import digest

SUBJECT = Subject(Repository(repository_name="team/app", registry_id="210987654321"), "layer", digest())

Outcome = Answer | Exception


def answer(document: Any, status: int = 200) -> Answer:
    """Return an answer of ECR's."""
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Answer(status, {"Content-Type": "application/x-amz-json-1.1"}, content)


def refusal(code: str, status: int = 400) -> Answer:
    return answer({"__type": code, "message": "no"}, status)


OK = answer({"downloadUrl": "https://b.s3.us-east-1.amazonaws.com/a", "layerDigest": digest()})


@pytest.fixture
def requests() -> list[dict[str, Any]]:
    """Return the requests that were sent."""
    return []


@pytest.fixture
def outcomes(monkeypatch: pytest.MonkeyPatch, requests: list[dict[str, Any]]) -> list[Outcome]:
    """Return what the next requests come to; the last one goes on for ever."""
    outcomes: list[Outcome] = []

    def request(_: HttpClient, method: str, url: str, headers: Any, deadline: Deadline, **more: Any) -> Answer:
        requests.append({"method": method, "url": url, "headers": dict(headers), "deadline": deadline, **more})
        outcome = outcomes.pop(0) if len(outcomes) > 1 else outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(HttpClient, "request", request)
    return outcomes


def call(ecr: Ecr | None = None, seconds: float = 10.0) -> Any:
    # Making a client takes a while, which is not part of the call.
    ecr = ecr or Ecr()
    invocation = Invocation(Deadline.after(seconds))
    return ecr.call("get_download_url_for_layer", SUBJECT, invocation, layerDigest=digest())


def test_a_call_is_signed_and_sent_as_ecr_wants_it(outcomes: list[Outcome], requests: list[dict[str, Any]]) -> None:
    outcomes.append(OK)
    assert call()["layerDigest"] == digest()
    (request,) = requests
    assert request["url"] == "https://api.ecr.us-east-1.amazonaws.com/"
    assert json.loads(request["body"]) == {
        "repositoryName": "team/app",
        "registryId": "210987654321",
        "layerDigest": digest(),
    }
    headers = {name.lower(): value for name, value in request["headers"].items()}
    assert headers["x-amz-target"] == "AmazonEC2ContainerRegistry_V20150921.GetDownloadUrlForLayer"
    assert headers["content-length"] == str(len(request["body"]))
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert f" ecr-layer-resolver/{__version__}" in headers["user-agent"]
    assert request["deadline"].remaining() <= 4
    assert request["most_bytes"] == 64 * 1024


def test_an_answer_with_a_manifest_may_be_as_large_as_one_in_json(
    outcomes: list[Outcome], requests: list[dict[str, Any]]
) -> None:
    outcomes.append(answer({"images": [], "failures": []}))
    image_ids = [{"imageTag": "1.0"}]
    Ecr().call("batch_get_image", SUBJECT, Invocation(Deadline.after(10)), imageIds=image_ids)
    assert requests[0]["most_bytes"] == 9 * 1024 * 1024


def signed_with(request: dict[str, Any]) -> str:
    """Return the access key that a request was signed with."""
    headers = {name.lower(): str(value) for name, value in request["headers"].items()}
    return headers["authorization"].partition("Credential=")[2].partition("/")[0]


def test_credentials_are_loaded_when_a_call_is_signed_and_kept(
    outcomes: list[Outcome], requests: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes.append(OK)
    ecr = Ecr()
    for access_key in ("AKIDLATER", "AKIDSTILLLATER"):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", access_key)
        call(ecr)
    assert [signed_with(request) for request in requests] == ["AKIDLATER"] * 2


def test_without_credentials_they_are_refused_and_nothing_is_sent(
    outcomes: list[Outcome], requests: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes.append(OK)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere/credentials")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere/config")
    with pytest.raises(ResolverError) as caught:
        call()
    assert caught.value.kind is CREDENTIALS_REFUSED
    assert not requests


class TestCredentialsOfSnapStart:
    """Lambda gives them over HTTP, and an answer that does not come holds up the invocation as ECR's would."""

    URL = "http://127.0.0.1:9001/2021-04-23/credentials"

    @pytest.fixture(autouse=True)
    def _environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere/credentials")
        monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere/config")
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", self.URL)
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "0123")

    def test_they_are_asked_for_once_and_within_the_attempt(
        self, outcomes: list[Outcome], requests: list[dict[str, Any]]
    ) -> None:
        given = {
            "AccessKeyId": "AKIDCONTAINER",
            "SecretAccessKey": "secret",
            "Token": "t",
            "Expiration": "2999-01-01T00:00:00Z",
        }
        outcomes += [answer(given), OK]
        ecr = Ecr()
        for _ in range(2):
            call(ecr, seconds=2)
        first, *others = requests
        assert (first["url"], first["headers"]["Authorization"]) == (self.URL, "0123")
        assert first["deadline"].remaining() <= 2
        assert first["most_bytes"] == 64 * 1024
        assert [signed_with(request) for request in others] == ["AKIDCONTAINER"] * 2

    @pytest.mark.parametrize(
        ("outcome", "kind"),
        [
            (RequestFailedError(), TIMED_OUT),
            (answer({}, 500), CREDENTIALS_REFUSED),
            (answer(b"<html>"), CREDENTIALS_REFUSED),
            (answer({}), CREDENTIALS_REFUSED),
            (answer([]), CREDENTIALS_REFUSED),
            (answer(b"\xff"), CREDENTIALS_REFUSED),
        ],
        ids=repr,
    )
    def test_without_them_the_call_ends_at_its_deadline(
        self,
        outcomes: list[Outcome],
        monkeypatch: pytest.MonkeyPatch,
        outcome: Outcome,
        kind: ErrorKind,
    ) -> None:
        waits: list[float] = []
        monkeypatch.setattr("layer_resolver.ecr.time.sleep", waits.append)
        # botocore waits a second; longer than the deadline shows that the deadline counts.
        monkeypatch.setattr(ContainerMetadataFetcher, "SLEEP_TIME", 60)
        outcomes.append(outcome)
        with pytest.raises(ResolverError) as caught:
            call(seconds=10)
        assert caught.value.kind is kind
        assert all(wait <= 10 for wait in waits)


@pytest.mark.parametrize(
    ("service", "action"),
    [
        ("ecr", "get_download_url_for_layer"),
        ("ecr", "batch_get_image"),
        ("ecr", "list_images"),
        ("ecr", "list_image_referrers"),
        ("events", "put_events"),
    ],
)
def test_a_call_meets_all_of_botocores_handlers_that_it_meets_with_all_of_them(
    outcomes: list[Outcome], monkeypatch: pytest.MonkeyPatch, service: str, action: str
) -> None:
    outcomes.append(answer({}))
    met: list[tuple[str, list[str]]] = []
    emitters: Any = HierarchicalEmitter
    emit = emitters._emit

    def recording(emitter: Any, event: str, *arguments: Any, **named: Any) -> Any:
        handlers = emitter._handlers.prefix_search(event)
        # Powertools registers its own whenever a session is made.
        met.append((event, sorted(handler.__qualname__ for handler in handlers)))
        return emit(emitter, event, *arguments, **named)

    monkeypatch.setattr(emitters, "_emit", recording)

    def met_by_a_call() -> list[tuple[str, list[str]]]:
        met.clear()
        with ecr.within(Deadline.after(5)):
            getattr(ecr.create_client(service, connections=1), action)()
        return list(met)

    ours = met_by_a_call()
    monkeypatch.setattr(ecr, "_create_session", get_session)
    assert ours == met_by_a_call()
    assert any("add_recursion_detection_header" in handlers for _, handlers in ours)


def test_the_account_of_the_credentials_is_at_hand_for_endpoints_that_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCOUNT_ID", "123456789012")
    credentials: Any = create_ecr_client()
    assert credentials._request_signer._credentials.get_deferred_property("account_id")() == "123456789012"


def test_a_rehearsal_sends_nothing_and_needs_no_credentials(
    outcomes: list[Outcome], requests: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    outcomes.append(OK)
    rehearse()
    assert not requests


@pytest.mark.parametrize(
    ("outcome", "kind", "tries"),
    [
        (refusal("ThrottlingException"), THROTTLED, ATTEMPTS),
        (refusal("SomethingNew", 429), THROTTLED, ATTEMPTS),
        (answer(b"<html>slow down</html>", 429), THROTTLED, ATTEMPTS),
        (refusal("ServerException", 500), SERVER_ERROR, ATTEMPTS),
        (answer(b"<html>bad gateway</html>", 502), SERVER_ERROR, ATTEMPTS),
        (answer(b"\xff\xfe", 503), SERVER_ERROR, ATTEMPTS),
        (answer(b"", 504), SERVER_ERROR, ATTEMPTS),
        (answer(b"[" * 100_000), SERVER_ERROR, ATTEMPTS),
        (answer([]), SERVER_ERROR, ATTEMPTS),
        (answer(b"too slow", 408), TIMED_OUT, ATTEMPTS),
        (RequestFailedError(), TIMED_OUT, ATTEMPTS),
        (refusal("AccessDeniedException"), ACCESS_DENIED, 1),
        (refusal("SomethingNew"), INTERNAL_ERROR, 1),
        (refusal("UnrecognizedClientException"), CREDENTIALS_REFUSED, 2),
    ],
    ids=repr,
)
def test_each_failure_has_its_row_and_what_may_pass_is_tried_again(
    outcomes: list[Outcome], requests: list[dict[str, Any]], outcome: Outcome, kind: ErrorKind, tries: int
) -> None:
    outcomes.append(outcome)
    with pytest.raises(ResolverError) as caught:
        call()
    assert caught.value.kind is kind
    assert caught.value.subject is SUBJECT
    assert caught.value.__cause__ is not None
    assert len(requests) == tries


def test_a_failure_that_passes_is_not_noticed_but_recorded_as_one_call(outcomes: list[Outcome]) -> None:
    outcomes += [refusal("ThrottlingException"), RequestFailedError(), OK]
    invocation = Invocation(Deadline.after(10))
    Ecr().call("get_download_url_for_layer", SUBJECT, invocation, layerDigest=digest())
    assert len(invocation.ecr_calls) == 1


def test_a_client_whose_credentials_are_refused_is_made_anew_once(outcomes: list[Outcome]) -> None:
    made: list[Any] = []

    def create() -> Any:
        made.append(create_ecr_client())
        return made[-1]

    outcomes += [refusal("ExpiredTokenException"), OK]
    ecr = Ecr(create)
    assert call(ecr)["layerDigest"] == digest()
    assert len(made) == 2
    outcomes.insert(0, refusal("ExpiredTokenException"))
    outcomes.insert(0, refusal("ExpiredTokenException"))
    with pytest.raises(ResolverError):
        call(ecr)
    assert len(made) == 3


def test_of_several_threads_whose_credentials_are_refused_one_makes_the_client_anew() -> None:
    made: list[Any] = []

    def create() -> Any:
        made.append(create_ecr_client())
        return made[-1]

    ecr = Ecr(create)
    for _ in range(3):
        ecr._renew(made[0])
    assert len(made) == 2


def test_the_wait_between_attempts_is_random_and_never_longer_than_what_is_left(
    outcomes: list[Outcome], requests: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    limits: list[tuple[float, float]] = []

    def uniform(least: float, limit: float) -> float:
        limits.append((least, limit))
        return 0.25 * limit

    monkeypatch.setattr("layer_resolver.ecr.JITTER.uniform", uniform)
    monkeypatch.setattr("layer_resolver.ecr.time.sleep", waits.append)
    outcomes.append(refusal("ThrottlingException"))
    with pytest.raises(ResolverError):
        call()
    assert (waits, limits[:2]) == ([0.25, 0.5], [(0, 1), (0, 2)])
    requests.clear()
    with pytest.raises(ResolverError) as caught:
        call(seconds=0.2)
    assert caught.value.kind is THROTTLED
    assert (len(requests), len(waits)) == (1, 2)


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 0.04])
def test_what_begins_too_late_is_answered_at_once(
    outcomes: list[Outcome], requests: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("layer_resolver.ecr.time.sleep", waits.append)
    outcomes.append(OK)
    with pytest.raises(ResolverError) as caught:
        call(Ecr(), seconds)
    assert caught.value.kind is TIMED_OUT
    assert not requests
    assert not waits


@pytest.mark.parametrize(
    ("url", "is_local"), [("http://localhost:9000", True), ("http://127.0.0.1:9000", True), (None, False)]
)
def test_where_the_endpoint_is_is_known(monkeypatch: pytest.MonkeyPatch, url: str | None, is_local: bool) -> None:
    if url is not None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", url)
    ecr = Ecr()
    assert (ecr.is_local, ecr.partition) == (is_local, "aws")


def test_each_client_reads_the_environment_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    create: Callable[[], Any] = create_ecr_client
    for region in ("us-east-1", "cn-north-1"):
        monkeypatch.setenv("AWS_DEFAULT_REGION", region)
        assert create().meta.region_name == region


def test_a_host_that_a_signer_has_added_is_not_sent_twice() -> None:
    headers: Any = {"host": "a", "X-Amz-Date": b"1", "X": "2"}
    assert ecr._headers(AWSPreparedRequest("POST", "https://a/", headers, b"", False)) == {"X-Amz-Date": "1", "X": "2"}


def test_a_rehearsal_goes_through_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    class Client:
        def get_download_url_for_layer(self, **parameters: str) -> None:
            called.append(parameters)

    called: list[dict[str, str]] = []
    monkeypatch.setattr(ecr, "_create_client", lambda *_: Client())
    rehearse()
    assert called


def test_clients_share_the_service_models_because_reading_them_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    load = ecr._SERVICE_MODELS.load_service_model

    def load_service_model(service: str, *more: Any, **others: Any) -> Any:
        loaded.append(service)
        return load(service, *more, **others)

    monkeypatch.setattr(ecr._SERVICE_MODELS, "load_service_model", load_service_model)
    for _ in range(2):
        create_ecr_client()
    assert loaded.count("ecr") >= 2
