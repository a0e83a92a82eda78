"""Reads requests into their models, and says in the caller's words what is wrong with those that do not fit."""

import re
from typing import Any, TypeVar

from aws_lambda_powertools.utilities.parser import ValidationError, parse
from pydantic import BaseModel
from pydantic_core import ErrorDetails

from layer_resolver.errors import INVALID_PARAMETER, ResolverError
from layer_resolver.models import LAYER_DIGEST_RULE, REPOSITORY_NAME_RULE

Model = TypeVar("Model", bound=BaseModel)

DESCRIBED_PROBLEMS = 5
"""How many problems one message names; a batch can have hundreds."""

_FIELD_NAME = re.compile(r"\w{1,64}", re.ASCII)

_RULES = {
    "registryId": "must be an AWS account id, twelve digits",
    "repositoryName": f"must be {REPOSITORY_NAME_RULE}, such as team/app",
    **dict.fromkeys(("layerDigest", "layerDigests", "digest", "imageDigest"), f"must be {LAYER_DIGEST_RULE}"),
    "imageTag": "must be a tag: up to 128 letters, digits, '_', '.' and '-', of which the first is no '.' or '-'",
    "platform": "must be an operating system and an architecture, such as linux/arm64",
}
_RULE_VIOLATIONS = frozenset({"string_pattern_mismatch", "string_too_short", "string_too_long"})


def parse_request(data: dict[str, Any] | str, model: type[Model]) -> Model:
    """Return `data` as an instance of `model`.

    Args:
        data: A mapping, or the text of a JSON document.
        model: What it has to be.

    Raises:
        ResolverError: `INVALID_PARAMETER`, with a message that names each field that is wrong and says what it has to
            be. The message does not repeat values: what a caller sends by mistake may be a secret.
    """
    try:
        # The annotation of `parse` only names mappings; a JSON text is documented and supported as well.
        parsed: Model = parse(event=data, model=model)  # type: ignore[arg-type]
    except ValidationError as error:
        # The cause holds the values, so it must not go on to the log.
        raise ResolverError(INVALID_PARAMETER, _message(error, model)) from None
    return parsed


def _message(error: ValidationError, model: type[BaseModel]) -> str:
    problems = error.errors(include_url=False, include_context=True, include_input=False)
    described = [_describe(problem, model) for problem in problems[:DESCRIBED_PROBLEMS]]
    more = len(problems) - len(described)
    if more:
        described.append(f"and {more} more")
    return "; ".join(described) + "."


def _describe(problem: ErrorDetails, model: type[BaseModel]) -> str:
    kind = problem["type"]
    if kind == "json_invalid":
        return f"The request is not JSON: {problem['ctx']['error']}"
    location = _location(problem["loc"])
    if kind == "missing":
        return f"{location} is missing"
    if kind == "extra_forbidden":
        fields = ", ".join(str(field.alias) for field in model.model_fields.values())
        return f"{location} is not a field of this request; its fields are {fields}"
    name = next((part for part in reversed(problem["loc"]) if isinstance(part, str)), "")
    if kind in _RULE_VIOLATIONS and name in _RULES:
        return f"{location} {_RULES[name]}"
    return f"{location}: {problem['msg']}"


def _location(parts: tuple[int | str, ...]) -> str:
    """Return a place in a JSON document, such as `layers[2].digest`."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{_shown(part)}" for part in parts)
    return path.removeprefix(".") or "The request"


def _shown(name: str) -> str:
    """Return a field's name if it looks like one; an unknown field's name can be anything, even a download URL."""
    return name if _FIELD_NAME.fullmatch(name) else "(a name that is not shown)"
