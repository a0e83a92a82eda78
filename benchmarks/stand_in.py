"""A stand-in for ECR that costs so little that it is not what is measured.

One thread of a process of its own answers `GetDownloadUrlForLayer` on kept-alive connections with bytes that are all
but ready: no HTTP library, no JSON, no signature. `local/ecr.py` is the one that checks what it is asked.

Run as a program it prints its port and serves until it is ended: `python stand_in.py LATENCY_MS LIFETIME_SECONDS`.
"""

import heapq
import re
import selectors
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

URL_LIFETIME_SECONDS = 3600
"""How long ECR's URLs are valid."""

HANGING = "sha256:dead"
"""How the digest of a layer begins that is never answered."""

_DIGEST = re.compile(rb'"layerDigest"\s*:\s*"([^"]+)"')
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)

# A session token of S3's own role makes up most of a real URL.
_TOKEN = "IQoJb3JpZ2luX2VjE".ljust(1200, "x")


@dataclass(slots=True)
class _Connection:
    """One client's connection, with what has come in of its next request."""

    socket: socket.socket
    received: bytearray = field(default_factory=bytearray)


class StandIn:
    """Serves any number of connections from one thread.

    Args:
        latency_seconds: How long each answer takes.
        lifetime_seconds: How long the URLs are valid, as far as they say.
        now: Tells the time, in seconds since the epoch; URLs are signed at it.

    Attributes:
        calls: How many calls it has answered.
    """

    def __init__(
        self,
        latency_seconds: float = 0.0,
        lifetime_seconds: int = URL_LIFETIME_SECONDS,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.calls = 0
        self._latency = latency_seconds
        self._lifetime = lifetime_seconds
        self._now = now
        self._selector = selectors.DefaultSelector()
        self._due: list[tuple[float, int, _Connection, bytes]] = []
        self._count = 0
        self._signed_at = 0
        self._url = b""
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._listener.getsockname()[1])

    def serve(self) -> None:
        """Answer until the process is ended."""
        while True:
            self.step()

    def close(self) -> None:
        """Stop listening."""
        self._selector.close()
        self._listener.close()

    def step(self) -> None:
        """Wait for something to do, and do it."""
        wait = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
        for key, _ in self._selector.select(wait):
            if key.data is None:
                self._accept()
            else:
                self._read(key.data)
        while self._due and self._due[0][0] <= time.monotonic():
            _, _, connection, answer = heapq.heappop(self._due)
            self._send(connection, answer)

    def answer(self, body: bytes) -> bytes | None:
        """Return the whole HTTP response to a request's body, None if there is never to be one."""
        match = _DIGEST.search(body)
        if match is None:
            # Not a call to ECR: the benchmarks ask how many there were.
            document = b'{"calls":%d}' % self.calls
        elif match[1].startswith(HANGING.encode()):
            return None
        else:
            self.calls += 1
            document = b'{"downloadUrl":"%b","layerDigest":"%b"}' % (self._signed_url(match[1]), match[1])
        return (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\n"
            b"x-amzn-RequestId: 00000000-0000-4000-8000-000000000000\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(document), document)
        )

    def _signed_url(self, digest: bytes) -> bytes:
        now = int(self._now())
        if now != self._signed_at:
            self._signed_at = now
            moment = time.gmtime(now)
            self._url = (
                "https://prod-us-east-1-starport-layer-bucket.s3.us-east-1.amazonaws.com/1e2a-123456789012-"
                "d3b5a8e0-7f5c-4c8e-a3d5-0f7c2f1b9e11/%s"
                f"?X-Amz-Security-Token={_TOKEN}&X-Amz-Algorithm=AWS4-HMAC-SHA256"
                f"&X-Amz-Date={time.strftime('%Y%m%dT%H%M%SZ', moment)}&X-Amz-SignedHeaders=host"
                f"&X-Amz-Expires={self._lifetime}"
                f"&X-Amz-Credential=ASIASTANDINSTARPORTX%%2F{time.strftime('%Y%m%d', moment)}%%2Fus-east-1%%2Fs3"
                "%%2Faws4_request&X-Amz-Signature=0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9"
            ).encode()
        return self._url % digest

    def _accept(self) -> None:
        accepted, _ = self._listener.accept()
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(accepted, selectors.EVENT_READ, _Connection(accepted))

    def _read(self, connection: _Connection) -> None:
        try:
            chunk = connection.socket.recv(65536)
        except ConnectionError:
            chunk = b""
        if not chunk:
            self._selector.unregister(connection.socket)
            connection.socket.close()
            return
        connection.received += chunk
        head_end = connection.received.find(b"\r\n\r\n")
        if head_end < 0:
            return
        length = _CONTENT_LENGTH.search(connection.received, 0, head_end + 2)
        end = head_end + 4 + (int(length[1]) if length else 0)
        if len(connection.received) < end:
            return
        answer = self.answer(bytes(connection.received[head_end + 4 : end]))
        del connection.received[:end]
        if answer is not None:
            self._reply(connection, answer)

    def _reply(self, connection: _Connection, answer: bytes) -> None:
        if not self._latency:
            self._send(connection, answer)
            return
        self._count += 1
        heapq.heappush(self._due, (time.monotonic() + self._latency, self._count, connection, answer))

    @staticmethod
    def _send(connection: _Connection, answer: bytes) -> None:
        try:
            # Some 2 KB, which a socket's buffer always takes: a client has one request under way on a connection.
            connection.socket.send(answer)
        except OSError:
            # The client has gone; reading tells the same, and closes the connection.
            return


if __name__ == "__main__":
    stand_in = StandIn(float(sys.argv[1]) / 1000, int(sys.argv[2]))
    print(stand_in.port, flush=True)
    stand_in.serve()
