"""Measures the function beside bare boto3 and Powertools' tutorial. Run it with `make bench`.

The exit status is 1 if something couldn't be measured. A missed target doesn't count: other machines, other numbers.
"""

import os
import platform
import sys
import time
from datetime import UTC, datetime

from benchmarks import report
from benchmarks.measurements import GROUPS
from benchmarks.packages import build
from benchmarks.processes import MeasurementError
from infra.package import BuildError


def main() -> int:
    """Measure, write the result, and print it."""
    started = time.monotonic()
    load_average = round(os.getloadavg()[0], 1)
    rows = []
    try:
        subjects = build()
        for measure in GROUPS:
            print(f"Measuring: {measure.__name__} …", file=sys.stderr, flush=True)
            rows += measure(subjects)
    except (BuildError, MeasurementError) as error:
        print(error, file=sys.stderr)
        return 1
    versions = ", ".join(f"{name} {version}" for name, version in subjects.versions().items())
    heading = (
        f"{datetime.now(UTC).date()}: {versions}; {os.cpu_count()} processors, {platform.system()} "
        f"{platform.machine()}; load average {load_average}; {'with' if subjects.is_compiled else 'without'} bytecode"
    )
    written = f"{heading}\n\n{report.markdown(rows)}"
    document = report.DOCUMENT.read_text()
    report.DOCUMENT.write_text(report.with_block(document, report.BEGIN, report.END, written))
    print(written)
    met, seconds = sum(row.is_met for row in rows), time.monotonic() - started
    print(f"{met} of {len(rows)} targets are met. It took {seconds:.0f} s. Written: docs/performance.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
