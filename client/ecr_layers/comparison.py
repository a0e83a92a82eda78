"""Compares two images: files, configs and layers."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ecr_layers.files.comparison import FilesDiff, diff_files
from ecr_layers.files.image_files import MOST_BYTES
from ecr_layers.image import Image, Layer
from ecr_layers.oci.config import ImageConfig


@dataclass(frozen=True, slots=True)
class ImageDiff(FilesDiff):
    """How two images differ, besides in their files.

    Attributes:
        config: The first's and the second's value of each member of `ImageConfig` that differs, except `diff_ids`.
        common_layers: The second's layers that the first has, too.
        new_layers: The second's layers that the first doesn't have.
        new_bytes: What the second takes to download if the first is there: bytes of new layers and of its config.
    """

    config: Mapping[str, tuple[Any, Any]]
    common_layers: tuple[Layer, ...]
    new_layers: tuple[Layer, ...]
    new_bytes: int


def diff(first: Image, second: Image, max_bytes: int = MOST_BYTES) -> ImageDiff:
    """Compare two images. Each layer is loaded once, none if both have the same layers.

    Args:
        first: An image.
        second: Another one; it may be of another service.
        max_bytes: How many bytes of each image's layers may be decompressed.

    Raises:
        ClientError: If a layer can't be read, or an image has no config.
    """
    config = _diff_configs(first.config, second.config)
    files = _diff_files(first, second, max_bytes)
    old = {layer.digest for layer in first.layers}
    layers = tuple({layer.digest: layer for layer in second.layers}.values())
    present = {blob.digest for blob in first.manifest.blobs}
    return ImageDiff(
        files.added,
        files.changed,
        files.removed,
        config,
        tuple(layer for layer in layers if layer.digest in old),
        tuple(layer for layer in layers if layer.digest not in old),
        sum(blob.size for blob in second.manifest.blobs if blob.digest not in present),
    )


def _diff_configs(first: ImageConfig, second: ImageConfig) -> dict[str, tuple[Any, Any]]:
    values = {each.name: (getattr(first, each.name), getattr(second, each.name)) for each in fields(ImageConfig)}
    return {name: (old, new) for name, (old, new) in values.items() if old != new and name != "diff_ids"}


def _diff_files(first: Image, second: Image, max_bytes: int) -> FilesDiff:
    if [layer.digest for layer in first.layers] == [layer.digest for layer in second.layers]:
        return FilesDiff((), (), ())
    with tempfile.TemporaryDirectory(prefix="ecr-layers-") as name:
        kept = Path(name)
        return diff_files(
            first.files(max_bytes, kept, whole_layers=True), second.files(max_bytes, kept, whole_layers=True)
        )
