import json

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from layer_resolver.openapi import openapi_document
from tests.unit.fakes import FakeEcr, Send, digest, ecr_error


def test_the_document_is_valid_openapi_3_1() -> None:
    OpenAPIV31SpecValidator(openapi_document()).validate()
    assert openapi_document()["openapi"].startswith("3.1.")


def test_the_function_answers_the_document(send: Send) -> None:
    answer = send("GET", "/openapi.json")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json == openapi_document()


def test_every_route_of_the_document_exists_and_has_just_these_methods(send: Send) -> None:
    for path, operations in openapi_document()["paths"].items():
        named = (
            path.partition("#")[0]
            .replace("{name}", "team/app")
            .replace("{digest}", digest())
            .replace("{reference}", "1.0")
        )
        allowed = send("DELETE", named).headers["Allow"]
        assert allowed.lower().split(", ") == sorted(operations)


@pytest.mark.parametrize("failing", [False, True])
def test_answers_fit_their_schemas(send: Send, ecr: FakeEcr, failing: bool) -> None:
    if failing:
        ecr.answer = ecr_error("LayersNotFoundException")
    one = send("GET", "/download-url", {"repositoryName": "ab", "layerDigest": digest()})
    many = send("POST", "/download-urls", body=json.dumps({"repositoryName": "ab", "layerDigests": [digest()]}))
    for answer, schema in ((one, "Problem" if failing else "DownloadUrl"), (many, "DownloadUrlsResult")):
        jsonschema.validate(
            answer.json,
            {"$ref": f"#/components/schemas/{schema}", "components": openapi_document()["components"]},
        )


def test_the_bounds_of_a_size_are_in_the_document() -> None:
    size = openapi_document()["components"]["schemas"]["Descriptor"]["properties"]["size"]
    assert (size["minimum"], size["maximum"]) == (0, 2**63 - 1)
