"""The tables of costs and loads in the documents are those that the programs compute."""

import pytest

from benchmarks import costs


def test_the_tables_of_costs_and_loads_in_the_documents_are_computed() -> None:
    for document, text in costs.documents().items():
        assert document.read_text() == text, "Run `make costs`."


def test_a_pull_through_the_edge_costs_its_share_of_a_million_requests() -> None:
    by_pulls = {row[0]: row[2] for row in costs.pulls_table()}
    # 2.90 at rest, and 3 million requests: CloudFront 1.485, Lambda 0.20 and 0.18, logs 1.25.
    assert float(by_pulls["10,000"]) == pytest.approx(2.90 + 3 * (1.485 + 0.20 + 0.18 + 1.25), abs=0.01)
