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

# OCI Image Specification, "Digests". An algorithm has no leading dot, so it can't lead out of the layout.
_DIGEST = r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-fA-F0-9]+"
_LONGEST_DIGEST = 255

LARGEST_DOCUMENT = 16 * 1024 * 1024
"""How many bytes an index or a manifest may have; ECR takes 4 MB."""


class LayoutError(Exception):
    """A directory is not an OCI image layout, or a broken one; the message is one line that says what to do."""


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
    artifact_type: str | None = None
    subject: Descriptor | None = None
    annotations: dict[str, str] | None = None
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
        referrers: The manifests whose subject is an image, by the image's digest, which need not be there.
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
        self.referrers: dict[str, list[Manifest]] = {}
        self._read()

    def blob_path(self, digest: str) -> Path | None:
        """Return the file of a blob, referenced or not, or None if the layout does not have it.

        A link that leads out of the layout is not followed: the layout may be somebody else's, and the file not meant
        to be given out.
        """
        if len(digest) > _LONGEST_DIGEST or not re.fullmatch(_DIGEST, digest):
            return None
        algorithm, _, encoded = digest.partition(":")
        return self._file(f"blobs/{algorithm}/{encoded}")

    def _file(self, name: str) -> Path | None:
        """Return a regular file of the layout, None if there is none of that name."""
        path = self.path / name
        try:
            is_inside = path.resolve().is_relative_to(self.path.resolve())
            return path if is_inside and path.is_file() else None
        except (OSError, RuntimeError):
            # A name that is too long, a loop of links, or a folder that may not be read.
            return None

    def _read(self) -> None:
        if not self.path.is_dir():
            raise LayoutError(f"{self.path}: there is no such directory. Give the directory of an OCI image layout.")
        self._read_file("oci-layout", _LayoutFile)
        for descriptor in self._read_file("index.json", _Index).manifests:
            self._read_manifests(descriptor)
            tag = (descriptor.annotations or {}).get(REFERENCE_NAME)
            if tag:
                self.tags[tag] = descriptor.digest

    def _read_file(self, name: str, model: type[Model]) -> Model:
        path = self._file(name)
        if path is None:
            raise LayoutError(f"{self.path / name}: there is no such file, so {self.path} is not an OCI image layout.")
        return _parse(str(path), _content(path), model)

    def _read_manifests(self, descriptor: Descriptor) -> None:
        """Read a manifest with all that it leads to, each once."""
        waiting = [descriptor]
        while waiting:
            next_one = waiting.pop()
            if next_one.digest not in self.manifests:
                waiting += self._read_manifest(next_one)

    def _read_manifest(self, descriptor: Descriptor) -> list[Descriptor]:
        """Read one manifest, and return those that it names and that are there."""
        digest = descriptor.digest
        content = _content(self._existing(digest))
        if not _has_digest(content, digest):
            raise LayoutError(f"{self.path}: the content of {digest} has another digest. Copy the image anew.")
        document = _parse(f"{self.path}: manifest {digest}", content, ManifestDocument)
        media_type = descriptor.media_type or document.media_type
        manifest = self.manifests[digest] = Manifest(digest, media_type, content, document)
        if document.subject is not None:
            self.referrers.setdefault(document.subject.digest, []).append(manifest)
        for blob in document.blobs:
            self._read_blob(blob)
        # An index may name images that were not copied along, such as those of other platforms.
        return [child for child in document.manifests or () if self.blob_path(child.digest) is not None]

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
        if path.stat().st_size > LARGEST_DOCUMENT:
            raise LayoutError(f"{path}: it has more than {LARGEST_DOCUMENT} bytes, so it can't be a manifest.")
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
