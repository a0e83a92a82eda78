from benchmarks import report
from benchmarks.measurements import Row


def test_a_row_has_its_values_its_ratio_with_the_range_and_whether_it_is_met() -> None:
    values = {"bare": 1234.5, "tutorial": 0.5, "ours": 5.0}
    written = report.markdown([Row("Load", "ms", values, "1.2 times bare's", False, [1.5, 1.0, 1.25])])
    assert written.splitlines()[-1:] == [
        "| Load | 1,234 ms | 0.500 ms | 5.00 ms | 1.25 (1.00 to 1.50) | 1.2 times bare's | no |",
    ]
