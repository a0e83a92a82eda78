"""What a value of a request may be: the longest, the shortest, and nothing beyond."""

import json
from typing import Any

import pytest

from layer_resolver.openapi import openapi_document
from layer_resolver.settings import Settings
from tests.unit.fakes import OCI_MANIFEST, FakeEcr, Send, digest, manifest


@pytest.fixture
def function_settings() -> Settings:
    return Settings(image_pull=True)


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("repositoryName", "a", 400),
        ("repositoryName", "ab", 200),
        ("repositoryName", "a" * 256, 200),
        ("repositoryName", "a" * 257, 400),
        ("registryId", "1" * 11, 400),
        ("registryId", "1" * 12, 200),
        ("registryId", "1" * 13, 400),
        ("layerDigest", "sha256:", 400),
        ("layerDigest", f"sha256:{'0' * 293}", 200),
        ("layerDigest", f"sha256:{'0' * 294}", 400),
        ("layerDigest", "s-h_a+2.56:aF0", 200),
    ],
    ids=lambda value: f"{value[:20]} of {len(value)}" if isinstance(value, str) else str(value),
)
def test_a_value_is_admitted_up_to_the_bounds_of_ecrs(send: Send, name: str, value: str, status: int) -> None:
    request = {"repositoryName": "team/app", "layerDigest": digest(), name: value}
    assert send("GET", "/download-url", request).status == status


@pytest.mark.parametrize(("length", "status"), [(128, 200), (129, 404)])
def test_a_tag_has_up_to_128_characters(send: Send, ecr: FakeEcr, length: int, status: int) -> None:
    tag = "t" * length
    ecr.images = {tag: (json.dumps(manifest()).encode(), OCI_MANIFEST)}
    assert send("GET", f"/v2/team/app/manifests/{tag}").status == status
    query = {"repositoryName": "team/app", "imageTag": tag}
    assert send("GET", "/images/download-urls", query).status == (200 if status == 200 else 400)


def schemas(node: Any) -> list[dict[str, Any]]:
    """Return every schema of a document that has examples."""
    if isinstance(node, list):
        return [found for each in node for found in schemas(each)]
    if not isinstance(node, dict):
        return []
    own = [node] if "pattern" in node and "examples" in node else []
    return own + [found for each in node.values() for found in schemas(each)]


def test_each_example_of_the_document_is_one_that_ecr_and_docker_would_take() -> None:
    examples = {each for schema in schemas(openapi_document()) for each in schema["examples"]}
    empty_json = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert examples == {"team/app", "123456789012", "latest", "linux/arm64", "true", empty_json}
