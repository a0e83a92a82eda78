"""The stand-in for S3 of the client's benchmark, and its result."""

import random
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from benchmarks.client.__main__ import markdown
from benchmarks.client.contestants import CURL, OURS
from benchmarks.client.measurements import Row
from benchmarks.client.s3 import S3, Server

CONTENT = random.Random(1).randbytes(300_000)


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "sha256").mkdir()
    (tmp_path / "sha256" / "00").write_bytes(CONTENT)
    with Server(("127.0.0.1", 0), partial(S3, tmp_path, 50e6, 0.0)) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/bucket/sha256/00?X-Amz-Signature=0"
        server.shutdown()
    thread.join(10)


def test_ranges_are_the_files(s3: str) -> None:
    whole = httpx.get(s3)
    assert (whole.status_code, whole.content) == (200, CONTENT)
    for requested, start, end in (
        ("bytes=100-", 100, 300_000),
        ("bytes=5-9", 5, 10),
        ("bytes=299999-999999", 299_999, 300_000),
    ):
        part = httpx.get(s3, headers={"Range": requested})
        assert (part.status_code, part.content) == (206, CONTENT[start:end])
        assert part.headers["content-range"] == f"bytes {start}-{end - 1}/300000"


def test_a_row_has_a_value_for_each_contestant_that_took_part() -> None:
    lines = markdown([Row("time", "s", {CURL: 40.0, OURS: 4.0})]).splitlines()
    assert lines[-1] == "| time | 40.0 s |  |  |  |  | 4.0 s |"
    assert len(set(map(len, (line.split("|") for line in lines)))) == 1
