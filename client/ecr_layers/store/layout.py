"""OCI image layouts: the index of images in a directory.

Source: https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecr_layers.errors import ClientError
from ecr_layers.oci.manifests import OCI_INDEX, Descriptor
from ecr_layers.store.target import write_file

REFERENCE_NAME = "org.opencontainers.image.ref.name"
"""The annotation that names an image in a layout. Skopeo, umoci and crane look images up by it."""

FULL_NAME = "io.containerd.image.name"
"""The annotation with an image's full name, `HOST/team/app:1.2`, which containerd imports it by."""

_LARGEST_INDEX = 32 * 1024 * 1024
_VERSION = b'{"imageLayoutVersion": "1.0.0"}'


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


def add_image(directory: Path, image: Descriptor, name: ImageName | None) -> str | None:
    """Add a complete image to a layout's index.

    It replaces an image of the same full name. If another repository's image has its tag, its name in the layout is
    its repository and tag.

    Args:
        directory: The layout.
        image: The image's manifest or index.
        name: Its names; None for an image without.

    Returns:
        Its name in the layout.

    Raises:
        ClientError: If the existing index is malformed.
        OSError: If it can't be written.
    """
    index = _read_index(directory)
    entries = index["manifests"]
    if name is None:
        reference = None
        if all(entry.get("digest") != image.digest for entry in entries):
            entries.append(_entry(image, {}))
    else:
        others = [entry for entry in entries if not _is_of(entry, image, name)]
        taken = {_annotation(entry, REFERENCE_NAME) for entry in others}
        reference = next((each for each in (name.tag, name.short) if each not in taken), name.full)
        others = [entry for entry in others if _annotation(entry, REFERENCE_NAME) != reference]
        index["manifests"] = [*others, _entry(image, {REFERENCE_NAME: reference, FULL_NAME: name.full})]
    write_file(directory / "oci-layout", _VERSION)
    write_file(directory / "index.json", json.dumps(index, indent=2).encode())
    return reference


def check_index(directory: Path) -> None:
    """Check that an image can be added, before it is downloaded.

    Raises:
        ClientError: If the existing index is malformed.
        OSError: If it can't be read.
    """
    _read_index(directory)


def _is_of(entry: dict[str, Any], image: Descriptor, name: ImageName) -> bool:
    """Tell whether an entry is an earlier one of an image with this name."""
    full = _annotation(entry, FULL_NAME)
    if full is not None:
        return full == name.full
    # Another tool wrote it, without the full name.
    return entry.get("digest") == image.digest and _annotation(entry, REFERENCE_NAME) in {name.tag, name.short}


def _read_index(directory: Path) -> dict[str, Any]:
    """Return the existing index, with everything in it; an empty one if there is none."""
    path = directory / "index.json"
    if not path.exists():
        return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
    with path.open("rb") as file:
        content = file.read(_LARGEST_INDEX + 1)
    try:
        index = json.loads(content) if len(content) <= _LARGEST_INDEX else None
    except (ValueError, RecursionError):
        index = None
    entries = index.get("manifests") if isinstance(index, dict) else None
    if index is None or not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ClientError(
            f"{path} isn't an image index. Choose another directory, or move it away.", code="malformed-document"
        )
    return dict(index)


def _annotation(entry: dict[str, Any], name: str) -> str | None:
    annotations = entry.get("annotations")
    value = annotations.get(name) if isinstance(annotations, dict) else None
    return value if isinstance(value, str) else None


def _entry(image: Descriptor, annotations: dict[str, str]) -> dict[str, Any]:
    entry: dict[str, Any] = {"mediaType": image.media_type, "digest": image.digest, "size": image.size}
    return {**entry, "annotations": annotations} if annotations else entry
