"""Documents that anybody may have written are read, or are one line of error."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecr_layers import Client, ClientError, ImageConfig, Manifest
from ecr_layers.oci.conversion import as_oci
from tests.client.scripted import DIGESTS, answered, scripted
from tests.layouts import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST

NAMES = st.sampled_from(
    [
        *("schemaVersion", "mediaType", "config", "layers", "manifests", "blobs", "digest", "size", "urls", "platform"),
        *("os", "architecture", "variant", "annotations", "rootfs", "diff_ids", "Labels", "Entrypoint", "Cmd", "Env"),
        *("ExposedPorts", "created", "downloadUrl", "layerDigest", "expiresAt", "message", "code", "downloadUrls"),
    ]
)
KNOWN = [*DIGESTS[:2], OCI_INDEX, OCI_MANIFEST, DOCKER_MANIFEST, DOCKER_LIST, 2, "2026-01-01T00:00:00", "\ud800"]
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.sampled_from(KNOWN))
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=6), max_leaves=15
)


DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=7)


def use_manifest(document: dict[str, Any]) -> None:
    manifest = Manifest.parse(json.dumps(document).encode())
    assert manifest.blobs is not None
    assert manifest.platforms is not None
    assert manifest.entries_for(None) is not None
    assert as_oci([manifest])


def use_config(document: dict[str, Any]) -> None:
    ImageConfig.parse(json.dumps(document).encode())


@settings(max_examples=100)
@given(DOCUMENTS, st.sampled_from([use_manifest, use_config]))
def test_any_document_is_read_or_refused(document: dict[str, Any], use: Any) -> None:
    try:
        use(document)
    except ClientError as error:
        assert str(error).isprintable()  # noqa: PT017


@pytest.fixture(scope="module")
def answering() -> Iterator[tuple[list[Any], Client]]:
    """Return what a service answers, the last of a list, and its client."""
    answers: list[Any] = []
    with scripted(lambda *_: answered(answers[-1])) as (_, client):
        yield answers, client


@settings(max_examples=50)
@given(
    document=st.dictionaries(NAMES, VALUES, max_size=7), lists=st.sets(st.sampled_from(["downloadUrls", "failures"]))
)
def test_any_answer_of_a_service_is_read_or_refused(
    answering: tuple[list[Any], Client], document: dict[str, Any], lists: set[str]
) -> None:
    answers, client = answering
    answers.append({"downloadUrls": [], "failures": []} | {each: [document] for each in lists} if lists else document)
    for digests in (DIGESTS[:1], DIGESTS[:2]):
        try:
            assert all(isinstance(each.is_valid(datetime.now(UTC)), bool) for each in client.resolve("a", digests))
        except ClientError as error:
            assert str(error).isprintable()  # noqa: PT017


@pytest.mark.parametrize("version", [[], {}, "2", 1, 2.5])
def test_a_manifest_of_another_version_is_refused(version: object) -> None:
    with pytest.raises(ClientError, match="Unsupported manifest type"):
        Manifest.parse(json.dumps({"schemaVersion": version, "layers": []}).encode())
