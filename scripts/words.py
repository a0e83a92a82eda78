"""Finds phrases that scripts/words.toml refuses; `make lint` runs it."""

import ast
import io
import re
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIST = Path(__file__).with_suffix(".toml")

_UNRELEASED = re.compile(r".*?(?=^## \[\d)", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Rule:
    """A refused phrase, better words, and the rule it breaks."""

    pattern: re.Pattern[str]
    instead: str
    why: str


def rules_of(document: str) -> list[Rule]:
    """Return the rules of a list in TOML. A space in a pattern matches any white space."""
    return [
        Rule(re.compile(rf"\b(?:{pattern})\b".replace(" ", r"\s+"), re.IGNORECASE), instead, group["why"])
        for group in tomllib.loads(document)["rules"]
        for pattern, instead in group["instead"].items()
    ]


def findings(name: str, content: str, rules: list[Rule]) -> Iterator[str]:
    """Yield a line for each refused phrase in a file: where it is, and what to write instead."""
    for first_line, text in _prose(name, content):
        for rule in rules:
            for match in rule.pattern.finditer(text):
                line = first_line + text.count("\n", 0, match.start())
                yield f'{name}:{line}: "{" ".join(match[0].split())}": {rule.why}. Try: {rule.instead}'


def _prose(name: str, content: str) -> Iterator[tuple[int, str]]:
    """Yield what a person reads of a file, with the line that it starts in."""
    if name.endswith(".py"):
        yield from _strings_and_comments(content)
    elif name == "CHANGELOG.md":
        # Released entries stay as they are.
        unreleased = _UNRELEASED.match(content)
        yield 1, unreleased[0] if unreleased else content
    else:
        yield 1, re.sub(r"^#(?= )", "", content, flags=re.MULTILINE)


def _strings_and_comments(source: str) -> Iterator[tuple[int, str]]:
    """Yield each string and each block of comments."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
    block: list[tokenize.TokenInfo] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            block.append(token)
        elif token.type != tokenize.NL and block:
            yield block[0].start[0], "\n".join(each.string.lstrip("#") for each in block)
            block = []


def main() -> int:
    """Print all findings, and return how the command ends."""
    document = LIST.read_text()
    settings, rules = tomllib.loads(document), rules_of(document)
    paths = sorted({path for pattern in settings["files"] for path in ROOT.glob(pattern)})
    names = [path.relative_to(ROOT).as_posix() for path in paths]
    read = [name for name in names if not name.startswith(tuple(settings["skip"]))]
    found = [line for name in read for line in findings(name, (ROOT / name).read_text(), rules)]
    print("\n".join(found) or "No refused phrases.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
