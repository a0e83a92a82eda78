"""The page to try the API has values filled in that work, and asks for nothing elsewhere."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from local.docs_page import examples_of
from local.oci_layout import OciLayout
from local.sample_image import sample_image
from local.service import FunctionUrl, local_service
from tests.layouts import write_everything


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with (
        local_service(
            {"team/app": sample_image()}, function_url=FunctionUrl(has_docs_page=True), write_log=lambda _: None
        ) as service,
        httpx.Client(base_url=service.url, timeout=30) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def document(client: httpx.Client) -> Any:
    return client.get("/docs/openapi.json").raise_for_status().json()


def operations_of(document: Any) -> list[tuple[str, str, Any]]:
    return [
        (method, path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]


def filled_in(client: httpx.Client, method: str, path: str, operation: Any) -> Iterator[httpx.Request]:
    """Yield the requests that an operation is with the values that the page fills in, one for each body."""
    query: dict[str, str] = {}
    for each in operation.get("parameters", []):
        assert "example" in each or not each["required"], each
        if "example" in each:
            query[each["name"]] = each["example"]
    path = path.partition("#")[0]
    bodies = operation["requestBody"]["content"] if "requestBody" in operation else {None: {"example": None}}
    for media_type, body in bodies.items():
        if "example" in body:
            content = {"json": body["example"]} if media_type else {}
            headers = {"Content-Type": media_type} if media_type else {}
            yield client.build_request(method, path, params=query, headers=headers, **content)


def test_every_operation_succeeds_with_the_values_that_are_filled_in(client: httpx.Client, document: Any) -> None:
    for method, path, operation in operations_of(document):
        requests = list(filled_in(client, method, path, operation))
        assert requests, path
        for request in requests:
            answer = client.send(request)
            assert answer.status_code == 200, f"{request.method} {request.url}: {answer.text}"


def test_the_document_is_the_functions_own_but_for_the_values(client: httpx.Client, document: Any) -> None:
    OpenAPIV31SpecValidator(document).validate()
    own = client.get("/openapi.json").json()
    assert {**document, "paths": None} == {**own, "paths": None}
    for (method, path, operation), filled in zip(operations_of(own), operations_of(document), strict=True):
        assert filled[:2] == (method, path)
        assert filled[2]["responses"] == operation["responses"]


def test_the_page_and_its_files_may_ask_for_nothing_elsewhere(client: httpx.Client) -> None:
    page = client.get("/docs")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    files = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(files) == 4
    for answer in (page, *(client.get(name).raise_for_status() for name in files)):
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; ")
        assert not re.search(r"unsafe|https?:|\*", policy)


def test_a_tag_is_filled_in_that_names_an_image_and_not_an_index(tmp_path: Path) -> None:
    write_everything(tmp_path)
    examples = examples_of("team/app", OciLayout(tmp_path))
    assert examples.parameters["imageTag"] == "image"
    assert "imageDigest" not in examples.parameters
