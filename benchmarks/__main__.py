"""Measures the function against the least that does the same. Run it with `make bench`.

The exit status is 0 if all was measured and nothing leaks, 1 if not. A target that is missed is shown and does not
count: other machines have other numbers.
"""

import os
import platform
import sys
import time
from datetime import UTC, datetime

from benchmarks import report
from benchmarks.measurements import GROUPS, levels, stand_in_milliseconds
from benchmarks.packages import build
from benchmarks.processes import MeasurementError
from infra.asset import BuildError


def main() -> int:
    """Measure, print, and write the result."""
    started = time.monotonic()
    try:
        subjects = build()
        result = {
            "date": datetime.now(UTC).date().isoformat(),
            "versions": subjects.versions(),
            "is_compiled": subjects.is_compiled,
            "cpu_count": os.cpu_count(),
            "load_average": round(os.getloadavg()[0], 1),
            "machine": f"{platform.system()} {platform.machine()}",
            "stand_in_milliseconds": round(stand_in_milliseconds(), 4),
        }
        rows = {}
        for measure in GROUPS:
            print(f"Measuring: {measure.__name__} …", file=sys.stderr, flush=True)
            rows[measure] = measure(subjects)
    except (BuildError, MeasurementError) as error:
        print(error, file=sys.stderr)
        return 1
    result["rows"] = [row.as_dict() for group in rows.values() for row in group]
    report.show(result)
    path = report.write(result)
    all_rows = [row for group in rows.values() for row in group]
    met = sum(row.is_met for row in all_rows)
    seconds = time.monotonic() - started
    print(f"{met} of {len(all_rows)} targets are met. It took {seconds:.0f} s. Written: benchmarks/results/{path.name}")
    return 0 if all(row.is_met for row in rows[levels]) else 1


if __name__ == "__main__":
    sys.exit(main())
