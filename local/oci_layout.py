"""Reads an OCI image layout from disk: which images it has, and which blobs these refer to.

Source: https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REFERENCE_NAME = "org.opencontainers.image.ref.name"

_DIGEST = re.compile(r"[a-z0-9+._-]+:[a-fA-F0-9]+")


class LayoutError(Exception):
    """A directory is no OCI image layout, or a broken one; the message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest or an index as it is stored.

    Attributes:
        digest: Its digest.
        media_type: Its media type, as the descriptor that refers to it says.
        content: Its bytes.
        document: Its content as JSON.
    """

    digest: str
    media_type: str
    content: bytes
    document: dict[str, Any]


class OciLayout:
    """An OCI image layout, read once when it is opened.

    Attributes:
        path: Its directory.
        manifests: Every manifest and index that `index.json` leads to, by digest.
        tags: Digest of the manifest that each tag names.
        referenced_blobs: Size in bytes of every config and layer that an image refers to, by digest.
    """

    def __init__(self, path: Path) -> None:
        """Read the layout in the directory `path`.

        Raises:
            LayoutError: If there is none, or a manifest, a config or a layer of it is missing or damaged.
        """
        self.path = path
        self.manifests: dict[str, Manifest] = {}
        self.tags: dict[str, str] = {}
        self.referenced_blobs: dict[str, int] = {}
        self._read()

    def blob_path(self, digest: str) -> Path | None:
        """Return the file of a blob, referenced or not, or None if the layout does not have it."""
        if not _DIGEST.fullmatch(digest):
            return None
        algorithm, _, encoded = digest.partition(":")
        path = self.path / "blobs" / algorithm / encoded
        return path if path.is_file() else None

    def _read(self) -> None:
        if not self.path.is_dir():
            raise LayoutError(f"{self.path}: there is no such directory. Give the directory of an OCI image layout.")
        marker = self._json_file("oci-layout")
        if marker.get("imageLayoutVersion") != "1.0.0":
            raise LayoutError(f"{self.path}/oci-layout: the layout's version is not 1.0.0. Write it anew.")
        descriptors = self._json_file("index.json").get("manifests")
        if not isinstance(descriptors, list) or not descriptors:
            raise LayoutError(f"{self.path}/index.json: it names no manifest. Copy an image into the layout.")
        for descriptor in descriptors:
            manifest = self._read_manifest(descriptor)
            tag = (descriptor.get("annotations") or {}).get(REFERENCE_NAME)
            if tag:
                self.tags[tag] = manifest.digest

    def _json_file(self, name: str) -> dict[str, Any]:
        path = self.path / name
        try:
            document = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise LayoutError(f"{path}: there is no such file, so {self.path} is no OCI image layout.") from None
        except (OSError, ValueError):
            raise LayoutError(f"{path}: it can't be read as JSON. Write the layout anew.") from None
        if not isinstance(document, dict):
            raise LayoutError(f"{path}: it is no JSON object. Write the layout anew.")
        return document

    def _read_manifest(self, descriptor: Any) -> Manifest:
        """Read a manifest with all that it leads to; whether it is an index is told by what it has."""
        content = self._checked_content(descriptor)
        digest = descriptor["digest"]
        try:
            document = json.loads(content)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise LayoutError(f"{self.path}: manifest {digest} is no JSON object. Write the layout anew.")
        media_type = descriptor.get("mediaType") or document.get("mediaType") or ""
        manifest = self.manifests[digest] = Manifest(digest, media_type, content, document)
        for child in document.get("manifests") or ():
            # An index may name images that were not copied along, such as those of other platforms.
            if self.blob_path(_digest_of(self.path, child)) is not None:
                self._read_manifest(child)
        if "layers" in document or "config" in document:
            self._read_blobs(document)
        return manifest

    def _read_blobs(self, manifest: dict[str, Any]) -> None:
        for descriptor in (manifest.get("config"), *(manifest.get("layers") or ())):
            digest = _digest_of(self.path, descriptor)
            if descriptor.get("urls") and self.blob_path(digest) is None:
                continue
            path = self._existing(digest)
            size = path.stat().st_size
            if size != descriptor.get("size"):
                raise LayoutError(
                    f"{self.path}: blob {digest} has {size} bytes, but its descriptor says {descriptor.get('size')}. "
                    "Copy the image anew."
                )
            self.referenced_blobs[digest] = size

    def _checked_content(self, descriptor: Any) -> bytes:
        digest = _digest_of(self.path, descriptor)
        content = self._existing(digest).read_bytes()
        algorithm, _, encoded = digest.partition(":")
        if algorithm in hashlib.algorithms_available and hashlib.new(algorithm, content).hexdigest() != encoded:
            raise LayoutError(f"{self.path}: the content of {digest} has another digest. Copy the image anew.")
        return content

    def _existing(self, digest: str) -> Path:
        path = self.blob_path(digest)
        if path is None:
            raise LayoutError(f"{self.path}: blob {digest} is missing. Copy the image anew.")
        return path


def _digest_of(path: Path, descriptor: Any) -> str:
    digest = descriptor.get("digest") if isinstance(descriptor, dict) else None
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise LayoutError(f"{path}: a descriptor has no valid digest. Write the layout anew.")
    return digest
