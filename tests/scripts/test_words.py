"""`make lint` finds stiff phrases wherever a person reads them."""

from scripts.words import LIST, findings, rules_of

RULES = rules_of(LIST.read_text())


def found(name: str, content: str) -> list[tuple[int, str]]:
    """Return line and phrase of each finding."""
    lines = [line.split('"') for line in findings(name, content, RULES)]
    return [(int(place.split(":")[1]), phrase) for place, phrase, *_ in lines]


def test_phrases_are_found_also_across_a_line_break_and_plain_sentences_pass() -> None:
    assert found("docs/page.md", "# Title\n\nThis digest is no digest.\n") == [(3, "is no")]
    assert found("README.md", "one\ntwo which gives\nout manifests") == [(2, "gives out")]
    plain = "There is no layer sha256:00. This setting is no longer needed. `wanted` is None."
    assert found("docs/page.md", plain) == []


def test_docstrings_messages_and_comments_of_code_are_read_and_names_are_not() -> None:
    source = (
        '"""Wins over that."""\n\nraise ValueError(f"{name} is no " "digest")\n\n# Kept all\n# the same.\nupon = 1\n'
    )
    assert found("module.py", source) == [(1, "Wins over"), (3, "is no"), (5, "all the same")]


def test_a_finding_says_where_why_and_what_to_write() -> None:
    (finding,) = findings("docs/page.md", "It wins over that.", RULES)
    assert finding == 'docs/page.md:1: "wins over": Use the field\'s word. Try: overrides'
