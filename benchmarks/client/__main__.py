"""Measures `ecr-layers` against other tools, and writes the table in docs/client.md. Run it with `make bench-client`.

The exit status is 1 if something couldn't be measured.
"""

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.client.contestants import FETCHES
from benchmarks.client.image import LAYERS
from benchmarks.client.measurements import BYTES_A_SECOND, LATENCY_MS, ROUNDS, Row, measure
from benchmarks.processes import MeasurementError
from benchmarks.report import END, table, with_block

DOCUMENT = Path(__file__).parents[2] / "docs" / "client.md"
BEGIN = "<!-- Written by `make bench-client` from here -->"


def main() -> int:
    """Measure, print, and write the result."""
    try:
        size, rows = measure()
    except MeasurementError as error:
        print(error, file=sys.stderr)
        return 1
    versions = ", ".join([f"python {platform.python_version()}", *_versions()])
    heading = (
        f"{datetime.now(UTC).date()}: an image of {size / 10**6:.0f} MB, its largest layer {LAYERS[0]} MB; "
        f"{BYTES_A_SECOND / 10**6:g} MB/s and {LATENCY_MS} ms per connection; {ROUNDS} rounds; {versions}; "
        f"{os.cpu_count()} processors"
    )
    result = f"{heading}\n\n{markdown(rows)}"
    print(result)
    DOCUMENT.write_text(with_block(DOCUMENT.read_text(), BEGIN, END, result))
    return 0


def markdown(rows: list[Row]) -> str:
    """Return the table."""
    return table(
        [
            ("", *FETCHES),
            *(
                (row.name, *(f"{row.values[name]:.1f} {row.unit}" if name in row.values else "" for name in FETCHES))
                for row in rows
            ),
        ]
    )


def _versions() -> list[str]:
    """Return name and version of each program that is here, as its first line says."""
    found = []
    for name in ("curl", "skopeo", "aria2c"):
        try:
            said = subprocess.run([name, "--version"], capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            continue
        found.append(f"{name} {next(word for word in said.split() if word[0].isdigit())}")
    return found


if __name__ == "__main__":
    sys.exit(main())
