"""Requests that end at their deadline. The other side is the end of a pair of sockets: no server is needed."""

import gzip
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trustme

from layer_resolver import network
from layer_resolver.network import Answer, AnswerTooLargeError, Deadline, HttpClient, RequestFailedError

URL = "http://s3.example.com:9000/blob?X-Amz-Signature=0123"

Peer = Callable[[socket.socket], None]


@contextmanager
def talking_to(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[socket.socket]]:
    """Connect every connection to `peer`, which runs in a thread; yields the connections so far."""
    threads, ends = [], []

    def connect(_: object, deadline: Deadline) -> socket.socket:
        seconds = deadline.seconds_to_wait()
        ours, theirs = socket.socketpair()
        ends.append(theirs)

        def talk() -> None:
            with theirs, suppress(OSError):
                peer(theirs)

        thread = threading.Thread(target=talk)
        threads.append(thread)
        thread.start()
        connected = network._Connection(fileno=ours.detach())
        connected.settimeout(seconds)
        return connected

    monkeypatch.setattr(network, "_look_up", lambda *_: [])
    monkeypatch.setattr(network, "_connect", connect)
    yield ends
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join()


def saying(answer: bytes) -> Peer:
    def peer(connection: socket.socket) -> None:
        while connection.recv(65536):
            connection.sendall(answer)

    return peer


def dripping(before: bytes, drop: bytes) -> Peer:
    """Say something, and then one thing again and again, each well within any time-out."""

    def peer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(before)
        while True:
            connection.sendall(drop)
            time.sleep(0.02)

    return peer


def get(client: HttpClient, seconds: float = 5.0, most_bytes: int = 1000) -> Answer:
    return client.request("GET", URL, {}, Deadline.after(seconds), most_bytes=most_bytes)


def test_an_answer_comes_with_its_status_headers_and_body(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = b"HTTP/1.1 206 Partial Content\r\nContent-Length: 2\r\nContent-Range: bytes 0-0/7\r\n\r\nok"
    with talking_to(saying(answer), monkeypatch) as connections:
        client = HttpClient(1)
        for _ in range(2):
            got = get(client)
            assert (got.status, got.headers["content-range"], got.content) == (206, "bytes 0-0/7", b"ok")
        assert len(connections) == 1


def test_a_connection_that_is_used_again_waits_no_longer_than_the_new_request_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def peer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        while connection.recv(65536):
            pass

    with talking_to(peer, monkeypatch) as connections:
        client = HttpClient(1)
        get(client, seconds=30)
        started = time.monotonic()
        with pytest.raises(RequestFailedError):
            get(client, seconds=0.2)
        assert time.monotonic() - started < 10
        assert len(connections) == 1


def test_a_peer_that_takes_no_more_of_a_request_is_waited_for_until_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    over = threading.Event()

    def peer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        over.wait(20)

    with talking_to(peer, monkeypatch) as connections:
        client = HttpClient(1)
        get(client, seconds=30)
        started = time.monotonic()
        with pytest.raises(RequestFailedError):
            client.request("POST", URL, {}, Deadline.after(0.2), body=bytes(10_000_000), most_bytes=10)
        waited = time.monotonic() - started
        over.set()
        assert waited < 10
        assert len(connections) == 1


def test_a_request_is_sent_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[bytes] = []

    def peer(connection: socket.socket) -> None:
        sent = b""
        while not sent.endswith(b"\r\n\r\nbody"):
            sent += connection.recv(65536)
        received.append(sent)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with talking_to(peer, monkeypatch):
        HttpClient(1).request(
            "POST",
            "http://s3.example.com",
            {"X-A": "b", "Content-Length": "4"},
            Deadline.after(5),
            body=b"body",
            most_bytes=10,
        )
    assert received[0].startswith(b"POST / HTTP/1.1\r\n")
    assert b"X-A: b\r\n" in received[0]


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://s3.example.com:9000/blob?X-Amz-Signature=0123", b"/blob?X-Amz-Signature=0123"),
        ("http://s3.example.com:9000?X-Amz-Signature=0123", b"/?X-Amz-Signature=0123"),
        ("http://s3.example.com:9000", b"/"),
    ],
)
def test_the_query_of_a_url_is_sent_with_its_path(monkeypatch: pytest.MonkeyPatch, url: str, target: bytes) -> None:
    received: list[bytes] = []

    def peer(connection: socket.socket) -> None:
        received.append(connection.recv(65536))

    with talking_to(peer, monkeypatch), pytest.raises(RequestFailedError):
        HttpClient(1).request("GET", url, {}, Deadline.after(5), most_bytes=1)
    assert received == [b"GET " + target + b" HTTP/1.1\r\nHost: s3.example.com:9000\r\n\r\n"]


def test_the_port_that_a_scheme_has_anyway_is_not_sent_because_it_is_not_signed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    received: list[bytes] = []

    def peer(connection: socket.socket) -> None:
        received.append(connection.recv(65536))

    with talking_to(peer, monkeypatch), pytest.raises(RequestFailedError):
        HttpClient(1).request("GET", "http://s3.example.com:80/blob", {}, Deadline.after(5), most_bytes=1)
    assert received == [b"GET /blob HTTP/1.1\r\nHost: s3.example.com\r\n\r\n"]


@pytest.mark.parametrize(
    ("method", "path", "header"),
    [
        ("GET", "/blob", "a\r\nX-Forged: b"),
        ("GET", "/blob", "a\nX-Forged: b"),
        ("GET", "/blob", "a\rb"),
        ("GET", "/blob", "\u010d"),
        ("GET", "/blob HTTP/1.1", "a"),
        ("GET /", "/blob", "a"),
    ],
)
def test_what_would_make_another_request_of_it_is_not_sent(
    monkeypatch: pytest.MonkeyPatch, method: str, path: str, header: str
) -> None:
    with talking_to(saying(b""), monkeypatch) as connections, pytest.raises(ValueError, match=r"."):
        HttpClient(1).request(method, f"http://s3.example.com{path}", {"X-A": header}, Deadline.after(5), most_bytes=1)
    assert not connections


def test_a_connection_that_the_other_side_has_closed_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with talking_to(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), monkeypatch) as connections:
        client = HttpClient(1)
        for _ in range(3):
            assert get(client).content == b"ok"
            connections[-1].shutdown(socket.SHUT_RDWR)
        assert len(connections) == 3


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
)
def test_a_connection_that_is_said_to_close_is_not_used_again(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    with talking_to(saying(answer), monkeypatch) as connections:
        client = HttpClient(1)
        for _ in range(2):
            assert get(client).content == b"ok"
        assert len(connections) == 2


def test_a_body_in_chunks_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n"
    with talking_to(saying(answer), monkeypatch) as connections:
        client = HttpClient(1)
        for _ in range(2):
            assert get(client).content == b"ok"
        assert len(connections) == 1


def test_no_more_connections_are_kept_than_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    with talking_to(saying(answer), monkeypatch) as connections:
        client = HttpClient(1)
        for host in ("a.example.com", "b.example.com", "a.example.com", "b.example.com"):
            client.request("GET", f"http://{host}/", {}, Deadline.after(5), most_bytes=10)
        assert len(connections) == 3


@pytest.mark.parametrize(
    "peer",
    [
        dripping(b"", b"H"),
        dripping(b"HTTP/1.1 200 OK\r\nX-Endless: ", b"."),
        dripping(b"HTTP/1.1 200 OK\r\n", b"X-More: 1\r\n"),
        dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"."),
        dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n.\r\n"),
        dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        lambda _: time.sleep(1),
    ],
    ids=["status", "header", "headers", "body", "chunks", "100 Continue", "silence"],
)
def test_what_trickles_in_is_given_up_at_the_deadline(monkeypatch: pytest.MonkeyPatch, peer: Peer) -> None:
    with talking_to(peer, monkeypatch):
        started = time.monotonic()
        with pytest.raises(RequestFailedError):
            get(HttpClient(1), seconds=0.3, most_bytes=10**9)
        assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    "answer",
    [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", b"HTTP/1.1 999999 x\r\n\r\n"],
)
def test_what_is_no_whole_answer_is_a_failure(monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    def peer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(answer)

    with talking_to(peer, monkeypatch), pytest.raises(RequestFailedError):
        get(HttpClient(1))


def test_a_body_beyond_the_limit_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n" + b"x" * 1001
    with talking_to(saying(answer), monkeypatch), pytest.raises(AnswerTooLargeError):
        get(HttpClient(1))


def test_a_body_without_an_end_is_given_up_when_it_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    def peer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(bytes(65536))

    with talking_to(peer, monkeypatch), pytest.raises(AnswerTooLargeError):
        get(HttpClient(1), seconds=60)


def test_a_redirect_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    redirect = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
    answers = [redirect, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]

    def peer(connection: socket.socket) -> None:
        while connection.recv(65536):
            connection.sendall(answers.pop(0))

    with talking_to(peer, monkeypatch):
        assert get(HttpClient(1)).status == 302


def test_what_is_compressed_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    body = gzip.compress(bytes(10_000_000))
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    with talking_to(saying(answer + body), monkeypatch):
        assert get(HttpClient(1), most_bytes=100_000).content == body


def test_with_a_limit_of_nothing_the_body_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b".")
    with talking_to(peer, monkeypatch):
        answer = get(HttpClient(1), most_bytes=0)
    assert (answer.content, answer.headers["content-length"]) == (b"", "100000")


def test_a_connection_with_a_body_that_was_not_read_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with talking_to(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), monkeypatch) as connections:
        client = HttpClient(1)
        for _ in range(2):
            assert get(client, most_bytes=0).status == 200
        assert len(connections) == 2


def test_without_time_left_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    with talking_to(saying(answer), monkeypatch) as connections:
        client = HttpClient(1)
        with pytest.raises(RequestFailedError):
            get(client, seconds=-1)
        assert not connections
        get(client)
        with pytest.raises(RequestFailedError):
            get(client, seconds=-1)


class TestLookUp:
    @pytest.fixture(autouse=True)
    def _no_memory(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        network._addresses.clear()
        with ThreadPoolExecutor(2, thread_name_prefix="names") as threads:
            monkeypatch.setattr(network, "_lookups", threads)
            yield

    def test_a_look_up_that_hangs_is_given_up_at_the_deadline(self, monkeypatch: pytest.MonkeyPatch) -> None:
        released = threading.Event()
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: released.wait(10) and [])
        started = time.monotonic()
        for _ in range(5):
            with pytest.raises(RequestFailedError):
                get(HttpClient(1), seconds=0.1)
        assert time.monotonic() - started < 2
        assert sum(thread.name.startswith("names") for thread in threading.enumerate()) == 1
        released.set()

    def test_all_who_want_an_address_wait_for_one_look_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[object] = []
        released = threading.Event()

        def look_up(*names: object, **_: object) -> list[object]:
            asked.append(names)
            assert released.wait(10)
            return []

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        with ThreadPoolExecutor(8) as callers:
            waiting = [callers.submit(network._look_up, "s3.example.com", 443, Deadline.after(10)) for _ in range(8)]
            released.set()
            assert [each.result() for each in waiting] == [[]] * 8
        assert len(asked) == 1
        assert not network._pending

    @pytest.mark.parametrize(
        ("url", "port"),
        [("https://s3.example.com/a", 443), ("http://s3.example.com/a", 80), ("https://s3.example.com:8443/a", 8443)],
    )
    def test_a_url_without_a_port_leads_to_that_of_its_scheme(
        self, monkeypatch: pytest.MonkeyPatch, url: str, port: int
    ) -> None:
        asked: list[object] = []

        def look_up(_: bytes, *more: object, **__: object) -> list[object]:
            asked.append(more[0])
            return []

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        with pytest.raises(RequestFailedError):
            HttpClient(1).request("GET", url, {}, Deadline.after(10), most_bytes=1)
        assert asked == [port]

    def test_a_name_that_there_is_not_is_a_failure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object, **__: object) -> None:
            raise socket.gaierror(-2, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", fail)
        with pytest.raises(RequestFailedError):
            get(HttpClient(1))

    def test_addresses_are_used_again_for_the_next_connections(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[object] = []

        def look_up(*names: object, **_: object) -> list[object]:
            asked.append(names)
            return []

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        for _ in range(3):
            with pytest.raises(RequestFailedError):
                get(HttpClient(1))
        assert len(asked) == 1


class TestConnect:
    def test_the_next_address_is_tried_when_one_does_not_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tried = []

        def connect(self: socket.socket, address: object) -> None:
            tried.append(address)
            if len(tried) < 2:
                raise ConnectionRefusedError

        monkeypatch.setattr(network._Connection, "connect", connect, raising=False)
        address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 443))
        network._connect([address, address], Deadline.after(5)).close()
        assert len(tried) == 2

    def test_an_address_that_hangs_leaves_time_for_the_next_and_for_the_handshake(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        patience: list[float] = []

        def connect(self: socket.socket, _: object) -> None:
            patience.append(self.gettimeout() or 0)
            time.sleep(0.1)
            if len(patience) < 2:
                raise TimeoutError

        monkeypatch.setattr(network._Connection, "connect", connect, raising=False)
        address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 443))
        with network._connect([address, address], Deadline.after(1.0)) as connected:
            assert 0.4 < patience[0] <= 0.5
            assert 0.6 < patience[1] <= 0.9
            assert (connected.gettimeout() or 9) <= 0.8

    def test_a_request_is_not_held_back_until_the_one_before_has_been_acknowledged(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(network._Connection, "connect", lambda *_: None, raising=False)
        address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 443))
        with network._connect([address], Deadline.after(5)) as connected:
            assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    @pytest.mark.parametrize("error", [ConnectionRefusedError, TimeoutError])
    def test_without_a_connection_there_is_no_answer(
        self, monkeypatch: pytest.MonkeyPatch, error: type[OSError]
    ) -> None:
        def connect(*_: object) -> None:
            raise error

        monkeypatch.setattr(network._Connection, "connect", connect, raising=False)
        monkeypatch.setattr(
            network, "_look_up", lambda *_: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 443))]
        )
        with pytest.raises(RequestFailedError):
            get(HttpClient(1))


class TestTls:
    HOST = "s3.example.com"

    @pytest.fixture
    def trusted(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[trustme.CA]:
        """Return the one authority that is trusted."""
        authority = trustme.CA()
        authority.cert_pem.write_to_path(tmp_path / "authority.pem")
        monkeypatch.setattr(network, "get_cert_path", lambda _: str(tmp_path / "authority.pem"))
        network.tls_context.cache_clear()
        yield authority
        network.tls_context.cache_clear()

    @staticmethod
    def serving(authority: trustme.CA, host: str, heard: list[bytes]) -> Peer:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(host).configure_cert(context)
        context.set_alpn_protocols(["h2", "http/1.1"])

        def peer(connection: socket.socket) -> None:
            with suppress(ssl.SSLError), context.wrap_socket(connection, server_side=True) as encrypted:
                heard.append(encrypted.recv(65536) + f"\n{encrypted.selected_alpn_protocol()}".encode())
                encrypted.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        return peer

    def ask(self, peer: Peer, monkeypatch: pytest.MonkeyPatch, seconds: float = 5.0) -> Answer:
        with talking_to(peer, monkeypatch):
            return HttpClient(1).request(
                "GET", f"https://{self.HOST}/blob", {}, Deadline.after(seconds), most_bytes=1000
            )

    def test_a_server_with_a_trusted_certificate_is_asked(
        self, trusted: trustme.CA, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        heard: list[bytes] = []
        assert self.ask(self.serving(trusted, self.HOST, heard), monkeypatch).content == b"ok"
        assert heard[0].startswith(b"GET /blob HTTP/1.1")
        # To whoever does not name it, some servers would talk in another version.
        assert heard[0].endswith(b"\nhttp/1.1")

    @pytest.mark.parametrize("host", [HOST, "other.example.com"])
    def test_a_server_that_is_not_to_be_trusted_is_told_nothing(
        self, trusted: trustme.CA, monkeypatch: pytest.MonkeyPatch, host: str
    ) -> None:
        heard: list[bytes] = []
        authority = trusted if host != self.HOST else trustme.CA()
        with pytest.raises(RequestFailedError) as caught:
            self.ask(self.serving(authority, host, heard), monkeypatch)
        assert "CERTIFICATE_VERIFY_FAILED" in str(caught.value.__cause__)
        assert heard in ([], [b"\nhttp/1.1"])

    @pytest.mark.usefixtures("trusted")
    @pytest.mark.parametrize(
        "peer", [dripping(b"", b""), dripping(b"\x16\x03\x03\x3f\xff\x02\x00\x3f\xfb", b".")], ids=["silence", "drops"]
    )
    def test_a_handshake_that_hangs_ends_at_the_deadline(self, monkeypatch: pytest.MonkeyPatch, peer: Peer) -> None:
        started = time.monotonic()
        with pytest.raises(RequestFailedError):
            self.ask(peer, monkeypatch, seconds=0.3)
        assert time.monotonic() - started < 2


def test_a_deadline_is_never_later_than_the_one_before() -> None:
    deadline = Deadline.after(5)
    assert deadline.within(10) == deadline
    assert 0.9 < deadline.within(1).remaining() <= 1
    assert Deadline.after(-1).remaining() == 0
