"""Writes a sample of the mutants of some modules, one a line as JSON. Runs with the Python that has cosmic-ray."""

import ast
import json
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import parso
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator
from parso.python.tree import String

# Of the replacements of one operator of Python's, the one that is nearest to it. Unions of types are left out: they
# are in annotations, and any mutant of them is killed by the import.
CORE = (
    *(f"ReplaceBinaryOperator_{each}" for each in ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "Mod_Mul")),
    *(f"ReplaceComparisonOperator_{each}" for each in ("Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is")),
    *(f"ReplaceComparisonOperator_{each}" for each in ("Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt")),
    "ReplaceUnaryOperator_Delete_Not",
    "ReplaceUnaryOperator_Delete_USub",
    "AddNot",
    "ReplaceTrueWithFalse",
    "ReplaceFalseWithTrue",
    "ReplaceAndWithOr",
    "ReplaceOrWithAnd",
    "ReplaceBreakWithContinue",
    "ReplaceContinueWithBreak",
    "ExceptionReplacer",
    "NumberReplacer",
    "RemoveDecorator",
    "ZeroIterationForLoop",
)
PROSE = " "
"""What a string has that is meant to be read; how messages are worded is no promise."""


SAME = {
    "ReplaceBinaryOperator_Mul_Div": re.compile(r"^\s*def \w+\(.*\*,"),
    "NumberReplacer": re.compile(r"^_?(?:CACHED_\w+|FRAMES) = |\b(?:TTL|LRU)Cache\("),
    "RemoveDecorator": re.compile(r"@(?:lru_)?cache\b"),
    "ReplaceTrueWithFalse": re.compile(r"@dataclass\(|\bzip\("),
    "ReplaceString": re.compile(r"\b(?:(?:TypeVar|ContextVar|cast)\(|thread_name_prefix=)\"X|= Literal\["),
}
"""Lines that do the same with a mistake of the kind: what is there for speed, for readers, or for type checkers."""


class RemoveCall(Operator):  # type: ignore[misc]
    """Takes out a statement that is nothing but a call."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        """Yield the place of each such statement."""
        if node.type == "simple_stmt" and _is_call(node.children[0]):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """Put `pass` in the place of the statement."""
        prefix = node.get_first_leaf().prefix
        return parso.parse(f"{prefix}pass\n").children[0]

    @classmethod
    def examples(cls) -> tuple[()]:
        """Return none; they are for cosmic-ray's own tests."""
        return ()


class ReplaceString(Operator):  # type: ignore[misc]
    """Puts another string in the place of one that is a name, a pattern or a value."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        """Yield the place of each string that is neither prose nor a docstring nor a type."""
        if node.type == "string" and PROSE not in node.value and not _is_text_of_its_own(node):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """Put a character into the string."""
        quote = node.value[-1]
        start, _, rest = node.value.partition(quote)
        return String(f"{start}{quote}X{rest}", node.start_pos, node.prefix)

    @classmethod
    def examples(cls) -> tuple[()]:
        """Return none; they are for cosmic-ray's own tests."""
        return ()


def _is_call(node: Any) -> bool:
    return (
        node.type in {"atom_expr", "power"}
        and node.children[-1].type == "trailer"
        and node.children[-1].children[0] == "("
    )


def _is_text_of_its_own(node: Any) -> bool:
    if node.parent.type in {"simple_stmt", "annassign", "tfpdef", "param", "strings"} or node.value.startswith(
        ('"""', 'r"""')
    ):
        return True
    return _is_in_annotation(node)


def _is_in_annotation(node: Any) -> bool:
    while node.parent is not None:
        before = node.get_previous_sibling()
        if before is not None and (
            before == "->" or (before == ":" and node.parent.type in {"annassign", "tfpdef", "param"})
        ):
            return True
        node = node.parent
    return False


OPERATORS: dict[str, Any] = {name: get_operator(f"core/{name}")() for name in CORE}
OPERATORS |= {each.__name__: each() for each in (RemoveCall, ReplaceString)}


def _is_python(code: str) -> bool:
    try:
        ast.parse(code)
    except SyntaxError:
        return False
    return True


def _is_in_protocol(code: str, line: int) -> bool:
    """Tell whether a line belongs to a protocol, which only type checkers read."""
    return any(
        isinstance(node, ast.ClassDef) and "Protocol" in map(ast.unparse, node.bases) and line in _lines_of(node)
        for node in ast.walk(ast.parse(code))
    )


def _lines_of(node: ast.ClassDef) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def places_of(path: Path) -> Iterator[tuple[Path, str, int]]:
    """Yield every mutant of a module, by the name of its operator and the occurrence of that."""
    nodes = list(_nodes(parso.parse(path.read_text())))
    for name, operator in OPERATORS.items():
        for occurrence in range(sum(len(list(operator.mutation_positions(node))) for node in nodes)):
            yield path, name, occurrence


def _nodes(node: Any) -> Iterator[Any]:
    yield node
    for child in getattr(node, "children", ()):
        yield from _nodes(child)


def mutant_of(path: Path, name: str, occurrence: int) -> dict[str, Any] | None:
    """Return a mutant, None if it is no Python or does the same as the module."""
    code = path.read_text()
    try:
        mutated = mutate_code(code, OPERATORS[name], occurrence)
    except AttributeError:
        # cosmic-ray's own operators stumble over names with a dot.
        return None
    if mutated is None or not _is_python(mutated):
        return None
    lines, changed = code.splitlines(), mutated.splitlines()
    line = next((number for number, pair in enumerate(zip(lines, changed, strict=False)) if pair[0] != pair[1]), None)
    if line is None or _is_in_protocol(code, line + 1):
        return None
    before = next(each for each in lines[line:] if each.strip())
    if name in SAME and SAME[name].search(f"{before}\n{changed[line]}"):
        return None
    return {
        "module": str(path),
        "operator": name,
        "line": line + 1,
        "before": before.strip(),
        "after": changed[line].strip(),
        "code": mutated,
    }


def main(count: int, seed: str, paths: list[Path]) -> None:
    """Write a sample of the mutants of some modules."""
    places = [place for path in paths for place in places_of(path)]
    print(json.dumps({"made": len(places)}))
    for place in random.Random(seed).sample(places, len(places)):
        if count == 0:
            break
        mutant = mutant_of(*place)
        if mutant is not None:
            print(json.dumps(mutant))
            count -= 1


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], [Path(each) for each in sys.argv[3:]])
