"""HTTP as the client speaks it: proxies, TLS, the server's clock, and connections that stall or drip."""

import contextlib
import importlib.util
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import trustme

from ecr_layers import Client, MissingPackageError, Retries, ServiceError, UsageError
from ecr_layers.transfer import transport as transport_module
from ecr_layers.transfer.proxies import proxy_for
from ecr_layers.transfer.rates import RateLimit
from ecr_layers.transfer.transport import Clock, Problem, Transport, TransportError
from tests.client.sockets import head_of, serving

S3 = "https://bucket.s3.example.com/layer"


@pytest.mark.parametrize(
    ("exempt", "url"),
    [
        ("localhost,[::1]", "https://[::1]/"),
        ("fe80::/10", "https://[fe80::1]/"),
        ("10.0.0.0/8", "https://10.1.2.3/"),
        ("example.com", "https://a.example.com/"),
        (".example.com", "https://a.example.com/"),
        ("*.example.com", "https://a.example.com/"),
        ("a.example.com:443", "https://a.example.com/"),
        ("[fe80::1]:443", "https://[fe80::1]/"),
        ("*", "https://a.example.com/"),
        ("", "http://127.0.0.1:9000/"),
    ],
)
def test_no_proxy_names_hosts_domains_networks_and_ports(exempt: str, url: str) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        assert proxy_for(url, {"ALL_PROXY": "http://proxy:3128", name: exempt}) is None


def test_no_proxy_covers_nothing_else() -> None:
    for exempt in ("notexample.com", "example.com:8443", "10.0.0.0/8", "a.example.com.org"):
        assert proxy_for("https://a.example.com/", {"ALL_PROXY": "http://proxy:3128", "NO_PROXY": exempt}) is not None


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        ({"https_proxy": "http://proxy:3128"}, "http://proxy:3128"),
        ({"HTTPS_PROXY": "proxy"}, "http://proxy:80"),
        ({"ALL_PROXY": "proxy:3128"}, "http://proxy:3128"),
        ({"all_proxy": "https://[fe80::1]"}, "https://[fe80::1]:443"),
        ({"HTTPS_PROXY": "http://a:1", "all_proxy": "http://b:1"}, "http://a:1"),
        ({"ALL_PROXY": "socks5h://proxy:1080"}, "socks5h://proxy:1080"),
    ],
)
def test_a_proxy_comes_from_the_environment(environment: dict[str, str], url: str) -> None:
    proxy = proxy_for(S3, environment)
    assert proxy is not None
    assert (proxy.url, proxy.is_socks) == (url, url.startswith("socks"))


def test_the_variable_that_a_request_header_can_set_is_ignored() -> None:
    assert proxy_for("http://example.com/", {"HTTP_PROXY": "http://proxy:3128"}) is None


def test_user_and_password_of_a_proxy_are_sent_to_it_and_never_shown() -> None:
    proxy = proxy_for(S3, {"HTTPS_PROXY": "http://me:s%40cret@proxy:3128"})
    assert proxy is not None
    assert (proxy.url, proxy.authorization) == ("http://proxy:3128", "Basic bWU6c0BjcmV0")
    assert "cret" not in repr(proxy)


@pytest.mark.parametrize("value", ["http://h:notaport", "ftp://h", "http://[", "socks5://", "http://h:99999"])
def test_an_invalid_proxy_is_an_error_that_names_the_variable(value: str) -> None:
    with pytest.raises(UsageError, match="The environment variable ALL_PROXY isn't a proxy's URL") as caught:
        proxy_for(S3, {"ALL_PROXY": value})
    assert value not in str(caught.value)


def test_the_service_and_s3_are_asked_through_the_proxy_with_its_credentials() -> None:
    seen: list[bytes] = []

    def handle(connection: socket.socket) -> None:
        seen.append(head_of(connection))
        connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")

    with serving(handle) as address:
        transport = Transport(environment={"ALL_PROXY": f"me:secret@{address}"})
        with pytest.raises(TransportError) as caught, transport.request("GET", S3):
            pytest.fail("the proxy refuses")
        assert caught.value.problem is Problem.PROXY
        with transport.request("GET", "http://service.example.com/healthz") as answer:
            assert answer.status == 502
    assert seen[0].startswith(b"CONNECT bucket.s3.example.com:443")
    assert seen[1].startswith(b"GET http://service.example.com/healthz")
    assert all(b"Basic bWU6c2VjcmV0" in each for each in seen)


def test_a_socks_proxy_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    transport = Transport(environment={"ALL_PROXY": "socks5://127.0.0.1:1"})
    with pytest.raises(MissingPackageError, match=r"pip install 'ecr-layers\[socks\]'"), transport.request("GET", S3):
        pytest.fail("it was sent")


def test_a_socks_proxy_is_used() -> None:
    seen: list[bytes] = []

    def handle(connection: socket.socket) -> None:
        seen.append(connection.recv(3))

    with serving(handle) as address:
        transport = Transport(environment={"ALL_PROXY": f"socks5h://{address}"})
        with pytest.raises(TransportError), transport.request("GET", S3):
            pytest.fail("the proxy hangs up")
    assert seen[0][:1] == b"\x05"


@contextlib.contextmanager
def tls_server(names: list[str], authority: trustme.CA) -> Iterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)

    def handle(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            head_of(secure)
            secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with serving(handle) as address:
        yield f"https://localhost:{address.rpartition(':')[2]}"


def test_certificates_are_verified_against_the_authorities_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with tls_server(["localhost"], authority) as url:
        with pytest.raises(TransportError) as caught, Transport(environment={}).request("GET", url):
            pytest.fail("it was trusted")
        assert caught.value.problem is Problem.CERTIFICATE
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        with Transport(environment={}).request("GET", url) as answer:
            assert answer.read(10) == b"ok"
    with (
        tls_server(["other.example.com"], authority) as url,
        pytest.raises(TransportError) as caught,
        Transport(environment={}).request("GET", url),
    ):
        pytest.fail("it was trusted")
    assert caught.value.problem is Problem.CERTIFICATE


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://no-such-host.invalid", "the host name can't be resolved. Check the spelling."),
        ("http://127.0.0.1:1", "can't be reached: the connection was refused. Check the address, and whether"),
    ],
)
def test_a_wrong_address_fails_at_once_and_says_why(url: str, message: str) -> None:
    slept: list[float] = []
    with (
        Client(url, is_anonymous=True, retries=Retries(sleep=slept.append)) as client,
        pytest.raises(ServiceError) as caught,
    ):
        client.image("team/app")
    assert message in str(caught.value)
    assert not slept


def test_a_network_that_goes_away_is_waited_for() -> None:
    empty = b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    answers = [b"HTTP/1.1 503 Unavailable" + empty, b"", b"", b"HTTP/1.1 404 Not Found" + empty]

    def handle(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(answers.pop(0))

    reasons: list[str] = []
    retries = Retries(sleep=lambda _: None, on_wait=lambda reason, _: reasons.append(reason))
    with (
        serving(handle) as address,
        Client(f"http://{address}", is_anonymous=True, retries=retries) as client,
        pytest.raises(ServiceError, match="HTTP 404"),
    ):
        client.image("team/app")
    assert len(reasons) == 3
    assert "HTTP 503" in reasons[0]
    assert "the connection broke" in reasons[1]


def test_a_connection_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "SECONDS_TO_JUDGE_SPEED", 0.0)
    stopped = threading.Event()

    def handle(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not stopped.wait(0.01):
            connection.sendall(b"x")

    with serving(handle) as address:
        with (
            pytest.raises(TransportError, match="slower than 1024 bytes a second"),
            Transport(environment={}).request("GET", f"http://{address}/") as answer,
        ):
            answer.read(1000)
        stopped.set()


def test_the_clock_follows_the_services_and_counts_the_age_of_cached_answers() -> None:
    clock = Clock()
    later = datetime.now(UTC) + timedelta(hours=5)
    clock.learn({"Date": format_datetime(later - timedelta(minutes=3), usegmt=True), "Age": "180"})
    assert abs(clock.now() - later) < timedelta(seconds=10)
    for wrong in ({}, {"Date": "soon"}, {"Date": format_datetime(later, usegmt=True), "Age": "x"}):
        clock.learn(wrong)
    assert abs(clock.now() - later) < timedelta(seconds=10)


def test_connections_share_the_limit_of_the_rate_and_idle_time_is_not_made_up_for() -> None:
    now, waits = [0.0], list[float]()
    limit = RateLimit(1000, lambda: now[0], waits.append)
    # No time passes, as if all connections waited at once.
    threads = [threading.Thread(target=limit.wait, args=(500,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(waits) == [0.5, 1.0, 1.5, 2.0]
    now[0] = 100
    limit.wait(500)
    assert waits[-1] == 0.5
