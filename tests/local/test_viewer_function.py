"""CloudFront functions in Node: what they have of a KeyValueStore, and what they have not of Node."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from local.viewer_function import ViewerFunction, ViewerFunctionError

STORE = {"text": "ü", "json": '{"a": [1]}'}


def result_of(expression: str, store: Mapping[str, str] | None = STORE) -> Any:
    """Return what an expression is in a function, whose store is `kvs`."""
    source = f"""
        import cf from 'cloudfront';
        async function handler(event) {{
          const kvs = cf.kvs();
          return {{ statusCode: 200, body: JSON.stringify(await ({expression})) }};
        }}
    """
    with ViewerFunction(source) as function:
        return json.loads(function.call({}, store)["body"])


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("kvs.get('text')", "ü"),
        ("kvs.get('text', { format: 'string' })", "ü"),
        ("kvs.get('json', { format: 'json' })", {"a": [1]}),
        ("kvs.get('text', { format: 'bytes' }).then((bytes) => bytes.toString('hex'))", "c3bc"),
        ("kvs.exists('text')", True),
        ("kvs.exists('absent')", False),
        ("kvs.exists('constructor')", False),
        ("kvs.count()", 2),
        ("kvs.meta().then((meta) => meta.keyCount)", 2),
        ("kvs.meta().then((meta) => Date.parse(meta.lastUpdatedDateTime) > 0)", True),
    ],
)
def test_a_function_has_the_documented_methods_of_a_store(expression: str, expected: object) -> None:
    """Source: https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/functions-custom-methods.html."""
    assert result_of(expression) == expected


@pytest.mark.parametrize(
    "expression", ["kvs.get('absent')", "kvs.get('text', { format: 'json' })", "kvs.get('constructor')"]
)
def test_what_a_store_does_not_have_is_an_error(expression: str) -> None:
    with pytest.raises(ViewerFunctionError):
        result_of(expression)


@pytest.mark.parametrize("method", ["get('text')", "exists('text')", "count()", "meta()"])
def test_a_store_that_can_not_be_read_fails_whatever_is_asked(method: str) -> None:
    with pytest.raises(ViewerFunctionError, match="can not be read"):
        result_of(f"kvs.{method}", None)


@pytest.mark.parametrize(
    "expression",
    ["fetch('https://example.com')", "process.env", "require('fs')", "import('fs')", "eval('1')", "new Map()"],
)
def test_a_function_has_nothing_else_of_node(expression: str) -> None:
    with pytest.raises(ViewerFunctionError):
        result_of(expression)


def test_a_function_that_imports_what_there_is_not_does_not_load() -> None:
    source = "import fs from 'fs'; function handler(event) {}"
    with pytest.raises(ViewerFunctionError, match="no module fs"), ViewerFunction(source):
        pass
