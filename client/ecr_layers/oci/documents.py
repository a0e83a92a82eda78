"""Reads untrusted JSON documents: everything has the expected type, or isn't there."""

import json
from collections.abc import Mapping
from typing import Any

from ecr_layers.errors import ClientError


def read_object(content: bytes, name: str) -> dict[str, Any]:
    """Parse a JSON object.

    Args:
        content: The document.
        name: What to call it in the error, at the start of a sentence.

    Raises:
        ClientError: If it isn't a JSON object.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise ClientError(f"{name} isn't a JSON object.", code="malformed-document")
    return document


def mapping(value: object) -> Mapping[str, Any]:
    """Return a JSON object; an empty one instead of anything else."""
    return value if isinstance(value, dict) else {}


def text(value: object) -> str | None:
    """Return a text; None instead of an empty one, or of anything else."""
    return value if isinstance(value, str) and value else None


def texts(value: object) -> tuple[str, ...] | None:
    """Return the texts in a list. Docker also writes a list of one text as the text itself."""
    if isinstance(value, str):
        return (value,)
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else None


def text_map(value: object) -> dict[str, str]:
    """Return an object of texts. A null is an empty text, as in Docker; other values are left out."""
    return {name: each or "" for name, each in mapping(value).items() if each is None or isinstance(each, str)}


def whole(value: object) -> int:
    """Return a whole number that fits 63 bits; 0 instead of anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else 0
