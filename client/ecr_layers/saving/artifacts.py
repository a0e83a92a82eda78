"""Saves the files of an artifact by their titles, as oras writes them.

Sources: https://github.com/opencontainers/image-spec/blob/main/annotations.md,
https://oras.land/docs/how_to_guides/pushing_and_pulling/
"""

import io
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ecr_layers.errors import ClientError, TargetError
from ecr_layers.files.image_files import ImageFiles
from ecr_layers.files.targets import DirectoryTarget
from ecr_layers.oci.manifests import Descriptor, Manifest
from ecr_layers.oci.references import Repository
from ecr_layers.registry.service import Service
from ecr_layers.saving.blobs import BlobDirectory, WantedBlob
from ecr_layers.saving.options import Saved, SaveOptions, callbacks_apart
from ecr_layers.store.target import path_of, target_errors
from ecr_layers.store.workspace import workspace

TITLE = "org.opencontainers.image.title"
"""The annotation with a file's path."""

# Oras packs a directory in a tar archive, whose members begin with the directory's name.
_UNPACK = "io.deis.oras.content.unpack"
_FILES = "files"
_READ_AT_ONCE = 1024 * 1024


def save_files(
    service: Service, repository: Repository, artifact: Manifest, directory: Path, options: SaveOptions
) -> Saved:
    """Save the files of an artifact; see `Image.save_files`."""
    titled = [layer for layer in artifact.layers if TITLE in layer.annotations]
    packed = [layer for layer in titled if _is_packed(layer)]
    files = [(_path(layer), layer) for layer in titled if not _is_packed(layer)]
    layers = {layer.digest: layer for layer in titled}
    if not layers:
        raise ClientError(f"{artifact.digest} has no files: none of its layers has a title.", code="no-files")
    with (
        callbacks_apart(options) as apart,
        target_errors(directory),
        workspace(directory, apart["on_wait"]) as work,
    ):
        if directory.exists() and any(directory.iterdir()):
            raise TargetError(f"{directory} isn't empty. Choose a new directory.", code="target-not-empty")
        wanted = [WantedBlob(repository, each.digest, each.size) for each in layers.values()]
        further = sum(each.size for _, each in files)
        amounts = BlobDirectory(service, work / "blobs", apart).get(wanted, further_bytes=further).values()
        _write(work, packed, files).replace(directory)
    loaded, present = sum(each.loaded for each in amounts), sum(each.present for each in amounts)
    return Saved(directory, artifact.digest, tuple(layers), loaded, present)


def _write(work: Path, packed: Sequence[Descriptor], files: Sequence[tuple[PurePosixPath, Descriptor]]) -> Path:
    """Write files from their blobs to a new directory, and return it. Nothing else is ever written there."""

    def open_blob(blob: Descriptor) -> io.BufferedReader:
        return path_of(work / "blobs", blob.digest).open("rb")

    root = work / _FILES
    shutil.rmtree(root, ignore_errors=True)
    with DirectoryTarget(root, keeps_owner=False) as target:
        ImageFiles(packed, open_blob).extract(target)
    for path, blob in files:
        above = [root / each for each in reversed(path.parents)]
        if any(each.is_symlink() or (each.exists() and not each.is_dir()) for each in above):
            raise _unsafe(str(path), "another layer's file is in its way")
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        with open_blob(blob) as source, _created(root / path) as copy:
            shutil.copyfileobj(source, copy, _READ_AT_ONCE)
    return root


def _created(path: Path) -> BinaryIO:
    try:
        # A link isn't followed.
        return path.open("xb")
    except FileExistsError:
        raise _unsafe(path.name, "another layer has the same") from None


def _is_packed(layer: Descriptor) -> bool:
    return layer.annotations.get(_UNPACK) == "true"


def _path(layer: Descriptor) -> PurePosixPath:
    title = layer.annotations[TITLE]
    path = PurePosixPath(title)
    if not path.parts or path.is_absolute() or ".." in path.parts or not title.isprintable():
        raise _unsafe(title, "it isn't a path below the directory")
    return path


def _unsafe(title: str, reason: str) -> ClientError:
    return ClientError(f"A layer has the title {title[:150]!r}, but {reason}.", code="unsafe-title")
