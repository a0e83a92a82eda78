"""openapi.json describes the JSON routes as they are."""

import json
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from layer_resolver.errors import ERROR_TABLE
from layer_resolver.http_api import HttpApi
from scripts.openapi import PATH, openapi_document
from tests.unit.fakes import Send, digest

DOCUMENT = json.loads(PATH.read_text())
PATHS = DOCUMENT["paths"]
SCHEMAS = DOCUMENT["components"]["schemas"]


def nodes_of(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of a JSON document."""
    if isinstance(node, dict):
        yield node
    if isinstance(node, dict | list):
        for each in node.values() if isinstance(node, dict) else node:
            yield from nodes_of(each)


def test_the_file_that_the_function_serves_is_what_make_openapi_writes(send: Send) -> None:
    assert openapi_document() == DOCUMENT, "run `make openapi`"
    answer = send("GET", "/openapi.json")
    assert (answer.headers["Content-Type"], answer.json) == ("application/json", DOCUMENT)


def test_it_is_valid_openapi_3_1() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()
    assert DOCUMENT["openapi"].startswith("3.1.")


def test_it_has_just_the_json_routes_and_their_methods() -> None:
    described: dict[str, set[str]] = {}
    for path, operations in PATHS.items():
        described.setdefault(path.partition("#")[0], set()).update(method.upper() for method in operations)
    routes = HttpApi(Mock(), Mock(), Mock()).routes
    assert described == {route.template: set(route.handlers) for route in routes}


def test_each_error_of_a_json_route_is_in_it() -> None:
    elsewhere = {"failure", "event", "route", "registry"}
    described = json.dumps(PATHS)
    for kind in ERROR_TABLE.values():
        assert kind.arises_in
        if kind.arises_in - elsewhere:
            assert f"{kind.code}: {kind.title}" in described, kind.code
            assert kind.code in SCHEMAS["Problem"]["properties"]["code"]["enum"]


def test_examples_fit_their_schemas() -> None:
    for schema in nodes_of(DOCUMENT):
        for example in schema.get("examples", []):
            jsonschema.validate(example, schema)


@pytest.mark.parametrize("path", ["/download-url", "/openapi.json", "/healthz"])
def test_an_answer_has_just_the_headers_of_the_document(send: Send, path: str) -> None:
    answer = send("GET", path, {"repositoryName": "team/app", "layerDigest": digest()})
    # The media type is described with the content.
    assert answer.headers.keys() - {"Content-Type"} == PATHS[path]["get"]["responses"]["200"]["headers"].keys()
