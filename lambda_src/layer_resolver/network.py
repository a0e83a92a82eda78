"""HTTP requests that end at their deadline, whatever the other side does.

A time-out of a library is for one read, and an answer that trickles in never exceeds it. Here each wait is cut to what
is left of the whole request: looking up the name, connecting, the TLS handshake, and every single read. No thread is
needed for that, but for the look-up of names, which nothing can interrupt.

Knows nothing of ECR, S3 or Lambda.
"""

import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import urllib3
from botocore.httpsession import get_cert_path
from cachetools import TTLCache
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.ssl_ import create_urllib3_context

SECONDS_OF_LOOKUP = 5.0
"""How long the addresses of a name are used again; enough for the connections of one batch."""

_LOOKUP_THREADS = 2
_PRECISION_SECONDS = 0.01
_BLOCK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Deadline:
    """The moment by which something has to be done.

    Attributes:
        at: The moment in seconds of `time.monotonic`.
    """

    at: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """Return the deadline that is this many seconds away."""
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Return the seconds that are left, 0 if there are none."""
        return max(0.0, self.at - time.monotonic())

    def within(self, seconds: float) -> "Deadline":
        """Return this deadline, or that many seconds from now if that is sooner."""
        return Deadline(min(self.at, time.monotonic() + seconds))

    def seconds_to_wait(self) -> float:
        """Return how long to wait for something.

        Raises:
            TimeoutError: If no time is left; a time-out of 0 would mean not to wait in some places, and for ever in
                others.
        """
        remaining = self.at - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("the deadline is over")
        return remaining


class RequestFailedError(Exception):
    """There is no answer: the deadline is over, or the connection failed."""


class AnswerTooLargeError(Exception):
    """The answer is larger than it may be."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer over HTTP.

    Attributes:
        status: Its status.
        headers: Its headers; names compare without regard to case.
        content: Its body, as far as it was read.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes


_NEVER = Deadline(float("inf"))
_deadline: ContextVar[Deadline] = ContextVar("deadline", default=_NEVER)


class HttpClient:
    """Sends requests over connections that are kept for further ones; may be used by several threads at once.

    Redirects are not followed, no environment variable names a proxy, and certificates are verified.

    Args:
        connections: How many connections to one host are kept.
    """

    def __init__(self, connections: int) -> None:
        self._pools = urllib3.PoolManager(maxsize=connections, retries=False)
        self._pools.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        deadline: Deadline,
        *,
        body: bytes | str | None = None,
        most_bytes: int,
    ) -> Answer:
        """Return the answer to a request.

        Args:
            method: The HTTP method.
            url: Where to send it.
            headers: Its headers.
            deadline: When the answer has to be there, whole.
            body: Its body.
            most_bytes: How large the body of the answer may be. With 0 nothing of it is read.

        Raises:
            RequestFailedError: If there is no whole answer at the deadline, or no connection; the cause is urllib3's.
            AnswerTooLargeError: If the answer's body is larger than `most_bytes`, unless that is 0.
        """
        token = _deadline.set(deadline)
        try:
            parts = urlsplit(url)
            pool = self._pools.connection_from_host(parts.hostname, parts.port, parts.scheme)
            # urllib3's own retries, redirects and time-outs are off: none of them knows the deadline.
            response = pool.urlopen(
                method,
                urlunsplit(("", "", parts.path or "/", parts.query, "")),
                headers=headers,
                body=body,
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            return _read(response, most_bytes)
        except (urllib3.exceptions.HTTPError, OSError) as cause:
            raise RequestFailedError from cause
        finally:
            _deadline.reset(token)


def _read(response: urllib3.BaseHTTPResponse, most_bytes: int) -> Answer:
    if most_bytes == 0:
        # The body may be a whole layer: the connection goes with it.
        response.close()
        return Answer(response.status, response.headers, b"")
    content = bytearray()
    with closing(response):
        while len(content) <= most_bytes and (block := response.read(_BLOCK_BYTES)):
            content += block
        if len(content) > most_bytes:
            raise AnswerTooLargeError(f"more than {most_bytes} bytes")
        # A response that is read to its end has given its connection back, and closing it changes nothing.
        return Answer(response.status, response.headers, bytes(content))


class _WithDeadline:
    """A socket whose single waits end at its deadline; the classes behind it in the order of resolution do the work."""

    deadline = _NEVER

    def recv_into(self, *arguments: Any) -> int:
        self._cut_wait()
        return super().recv_into(*arguments)  # type: ignore[misc,no-any-return]

    def sendall(self, *arguments: Any) -> None:
        self._cut_wait()
        super().sendall(*arguments)  # type: ignore[misc]

    def settimeout(self, seconds: float | None) -> None:
        # urllib3 sets its own time-out before each answer, which is none.
        if seconds is not None:
            super().settimeout(seconds)  # type: ignore[misc]

    def _cut_wait(self) -> None:
        seconds = self.deadline.seconds_to_wait()
        # Setting a time-out is a system call, during which other threads take over.
        if abs(self.gettimeout() - seconds) > _PRECISION_SECONDS:  # type: ignore[attr-defined]
            self.settimeout(seconds)


class _Socket(_WithDeadline, socket.socket):
    pass


class _TlsSocket(_WithDeadline, ssl.SSLSocket):
    pass


class _WithDeadlineConnection:
    """A connection that takes the deadline of the request that is being sent."""

    def request(self, *arguments: Any, **named: Any) -> None:
        if self.sock is not None:  # type: ignore[attr-defined]
            self.sock.deadline = _deadline.get()  # type: ignore[attr-defined]
        super().request(*arguments, **named)  # type: ignore[misc]

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        self.sock.deadline = _deadline.get()  # type: ignore[attr-defined]

    def _new_conn(self) -> socket.socket:
        """Return a connected socket; in the place of urllib3's own, whose look-up of names has no time-out."""
        deadline = _deadline.get()
        host, port = self._dns_host, self.port  # type: ignore[attr-defined]
        try:
            addresses = _look_up(host, port, deadline)
        except (OSError, UnicodeError) as error:
            raise NameResolutionError(host, self, error) from error  # type: ignore[arg-type]
        try:
            return _connect(addresses, deadline)
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "Connecting timed out") from error
        except OSError as error:
            raise NewConnectionError(self, "Connecting failed") from error  # type: ignore[arg-type]


class _Connection(_WithDeadlineConnection, HTTPConnection):
    pass


class _TlsConnection(_WithDeadlineConnection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection

    def __init__(self, host: str, port: int | None = None, **named: Any) -> None:
        super().__init__(host, port, **named, ssl_context=tls_context(), cert_reqs="CERT_REQUIRED")


@cache
def tls_context() -> ssl.SSLContext:
    """Return what all TLS connections share; made when it is first needed, because reading certificates takes long."""
    context = create_urllib3_context()
    context.load_verify_locations(get_cert_path(True))
    context.sslsocket_class = _TlsSocket
    return context


_Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]

_addresses: TTLCache[tuple[str, int], Sequence[_Address]] = TTLCache(16, SECONDS_OF_LOOKUP)
_pending: dict[tuple[str, int], "Future[Any]"] = {}
_addresses_lock = Lock()
_lookups = ThreadPoolExecutor(_LOOKUP_THREADS, thread_name_prefix="lookup")


def _look_up(host: str, port: int, deadline: Deadline) -> Sequence[_Address]:
    """Return the addresses of a host; all who want them wait for one look-up, which keeps its thread if it hangs."""
    place = host, port
    with _addresses_lock:
        known = _addresses.get(place)
        if known is not None:
            return known
        future = _pending.get(place)
        if future is None:
            # As bytes, because text goes through the codec "idna", whose import takes longer than the look-up.
            future = _lookups.submit(_ask_for_addresses, place, host.encode("ascii"), port)
            _pending[place] = future
    addresses: Sequence[_Address] = future.result(deadline.seconds_to_wait())
    return addresses


def _ask_for_addresses(place: tuple[str, int], host: bytes, port: int) -> Sequence[_Address]:
    try:
        addresses: Sequence[_Address] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        with _addresses_lock:
            _addresses[place] = addresses
        return addresses
    finally:
        with _addresses_lock:
            del _pending[place]


def _connect(addresses: Sequence[_Address], deadline: Deadline) -> socket.socket:
    """Return a socket that is connected to one of the addresses.

    Raises:
        OSError: If none takes the connection: what the last one said. It is a `TimeoutError` at the deadline.
    """
    failure = OSError("the name has no address")
    for left, (family, kind, protocol, _, address) in zip(range(len(addresses), 0, -1), addresses, strict=True):
        connecting = _Socket(family, kind, protocol)
        try:
            connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # What is left is shared by the addresses, so that one that hangs leaves time for another.
            connecting.settimeout(deadline.seconds_to_wait() / left)
            connecting.connect(address)
            # The TLS handshake, which comes next, waits as long as the socket says.
            connecting.settimeout(deadline.seconds_to_wait())
        except OSError as error:
            connecting.close()
            failure = error
        else:
            return connecting
    raise failure
