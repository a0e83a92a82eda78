"""The stand-in for S3 of the client's benchmark, and how its result is shown."""

import json
import random
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from benchmarks.client import report
from benchmarks.client.contestants import CURL, OURS
from benchmarks.client.measurements import Row
from benchmarks.client.s3 import S3

CONTENT = random.Random(1).randbytes(300_000)


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "sha256").mkdir()
    (tmp_path / "sha256" / "00").write_bytes(CONTENT)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=S3(tmp_path, rate=50e6, latency=0.0).serve, args=(listener,), daemon=True)
        server.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    server.join(10)


def ask(url: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    with urlopen(Request(url, method=method, headers=headers), timeout=10) as answer:
        return answer.status, answer.read()


def test_ranges_are_the_files_and_what_was_sent_is_counted(s3: str) -> None:
    assert ask(f"{s3}/bucket/sha256/00?X-Amz-Signature=0") == (200, CONTENT)
    assert ask(f"{s3}/bucket/sha256/00", Range="bytes=100-299999") == (206, CONTENT[100:])
    assert ask(f"{s3}/bucket/sha256/00", Range="bytes=5-9") == (206, CONTENT[5:10])
    everything = 300_000 + 299_900 + 5
    # A range is counted when it has been sent, which its reader may know before.
    give_up_at = time.monotonic() + 20
    while json.loads(ask(f"{s3}/_sent")[1]) != {"sent": everything} and time.monotonic() < give_up_at:
        time.sleep(0.01)
    assert json.loads(ask(f"{s3}/_sent")[1]) == {"sent": everything}
    ask(f"{s3}/_sent", "DELETE")
    assert json.loads(ask(f"{s3}/_sent")[1]) == {"sent": 0}


def test_the_next_range_stalls_and_no_other(s3: str) -> None:
    ask(f"{s3}/_stall?path=sha256/00&after=0", "PUT")
    with (
        pytest.raises((URLError, TimeoutError)),
        urlopen(Request(f"{s3}/bucket/sha256/00", headers={"Range": "bytes=0-99"}), timeout=0.2) as answer,
    ):
        answer.read()
    assert ask(f"{s3}/bucket/sha256/00", Range="bytes=0-99") == (206, CONTENT[:100])


def test_a_row_has_a_value_for_each_contestant_and_says_whether_the_target_is_met() -> None:
    row = Row("time", {CURL: 40.0, OURS: 4.0}, "s", [0.1, 0.2, 0.3], "at most 1", is_met=True)
    assert report.cells(row) == (
        "time", "40.0 s", "", "", "", "", "4.0 s", "0.20 (0.10 to 0.30)", "at most 1", "yes"
    )  # fmt: skip
    assert len(report.cells(row)) == len(report.COLUMNS)


def test_a_result_is_kept_as_a_file_and_in_the_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(report, "DOCUMENT", tmp_path / "client.md")
    (tmp_path / "client.md").write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    result = {
        "date": "2026-11-26",
        "versions": {"python": "3.11.7"},
        "cpu_count": 2,
        "rounds": 3,
        "size": 700_000_000,
        "bytes_a_second": 20_000_000,
        "latency_ms": 30,
    }
    seconds = {CURL: 40.0, OURS: 4.0}
    rows = [Row("time, to aria2c's", seconds, "s", [0.9], "at most 1", True), Row("time, to curl's", seconds, "s")]
    path = report.write(
        result, [*rows, Row("peak memory", {CURL: 11.5, OURS: 87.4}, "MB"), Row("ours", {OURS: 1.0}, "%")]
    )
    assert json.loads(path.read_text())["rows"][3]["values"] == {OURS: 1.0}
    text = (tmp_path / "client.md").read_text()
    assert "\n| time | 40.0 s |  |  |  |  | 4.0 s |\n| peak memory | 11.5 MB |  |  |  |  | 87.4 MB |\n\n" in text
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
