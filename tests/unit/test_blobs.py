"""Blobs in S3: what is kept, which failures are tried again, and how S3 is reached."""

import hashlib
import time

import pytest

from layer_resolver import calls
from layer_resolver.blobs import ATTEMPTS, CACHED_CONFIG_BYTES, LARGEST_CONFIG, BlobReader
from layer_resolver.calls import Calls, Deadline
from layer_resolver.errors import Repository, ResolverError, Subject
from tests.faults.server import answer
from tests.unit.fakes import digest
from tests.unit.servers import FakeServer

ONE_BYTE = answer(206, b"x", "Content-Range: bytes 0-0/7")


@pytest.fixture
def reader() -> BlobReader:
    return BlobReader(Calls())


def size(reader: BlobReader, url: str, number: int = 1) -> int:
    return reader.size(Subject(Repository("team/app"), "layer", digest(number)), url, Deadline.after(5))


def test_configs_are_kept_by_their_bytes(reader: BlobReader, s3: FakeServer) -> None:
    contents = [b"%d" % number * (LARGEST_CONFIG - 1) for number in range(3)]
    assert sum(map(len, contents)) > CACHED_CONFIG_BYTES

    def asked_again(content: bytes) -> bool:
        s3.answers = [answer(200, content)]
        s3.requests.clear()
        config = Subject(Repository("team/app"), "layer", f"sha256:{hashlib.sha256(content).hexdigest()}")
        assert reader.config(config, s3.url, Deadline.after(5)) == content
        return bool(s3.requests)

    assert all(map(asked_again, contents))
    assert [asked_again(content) for content in reversed(contents)] == [False, False, True]


@pytest.mark.parametrize(("status", "tries"), [(500, ATTEMPTS), (503, ATTEMPTS), (103, ATTEMPTS), (404, 1)])
def test_what_may_pass_is_tried_again_and_ends_after_as_many_attempts(
    reader: BlobReader, s3: FakeServer, status: int, tries: int
) -> None:
    s3.answers = [answer(status)]
    with pytest.raises(ResolverError):
        size(reader, s3.url)
    assert len(s3.requests) == tries
    s3.answers = [answer(status)] * (tries - 1) + [ONE_BYTE]
    assert size(reader, s3.url) == 7


def test_connections_are_renewed_after_a_minute_even_if_the_environment_was_frozen(
    reader: BlobReader, s3: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.answers = [ONE_BYTE]
    now = time.time()
    for number, seconds in enumerate((0, calls.CONNECTION_SECONDS - 1, calls.CONNECTION_SECONDS + 1)):
        monkeypatch.setattr(time, "time", lambda: now + seconds)  # noqa: B023
        assert size(reader, s3.url, number) == 7
    assert [request.connection for request in s3.requests] == [1, 1, 2]


@pytest.mark.parametrize(("exceptions", "is_proxied"), [("", True), ("localhost", False)])
def test_the_environments_proxy_is_used(
    reader: BlobReader, s3: FakeServer, monkeypatch: pytest.MonkeyPatch, exceptions: str, is_proxied: bool
) -> None:
    monkeypatch.setenv("HTTP_PROXY", s3.url.removeprefix("http://"))
    monkeypatch.setenv("NO_PROXY", exceptions)
    s3.answers = [ONE_BYTE]
    url = f"{s3.url.replace('127.0.0.1', 'localhost')}/a"
    assert size(reader, url) == 7
    assert s3.requests[0].line.split()[1] == (url if is_proxied else "/a")
