"""Measures `ecr-layers fetch` against what there is for it today. Run it with `make bench-client`.

The exit status is 0 if all was measured, 1 if not. A target that is missed is shown and does not count: other machines
have other numbers.
"""

import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime

from benchmarks.client import report
from benchmarks.client.measurements import BYTES_A_SECOND, LATENCY_MS, ROUNDS, MeasurementError, measure


def main() -> int:
    """Measure, print, and write the result."""
    started = time.monotonic()
    try:
        size, rows = measure()
    except MeasurementError as error:
        print(error, file=sys.stderr)
        return 1
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {"python": platform.python_version(), **_versions()},
        "cpu_count": os.cpu_count(),
        "rounds": ROUNDS,
        "size": size,
        "bytes_a_second": BYTES_A_SECOND,
        "latency_ms": LATENCY_MS,
    }
    report.show(result, rows)
    path = report.write(result, rows)
    targets = [row.is_met for row in rows if row.is_met is not None]
    seconds = time.monotonic() - started
    print(f"{sum(targets)} of {len(targets)} targets are met. It took {seconds:.0f} s.")
    print(f"Written: benchmarks/results/{path.name}")
    return 0


def _versions() -> dict[str, str]:
    """Return the version of each program that is here, as its first line says."""
    found = {}
    for name in ("curl", "skopeo", "aria2c"):
        try:
            said = subprocess.run([name, "--version"], capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            continue
        found[name] = next(word for word in said.split() if word[0].isdigit())
    return found


if __name__ == "__main__":
    sys.exit(main())
