"""OCI image layouts: the index of images in a directory or an archive.

Source: https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecr_layers.errors import ClientError, UsageError
from ecr_layers.oci.documents import mapping, text
from ecr_layers.oci.manifests import OCI_INDEX, Descriptor
from ecr_layers.oci.references import ImageReference, Repository, split_host
from ecr_layers.store.target import write_file

REFERENCE_NAME = "org.opencontainers.image.ref.name"
"""The annotation that names an image in a layout. Skopeo, umoci and crane look images up by it."""

FULL_NAME = "io.containerd.image.name"
"""The annotation with an image's full name, `HOST/team/app:1.2`, which containerd imports it by."""

LARGEST_INDEX = 32 * 1024 * 1024
"""Largest index of a layout, in bytes."""

INDEX, VERSION = "index.json", "oci-layout"
VERSION_CONTENT = b'{"imageLayoutVersion": "1.0.0"}'


@dataclass(frozen=True, slots=True)
class ImageName:
    """The names of an image in a layout or an archive.

    Attributes:
        tag: Its name in a layout as long as no other repository's image has it.
        short: Its repository and tag, such as `team/app:1.2`.
        full: The same with the registry's host in front.
    """

    tag: str
    short: str
    full: str

    @classmethod
    def parse(cls, name: str) -> "ImageName":
        """Parse a name with a tag, and usually a host.

        Raises:
            UsageError: If it isn't a valid name, or has a digest.
        """
        host, short = split_host(name)
        reference = ImageReference.parse(short)
        if reference.digest is not None:
            raise UsageError(f"{name[:150]!r} has a digest. Name an image as HOST/team/app:TAG.", code="invalid-name")
        short = f"{reference.repository}:{reference.tag}"
        return cls(str(reference.tag), short, f"{host}/{short}" if host else short)

    @classmethod
    def of_tag(cls, host: str, repository: Repository, tag: str) -> "ImageName":
        """Return the names of an image with a tag."""
        short = f"{repository}:{tag}"
        return cls(tag, short, f"{host}/{short}")

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> "ImageName | None":
        """Return the names of an index's entry by its full name; None if it has none that this client understands."""
        try:
            return cls.parse(annotation(entry, FULL_NAME) or "")
        except UsageError:
            return None


class LayoutIndex:
    """The index of a layout, with everything that other tools have put there.

    Args:
        content: The file; None for a new layout.
        name: Its name for messages.

    Raises:
        ClientError: If it isn't an image index.
    """

    def __init__(self, content: bytes | None, name: str) -> None:
        new: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_INDEX}
        self._document = new if content is None else _parse(content, name)
        self._entries: list[dict[str, Any]] = self._document.setdefault("manifests", [])

    @classmethod
    def read(cls, directory: Path) -> "LayoutIndex":
        """Read the index of a directory; an empty one if there is none.

        Raises:
            ClientError: If it isn't an image index.
            OSError: If it can't be read.
        """
        path = directory / INDEX
        if not path.exists():
            return cls(None, str(path))
        with path.open("rb") as file:
            return cls(file.read(LARGEST_INDEX + 1), str(path))

    @property
    def content(self) -> bytes:
        """The file."""
        return json.dumps(self._document, indent=2).encode()

    @property
    def entries(self) -> tuple[Mapping[str, Any], ...]:
        """The entries: descriptors of images and artifacts."""
        return tuple(self._entries)

    def write(self, directory: Path) -> None:
        """Write it, and what makes the directory a layout.

        Raises:
            OSError: If it can't be written.
        """
        write_file(directory / VERSION, VERSION_CONTENT)
        write_file(directory / INDEX, self.content)

    def add(
        self, image: Descriptor, name: ImageName | None, annotations: Mapping[str, str] | None = None
    ) -> str | None:
        """Add a complete image or artifact.

        It replaces an image of the same full name. If another repository's image has its tag, its name in the layout is
        its repository and tag.

        Args:
            image: The image's manifest or index.
            name: Its names; None for an image without.
            annotations: Further annotations.

        Returns:
            Its name in the layout.
        """
        entry: dict[str, Any] = {"mediaType": image.media_type, "digest": image.digest, "size": image.size}
        return self._put({**entry, "annotations": dict(annotations)} if annotations else entry, name)

    def merge(self, other: "LayoutIndex") -> None:
        """Add the entries of another index, under their full names where they have some."""
        for entry in other.entries:
            self._put(dict(entry), ImageName.of(entry))

    def _put(self, entry: dict[str, Any], name: ImageName | None) -> str | None:
        if name is None:
            return self._put_without_full_name(entry)
        others = [each for each in self._entries if not _is_of(each, entry, name)]
        taken = {annotation(each, REFERENCE_NAME) for each in others}
        reference = next((each for each in (name.tag, name.short) if each not in taken), name.full)
        annotations = {**mapping(entry.get("annotations")), REFERENCE_NAME: reference, FULL_NAME: name.full}
        kept = [each for each in others if annotation(each, REFERENCE_NAME) != reference]
        self._entries[:] = [*kept, {**entry, "annotations": annotations}]
        return reference

    def _put_without_full_name(self, entry: dict[str, Any]) -> str | None:
        reference = annotation(entry, REFERENCE_NAME)
        if reference is not None:
            kept = [each for each in self._entries if annotation(each, REFERENCE_NAME) != reference]
            self._entries[:] = [*kept, entry]
            return reference
        same = next((each for each in self._entries if each.get("digest") == entry.get("digest")), None)
        if same is None:
            self._entries.append(entry)
        elif "annotations" in entry:
            same["annotations"] = {**mapping(same.get("annotations")), **mapping(entry["annotations"])}
        return None

    def remove_annotation(self, name: str) -> None:
        """Remove an annotation from all entries."""
        for entry in self._entries:
            if annotation(entry, name) is not None:
                del entry["annotations"][name]

    def find(self, full_name: str) -> str | None:
        """Return the digest of the image with a full name; None if there is none."""
        found = (entry.get("digest") for entry in self._entries if annotation(entry, FULL_NAME) == full_name)
        return text(next(found, None))

    def remove(self, full_name: str) -> None:
        """Remove the image with a full name."""
        self._entries[:] = [entry for entry in self._entries if annotation(entry, FULL_NAME) != full_name]


def annotation(entry: Mapping[str, Any], name: str) -> str | None:
    """Return an annotation of an index's entry; None without."""
    return text(mapping(entry.get("annotations")).get(name))


def _is_of(entry: Mapping[str, Any], new: Mapping[str, Any], name: ImageName) -> bool:
    """Tell whether an entry is an earlier one of an image with this name."""
    full = annotation(entry, FULL_NAME)
    if full is not None:
        return full == name.full
    # Another tool wrote it, without the full name.
    return entry.get("digest") == new.get("digest") and annotation(entry, REFERENCE_NAME) in {name.tag, name.short}


def _parse(content: bytes, name: str) -> dict[str, Any]:
    try:
        index = json.loads(content) if len(content) <= LARGEST_INDEX else None
    except (ValueError, RecursionError):
        index = None
    entries = index.get("manifests") if isinstance(index, dict) else None
    if index is None or not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ClientError(
            f"{name} isn't an image index. Choose another directory, or move it away.", code="malformed-document"
        )
    return dict(index)
