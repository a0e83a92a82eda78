"""Shows a result as a table, keeps it as a file, and puts it into docs/performance.md."""

import json
import statistics
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
DOCUMENT = Path(__file__).parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- Written by `make bench` from here -->", "<!-- to here -->"

COLUMNS = ("", "bare", "tutorial", "ours", "ratio (range)", "target", "met")


def cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Return a row's cells, in the order of COLUMNS."""
    return (
        row["name"],
        _value(row["baseline"], row["unit"]),
        _value(row["others"].get("tutorial"), row["unit"]),
        _value(row["ours"], row["unit"]),
        _ratio(row["ratios"]),
        row["target"],
        "yes" if row["is_met"] else "no",
    )


def show(result: dict[str, Any]) -> None:
    """Print a result."""
    table = Table(title=heading(result), title_justify="left")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in {"", "target", "met"} else "right")
    for row in result["rows"]:
        table.add_row(*cells(row))
    Console(width=160).print(table)


def heading(result: dict[str, Any]) -> str:
    """Return what was measured, on what."""
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    bytecode = "with" if result["is_compiled"] else "without"
    return (
        f"{result['date']}: {versions}; {result['cpu_count']} processors, {result['machine']}; "
        f"load average {result['load_average']}; {bytecode} bytecode; "
        f"one call of the stand-in for ECR takes {result['stand_in_milliseconds']:.3f} ms"
    )


def markdown(result: dict[str, Any]) -> str:
    """Return a result as Markdown."""
    lines = [
        f"| {' | '.join(COLUMNS)} |",
        "|" + "|".join("---" for _ in COLUMNS) + "|",
        *(f"| {' | '.join(cells(row))} |" for row in result["rows"]),
    ]
    return f"{heading(result)}\n\n" + "\n".join(lines)


def write(result: dict[str, Any]) -> Path:
    """Write a result's file and the document's table, and return the file."""
    RESULTS.mkdir(exist_ok=True)
    version = ".".join(result["versions"]["python"].split(".")[:2])
    path = RESULTS / f"{result['date']}-python{version}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    text = DOCUMENT.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{markdown(result)}\n\n{END}{after}")
    return path


def _value(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    digits = 3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{0 if unit == '' else digits}f} {unit}".strip()


def _ratio(ratios: list[float]) -> str:
    if not ratios:
        return ""
    digits = 3 if max(ratios) < 1 else 2 if max(ratios) < 10 else 1
    median = f"{statistics.median(ratios):.{digits}f}"
    return median if len(ratios) == 1 else f"{median} ({min(ratios):.{digits}f} to {max(ratios):.{digits}f})"
