"""Writes results as tables into documents."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measurements import Row

DOCUMENT = Path(__file__).parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- Written by `make bench` from here -->", "<!-- to here -->"

_COLUMNS = ("", "bare", "tutorial", "ours", "ratio (range)", "target", "met")


def markdown(rows: Sequence[Row]) -> str:
    """Return the table of the function's measurements."""
    return table([_COLUMNS, *map(_cells, rows)])


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose first row is its head."""
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])


def with_block(text: str, begin: str, end: str, block: str) -> str:
    """Return a document with another text between two markers.

    Raises:
        ValueError: If a marker is missing.
    """
    before, found_begin, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found_begin and found_end):
        raise ValueError(f"The document has no place for generated text: {begin} … {end}")
    return f"{before}{begin}\n\n{block}\n\n{end}{after}"


def _cells(row: Row) -> tuple[str, ...]:
    values = (_value(row.values.get(name), row.unit) for name in ("bare", "tutorial", "ours"))
    return (row.name, *values, _ratio(row.ratios), row.target, "yes" if row.is_met else "no")


def _value(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f} {unit}"


def _ratio(ratios: list[float]) -> str:
    digits = 3 if max(ratios) < 1 else 2 if max(ratios) < 10 else 1
    return f"{statistics.median(ratios):.{digits}f} ({min(ratios):.{digits}f} to {max(ratios):.{digits}f})"
