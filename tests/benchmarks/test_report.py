import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report
from benchmarks.measurements import Row
from benchmarks.processes import MeasurementError

ROW = Row("Load", "ms", {"bare": 1234.5, "tutorial": 0.5, "ours": 5.0}, "1.2 times bare's", False, [1.5, 1.0, 1.25])
ALONE = Row("Calls", "", {"ours": 10}, "10", True)


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(report, "DOCUMENT", tmp_path / "performance.md")
    report.DOCUMENT.write_text(f"# Before\n\n{report.BEGIN}\n\nold\n\n{report.END}\n\nafter\n")
    return tmp_path


def result_of(*rows: Row) -> dict[str, Any]:
    return {
        "date": "2026-01-02",
        "versions": {"python": "3.13.1", "boto3": "1.44.5"},
        "is_compiled": True,
        "cpu_count": 2,
        "load_average": 0.5,
        "machine": "Linux x86_64",
        "rows": [asdict(row) for row in rows],
    }


def test_a_row_has_its_values_its_ratio_with_the_range_and_whether_it_is_met() -> None:
    lines = report.markdown(result_of(ROW, ALONE)).splitlines()
    assert lines[-2:] == [
        "| Load | 1,234 ms | 0.500 ms | 5.00 ms | 1.25 (1.00 to 1.50) | 1.2 times bare's | no |",
        "| Calls |  |  | 10 |  | 10 | yes |",
    ]


@pytest.mark.parametrize(
    ("values", "ratios"), [({"bare": 1.0}, []), ({"ours": math.nan}, []), ({"ours": 1.0}, [1.0, math.inf])]
)
def test_a_row_without_a_measured_value_is_refused(values: dict[str, float], ratios: list[float]) -> None:
    with pytest.raises(MeasurementError, match=r"Load was not measured"):
        Row("Load", "ms", values, "bare's", True, ratios)


def test_a_result_is_kept_and_replaces_the_documents_table(directory: Path) -> None:
    path = report.write(result_of(ROW))
    report.write(result_of(ROW))
    text = report.DOCUMENT.read_text()
    assert path == directory / "results" / "2026-01-02-python3.13.json"
    assert json.loads(path.read_text()) == result_of(ROW)
    assert text == f"# Before\n\n{report.BEGIN}\n\n{report.markdown(result_of(ROW))}\n\n{report.END}\n\nafter\n"


@pytest.mark.parametrize("text", ["", report.BEGIN, f"{report.END} {report.BEGIN}"])
def test_a_document_without_a_place_for_the_table_is_left_alone(directory: Path, text: str) -> None:
    report.DOCUMENT.write_text(text)
    with pytest.raises(ValueError, match="no place for generated text"):
        report.write(result_of(ROW))
    assert report.DOCUMENT.read_text() == text
    assert not (directory / "results").exists()


def test_the_documents_table_is_that_of_a_kept_result() -> None:
    document = report.DOCUMENT.read_text()
    results = [json.loads(path.read_text()) for path in report.RESULTS.glob("*-python*.json")]
    assert any(report.markdown(result) in document for result in results)
