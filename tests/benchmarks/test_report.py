import json
from typing import Any

import pytest

from benchmarks import report
from benchmarks.measurements import Row


def result_of(*rows: Row) -> dict[str, Any]:
    return {
        "date": "2026-01-02",
        "versions": {"python": "3.13.1", "botocore": "1.44.5"},
        "is_compiled": True,
        "cpu_count": 2,
        "load_average": 0.5,
        "machine": "Linux x86_64",
        "stand_in_milliseconds": 0.02,
        "rows": [row.as_dict() for row in rows],
    }


ROW = Row("First answer", "ms", 5.0, "at most 1.2 times bare's", False, 4.0, [1.5, 1.0, 1.25], {"tutorial": 0.5})


def test_a_row_has_its_values_its_ratio_with_the_range_and_whether_it_is_met() -> None:
    assert report.cells(ROW.as_dict()) == (
        "First answer", "4.00 ms", "0.500 ms", "5.00 ms", "1.25 (1.00 to 1.50)", "at most 1.2 times bare's", "no",
    )  # fmt: skip


def test_a_row_without_a_baseline_has_empty_cells() -> None:
    cells = report.cells(Row("Package", "MB", 5.5, "at most 6 MB", True).as_dict())
    assert cells == ("Package", "", "", "5.50 MB", "", "at most 6 MB", "yes")


def test_a_result_is_kept_and_takes_the_place_of_the_documents_table(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(report, "DOCUMENT", tmp_path / "performance.md")
    report.DOCUMENT.write_text(f"# Before\n\n{report.BEGIN}\n\nold\n\n{report.END}\n\nafter\n")
    path = report.write(result_of(ROW))
    report.write(result_of(ROW))
    text = report.DOCUMENT.read_text()
    assert path.name == "2026-01-02-python3.13.json"
    assert json.loads(path.read_text()) == result_of(ROW)
    assert text.startswith("# Before\n")
    assert text.endswith("\n\nafter\n")
    assert "old" not in text
    assert text.count("| First answer |") == 1


def test_the_documents_table_is_that_of_a_kept_result() -> None:
    document = report.DOCUMENT.read_text()
    assert any(
        report.markdown(json.loads(path.read_text())) in document for path in report.RESULTS.glob("*-python*.json")
    )
