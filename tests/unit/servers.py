"""A server in the place of ECR, S3 or EventBridge."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.faults.server import Behaviour, HttpRequest, fault_server


@dataclass
class FakeServer:
    """Answers as a test wants.

    Attributes:
        url: Its address.
        answers: What it does with requests, in turn; with the last one again and again.
        requests: What it was asked.
    """

    url: str = ""
    answers: list[Behaviour] = field(default_factory=list)
    requests: list[HttpRequest] = field(default_factory=list)

    def download_url(self, layer_digest: str) -> str:
        """Return the download URL of a layer."""
        return f"{self.url}/{layer_digest}?X-Amz-Signature=0123&X-Amz-Expires=3600"

    def respond(self, request: HttpRequest) -> Behaviour:
        """Record a request, and return what to do with it."""
        self.requests.append(request)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def running_server(*answers: Behaviour) -> Iterator[FakeServer]:
    """Run a server while the context lasts."""
    server = FakeServer(answers=[*answers])
    with fault_server(server.respond) as listening:
        server.url = f"http://127.0.0.1:{listening.port}"
        yield server
