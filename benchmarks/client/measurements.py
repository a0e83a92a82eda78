"""What is measured: time, processor time and memory of each, a range that stalls, and a run that is killed."""

import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.request import Request, urlopen

from benchmarks.client.contestants import (
    ARIA2,
    ARIA2_UNVERIFIED,
    CURL,
    FILES,
    OLD,
    OURS,
    REPOSITORY,
    SKOPEO,
    Command,
    Origin,
    contestants,
    here,
)
from benchmarks.client.image import write_layout, write_old_layout
from ecr_layers import Client
from local.aws import S3
from local.oci_layout import OciLayout
from local.service import local_service

HERE = Path(__file__).parent
ROUNDS = 3
BYTES_A_SECOND = 20 * 10**6
LATENCY_MS = 30
GIGABYTE = 10**9

_SPACE = 3 * GIGABYTE
_LONGEST_RUN_SECONDS = 300
_STALL_AFTER = 1_000_000


class MeasurementError(Exception):
    """Something that was to be measured failed; the message says what."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the result.

    Attributes:
        name: What was measured.
        values: The median of each contestant, by its name.
        unit: The unit of the values.
        ratios: Ours to the other's, in each round; what the target is about.
        target: What the ratio, or the value, has to be, in words.
        is_met: Whether it is, None where there is no target.
    """

    name: str
    values: dict[str, float]
    unit: str
    ratios: list[float] = field(default_factory=list)
    target: str = ""
    is_met: bool | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """What a contestant took once."""

    seconds: float
    processor_seconds: float
    peak_bytes: int


class Bench:
    """The image, the S3 with its rate, and the service in front.

    Args:
        directory: Where everything is written.
        s3: The process of the S3.
        s3_url: Its URL.
        service: The service's URL.
    """

    def __init__(self, directory: Path, s3_url: str, service: str) -> None:
        self._output = directory / "output"
        self._s3_url = s3_url
        with Client(service) as client:
            image = client.image(REPOSITORY).manifest
            urls = client.resolve(REPOSITORY, [blob.digest for blob in image.blobs])
        self.size = sum(blob.size for blob in image.blobs)
        self.largest = max(image.layers, key=lambda layer: layer.size).digest
        self.origin = Origin(service, urls, directory)

    @classmethod
    @contextlib.contextmanager
    def running(cls) -> Iterator[Self]:
        """Start everything, and stop it at the end."""
        with tempfile.TemporaryDirectory(prefix="bench-client-", dir=_place()) as name:
            directory = Path(name)
            write_layout(directory / "layout")
            write_old_layout(directory / "layout", directory / OLD)
            with (
                _s3(directory / "layout" / "blobs") as s3_url,
                local_service(
                    {REPOSITORY: OciLayout(directory / "layout")}, s3=S3(url=s3_url), write_log=lambda _: None
                ) as running,
            ):
                yield cls(directory, s3_url, running.url)

    def run(self, name: str, command: Command) -> Run:
        """Let a contestant fetch the image into an empty directory.

        Raises:
            MeasurementError: If it fails.
        """
        self.empty()
        return self.run_again(name, command)

    def run_again(self, name: str, command: Command) -> Run:
        """Let a contestant fetch the image into what there is.

        Raises:
            MeasurementError: If it fails.
        """
        launched = subprocess.run(
            [sys.executable, str(HERE / "launcher.py"), *command(self.origin)],
            cwd=self._output,
            capture_output=True,
            text=True,
            timeout=_LONGEST_RUN_SECONDS,
            check=True,
        )
        took: dict[str, Any] = json.loads(launched.stdout)
        if took.pop("status"):
            raise MeasurementError(f"{name} failed: {launched.stderr[-500:]}")
        return Run(**took)

    def kill_at_half(self, command: Command) -> None:
        """Start a contestant, and kill it when half of the image has been sent."""
        self.empty()
        self.forget_sent()
        process = subprocess.Popen(command(self.origin), cwd=self._output)
        while self.sent() < self.size / 2:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def empty(self) -> None:
        """Remove what was fetched, and let the disk come to rest."""
        shutil.rmtree(self._output, ignore_errors=True)
        self._output.mkdir()
        os.sync()

    def stall(self) -> None:
        """Let the next range of the largest layer stall."""
        path = self.largest.replace(":", "/")
        self._ask("PUT", f"/_stall?path={path}&after={_STALL_AFTER}")

    def sent(self) -> int:
        """Return how many bytes the S3 has sent."""
        sent: int = json.loads(self._ask("GET", "/_sent"))["sent"]
        return sent

    def forget_sent(self) -> None:
        """Let it count from zero."""
        self._ask("DELETE", "/_sent")

    def _ask(self, method: str, path: str) -> bytes:
        with urlopen(Request(f"{self._s3_url}{path}", method=method), timeout=10) as answer:
            content: bytes = answer.read()
        return content


def measure() -> tuple[int, list[Row]]:
    """Measure everything, and return the image's size in bytes and the rows.

    Raises:
        MeasurementError: If a contestant fails.
    """
    with Bench.running() as bench:
        taking_part = contestants()
        runs: dict[str, list[Run]] = {name: [] for name in taking_part}
        stalled: list[Run] = []
        for number in range(ROUNDS):
            _say(f"Round {number + 1} of {ROUNDS}")
            for name, command in taking_part.items():
                runs[name].append(bench.run(name, command))
                _say(f"  {name}: {runs[name][-1].seconds:.1f} s")
            bench.stall()
            stalled.append(bench.run(OURS, taking_part[OURS]))
            _say(f"  {OURS}, with a range that stalls: {stalled[-1].seconds:.1f} s")
        bench.kill_at_half(taking_part[OURS])
        bench.run_again(OURS, taking_part[OURS])
        rows = _rows(bench, runs, stalled)
        return bench.size, rows + [_of_files(bench, task, here(doing)) for task, doing in FILES.items()]


def _of_files(bench: Bench, task: str, doing: dict[str, Command]) -> Row:
    """Measure what reads files, ours first, and compare it with the next."""
    runs: dict[str, list[float]] = {name: [] for name in doing}
    for _ in range(ROUNDS):
        for name, command in doing.items():
            runs[name].append(bench.run(name, command).seconds)
            _say(f"  {name}: {runs[name][-1]:.1f} s")
    ours, *others = runs.values()
    ratios = [a / b for a, b in zip(ours, others[0], strict=True)] if others else []
    return Row(task, {name: statistics.median(each) for name, each in runs.items()}, "s", ratios)


def _rows(bench: Bench, runs: dict[str, list[Run]], stalled: list[Run]) -> list[Row]:
    seconds = {name: statistics.median(run.seconds for run in each) for name, each in runs.items()}
    processor = {
        name: statistics.median(run.processor_seconds for run in each) * GIGABYTE / bench.size
        for name, each in runs.items()
    }
    peaks = {name: max(run.peak_bytes for run in each) / 10**6 for name, each in runs.items()}

    def ratios(attribute: str, other: str, ours: list[Run] | None = None) -> list[float]:
        mine, theirs = ours or runs[OURS], runs.get(other, [])
        return [getattr(a, attribute) / getattr(b, attribute) for a, b in zip(mine, theirs, strict=False)]

    twice = (bench.sent() - bench.size) / bench.size
    rows = [
        _row("time, to aria2c's", seconds, "s", ratios("seconds", ARIA2), 1.0),
        _row("time, to that of aria2c without a check", seconds, "s", ratios("seconds", ARIA2_UNVERIFIED), None),
        _row("time, to skopeo's", seconds, "s", ratios("seconds", SKOPEO), 0.25),
        _row("time, to curl's", seconds, "s", ratios("seconds", CURL), None),
        _row("processor time for each GB, to curl's", processor, "s", ratios("processor_seconds", CURL), 2.5),
        Row("peak memory", peaks, "MB", [], "under 150 MB", peaks[OURS] < 150),
        _row(
            "time with a range that stalls, to that without",
            {OURS: statistics.median(run.seconds for run in stalled)},
            "s",
            ratios("seconds", OURS, stalled),
            1.3,
        ),
        Row("loaded twice, if killed at half", {OURS: 100 * twice}, "%", [], "at most 5 %", twice <= 0.05),
    ]
    return [row for row in rows if row.ratios or row.is_met is not None]


def _row(name: str, values: dict[str, float], unit: str, ratios: list[float], most: float | None) -> Row:
    if most is None or not ratios:
        return Row(name, values, unit, ratios)
    return Row(name, values, unit, ratios, f"at most {most:g}", statistics.median(ratios) <= most)


@contextlib.contextmanager
def _s3(blobs: Path) -> Iterator[str]:
    command = [sys.executable, str(HERE / "s3.py"), str(blobs), str(BYTES_A_SECOND), str(LATENCY_MS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"http://localhost:{process.stdout.readline().strip()}"
        finally:
            process.stdin.close()
            process.wait(10)


def _place() -> str | None:
    """Return a directory in memory, if there is one with the space: the disk's own speed is not what is measured."""
    memory = "/dev/shm"
    if os.path.isdir(memory) and shutil.disk_usage(memory).free > _SPACE:  # noqa: PTH112
        return memory
    return None


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
