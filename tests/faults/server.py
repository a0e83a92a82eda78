"""A server that fails in every way that HTTP allows, on raw sockets, in the place of ECR or S3."""

import random
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

LONGEST_SECONDS = 20.0
"""How long one connection is served: longer than any deadline of the invocations."""

MOST_BYTES = 1024 * 1024
"""How much of an endless answer is sent. boto3 reads an answer whole, so a larger one only tests the memory here."""


@dataclass(frozen=True)
class HttpRequest:
    """What a client sent.

    Attributes:
        line: The request line.
        headers: The headers by their names in lower case.
        body: The body.
        connection: The number of its connection, from 1 in the order of their beginning.
    """

    line: str
    headers: dict[str, str]
    body: bytes
    connection: int = 0


Respond = Callable[[HttpRequest], "Behaviour"]


@dataclass(frozen=True)
class Behaviour:
    """What the server does with one request.

    Attributes:
        name: What it is called in reports.
        act: Does it, on the connection.
        keeps_connection: Whether the connection is good for another request.
    """

    name: str
    act: Callable[[socket.socket], None]
    keeps_connection: bool = False


class FaultServer:
    """Listens on a port of 127.0.0.1, and does with each request what `respond` says.

    Args:
        respond: Chooses what happens; may be replaced at any time.
        tls: Encrypts the connections; None for plain HTTP.

    Attributes:
        respond: The same.
        greeting: What happens to a connection before anything is read from it, None for nothing.
        connections: How many connections there have been.
    """

    def __init__(self, respond: Respond, tls: ssl.SSLContext | None = None) -> None:
        self.respond = respond
        self.greeting: Behaviour | None = None
        self.connections = 0
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, name="fault-server", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close the port and every connection."""
        self._listener.close()
        self.drop_connections()

    def drop_connections(self) -> None:
        """Close every connection, so that no behaviour outlives the invocation that it was for."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._connections.add(connection)
                self.connections += 1
            arguments = (connection, self.connections)
            threading.Thread(target=self._serve, args=arguments, name="fault-connection", daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        with self._forgetting(connection), connection, suppress(OSError, ValueError):
            connection.settimeout(LONGEST_SECONDS)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.greeting is not None:
                self.greeting.act(connection)
                return
            if self._tls is None:
                self._converse(connection, number)
                return
            with self._tls.wrap_socket(connection, server_side=True) as encrypted:
                self._converse(encrypted, number)

    def _converse(self, connection: socket.socket, number: int) -> None:
        buffered = b""
        while True:
            request, buffered = _read(connection, buffered)
            if request is None:
                return
            behaviour = self.respond(replace(request, connection=number))
            behaviour.act(connection)
            if not behaviour.keeps_connection:
                return

    @contextmanager
    def _forgetting(self, connection: socket.socket) -> Iterator[None]:
        yield
        with self._lock:
            self._connections.discard(connection)


@contextmanager
def fault_server(respond: Respond, tls: ssl.SSLContext | None = None) -> Iterator[FaultServer]:
    """Run a server while the context lasts."""
    server = FaultServer(respond, tls)
    try:
        yield server
    finally:
        server.close()


def _read(connection: socket.socket, buffered: bytes) -> tuple[HttpRequest | None, bytes]:
    """Return the next request and what came after it, None if there is none."""
    while b"\r\n\r\n" not in buffered:
        block = connection.recv(65536)
        if not block:
            return None, b""
        buffered += block
    head, _, rest = buffered.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    length = int(headers.get("content-length", 0))
    while len(rest) < length:
        block = connection.recv(65536)
        if not block:
            return None, b""
        rest += block
    return HttpRequest(line, headers, rest[:length]), rest[length:]


def answer(status: int, body: bytes = b"", *headers: str, name: str = "") -> Behaviour:
    """Answer as HTTP has it."""
    head = [f"HTTP/1.1 {status} Reason", *headers, f"Content-Length: {len(body)}"]
    content = "\r\n".join(head).encode("latin-1", errors="replace") + b"\r\n\r\n" + body
    return Behaviour(name or f"answer {status}", lambda connection: connection.sendall(content), keeps_connection=True)


def raw(name: str, content: bytes) -> Behaviour:
    """Send bytes and close the connection."""
    return Behaviour(name, lambda connection: connection.sendall(content))


def hang() -> Behaviour:
    """Say nothing for as long as the client stays."""
    return Behaviour("hang", _wait_for_the_client)


def hang_after(name: str, content: bytes) -> Behaviour:
    """Send bytes, and then nothing for as long as the client stays."""

    def act(connection: socket.socket) -> None:
        connection.sendall(content)
        _wait_for_the_client(connection)

    return Behaviour(f"hang after {name}", act)


def drip(name: str, content: bytes, pause: float = 0.02) -> Behaviour:
    """Send bytes one by one, each within any time-out of a single read."""

    def act(connection: socket.socket) -> None:
        for byte in content:
            connection.sendall(bytes([byte]))
            time.sleep(pause)

    return Behaviour(f"drip {name}", act)


def repeat(name: str, before: bytes, again: bytes, pause: float = 0.0) -> Behaviour:
    """Send bytes, and then others again and again until the client has had enough."""

    def act(connection: socket.socket) -> None:
        connection.sendall(before)
        end, sent = time.monotonic() + LONGEST_SECONDS, 0
        while time.monotonic() < end and sent < MOST_BYTES:
            connection.sendall(again)
            sent += len(again)
            if pause:
                time.sleep(pause)

    return Behaviour(f"repeat {name}", act)


def close() -> Behaviour:
    """Close the connection without a word."""
    return Behaviour("close", lambda _: None)


def reset() -> Behaviour:
    """Reset the connection."""
    return Behaviour(
        "reset",
        lambda connection: connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)),
    )


def tunnel(port: int) -> Behaviour:
    """Answer CONNECT as a proxy does, and pass everything on to a port of 127.0.0.1."""

    def act(connection: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", port)) as other:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pass_on, args=(other, connection), name="fault-tunnel", daemon=True)
            back.start()
            _pass_on(connection, other)
            back.join()

    return Behaviour("tunnel", act)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while block := source.recv(65536):
            target.sendall(block)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _wait_for_the_client(connection: socket.socket) -> None:
    connection.settimeout(LONGEST_SECONDS)
    connection.recv(1)


def transport_faults(body: bytes, choose: random.Random) -> list[Behaviour]:
    """Return ways in which an answer with a body does not arrive as HTTP has it."""
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    )
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    cut = choose.randrange(len(body) + 1)
    return [
        hang(),
        close(),
        reset(),
        drip("a TLS handshake", b"\x16\x03\x03\x3f\xff\x02\x00\x3f\xfb" + bytes(2000)),
        hang_after("part of the headers", head[: choose.randrange(1, len(head))]),
        hang_after("the headers", head),
        hang_after("part of the body", head + body[:cut]),
        raw("a body that is cut short", head + body[: cut // 2]),
        raw("headers that are cut short", head[: choose.randrange(len(head))]),
        raw("garbage", choose.randbytes(choose.randrange(1, 3000))),
        raw("an old protocol", b"HTTP/0.9 200 OK\r\n\r\n" + body),
        raw("no status", b"HTTP/1.1 \r\n\r\n" + body),
        raw("a status of many digits", b"HTTP/1.1 " + b"9" * 5000 + b" OK\r\n\r\n"),
        raw("a length that is not one", b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n" + body),
        raw("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\n" + body),
        raw("a length of many digits", b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 4000 + b"\r\n\r\n" + body),
        raw("a chunk that is not one", chunked + b"zz\r\n" + body),
        raw("a chunk of many digits", chunked + b"f" * 4000 + b"\r\n" + body),
        raw("a chunk that is cut short", chunked + f"{len(body) + 9:x}\r\n".encode() + body),
        raw("a header without an end", b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000),
        raw("too many headers", b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 2000 + b"\r\n" + body),
        raw(
            "compressed that is not",
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n" + head.partition(b"\r\n")[2] + body,
        ),
        drip("the headers", head * 20),
        drip("the body", head + body),
        repeat("100 Continue", b"", b"HTTP/1.1 100 Continue\r\n\r\n", pause=0.005),
        repeat("a body without an end", b"HTTP/1.1 200 OK\r\n\r\n", b"a" * 65536),
        repeat("chunks without an end", chunked, b"1\r\na\r\n", pause=0.005),
        repeat("headers without an end", b"HTTP/1.1 200 OK\r\n", b"X-Header: value\r\n", pause=0.001),
    ]
