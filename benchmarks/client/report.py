"""Shows a result as a table, keeps it as a file, and puts it into docs/client.md."""

import json
import statistics
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.client.contestants import ARIA2, ARIA2_UNVERIFIED, CRANE, CURL, OURS, SKOPEO
from benchmarks.client.measurements import Row

RESULTS = Path(__file__).parents[1] / "results"
DOCUMENT = Path(__file__).parents[2] / "docs" / "client.md"
BEGIN, END = "<!-- Written by `make bench-client` from here -->", "<!-- to here -->"

_CONTESTANTS = (CURL, SKOPEO, CRANE, ARIA2, ARIA2_UNVERIFIED, OURS)
COLUMNS = ("", *_CONTESTANTS, "ratio (range)", "target", "met")


def show(result: dict[str, Any], rows: list[Row]) -> None:
    """Print a result."""
    table = Table(title=heading(result), title_justify="left")
    for column in COLUMNS:
        table.add_column(column)
    for row in rows:
        table.add_row(*cells(row))
    Console(width=160).print(table)


def write(result: dict[str, Any], rows: list[Row]) -> Path:
    """Write a result's file and the document's table, and return the file."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{result['date']}-client.json"
    path.write_text(json.dumps({**result, "rows": [asdict(row) for row in rows]}, indent=1) + "\n")
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    table = f"{heading(result)}\n\n" + "\n".join(_document_lines(rows))
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}")
    return path


def _document_lines(rows: list[Row]) -> list[str]:
    """Return the document's table, which compares the tools; targets and our own rows are in the file."""
    # Several rows compare the same values with different tools.
    measured = {row.name.partition(", to ")[0]: _values(row) for row in rows if len(row.values) > 1}
    return [
        f"| {' | '.join(('', *_CONTESTANTS))} |",
        "|---" * (len(_CONTESTANTS) + 1) + "|",
        *(f"| {' | '.join((name, *values))} |" for name, values in measured.items()),
    ]


def heading(result: dict[str, Any]) -> str:
    """Return what was measured, on what."""
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return (
        f"{result['date']}: an image of {result['size'] / 10**6:.0f} MB, its largest layer 600 MB; "
        f"{result['bytes_a_second'] / 10**6:g} MB/s and {result['latency_ms']} ms per connection; "
        f"{result['rounds']} rounds; {versions}; {result['cpu_count']} processors"
    )


def cells(row: Row) -> tuple[str, ...]:
    """Return a row's cells, in the order of COLUMNS."""
    met = {True: "yes", False: "no", None: ""}[row.is_met]
    return (row.name, *_values(row), _ratio(row.ratios), row.target, met)


def _values(row: Row) -> list[str]:
    return [f"{row.values[name]:.1f} {row.unit}" if name in row.values else "" for name in _CONTESTANTS]


def _ratio(ratios: list[float]) -> str:
    if not ratios:
        return ""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
