"""Documents that anybody may have written are read, or are one line of error."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecr_layers import ClientError, ImageConfig, Manifest
from ecr_layers.oci.conversion import as_oci
from ecr_layers.registry.layers import _download_url, _failure, _objects
from tests.layouts import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST

NAMES = st.sampled_from(
    [
        *("schemaVersion", "mediaType", "config", "layers", "manifests", "blobs", "digest", "size", "urls", "platform"),
        *("os", "architecture", "variant", "annotations", "rootfs", "diff_ids", "Labels", "Entrypoint", "Cmd", "Env"),
        *("ExposedPorts", "created", "downloadUrl", "layerDigest", "expiresAt", "message", "code", "downloadUrls"),
    ]
)
DIGEST = f"sha256:{'0' * 64}"
KNOWN = [DIGEST, OCI_INDEX, OCI_MANIFEST, DOCKER_MANIFEST, DOCKER_LIST, 2, "2026-01-01T00:00:00", "\ud800"]
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.sampled_from(KNOWN))
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=6), max_leaves=30
)


def use_manifest(document: dict[str, Any]) -> None:
    manifest = Manifest.parse(json.dumps(document).encode())
    assert manifest.blobs is not None
    assert manifest.platforms is not None
    assert manifest.entries_for(None) is not None
    assert as_oci([manifest])


READERS: list[Callable[[dict[str, Any]], object]] = [
    use_manifest,
    lambda document: ImageConfig.parse(json.dumps(document).encode()),
    lambda document: _download_url(document).is_valid(datetime.now(UTC)),
    _failure,
    lambda document: _objects(document, "downloadUrls"),
]


@settings(max_examples=100)
@given(st.dictionaries(NAMES, VALUES, max_size=7))
def test_any_document_is_read_or_refused(document: dict[str, Any]) -> None:
    for reader in READERS:
        try:
            reader(document)
        except ClientError as error:
            assert str(error).isprintable()  # noqa: PT017


@pytest.mark.parametrize("version", [[], {}, "2", 1, 2.5])
def test_a_manifest_of_another_version_is_refused(version: object) -> None:
    with pytest.raises(ClientError, match="Unsupported manifest type"):
        Manifest.parse(json.dumps({"schemaVersion": version, "layers": []}).encode())
