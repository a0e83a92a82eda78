"""The long runs: `make soak`. Prints what they came to, and ends with 1 if a promise is broken."""

import os
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}

from tests.faults.harness import BrokenPromiseError, Progress, Report, run, run_inputs

# make exports variables without a value as empty.
INVOCATIONS = int(os.environ.get("INVOCATIONS") or 10_000)
INPUTS = int(os.environ.get("INPUTS") or 1_000_000)
MINUTES = float(os.environ.get("MINUTES") or "inf")
SEED = int(os.environ.get("SEED") or time.time())
MOST_KEPT = {"threads": 40, "file descriptors": 40, "memory in kilobytes": 64 * 1024}
"""By how much the pools and caches may have grown."""


def main() -> int:
    """Run both, and tell."""
    print(f"SEED={SEED} INVOCATIONS={INVOCATIONS} INPUTS={INPUTS} MINUTES={MINUTES:g}", flush=True)
    try:
        faults = _timed("invocations with faults", run, INVOCATIONS)
        inputs = _timed("hostile inputs", run_inputs, INPUTS)
    except BrokenPromiseError as error:
        print(f"A promise is broken: {error}", file=sys.stderr)
        return 1
    grown = [
        name
        for report in (faults, inputs)
        for name, most in MOST_KEPT.items()
        if report.before and report.after[name] > report.before[name] + most
    ]
    if grown:
        print(f"More than the pools keep: {', '.join(grown)}", file=sys.stderr)
    return 1 if grown else 0


ENDS = time.monotonic() + MINUTES * 60


def _timed(name: str, runs: Callable[[int, int, Progress], Report], count: int) -> Report:
    def progress(done: int) -> bool:
        if done > 0 and done % max(1, count // 20) == 0:
            print(f"  {done:,} of {count:,}", file=sys.stderr, flush=True)
        return time.monotonic() < ENDS

    started = time.monotonic()
    report = runs(SEED, count, progress)
    print(f"\n{report.invocations:,} {name} in {time.monotonic() - started:.0f} s")
    print(f"  before: {_shown(report.before)}\n  after:  {_shown(report.after)}")
    print(f"  the latest answer: {report.latest:+.2f} s")
    for title, counted in (("answers", report.outcomes), ("faults", report.behaviours)):
        for each, times in counted.most_common():
            print(f"  {title}: {times:>8,} {each}")
    return report


def _shown(state: dict[str, Any]) -> str:
    return ", ".join(f"{value:,} {name}" for name, value in state.items())


if __name__ == "__main__":
    sys.exit(main())
