import hashlib
import json
from unittest.mock import Mock

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from layer_resolver.backend import Backend
from layer_resolver.http_api import HttpApi
from layer_resolver.models import LAYER_DIGEST
from layer_resolver.openapi import openapi_document
from layer_resolver.registry_api import RegistryApi
from layer_resolver.settings import Settings
from tests.unit.fakes import OCI_MANIFEST, FakeEcr, Send, digest, ecr_error, manifest


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


def test_every_route_that_answers_is_in_the_document() -> None:
    backend = Backend(resolver=Mock(), images=Mock(), blobs=Mock(), settings=Settings())
    templates = {
        route.template for api in (HttpApi(backend), RegistryApi(backend)) for route in api.routes if route.answers
    }
    documented = {path.partition("#")[0].replace("{", "<").replace("}", ">") for path in openapi_document()["paths"]}
    # The slash at the end makes no difference.
    assert templates - {"/v2"} == documented


class TestHeaders:
    CONTENT = json.dumps(manifest()).encode()
    DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"

    @pytest.fixture
    def function_settings(self) -> Settings:
        return Settings(image_pull=True, list_tags=True)

    @pytest.mark.parametrize(
        ("method", "path", "headers", "status"),
        [
            ("GET", "/v2/", {}, 200),
            ("GET", "/v2/_catalog", {}, 403),
            ("GET", "/v2/{name}/blobs/{digest}", {}, 307),
            ("GET", "/v2/{name}/manifests/{reference}", {}, 200),
            ("HEAD", "/v2/{name}/manifests/{reference}", {}, 200),
            ("GET", "/v2/{name}/manifests/{reference}", {"if-none-match": "*"}, 304),
            ("GET", "/v2/{name}/tags/list", {}, 200),
            ("GET", "/v2/{name}/referrers/{digest}", {}, 200),
            ("GET", "/openapi.json", {}, 200),
            ("GET", "/healthz", {}, 200),
        ],
    )
    def test_an_answer_has_the_headers_that_the_document_names_and_no_others(
        self, send: Send, ecr: FakeEcr, method: str, path: str, headers: dict[str, str], status: int
    ) -> None:
        ecr.images = dict.fromkeys(("a", "b", "c", self.DIGEST), (self.CONTENT, OCI_MANIFEST))
        ecr.referrers = [{"digest": digest(number), "mediaType": OCI_MANIFEST, "size": 1} for number in range(5)]
        named = path.replace("{name}", "team/app").replace("{digest}", self.DIGEST).replace("{reference}", "a")
        query = {"n": "1", "artifactType": "a/b"} if "list" in path or "referrers" in path else None
        if "referrers" in path:
            ecr.referrers = [{**each, "artifactType": "a/b"} for each in ecr.referrers]
        answer = send(method, named, query, headers=headers)
        assert answer.status == status
        documented = openapi_document()["paths"][path][method.lower()]["responses"][str(status)]["headers"]
        # The media type is described with the content.
        assert answer.headers.keys() - {"Content-Type"} == documented.keys()

    @pytest.mark.parametrize("path", ["/download-url", "/v2/{name}/blobs/{digest}"])
    def test_so_has_an_error(self, send: Send, ecr: FakeEcr, path: str) -> None:
        ecr.answer = ecr_error("ThrottlingException")
        named = path.replace("{name}", "team/app").replace("{digest}", digest())
        answer = send("GET", named, {"repositoryName": "team/app", "layerDigest": digest()})
        documented = openapi_document()["paths"][path]["get"]["responses"]["429"]["headers"]
        assert answer.headers.keys() - {"Content-Type"} == documented.keys()


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


@pytest.mark.parametrize(("name", "least"), [("repositoryName", 2), ("layerDigest", 1), ("registryId", 1)])
def test_the_document_says_how_short_a_value_can_be(name: str, least: int) -> None:
    parameters = openapi_document()["paths"]["/download-url"]["get"]["parameters"]
    (schema,) = [each["schema"] for each in parameters if each["name"] == name]
    assert schema["minLength"] == least


def test_the_bounds_of_a_size_are_in_the_document() -> None:
    size = openapi_document()["components"]["schemas"]["Descriptor"]["properties"]["size"]
    assert (size["minimum"], size["maximum"]) == (0, 2**63 - 1)


def test_a_digest_in_a_manifest_has_the_form_of_digests() -> None:
    digest_of_blob = openapi_document()["components"]["schemas"]["Descriptor"]["properties"]["digest"]
    assert digest_of_blob["pattern"] == f"^{LAYER_DIGEST.pattern}$"
    assert digest_of_blob["description"] == LAYER_DIGEST.description
