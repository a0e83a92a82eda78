"""Reads an OCI image layout: which images it has, which blobs these refer to, and what refers to an image.

A layout may come from anywhere, so no link is followed, and only regular files are read.

Source: https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

import hashlib
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

REFERENCE_NAME = "org.opencontainers.image.ref.name"

# The image specification's grammar, with the lengths that a file system takes for certain. The encoded part is
# hexadecimal, which is all that ECR takes.
_DIGEST = r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-fA-F0-9]{1,128}"
_LONGEST_DIGEST = 192
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")

_OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_OCI_INDEX = "application/vnd.oci.image.index.v1+json"


class LayoutError(Exception):
    """A directory is not an OCI image layout, or a broken one; the message is one line that says what to do."""


class _LayoutModel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, frozen=True)


class _LayoutFile(_LayoutModel):
    image_layout_version: Literal["1.0.0"]


MediaType = Annotated[str, Field(max_length=255, pattern=r"^[ -~]*$")]


class Descriptor(_LayoutModel):
    """Content descriptor of a manifest or a blob, with the fields that matter here."""

    digest: Annotated[str, Field(max_length=_LONGEST_DIGEST, pattern=f"^{_DIGEST}$")]
    size: Annotated[int, Field(ge=0, lt=2**63, strict=True)]
    media_type: MediaType = ""
    urls: list[str] | None = None
    annotations: dict[str, str] | None = None


class _Index(_LayoutModel):
    manifests: Annotated[list[Descriptor], Field(min_length=1)]


class ManifestDocument(_LayoutModel):
    """Content of a manifest or an index; what it has tells which of them it is."""

    media_type: MediaType = ""
    artifact_type: MediaType | None = None
    config: Descriptor | None = None
    layers: list[Descriptor] | None = None
    manifests: list[Descriptor] | None = None
    subject: Descriptor | None = None
    annotations: dict[str, str] | None = None

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
        content: Its bytes, which are UTF-8.
        document: What it says.
    """

    digest: str
    media_type: str
    content: bytes
    document: ManifestDocument

    @property
    def artifact_type(self) -> str:
        """What kind of artifact it is, empty if it does not say.

        Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-referrers
        """
        config = self.document.config
        return self.document.artifact_type or (config.media_type if config else "")


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob that is open for reading; the caller closes `file`.

    Attributes:
        file: Its content.
        size: Its size in bytes.
        modified: When it was written, in seconds since 1970.
    """

    file: BinaryIO
    size: int
    modified: float = 0.0


class Files(Protocol):
    """The files of a layout."""

    def open(self, *parts: str) -> Blob | None:
        """Open the regular file with this path, None if there is none.

        Raises:
            OSError: If there is one that can't be read.
        """


class DirectoryFiles:
    """The files in a directory. A link is not a file of it, whether the file itself or a directory on the way.

    Args:
        path: The directory.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self, *parts: str) -> Blob | None:
        """Open a regular file, which a pipe, a device or a directory is not."""
        path = self._path.resolve().joinpath(*parts)
        if path.resolve() != path or not path.is_file():
            return None
        status = path.stat()
        return Blob(path.open("rb"), status.st_size, status.st_mtime)


class MemoryFiles:
    """Files that are in memory, and so leave nothing behind however the program ends.

    Args:
        contents: The content of each file by its path, such as `blobs/sha256/0123…`.
    """

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self._contents = contents

    def open(self, *parts: str) -> Blob | None:
        """Open a file."""
        content = self._contents.get("/".join(parts))
        return None if content is None else Blob(io.BytesIO(content), len(content))


class OciLayout:
    """An OCI image layout, read once when it is opened.

    Attributes:
        name: What messages call it.
        manifests: Every manifest and index that `index.json` leads to, by digest.
        tags: Digest of the manifest that each tag names. A name that can't be a tag is not one of them.
        referenced_blobs: Size in bytes of every config and layer that an image refers to, by digest.
        referrers: What names a digest as its subject, by that digest.
    """

    def __init__(self, path: Path, files: Files | None = None) -> None:
        """Read a layout.

        Args:
            path: Its directory.
            files: Its files, if they are not in the directory; `path` is only a name then.

        Raises:
            LayoutError: If there is none, or a manifest, a config or a layer of it is missing or damaged.
        """
        self.name = str(path)
        self.manifests: dict[str, Manifest] = {}
        self.tags: dict[str, str] = {}
        self.referenced_blobs: dict[str, int] = {}
        self.referrers: dict[str, list[Manifest]] = {}
        if files is None and not path.is_dir():
            raise LayoutError(f"{path}: there is no such directory. Give the directory of an OCI image layout.")
        self._files = files or DirectoryFiles(path)
        self._absent: set[str] = set()
        self._read()

    def open_blob(self, digest: str) -> Blob | None:
        """Open a blob, referenced or not, None if the layout does not have it.

        Raises:
            OSError: If its file can't be read.
        """
        if len(digest) > _LONGEST_DIGEST or not re.fullmatch(_DIGEST, digest):
            return None
        algorithm, _, encoded = digest.partition(":")
        return self._files.open("blobs", algorithm, encoded)

    def has_blob(self, digest: str) -> bool:
        """Tell whether the layout has a blob, referenced or not."""
        try:
            blob = self.open_blob(digest)
        except OSError:
            return False
        if blob is None:
            return False
        blob.file.close()
        return True

    def _read(self) -> None:
        self._parse_file("oci-layout", _LayoutFile)
        index = self._parse_file("index.json", _Index)
        for descriptor in index.manifests:
            self._read_manifests(descriptor)
            tag = (descriptor.annotations or {}).get(REFERENCE_NAME, "")
            if _TAG.fullmatch(tag):
                self.tags[tag] = descriptor.digest
        for manifest in self.manifests.values():
            if manifest.document.subject is not None:
                self.referrers.setdefault(manifest.document.subject.digest, []).append(manifest)

    def _parse_file(self, name: str, model: type[Model]) -> Model:
        path = f"{self.name}/{name}"
        try:
            blob = self._files.open(name)
        except OSError as error:
            raise LayoutError(f"{path}: it can't be read: {error.strerror}.") from None
        if blob is None:
            raise LayoutError(f"{path}: there is no such file, so {self.name} is not an OCI image layout.")
        return _parse(path, _content(path, blob), model)

    def _read_manifests(self, descriptor: Descriptor) -> None:
        """Read a manifest with all that it leads to, each once however often and deeply it is named."""
        self._existing(descriptor.digest).file.close()
        waiting = [descriptor]
        while waiting:
            each = waiting.pop()
            if each.digest in self.manifests or each.digest in self._absent:
                continue
            # An index may name images that were not copied along, such as those of other platforms.
            if not self.has_blob(each.digest):
                self._absent.add(each.digest)
                continue
            manifest = self._read_manifest(each)
            for blob in manifest.document.blobs:
                self._read_blob(blob)
            waiting += reversed(manifest.document.manifests or [])

    def _read_manifest(self, descriptor: Descriptor) -> Manifest:
        digest = descriptor.digest
        name = f"{self.name}: manifest {digest}"
        content = _content(name, self._existing(digest))
        if not _has_digest(content, digest):
            raise LayoutError(f"{self.name}: the content of {digest} has another digest. Copy the image anew.")
        document = _parse(name, content, ManifestDocument)
        by_content = _OCI_INDEX if document.manifests is not None else _OCI_MANIFEST
        media_type = descriptor.media_type or document.media_type or by_content
        self.manifests[digest] = Manifest(digest, media_type, content, document)
        return self.manifests[digest]

    def _read_blob(self, descriptor: Descriptor) -> None:
        digest = descriptor.digest
        size = self.referenced_blobs.get(digest)
        if size is None:
            if descriptor.urls and not self.has_blob(digest):
                return
            blob = self._existing(digest)
            blob.file.close()
            size = blob.size
        if size != descriptor.size:
            raise LayoutError(
                f"{self.name}: blob {digest} has {size} bytes, but its descriptor says {descriptor.size}. "
                "Copy the image anew."
            )
        self.referenced_blobs[digest] = size

    def _existing(self, digest: str) -> Blob:
        try:
            blob = self.open_blob(digest)
        except OSError as error:
            raise LayoutError(f"{self.name}: blob {digest} can't be read: {error.strerror}.") from None
        if blob is None:
            raise LayoutError(
                f"{self.name}: blob {digest} is missing or a link. Copy the image anew, files instead of links."
            )
        return blob


def chunks(file: BinaryIO, size: int, chunk_size: int = 256 * 1024) -> Iterator[bytes]:
    """Yield the next `size` bytes of a file, fewer if it ends before."""
    while size > 0:
        chunk = file.read(min(size, chunk_size))
        if not chunk:
            return
        size -= len(chunk)
        yield chunk


def _content(name: str, blob: Blob) -> bytes:
    try:
        with blob.file:
            return blob.file.read()
    except OSError as error:
        raise LayoutError(f"{name}: it can't be read: {error.strerror}.") from None


def _parse(name: str, content: bytes, model: type[Model]) -> Model:
    try:
        content.decode()
        return model.model_validate_json(content)
    except UnicodeDecodeError:
        raise LayoutError(f"{name}: it is not UTF-8. Write the layout anew.") from None
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        # The names of a foreign document's fields may be as long as it is, and hold control characters.
        place = "".join(filter(str.isprintable, ".".join(map(str, problem["loc"]))[:100]))
        raise LayoutError(f"{name}: {f'{place}: ' if place else ''}{problem['msg']}. Write the layout anew.") from None


def _has_digest(content: bytes, digest: str) -> bool:
    """Tell whether content has a digest, which has to be of a registered algorithm."""
    algorithm, _, encoded = digest.partition(":")
    return algorithm in {"sha256", "sha512"} and hashlib.new(algorithm, content).hexdigest() == encoded
