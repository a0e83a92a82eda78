"""`make lint` finds stiff phrases wherever a person reads them."""

import pytest

from scripts.words import LIST, findings, rules_of

RULES = rules_of(LIST.read_text())


def found(name: str, content: str) -> list[tuple[int, str]]:
    """Return line and phrase of each finding."""
    lines = [line.split('"') for line in findings(name, content, RULES)]
    return [(int(place.split(":")[1]), phrase) for place, phrase, *_ in lines]


@pytest.mark.parametrize(
    "sentence",
    [
        "The one door to ECR.",
        "Within seconds it lets nobody in.",
        "This digest is no digest.",
        "It gives out manifests too.",
    ],
)
def test_a_bad_sentence_is_found(sentence: str) -> None:
    assert found("docs/page.md", f"# Title\n\n{sentence}\n")[0][0] == 3


@pytest.mark.parametrize(
    "sentence",
    [
        "There is no layer sha256:00 in repository team/app.",
        "This setting is no longer needed.",
        "`wanted` is None.",
    ],
)
def test_a_plain_sentence_passes(sentence: str) -> None:
    assert found("docs/page.md", sentence) == []


def test_a_phrase_is_found_across_a_line_break() -> None:
    assert found("README.md", "one\ntwo which gives\nout manifests") == [(2, "gives out")]


def test_docstrings_messages_and_comments_of_code_are_read() -> None:
    source = '"""Wins over that."""\n\nraise ValueError(f"{name} is no " "digest")\n\n# Kept all\n# the same.\nx = 1\n'
    assert found("module.py", source) == [(1, "Wins over"), (3, "is no"), (5, "all the same")]


def test_names_in_code_are_not_read() -> None:
    assert found("module.py", "upon = thereof\n") == []


def test_a_finding_says_where_why_and_what_to_write() -> None:
    (finding,) = findings("docs/page.md", "It wins over that.", RULES)
    assert finding == 'docs/page.md:1: "wins over": Use the field\'s word. Try: overrides'
