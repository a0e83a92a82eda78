"""A stand-in for S3 that holds each connection to a rate and a latency, and costs little itself.

Bytes go from the file to the socket by sendfile, paced, in a thread for each connection. Signatures are not looked at;
`local/s3.py` is the one that does.

Run as a program it prints its port and serves until it is ended: `python s3.py DIRECTORY BYTES_A_SECOND LATENCY_MS`.
`PUT /_stall?path=…&after=N` lets the next request for a range of the path's file send N bytes and then nothing more;
`GET /_sent` answers how many bytes were sent, and `DELETE /_sent` forgets them.
"""

import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

_RANGE = re.compile(rb"\r\nrange:\s*bytes=(\d+)-(\d*)", re.IGNORECASE)
_SECONDS_A_SLICE = 0.02
_SEND_BUFFER = 256 * 1024
_STALL_SECONDS = 120.0


class S3:
    """Serves the files of a directory: the blob `sha256/…` at any path that ends so.

    Args:
        directory: The directory.
        rate: How many bytes a second a connection gets, 0 for as many as it takes.
        latency: How many seconds an answer takes to begin.
    """

    def __init__(self, directory: Path, rate: float, latency: float) -> None:
        self._directory = directory
        self._rate = rate
        self._latency = latency
        self._lock = threading.Lock()
        self._sent = 0
        self._stalls: dict[str, int] = {}
        self._ended = threading.Event()

    def serve(self, listener: socket.socket) -> None:
        """Serve until the listener is closed."""
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                self._ended.set()
                return
            threading.Thread(target=self._serve_connection, args=(connection,), daemon=True).start()

    def _serve_connection(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        try:
            with connection:
                for request in _requests(connection):
                    self._answer(connection, request)
        except OSError:
            return

    def _answer(self, connection: socket.socket, request: bytes) -> None:
        method, target = request.split(b" ", 2)[:2]
        url = urlsplit(target.decode())
        if url.path == "/_sent":
            self._answer_sent(connection, method)
        elif url.path == "/_stall":
            query = parse_qs(url.query)
            self._stalls[query["path"][0]] = int(query["after"][0])
            connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
        else:
            self._answer_blob(connection, request, "/".join(url.path.split("/")[-2:]))

    def _answer_sent(self, connection: socket.socket, method: bytes) -> None:
        with self._lock:
            if method == b"DELETE":
                self._sent = 0
            body = json.dumps({"sent": self._sent}).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    def _answer_blob(self, connection: socket.socket, request: bytes, name: str) -> None:
        with (self._directory / name).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            wanted = _RANGE.search(request)
            first, last = 0, size - 1
            if wanted is not None:
                first, last = int(wanted[1]), min(int(wanted[2] or size), size - 1)
            status = b"206 Partial Content" if wanted else b"200 OK"
            headers = b"Content-Range: bytes %d-%d/%d\r\n" % (first, last, size) if wanted else b""
            self._ended.wait(self._latency)
            head = b"HTTP/1.1 %s\r\nAccept-Ranges: bytes\r\nContent-Length: %d\r\n%s\r\n"
            connection.sendall(head % (status, last - first + 1, headers))
            stall = self._take_stall(name) if wanted else None
            self._send(connection, file.fileno(), first, last + 1 - first, stall)

    def _take_stall(self, name: str) -> int | None:
        with self._lock:
            return self._stalls.pop(name, None)

    def _send(self, connection: socket.socket, file: int, offset: int, length: int, stall: int | None) -> None:
        slice_length = max(16 * 1024, int(self._rate * _SECONDS_A_SLICE)) if self._rate else 8 * 1024 * 1024
        started, sent = time.monotonic(), 0
        while sent < length:
            if stall is not None and sent >= stall:
                self._ended.wait(_STALL_SECONDS)
                return
            count = os.sendfile(connection.fileno(), file, offset + sent, min(slice_length, length - sent))
            sent += count
            with self._lock:
                self._sent += count
            if self._rate:
                early = started + sent / self._rate - time.monotonic()
                if early > 0:
                    time.sleep(early)


def _requests(connection: socket.socket) -> Iterator[bytes]:
    """Yield the heads of a connection's requests; none has a body."""
    received = b""
    while True:
        while b"\r\n\r\n" not in received:
            more = connection.recv(65536)
            if not more:
                return
            received += more
        head, _, received = received.partition(b"\r\n\r\n")
        yield head + b"\r\n"


def main() -> None:
    """Serve until the standard input ends."""
    directory, rate, latency_ms = sys.argv[1:]
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        print(listener.getsockname()[1], flush=True)
        server = S3(Path(directory), float(rate), float(latency_ms) / 1000)
        threading.Thread(target=server.serve, args=(listener,), daemon=True).start()
        sys.stdin.read()


if __name__ == "__main__":
    main()
