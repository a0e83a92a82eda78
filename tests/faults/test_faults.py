"""The function against servers that fail in every way; `make soak` runs more of it."""

import os
import threading
from pathlib import Path

import pytest

from tests.faults.harness import PLACES, run, run_each_alone

# urllib3 leaves the socket of an answer with malformed headers to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

# make exports variables without a value as empty.
SEED = int(os.environ.get("SEED") or 1)
INVOCATIONS = int(os.environ.get("INVOCATIONS") or 100)

POOLS = 40
"""How many threads, and connections, the function's pools may come to keep."""


def held() -> dict[str, int]:
    """Return how many threads and open files the process has, without the servers' threads."""
    threads = sum(not each.name.startswith("fault-") for each in threading.enumerate())
    return {"threads": threads, "files": len(list(Path("/dev/fd").iterdir()))}


def test_whatever_ecr_and_s3_do_each_answer_is_a_row_in_time_and_tells_no_secret() -> None:
    before = held()
    report = run(SEED, INVOCATIONS)
    assert len(report.behaviours) > 15
    assert len(report.outcomes) > 5
    for name, count in held().items():
        assert count <= before[name] + POOLS


@pytest.mark.parametrize("place", PLACES)
def test_each_fault_of_a_connection_alone_is_answered_before_lambda_ends_the_invocation(place: str) -> None:
    assert len(run_each_alone(place).behaviours) > 25
