"""S3 on this machine: gives the answers that a test wants."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class S3Answer(NamedTuple):
    """One answer."""

    status: int
    content: bytes = b""
    headers: Mapping[str, str] = {}


class S3Request(NamedTuple):
    """One request; header names are in lower case."""

    path: str
    headers: Mapping[str, str]


@dataclass
class FakeS3:
    """Answers GET requests.

    Attributes:
        url: Its address.
        answers: What it answers, in turn; the last one again and again.
        asked: The requests.
    """

    url: str
    answers: list[S3Answer] = field(default_factory=list)
    asked: list[S3Request] = field(default_factory=list)

    def download_url(self, layer_digest: str) -> str:
        """Return the download URL of a layer."""
        return f"{self.url}/{layer_digest}?X-Amz-Signature=0123&X-Amz-Expires=3600"


@contextmanager
def running_s3() -> Iterator[FakeS3]:
    """Serve a fake S3 while the context lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            s3.asked.append(S3Request(self.path, {name.lower(): value for name, value in self.headers.items()}))
            answer = s3.answers.pop(0) if len(s3.answers) > 1 else s3.answers[0]
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.content)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_: object) -> None:
            """Keep standard error for what the function writes."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        s3 = FakeS3(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="s3")
        thread.start()
        yield s3
        server.shutdown()
        thread.join()
