import math
from dataclasses import asdict
from typing import Any

import pytest

from benchmarks import report
from benchmarks.measurements import Row
from benchmarks.processes import MeasurementError

ROW = Row("Load", "ms", {"bare": 1234.5, "tutorial": 0.5, "ours": 5.0}, "1.2 times bare's", False, [1.5, 1.0, 1.25])


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
    lines = report.markdown(result_of(ROW)).splitlines()
    assert lines[-1:] == [
        "| Load | 1,234 ms | 0.500 ms | 5.00 ms | 1.25 (1.00 to 1.50) | 1.2 times bare's | no |",
    ]


@pytest.mark.parametrize(
    ("values", "ratios"), [({"bare": 1.0}, []), ({"ours": math.nan}, []), ({"ours": 1.0}, [1.0, math.inf])]
)
def test_a_row_without_a_measured_value_is_refused(values: dict[str, float], ratios: list[float]) -> None:
    with pytest.raises(MeasurementError, match=r"Load was not measured"):
        Row("Load", "ms", values, "bare's", True, ratios)
