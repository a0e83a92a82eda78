"""A stand-in for S3 that holds each connection to a rate and a latency, and costs little itself.

Bytes go from the file to the socket by sendfile, paced, in a thread for each connection. Signatures are not looked at;
`local/s3.py` is the one that does.

Run as a program it prints its port and serves until its input ends: `python s3.py DIRECTORY BYTES_A_SECOND LATENCY_MS`.
"""

import os
import re
import socket
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_SECONDS_A_SLICE = 0.02
_SEND_BUFFER = 256 * 1024


class S3(BaseHTTPRequestHandler):
    """Serves the blob `sha256/…` of a directory at any path that ends so."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, directory: Path, rate: float, latency: float, *connection: Any) -> None:
        self._directory, self._rate, self._latency = directory, rate, latency
        super().__init__(*connection)

    def setup(self) -> None:
        """Limit what waits to be sent, so that the rate is the client's too."""
        super().setup()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)

    def do_GET(self) -> None:
        """Answer with a blob, or with a range of it."""
        with (self._directory / "/".join(urlsplit(self.path).path.split("/")[-2:])).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            wanted = _RANGE.fullmatch(self.headers.get("Range", ""))
            first, last = (int(wanted[1]), min(int(wanted[2] or size), size - 1)) if wanted else (0, size - 1)
            time.sleep(self._latency)
            self.send_response(206 if wanted else 200)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(last - first + 1))
            if wanted:
                self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
            with suppress(ConnectionError):
                self.end_headers()
                self._send(file.fileno(), first, last + 1)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

    def _send(self, file: int, start: int, end: int) -> None:
        slice_length = int(self._rate * _SECONDS_A_SLICE)
        started, offset = time.monotonic(), start
        while offset < end:
            offset += os.sendfile(self.connection.fileno(), file, offset, min(slice_length, end - offset))
            early = started + (offset - start) / self._rate - time.monotonic()
            time.sleep(max(0.0, early))


class Server(ThreadingHTTPServer):
    """A server with room for many new connections."""

    request_queue_size = 256


def main() -> None:
    """Serve until the standard input ends."""
    directory, rate, latency_ms = sys.argv[1:]
    server = Server(("127.0.0.1", 0), partial(S3, Path(directory), float(rate), float(latency_ms) / 1000))
    print(server.server_port, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
