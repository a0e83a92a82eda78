"""Each fault of a connection on its own, with real clients and servers on this machine."""

import json
import socket
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trustme

from layer_resolver import calls
from layer_resolver.calls import THREADS
from layer_resolver.handler import create_handler
from layer_resolver.pull_events import PUT_SECONDS
from layer_resolver.settings import Settings
from tests.faults.harness import (
    ALLOWANCE_SECONDS,
    LAYER,
    LAYER_DIGEST,
    Outcome,
    described_errors,
    invoke,
    new_client,
    s3_answer,
)
from tests.faults.harness import well as answering_well
from tests.faults.server import (
    Behaviour,
    FaultServer,
    HttpRequest,
    Respond,
    answer,
    close,
    fault_server,
    hang,
    reset,
    tunnel,
)
from tests.unit.fakes import digest, function_url_event

# A client that a test drops leaves its connections to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

READ_SECONDS = 3.0
"""The read time-out of clients in tests that meet it."""

OPTED_INTO_ALL = Settings(image_pull=True, list_tags=True)


@pytest.fixture
def s3() -> Iterator[FaultServer]:
    with fault_server(s3_answer) as server:
        yield server


@pytest.fixture
def well(s3: FaultServer) -> Respond:
    return answering_well(s3.port)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, well: Respond) -> Iterator[FaultServer]:
    """Return a server in ECR's place."""
    with fault_server(well) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", f"http://127.0.0.1:{server.port}")
        yield server


def one_layer(number: int = 1) -> dict[str, Any]:
    query = {"repositoryName": "team/app", "layerDigest": digest(number)}
    return function_url_event("GET", "/download-url", query)


def many_layers(count: int, start: int = 1000) -> dict[str, Any]:
    digests = [digest(start + number) for number in range(count)]
    body = json.dumps({"repositoryName": "team/app", "layerDigests": digests})
    return function_url_event("POST", "/download-urls", body=body)


def size_of(layer_digest: str) -> dict[str, Any]:
    return function_url_event("HEAD", f"/v2/team/app/blobs/{layer_digest}")


def failures_of(outcome: Outcome) -> list[dict[str, Any]]:
    failures: list[dict[str, Any]] = json.loads(outcome.answered["body"])["failures"]
    return failures


def cause_of(outcome: Outcome) -> dict[str, Any]:
    """Return the cause in the log of the only error."""
    (error,) = described_errors(outcome.written)
    cause: dict[str, Any] = error["cause"]
    return cause


class TestWhyThereIsNoAnswer:
    def ask(self) -> dict[str, Any]:
        outcome = invoke(create_handler(new_client(read_seconds=0.1), Settings()), one_layer())
        assert (outcome.status, outcome.code) == (504, "RequestTimeoutException")
        return cause_of(outcome)

    def test_a_connection_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", f"http://127.0.0.1:{port}")
        assert "ConnectionRefusedError" in self.ask()["because"]

    def test_an_answer_times_out(self, server: FaultServer) -> None:
        server.respond = lambda _: hang()
        cause = self.ask()
        assert (cause["type"], "TimeoutError" in cause["because"]) == ("ReadTimeoutError", True)

    def test_a_name_is_unknown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def getaddrinfo(*_: Any, **__: Any) -> Any:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        cause = self.ask()
        assert ("gaierror" in cause["because"], cause["errno"]) == (True, socket.EAI_NONAME)

    def test_a_certificate_is_refused_and_ecr_is_asked_once(
        self, monkeypatch: pytest.MonkeyPatch, tls: ssl.SSLContext
    ) -> None:
        with fault_server(lambda _: close(), tls) as server:
            monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", f"https://127.0.0.1:{server.port}")
            assert "SSLCertVerificationError" in self.ask()["because"]
            assert server.connections == 1

    def test_s3s_certificate_is_refused_and_s3_is_asked_once(self, server: FaultServer, tls: ssl.SSLContext) -> None:
        with fault_server(lambda _: close(), tls) as s3:
            url = {"downloadUrl": f"https://localhost:{s3.port}/a", "layerDigest": digest()}
            server.respond = lambda _: answer(200, json.dumps(url).encode())
            outcome = invoke(
                create_handler(new_client(), Settings(download_url_hosts=("localhost",))), size_of(digest())
            )
            assert outcome.status == 504
            assert "SSLCertVerificationError" in cause_of(outcome)["because"]
            assert s3.connections == 1


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    """Return a server's side of TLS, with a certificate that only `authority` vouches for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    names = ("localhost", "127.0.0.1", "api.ecr.us-east-1.amazonaws.com", "bucket.s3.us-east-1.amazonaws.com")
    authority.issue_cert(*names).configure_cert(context)
    return context


def test_the_proxy_and_the_ca_bundle_of_the_environment_are_used_for_ecr_and_for_s3(
    monkeypatch: pytest.MonkeyPatch, authority: trustme.CA, tls: ssl.SSLContext
) -> None:
    connected: list[str] = []
    url = {"downloadUrl": "https://bucket.s3.us-east-1.amazonaws.com/a", "layerDigest": LAYER_DIGEST}

    def connect(request: HttpRequest) -> Behaviour:
        connected.append(request.line.split(" ")[1])
        assert request.headers["proxy-authorization"] == f"Basic {b64encode(b'user:p@ss').decode()}"
        return tunnel(aws_ecr.port if "ecr" in request.line else aws_s3.port)

    with (
        fault_server(lambda _: answer(200, json.dumps(url).encode()), tls) as aws_ecr,
        fault_server(s3_answer, tls) as aws_s3,
        fault_server(connect) as proxy,
        authority.cert_pem.tempfile() as bundle,
    ):
        monkeypatch.setenv("AWS_CA_BUNDLE", bundle)
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:p%40ss@127.0.0.1:{proxy.port}")
        outcome = invoke(create_handler(new_client(), Settings()), size_of(LAYER_DIGEST))
    assert (outcome.status, outcome.answered["headers"]["Content-Length"]) == (200, str(len(LAYER)))
    assert connected == ["api.ecr.us-east-1.amazonaws.com:443", "bucket.s3.us-east-1.amazonaws.com:443"]


def test_200_throttled_layers_make_no_more_calls_than_botocores_quota_allows(server: FaultServer) -> None:
    calls: list[HttpRequest] = []
    throttled = answer(400, b'{"__type": "ThrottlingException"}')

    def respond(request: HttpRequest) -> Behaviour:
        calls.append(request)
        return throttled

    server.respond = respond
    outcome = invoke(create_handler(new_client(), Settings()), many_layers(200))
    assert {each["code"] for each in failures_of(outcome)} == {"ThrottlingException"}
    assert len(failures_of(outcome)) == 200
    assert 200 < len(calls) <= 300


def keep_connections(handler: Callable[..., Any], server: FaultServer, well: Respond, count: int) -> None:
    """Leave a number of kept connections to a server."""
    together = threading.Barrier(count)

    def respond(request: HttpRequest) -> Behaviour:
        together.wait(60)
        return well(request)

    server.respond = respond
    assert not failures_of(invoke(handler, many_layers(count)))
    assert server.connections == count
    server.respond = well


class TestKeptConnections:
    @pytest.mark.parametrize("fault", [reset, hang])
    @pytest.mark.parametrize(("dead", "is_batch_first"), [(1, False), (THREADS, False), (THREADS, True)])
    def test_when_kept_connections_are_dead_the_next_requests_cost_one_time_out_at_most(
        self, server: FaultServer, well: Respond, fault: Callable[[], Behaviour], dead: int, is_batch_first: bool
    ) -> None:
        handler = create_handler(new_client(read_seconds=READ_SECONDS), Settings())
        keep_connections(handler, server, well, dead)
        met: list[int] = []

        def respond(request: HttpRequest) -> Behaviour:
            if request.connection > dead:
                return well(request)
            met.append(request.connection)
            return fault()

        server.respond = respond
        events = [one_layer(), many_layers(40, start=2000), one_layer(2)]
        for event in events[1:] if is_batch_first else events:
            outcome = invoke(handler, event)
            assert outcome.status == 200
            assert not json.loads(outcome.answered["body"]).get("failures")
        assert len(set(met)) == len(met) >= 1
        if fault is hang:
            # All at once, in the batch that came first; one, and the others are closed, in a single request.
            assert len(met) <= (dead if is_batch_first else 1)

    @pytest.mark.parametrize("fault", [reset, hang])
    def test_when_a_kept_connection_to_s3_is_dead_a_new_one_answers(
        self, server: FaultServer, s3: FaultServer, fault: Callable[[], Behaviour]
    ) -> None:
        handler = create_handler(new_client(), Settings())
        assert invoke(handler, size_of(digest(1))).status == 200
        assert invoke(handler, size_of(digest(2))).status == 200
        assert s3.connections == 1
        s3.respond = lambda request: fault() if request.connection == 1 else s3_answer(request)
        assert invoke(handler, size_of(digest(3))).status == 200
        assert s3.connections == 2

    def test_no_connection_is_used_a_minute_later_even_if_the_environment_was_frozen(
        self, bus: "Bus", server: FaultServer, s3: FaultServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        handler = create_handler(new_client(), bus.settings, bus.client())
        servers = (server, s3, bus.server)
        later = time.time() + calls.CONNECTION_SECONDS + 5
        for number, connections in ((1, 1), (2, 1), (3, 2)):
            if connections == 2:
                # The clock that counts from the start stands still in a frozen environment.
                monkeypatch.setattr(time, "time", lambda: later)
            assert invoke(handler, one_layer(number)).status == 200
            assert invoke(handler, size_of(digest(10 + number))).status == 200
            assert [each.connections for each in servers] == [connections] * 3


class Bus:
    """EventBridge, and the events that it took."""

    def __init__(self, server: FaultServer) -> None:
        self.server = server
        self.server.respond = self.put
        self.settings = Settings(pull_event_bus="pulls")
        self.events: list[str] = []

    def put(self, request: HttpRequest) -> Behaviour:
        (entry,) = json.loads(request.body)["Entries"]
        self.events.append(json.loads(entry["Detail"])["layerDigests"][0])
        return answer(200, b'{"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]}')

    def client(self) -> Any:
        return new_client("events", read_seconds=2 * PUT_SECONDS)


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bus]:
    with fault_server(lambda _: close()) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_EVENTBRIDGE", f"http://127.0.0.1:{server.port}")
        yield Bus(server)


@pytest.mark.parametrize("fault", [reset, hang])
def test_when_the_kept_connection_to_eventbridge_is_dead_two_pulls_are_still_two_events(
    server: FaultServer, bus: Bus, fault: Callable[[], Behaviour]
) -> None:
    handler = create_handler(new_client(), bus.settings, bus.client())
    assert invoke(handler, one_layer(1)).status == 200
    bus.server.respond = lambda request: fault() if request.connection == 1 else bus.put(request)
    outcome = invoke(handler, one_layer(2))
    assert outcome.status == 200
    assert outcome.seconds < ALLOWANCE_SECONDS
    ends = time.monotonic() + ALLOWANCE_SECONDS
    while len(bus.events) < 2 and time.monotonic() < ends:
        time.sleep(0.02)
    assert bus.events == [digest(1), digest(2)]


def late(premature: bytes, behaviour: Behaviour) -> Behaviour:
    """Send bytes, and an answer a while later."""

    def act(connection: socket.socket) -> None:
        connection.sendall(premature)
        time.sleep(0.1)
        behaviour.act(connection)

    return Behaviour("late", act, keeps_connection=True)


class TestAnUnexpected103:
    EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"

    def test_the_next_request_gets_its_own_tags(self, server: FaultServer) -> None:
        early = iter([True])

        def respond(request: HttpRequest) -> Behaviour:
            name = json.loads(request.body)["repositoryName"].rpartition("/")[2]
            good = answer(200, json.dumps({"imageIds": [{"imageTag": name}]}).encode())
            return late(self.EARLY, good) if next(early, False) else good

        server.respond = respond
        handler = create_handler(new_client(), OPTED_INTO_ALL)
        for name in ("first", "second"):
            outcome = invoke(handler, function_url_event("GET", f"/v2/team/{name}/tags/list"))
            assert json.loads(outcome.answered["body"]) == {"name": f"team/{name}", "tags": [name]}
            time.sleep(0.15)

    def test_the_next_request_gets_its_own_size(self, server: FaultServer, s3: FaultServer) -> None:
        early = iter([True])

        def respond(request: HttpRequest) -> Behaviour:
            size = 2 if digest(2)[7:] in request.line else 1
            good = answer(206, b"a", f"Content-Range: bytes 0-0/{size}")
            return late(self.EARLY, good) if next(early, False) else good

        s3.respond = respond
        handler = create_handler(new_client(), Settings())
        for number in (1, 2):
            outcome = invoke(handler, size_of(digest(number)))
            assert (outcome.status, outcome.answered["headers"]["Content-Length"]) == (200, str(number))
            time.sleep(0.15)


def test_hanging_look_ups_of_other_names_do_not_stop_a_request_that_needs_ecr_alone(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = threading.Event()
    look_up = socket.getaddrinfo

    def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        if host == "127.0.0.1":
            return look_up(host, *arguments, **options)
        ends.wait(6 * ALLOWANCE_SECONDS)
        raise socket.gaierror(socket.EAI_AGAIN, "hangs")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    url = {"downloadUrl": "https://bucket.s3.us-east-1.amazonaws.com/a"}
    server.respond = lambda _: answer(200, json.dumps(url).encode())
    handler = create_handler(new_client(), Settings(pull_event_bus="pulls"), new_client("events"))
    try:
        assert invoke(handler, size_of(digest(1)), remaining_milliseconds=700).status == 504
        for number in (2, 3):
            outcome = invoke(handler, one_layer(number))
            assert outcome.status == 200
            # Its pull event waits for a name as well.
            assert outcome.seconds < ALLOWANCE_SECONDS
    finally:
        ends.set()


def test_32_threads_hung_by_one_invocation_do_not_stop_the_next(server: FaultServer, well: Respond) -> None:
    server.respond = lambda _: hang()
    handler = create_handler(new_client(), Settings())
    outcome = invoke(handler, many_layers(40), remaining_milliseconds=800)
    assert len(failures_of(outcome)) == 40
    server.respond = well
    for event in (one_layer(), many_layers(40, start=2000)):
        outcome = invoke(handler, event)
        assert outcome.status == 200
    server.drop_connections()
