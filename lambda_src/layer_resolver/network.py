"""HTTP requests that end at their deadline, whatever the other side does.

A time-out of a library is for one read, and an answer that trickles in never exceeds it. Here each wait is cut to what
is left of the whole request: looking up the name, connecting, the TLS handshake, and every single read. No thread is
needed for that, but for the look-up of names, which nothing can interrupt.

Knows nothing of ECR, S3 or Lambda.
"""

import socket
import ssl
import time
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import cache
from http.client import HTTPException, HTTPResponse, IncompleteRead
from threading import Lock
from typing import Any, NamedTuple, cast
from urllib.parse import SplitResult, urlsplit

from botocore.httpsession import get_cert_path
from cachetools import TTLCache
from urllib3.util import wait_for_read
from urllib3.util.ssl_ import create_urllib3_context

SECONDS_OF_LOOKUP = 5.0
"""How long the addresses of a name are used again; enough for the connections of one batch."""

_LOOKUP_THREADS = 2
_PORTS = {"http": 80, "https": 443}
_PRECISION_SECONDS = 0.01


class Deadline(NamedTuple):
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


class Answer(NamedTuple):
    """An answer over HTTP.

    Attributes:
        status: Its status.
        headers: Its headers, whose names are in lower case.
        content: Its body, as far as it was read.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes


_NEVER = Deadline(float("inf"))


class HttpClient:
    """Sends requests over connections that are kept for further ones; may be used by several threads at once.

    Redirects are not followed, no environment variable names a proxy, certificates are verified, and nothing is tried
    again. Answers are read by http.client, from sockets of its own: urllib3's pools take a fifth of what a call to ECR
    costs, for retries, redirects and time-outs, none of which knows the deadline.

    Args:
        connections: How many connections are kept.
    """

    def __init__(self, connections: int) -> None:
        self._most_idle = connections
        self._idle: list[_Connection] = []
        self._lock = Lock()
        weakref.finalize(self, _close_all, self._idle)

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        deadline: Deadline,
        *,
        body: bytes = b"",
        most_bytes: int,
    ) -> Answer:
        """Return the answer to a request.

        Args:
            method: The HTTP method.
            url: Where to send it.
            headers: Its headers, but Host; with a body, Content-Length is among them.
            deadline: When the answer has to be there, whole.
            body: Its body.
            most_bytes: How large the body of the answer may be. With 0 nothing of it is read.

        Raises:
            RequestFailedError: If there is no whole answer at the deadline, or no connection; the cause says why.
            AnswerTooLargeError: If the answer's body is larger than `most_bytes`, unless that is 0.
        """
        parts = urlsplit(url)
        message = _message(method, parts, headers) + body
        try:
            connection = self._take(parts.scheme, parts.netloc) or _connect_to(parts, deadline)
            connection.deadline = deadline
            try:
                connection.sendall(message)
                answer, is_open = _receive(connection, method, most_bytes)
            except BaseException:
                connection.close()
                raise
        except (HTTPException, OSError, UnicodeError) as cause:
            raise RequestFailedError from cause
        self._give_back(connection, is_open=is_open)
        return answer

    def _take(self, scheme: str, netloc: str) -> "_Connection | None":
        """Return a connection that is kept, None if there is none to this place."""
        while True:
            with self._lock:
                fitting = (each for each in reversed(self._idle) if each.leads_to == (scheme, netloc))
                connection = next(fitting, None)
                if connection is None:
                    return None
                self._idle.remove(connection)
            # What can be read before anything was asked is that the other side has closed the connection.
            if not wait_for_read(connection, timeout=0):
                return connection
            connection.close()

    def _give_back(self, connection: "_Connection", *, is_open: bool) -> None:
        with self._lock:
            if is_open and len(self._idle) < self._most_idle:
                self._idle.append(connection)
                return
        connection.close()


def _close_all(connections: "list[_Connection]") -> None:
    for connection in connections:
        connection.close()


def _message(method: str, parts: SplitResult, headers: Mapping[str, str]) -> bytes:
    """Return a request as it is sent, without its body.

    Raises:
        ValueError: If it has a character that would make another request of it.
    """
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    lines = [
        f"{method} {target} HTTP/1.1",
        # As it is signed: without the port that the scheme has anyway.
        f"Host: {parts.netloc.removesuffix(f':{_PORTS[parts.scheme]}')}",
        *(f"{name}: {value}" for name, value in headers.items()),
        "\r\n",
    ]
    message = "\r\n".join(lines)
    if message.count("\n") != len(lines) or message.count("\r") != len(lines) or " " in target or not method.isalpha():
        raise ValueError("a request has a line break or a space where none can be")
    return message.encode("ascii")


def _receive(connection: "_Connection", method: str, most_bytes: int) -> tuple[Answer, bool]:
    """Return the answer, and whether the connection can be used again."""
    with closing(HTTPResponse(connection, method=method)) as response:
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        if most_bytes == 0:
            # The body may be a whole layer: the connection goes with it.
            return Answer(response.status, headers, b""), False
        content = response.read(most_bytes + 1)
        if len(content) > most_bytes:
            raise AnswerTooLargeError(f"more than {most_bytes} bytes")
        if response.length:
            raise IncompleteRead(content, response.length)
        return Answer(response.status, headers, content), response.isclosed() and not response.will_close


class _Connection(socket.socket):
    """A socket whose single waits end at its deadline.

    Attributes:
        deadline: The deadline of the request that is being sent.
        leads_to: Scheme and host of what it is connected to.
    """

    deadline = _NEVER
    leads_to = ("", "")

    def recv_into(self, *arguments: Any) -> int:
        self._cut_wait()
        return super().recv_into(*arguments)

    def sendall(self, *arguments: Any) -> None:
        self._cut_wait()
        super().sendall(*arguments)

    def _cut_wait(self) -> None:
        seconds = self.deadline.seconds_to_wait()
        # Setting a time-out is a system call, during which other threads take over.
        if abs((self.gettimeout() or 0.0) - seconds) > _PRECISION_SECONDS:
            self.settimeout(seconds)


class _TlsConnection(_Connection, ssl.SSLSocket):
    """The same over TLS: `ssl.SSLSocket` does the work, which `super` finds."""


@cache
def tls_context() -> ssl.SSLContext:
    """Return what all TLS connections share; made when it is first needed, because reading certificates takes long."""
    context = create_urllib3_context()
    context.load_verify_locations(get_cert_path(True))
    context.set_alpn_protocols(["http/1.1"])
    context.sslsocket_class = _TlsConnection
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


def _connect_to(parts: SplitResult, deadline: Deadline) -> _Connection:
    """Return a new connection to where a URL leads."""
    host = parts.hostname or ""
    connection = _connect(_look_up(host, parts.port or _PORTS[parts.scheme], deadline), deadline)
    if parts.scheme == "https":
        # The handshake ends with the time-out that was set for connecting.
        connection = cast("_TlsConnection", tls_context().wrap_socket(connection, server_hostname=host))
    connection.leads_to = (parts.scheme, parts.netloc)
    return connection


def _connect(addresses: Sequence[_Address], deadline: Deadline) -> _Connection:
    """Return a socket that is connected to one of the addresses.

    Raises:
        OSError: If none takes the connection: what the last one said. It is a `TimeoutError` at the deadline.
    """
    failure = OSError("the name has no address")
    for left, (family, kind, protocol, _, address) in zip(range(len(addresses), 0, -1), addresses, strict=True):
        connecting = _Connection(family, kind, protocol)
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
