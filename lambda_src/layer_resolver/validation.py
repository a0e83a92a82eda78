"""Reads requests into their models, and says in the caller's words what is wrong with those that do not fit.

A request is flat: its model is a dataclass of strings and lists of strings, each with its rule in its type. So a field
takes a look-up and a regular expression, and no library has to be loaded.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args, get_type_hints

from layer_resolver.errors import INVALID_PARAMETER, ResolverError
from layer_resolver.models import ListRule, Rule, field_name

if TYPE_CHECKING:
    # Requests over HTTP do without pydantic.
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

Model = TypeVar("Model")

DESCRIBED_PROBLEMS = 5
"""How many problems one message names; a batch can have hundreds."""

MOST_JSON_VALUES = 100_000
"""How many values a JSON document may have. An index of 4 MB has fewer, unless it is an attack."""

_WORDS = {
    "missing": "is missing",
    "model_type": "must be a JSON object",
    "dict_type": "must be a JSON object",
    "list_type": "must be a list",
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
    "literal_error": "must be {expected}",
    "too_long": "must have at most {max_length} entries",
    "string_too_long": "must have at most {max_length} characters",
}

_FIELD_NAME = re.compile(r"\w{1,64}", re.ASCII)


def parse_request(data: Mapping[str, Any], model: type[Model]) -> Model:
    """Return the fields of a request as an instance of its model.

    Args:
        data: The fields, by their names on the wire.
        model: A dataclass whose fields have their rules in their types.

    Raises:
        ResolverError: `INVALID_PARAMETER`, with a message that names each field that is wrong and says what it has to
            be. The message does not repeat values: what a caller sends by mistake may be a secret.
    """
    known = request_fields(cast("Any", model))
    values, problems = {}, []
    for name, value in data.items():
        field = known.get(name)
        if field is None:
            problems.append(f"{_shown(name)} is not a field of this request; its fields are {', '.join(known)}")
        elif field.admits(value):
            values[field.name] = value
        else:
            problems.append(field.problem(name, value))
    problems += [f"{name} is missing" for name, field in known.items() if field.is_required and name not in data]
    if problems:
        raise ResolverError(INVALID_PARAMETER, _joined(problems))
    return model(**values)


def parse_json(text: str) -> dict[str, Any]:
    """Return the JSON object that a text is.

    Raises:
        ResolverError: `INVALID_PARAMETER`, if it is not one, names a member twice, or has too many values.
    """
    check_number_of_values(text)
    try:
        document = _decoder.decode(text)
    except _NamedTwiceError:
        raise ResolverError(INVALID_PARAMETER, "The request has a field twice. Send each once.") from None
    except json.JSONDecodeError as error:
        raise ResolverError(
            INVALID_PARAMETER,
            f"The request is not JSON: {error.msg} at line {error.lineno} column {error.colno}.",
        ) from None
    except (ValueError, RecursionError):
        raise ResolverError(INVALID_PARAMETER, "The request has a number or a depth that is too large.") from None
    if not isinstance(document, dict):
        raise ResolverError(INVALID_PARAMETER, "The request must be a JSON object.")
    return document


def check_number_of_values(document: str | bytes) -> None:
    """Refuse a JSON document with too many values, without reading it.

    Every value but a container's first follows a comma, and the first a bracket. Commas within strings count too.

    Raises:
        ResolverError: `INVALID_PARAMETER`, if there may be more than `MOST_JSON_VALUES`.
    """
    signs = (b",", b"[", b"{") if isinstance(document, bytes) else (",", "[", "{")
    if sum(map(document.count, signs)) > MOST_JSON_VALUES:  # type: ignore[arg-type]
        raise ResolverError(INVALID_PARAMETER, f"The document has more than {MOST_JSON_VALUES} values.")


class _NamedTwiceError(Exception):
    """A JSON object has a member twice, so it is unclear which of the two is meant."""


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) != len(members):
        raise _NamedTwiceError
    return found


_decoder = json.JSONDecoder(object_pairs_hook=_object)


class RequestField:
    """A field of a request.

    Attributes:
        name: Its name in the model.
        rule: What its value has to be.
        is_required: Whether it has to be there.
    """

    __slots__ = ("is_required", "name", "rule")

    def __init__(self, name: str, rule: Rule | ListRule, *, is_required: bool) -> None:
        self.name = name
        self.rule = rule
        self.is_required = is_required

    def admits(self, value: object) -> bool:
        """Tell whether a value is as the field's rule says; a field that may be absent may be null."""
        rule = self.rule
        if isinstance(rule, Rule):
            return rule.admits(value) or (value is None and not self.is_required)
        return isinstance(value, list) and 0 < len(value) <= rule.longest and all(map(rule.item.admits, value))

    def problem(self, name: str, value: object) -> str:
        """Return what is wrong with a value that the rule does not admit."""
        rule = self.rule
        if isinstance(rule, Rule):
            return f"{name} must be {rule.words}"
        if not isinstance(value, list) or not 0 < len(value) <= rule.longest:
            return f"{name} must be {rule.words}"
        wrong = [f"{name}[{place}]" for place, item in enumerate(value) if not rule.item.admits(item)]
        more = f" and {len(wrong) - DESCRIBED_PROBLEMS} more" if len(wrong) > DESCRIBED_PROBLEMS else ""
        return f"{', '.join(wrong[:DESCRIBED_PROBLEMS])}{more} must be {rule.item.words}"


@cache
def request_fields(model: Any) -> dict[str, RequestField]:
    """Return the fields of a request's model by their names on the wire."""
    hints = get_type_hints(model, include_extras=True)
    return {
        field_name(each.name): RequestField(each.name, _rule_of(hints[each.name]), is_required=each.default is MISSING)
        for each in fields(model)
    }


def _rule_of(hint: Any) -> Rule | ListRule:
    rules = getattr(hint, "__metadata__", ())
    if rules:
        rule: Rule | ListRule = rules[0]
        return rule
    # The field may be absent: its type is that of its value, or None.
    return _rule_of(next(each for each in get_args(hint) if each is not type(None)))


def described(error: "ValidationError") -> str:
    """Return what pydantic found wrong with a document, in the caller's words and without values."""
    return _joined([_describe(problem) for problem in error.errors()])


def _describe(problem: "ErrorDetails") -> str:
    kind = problem["type"]
    if kind == "json_invalid":
        return f"The document is not JSON: {problem['ctx']['error']}"
    location = _location(problem["loc"])
    if kind in _WORDS:
        return f"{location} {_WORDS[kind].format(**problem.get('ctx', {}))}"
    return f"{location} {problem['msg'].removeprefix('Value error, ')}"


def _joined(problems: list[str]) -> str:
    named = problems[:DESCRIBED_PROBLEMS]
    if len(problems) > len(named):
        named.append(f"and {len(problems) - len(named)} more")
    return "; ".join(named) + "."


def _location(parts: tuple[int | str, ...]) -> str:
    """Return a place in a JSON document, such as `layers[2].digest`."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{_shown(part)}" for part in parts)
    return path.removeprefix(".") or "The document"


def _shown(name: str) -> str:
    """Return a field's name if it looks like one; an unknown field's name can be anything, even a download URL."""
    return name if _FIELD_NAME.fullmatch(name) else "(a name that is not shown)"
