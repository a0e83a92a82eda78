"""Reads an OCI image layout from disk: which images it has, and which blobs these refer to.

Source: https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

REFERENCE_NAME = "org.opencontainers.image.ref.name"

_DIGEST = r"[a-z0-9+._-]+:[a-fA-F0-9]+"


class LayoutError(Exception):
    """A directory is no OCI image layout, or a broken one; the message is one line that says what to do."""


class _LayoutModel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, frozen=True)


class _LayoutFile(_LayoutModel):
    image_layout_version: Literal["1.0.0"]


class Descriptor(_LayoutModel):
    """Content descriptor of a manifest or a blob, with the fields that matter here."""

    digest: Annotated[str, Field(pattern=f"^{_DIGEST}$")]
    size: int
    media_type: str = ""
    urls: list[str] | None = None
    annotations: dict[str, str] | None = None


class _Index(_LayoutModel):
    manifests: Annotated[list[Descriptor], Field(min_length=1)]


class ManifestDocument(_LayoutModel):
    """Content of a manifest or an index; what it has tells which of them it is."""

    media_type: str = ""
    config: Descriptor | None = None
    layers: list[Descriptor] | None = None
    manifests: list[Descriptor] | None = None

    @property
    def blobs(self) -> list[Descriptor]:
        """The config and the layers, in this order."""
        return [*([self.config] if self.config else []), *(self.layers or [])]


Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest or an index as it is stored.

    Attributes:
        digest: Its digest.
        media_type: Its media type, as the descriptor that refers to it says.
        content: Its bytes.
        document: What it says.
    """

    digest: str
    media_type: str
    content: bytes
    document: ManifestDocument


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
        if not re.fullmatch(_DIGEST, digest):
            return None
        algorithm, _, encoded = digest.partition(":")
        path = self.path / "blobs" / algorithm / encoded
        return path if path.is_file() else None

    def _read(self) -> None:
        if not self.path.is_dir():
            raise LayoutError(f"{self.path}: there is no such directory. Give the directory of an OCI image layout.")
        self._read_file("oci-layout", _LayoutFile)
        for descriptor in self._read_file("index.json", _Index).manifests:
            self._read_manifest(descriptor)
            tag = (descriptor.annotations or {}).get(REFERENCE_NAME)
            if tag:
                self.tags[tag] = descriptor.digest

    def _read_file(self, name: str, model: type[Model]) -> Model:
        path = self.path / name
        if not path.is_file():
            raise LayoutError(f"{path}: there is no such file, so {self.path} is no OCI image layout.")
        return _parse(str(path), _content(path), model)

    def _read_manifest(self, descriptor: Descriptor) -> None:
        """Read a manifest with all that it leads to."""
        digest = descriptor.digest
        content = _content(self._existing(digest))
        if not _has_digest(content, digest):
            raise LayoutError(f"{self.path}: the content of {digest} has another digest. Copy the image anew.")
        document = _parse(f"{self.path}: manifest {digest}", content, ManifestDocument)
        media_type = descriptor.media_type or document.media_type
        self.manifests[digest] = Manifest(digest, media_type, content, document)
        for child in document.manifests or ():
            # An index may name images that were not copied along, such as those of other platforms.
            if self.blob_path(child.digest) is not None:
                self._read_manifest(child)
        for blob in document.blobs:
            self._read_blob(blob)

    def _read_blob(self, descriptor: Descriptor) -> None:
        digest = descriptor.digest
        if descriptor.urls and self.blob_path(digest) is None:
            return
        size = self._existing(digest).stat().st_size
        if size != descriptor.size:
            raise LayoutError(
                f"{self.path}: blob {digest} has {size} bytes, but its descriptor says {descriptor.size}. "
                "Copy the image anew."
            )
        self.referenced_blobs[digest] = size

    def _existing(self, digest: str) -> Path:
        path = self.blob_path(digest)
        if path is None:
            raise LayoutError(f"{self.path}: blob {digest} is missing. Copy the image anew.")
        return path


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise LayoutError(f"{path}: it can't be read: {error.strerror}.") from None


def _parse(name: str, content: bytes, model: type[Model]) -> Model:
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise LayoutError(f"{name}: {f'{place}: ' if place else ''}{problem['msg']}. Write the layout anew.") from None


def _has_digest(content: bytes, digest: str) -> bool:
    algorithm, _, encoded = digest.partition(":")
    # Of an algorithm that Python does not know, only whoever downloads the blob can tell.
    return algorithm not in hashlib.algorithms_available or hashlib.new(algorithm, content).hexdigest() == encoded
