"""Writes an archive that `docker load` and skopeo's `docker-archive:` read, from an image layout that is complete.

It holds one image. Layers that are not compressed, or by gzip, are in it as they are, as go-containerregistry writes
them; those of Zstandard are decompressed, since Docker reads it only from version 23 on, and other tools not at all. An
artifact, which no Docker can run, and an image with foreign layers, which are not in the layout, can't be written.

Source: https://github.com/moby/docker-image-spec/blob/main/spec.md#combined-image-json--filesystem-changeset-format
"""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from ecr_layers.errors import ClientError, IntegrityError
from ecr_layers.files.archives import Allowance, Compression, Decompressed, compression_of, members, zstd_module
from ecr_layers.files.image_files import MOST_BYTES
from ecr_layers.oci.config import CONFIG_MEDIA_TYPES, LARGEST_CONFIG, ImageConfig
from ecr_layers.oci.manifests import Descriptor, Manifest
from ecr_layers.oci.references import is_digest
from ecr_layers.store.layout import path_of, target_errors

_CHUNK = 1024 * 1024
# Of an archive that is there already: what one of this module's has at most.
_MOST_FILES, _DOCUMENTS = 10_000, 2


def write_docker_archive(layout: Path, manifest: Manifest, names: tuple[str, ...], target: Path) -> None:
    """Write an archive with one image. It is there as a whole or not at all.

    Args:
        layout: The image layout, with all blobs of the image, verified.
        manifest: The image's manifest.
        names: Names for it with tags, such as `team/app:1.2`; none for an image that is named by its digest.
        target: The file to write. One that is there is replaced.

    Raises:
        ClientError: If the image can't be in such an archive.
        IntegrityError: If a layer does not decompress to what the config says.
        TargetError: If the file can't be written.
    """
    blobs, config = layout / "blobs", checked_config(manifest)
    with target_errors(target), _finished_file(target) as file, _tar(file) as archive:
        config_content = path_of(blobs, config.digest).read_bytes()
        layers = [
            _Layer(blobs, descriptor, diff_id)
            for descriptor, diff_id in zip(manifest.layers, _diff_ids(config_content, manifest), strict=True)
        ]
        config_name = f"{_encoded(config)}.json"
        entry = {"Config": config_name, "RepoTags": list(names), "Layers": [layer.name for layer in layers]}
        for name, content in (("manifest.json", json.dumps([entry]).encode()), (config_name, config_content)):
            _add(archive, name, io.BytesIO(content), len(content))
        for layer in {layer.name: layer for layer in layers}.values():
            layer.add_to(archive)


def is_docker_archive_of(manifest: Manifest, names: tuple[str, ...], path: Path) -> bool:
    """Tell whether a file is such an archive of an image, by the digests of all that is in it.

    Args:
        manifest: The image's manifest.
        names: The names with tags that it has to have.
        path: The file, which need not be there.
    """
    config = checked_config(manifest)
    try:
        digests, documents = _contents(path)
        (entry,) = json.loads(documents["manifest.json"])
        diff_ids = _diff_ids(documents[entry["Config"]], manifest)
        layers = list(zip(entry["Layers"], manifest.layers, diff_ids, strict=True))
        return (
            entry["RepoTags"] == list(names)
            and digests[entry["Config"]] == config.digest
            and all(digests[name] in {layer.digest, diff_id} for name, layer, diff_id in layers)
        )
    except (OSError, ClientError, ValueError, LookupError, TypeError, RecursionError):
        return False


def _contents(path: Path) -> tuple[dict[str, str], dict[str, bytes]]:
    """Return the sha256 of each file in an archive, and the documents in it."""
    digests: dict[str, str] = {}
    documents: dict[str, bytes] = {}
    with path.open("rb") as file:
        archive = Decompressed(file, str(path), Allowance(MOST_BYTES))
        for number, member in enumerate(members(archive)):
            if number > _MOST_FILES:
                raise archive.damaged("it has too many files")
            found = hashlib.sha256()
            if member.name.endswith(".json") and member.size <= LARGEST_CONFIG and len(documents) < _DOCUMENTS:
                documents[member.name] = archive.read_whole(member.size)
                found.update(documents[member.name])
            else:
                for chunk in archive.chunks(member.size):
                    found.update(chunk)
            digests[member.name] = f"sha256:{found.hexdigest()}"
    return digests, documents


class _Layer:
    """A layer, and how it gets into an archive."""

    def __init__(self, blobs: Path, descriptor: Descriptor, diff_id: str) -> None:
        self._path = path_of(blobs, descriptor.digest)
        self._diff_id = diff_id
        self._digest = descriptor.digest
        with self._path.open("rb") as file:
            self._compression = compression_of(file, f"Layer {descriptor.digest}")
        self.name = f"{_encoded(descriptor)}.tar{'.gz' if self._compression is Compression.GZIP else ''}"

    def add_to(self, archive: tarfile.TarFile) -> None:
        """Add its file."""
        if self._compression is not Compression.ZSTD:
            with self._path.open("rb") as file:
                _add(archive, self.name, file, os.fstat(file.fileno()).st_size)
            return
        size = self._verified_size()
        with self._decompressed() as content:
            _add(archive, self.name, content, size)

    def _verified_size(self) -> int:
        """Return how many bytes the layer has after decompression, which have to be those that the config names."""
        algorithm, _, expected = self._diff_id.partition(":")
        found = hashlib.new(algorithm)
        with self._decompressed() as content:
            while chunk := content.read(_CHUNK):
                found.update(chunk)
            size = content.position
        if found.hexdigest() != expected:
            raise IntegrityError(f"Layer {self._digest} decompresses to something else than {self._diff_id}.")
        return size

    @contextmanager
    def _decompressed(self) -> Iterator[Decompressed]:
        with self._path.open("rb") as file:
            yield Decompressed(file, f"Layer {self._digest}", Allowance(MOST_BYTES))


def checked_config(manifest: Manifest) -> Descriptor:
    """Return the config of an image, if it can be in such an archive as far as its manifest says.

    Raises:
        ClientError: If it can't.
        UsageError: If that takes a package that is not installed.
    """
    if any(layer.media_type.endswith("zstd") for layer in manifest.layers):
        zstd_module()
    foreign = next((layer.digest for layer in manifest.layers if layer.is_foreign), None)
    if foreign is not None:
        raise ClientError(f"Layer {foreign} is a foreign one, so a docker-archive can't be whole. Use --format oci.")
    config = manifest.config
    if config is None or config.media_type not in CONFIG_MEDIA_TYPES:
        raise ClientError(f"{manifest.digest} is an artifact, and a docker-archive holds an image. Use --format oci.")
    if config.size > LARGEST_CONFIG:
        raise ClientError(f"The config {config.digest} has more than {LARGEST_CONFIG} bytes. Use --format oci.")
    return config


def _diff_ids(config: bytes, manifest: Manifest) -> tuple[str, ...]:
    diff_ids = ImageConfig.parse(config).diff_ids
    if len(diff_ids) != len(manifest.layers):
        raise ClientError(
            f"The config names {len(diff_ids)} layers, and the manifest {len(manifest.layers)}. Use --format oci."
        )
    if not all(map(is_digest, diff_ids)):
        raise ClientError("The config names a layer by something else than a sha256 or sha512 digest.")
    return diff_ids


def _encoded(descriptor: Descriptor) -> str:
    return descriptor.digest.partition(":")[2]


@contextmanager
def _finished_file(target: Path) -> Iterator[BinaryIO]:
    """Open a file that gets its name when it is complete, and is removed if it is not."""
    part = target.with_name(f"{target.name}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def _tar(file: BinaryIO) -> tarfile.TarFile:
    return tarfile.TarFile(fileobj=file, mode="w", format=tarfile.PAX_FORMAT, copybufsize=_CHUNK)


def _add(archive: tarfile.TarFile, name: str, content: "BinaryIO | Decompressed", size: int) -> None:
    member = tarfile.TarInfo(name)
    member.mode = 0o644
    member.size = size
    archive.addfile(member, cast("BinaryIO", content))
