"""Measures time, processor time and memory of each contestant."""

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.client.contestants import FETCHES, FILES, OLD, REPOSITORY, Command, Origin, present
from benchmarks.client.image import write_layout, write_old_layout
from benchmarks.processes import MeasurementError
from ecr_layers import Client
from local.aws import S3
from local.oci_layout import OciLayout
from local.service import local_service

HERE = Path(__file__).parent
ROUNDS = 3
BYTES_A_SECOND = 20 * 10**6
LATENCY_MS = 30

_SPACE = 3 * 10**9
_LONGEST_RUN_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the result.

    Attributes:
        name: What was measured.
        unit: The unit of the values.
        values: The median of each contestant, by its name; of memory the peak of all rounds.
    """

    name: str
    unit: str
    values: dict[str, float]


@dataclass(frozen=True, slots=True)
class Run:
    """What a contestant took once."""

    seconds: float
    processor_seconds: float
    peak_bytes: int


def measure() -> tuple[int, list[Row]]:
    """Measure everything, and return the image's size in bytes and the rows.

    Raises:
        MeasurementError: If a contestant fails.
    """
    with _running() as (origin, size):
        runs = _rounds(origin, present(FETCHES))
        processor = {
            name: statistics.median(run.processor_seconds for run in each) * 10**9 / size for name, each in runs.items()
        }
        peaks = {name: max(run.peak_bytes for run in each) / 10**6 for name, each in runs.items()}
        return size, [
            Row("time", "s", _seconds(runs)),
            Row("processor time for each GB", "s", processor),
            Row("peak memory", "MB", peaks),
            *(Row(task, "s", _seconds(_rounds(origin, present(doing)))) for task, doing in FILES.items()),
        ]


@contextlib.contextmanager
def _running() -> Iterator[tuple[Origin, int]]:
    """Start everything, yield where the image is and its size in bytes, and stop everything."""
    with tempfile.TemporaryDirectory(prefix="bench-client-", dir=_place()) as name:
        directory = Path(name)
        layout = directory / "layout"
        write_layout(layout)
        write_old_layout(layout, directory / OLD)
        with (
            _s3(layout / "blobs") as s3_url,
            local_service({REPOSITORY: OciLayout(layout)}, s3=S3(url=s3_url), write_log=lambda _: None) as running,
        ):
            with Client(running.url) as client:
                image = client.image(REPOSITORY).manifest
                urls = client.resolve(REPOSITORY, [blob.digest for blob in image.blobs])
            yield Origin(running.url, urls, directory), sum(blob.size for blob in image.blobs)


def _rounds(origin: Origin, contestants: dict[str, Command]) -> dict[str, list[Run]]:
    """Let contestants take turns, each time into an empty directory."""
    runs: dict[str, list[Run]] = {name: [] for name in contestants}
    for _ in range(ROUNDS):
        for name, command in contestants.items():
            runs[name].append(_run(origin, name, command))
            print(f"  {name}: {runs[name][-1].seconds:.1f} s", file=sys.stderr, flush=True)
    return runs


def _run(origin: Origin, name: str, command: Command) -> Run:
    output = origin.directory / "output"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    # Let the disk come to rest.
    os.sync()
    launched = subprocess.run(
        [sys.executable, str(HERE / "launcher.py"), *command(origin)],
        cwd=output,
        capture_output=True,
        text=True,
        timeout=_LONGEST_RUN_SECONDS,
        check=True,
    )
    took: dict[str, Any] = json.loads(launched.stdout)
    if took.pop("status"):
        raise MeasurementError(f"{name} failed: {launched.stderr[-500:]}")
    return Run(**took)


def _seconds(runs: dict[str, list[Run]]) -> dict[str, float]:
    return {name: statistics.median(run.seconds for run in each) for name, each in runs.items()}


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
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() and shutil.disk_usage(memory).free > _SPACE else None
