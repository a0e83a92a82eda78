"""Shows a result as a table in docs/performance.md."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- Written by `make bench` from here -->", "<!-- to here -->"

COLUMNS = ("", "bare", "tutorial", "ours", "ratio (range)", "target", "met")


def markdown(result: dict[str, Any]) -> str:
    """Return a result as Markdown: what was measured on what, and the table."""
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    heading = (
        f"{result['date']}: {versions}; {result['cpu_count']} processors, {result['machine']}; load average "
        f"{result['load_average']}; {'with' if result['is_compiled'] else 'without'} bytecode"
    )
    return f"{heading}\n\n{table([COLUMNS, *map(_cells, result['rows'])])}"


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


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["name"],
        *(_value(row["values"].get(name), row["unit"]) for name in ("bare", "tutorial", "ours")),
        _ratio(row["ratios"]),
        row["target"],
        "yes" if row["is_met"] else "no",
    )


def _value(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    digits = 0 if unit == "" else 3 if abs(value) < 1 else 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:,.{digits}f} {unit}".strip()


def _ratio(ratios: list[float]) -> str:
    if not ratios:
        return ""
    digits = 3 if max(ratios) < 1 else 2 if max(ratios) < 10 else 1
    median = f"{statistics.median(ratios):.{digits}f}"
    return median if len(ratios) == 1 else f"{median} ({min(ratios):.{digits}f} to {max(ratios):.{digits}f})"
