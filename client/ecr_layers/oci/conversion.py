"""Converts Docker manifests to OCI manifests, because tools that read an image layout expect OCI's media types.

Both have the same members (https://github.com/opencontainers/image-spec/blob/main/media-types.md, "Compatibility
Matrix"), so only the media types change, and with them the manifest's digest; no blob does.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ecr_layers.oci.manifests import OCI_INDEX, OCI_MANIFEST, Manifest

_DOCKER = "application/vnd.docker."
_OCI_TYPES = {
    f"{_DOCKER}distribution.manifest.v2+json": OCI_MANIFEST,
    f"{_DOCKER}distribution.manifest.list.v2+json": OCI_INDEX,
    f"{_DOCKER}container.image.v1+json": "application/vnd.oci.image.config.v1+json",
    f"{_DOCKER}image.rootfs.diff.tar": "application/vnd.oci.image.layer.v1.tar",
    f"{_DOCKER}image.rootfs.diff.tar.gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    f"{_DOCKER}image.rootfs.diff.tar.zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
    f"{_DOCKER}image.rootfs.foreign.diff.tar": "application/vnd.oci.image.layer.nondistributable.v1.tar",
    f"{_DOCKER}image.rootfs.foreign.diff.tar.gzip": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
}


def as_oci(manifests: Sequence[Manifest]) -> list[Manifest]:
    """Convert manifests and indexes; OCI's own stay the same.

    Args:
        manifests: An entry of an index comes before the index.
    """
    converted: dict[str, Manifest] = {}
    for manifest in manifests:
        converted[manifest.digest] = _converted(manifest, converted)
    return list(converted.values())


def _converted(manifest: Manifest, converted: Mapping[str, Manifest]) -> Manifest:
    others = {each.digest for each in manifest.manifests if each.digest in converted}
    if manifest.media_type not in _OCI_TYPES and all(converted[digest].digest == digest for digest in others):
        return manifest
    document = json.loads(manifest.content)
    document["mediaType"] = _OCI_TYPES.get(manifest.media_type, manifest.media_type)
    for entry in _descriptors(document):
        entry["mediaType"] = _OCI_TYPES.get(entry.get("mediaType") or "", entry.get("mediaType"))
        if entry["digest"] in others:
            other = converted[entry["digest"]]
            entry |= {"mediaType": other.media_type, "digest": other.digest, "size": len(other.content)}
    return Manifest.parse(json.dumps(document, separators=(",", ":")).encode(), document["mediaType"])


def _descriptors(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the descriptors of a document that `Manifest` has checked."""
    config = [document["config"]] if "config" in document else []
    return [*config, *(document.get("layers") or []), *(document.get("manifests") or [])]
