"""Docker archives, as `docker load` and skopeo's `docker-archive:` read them.

Layers without compression, or with gzip, are stored as they are, as go-containerregistry
does; Zstandard layers are decompressed, because Docker before version 23 and other tools can't read them. Every layer
is decompressed once to compare it with the config, because loaders refuse the archive otherwise.

Source: https://github.com/moby/docker-image-spec/blob/main/spec.md#combined-image-json--filesystem-changeset-format
"""

import io
import json
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ecr_layers.errors import ClientError, IntegrityError
from ecr_layers.files.archives import members
from ecr_layers.files.compression import Allowance, Compression, Decompressed, compression_of, zstd_module
from ecr_layers.files.image_files import MOST_BYTES
from ecr_layers.oci.config import CONFIG_MEDIA_TYPES, LARGEST_CONFIG, ImageConfig
from ecr_layers.oci.manifests import Descriptor, Manifest
from ecr_layers.oci.references import digest_of, hasher, is_digest
from ecr_layers.store.tar import add, tar
from ecr_layers.store.target import path_of

_CHUNK = 1024 * 1024
# Bound for an existing archive, over those of any that this module writes.
_MOST_FILES = 100_000


@dataclass(frozen=True, slots=True)
class TaggedImage:
    """An image in a Docker archive.

    Attributes:
        manifest: Its manifest.
        tags: Its names with tags, such as `team/app:1.2`; empty for an image without.
    """

    manifest: Manifest
    tags: tuple[str, ...]


def write_docker_archive(blobs: Path, images: Sequence[TaggedImage], file: BinaryIO) -> None:
    """Write an archive.

    Args:
        blobs: The directory of the images' verified blobs.
        images: The images.
        file: The file to write; it need not be seekable.

    Raises:
        ClientError: If an image can't be in a Docker archive.
        IntegrityError: If a layer doesn't decompress to what the config says.
        OSError: If the file can't be written.
    """
    entries: list[dict[str, Any]] = []
    configs: dict[str, bytes] = {}
    layers: dict[tuple[str, str], _Layer] = {}
    for image in images:
        config = checked_config(image.manifest)
        content = path_of(blobs, config.digest).read_bytes()
        diff_ids = _diff_ids(content, image.manifest)
        keys = [(layer.digest, diff_id) for layer, diff_id in zip(image.manifest.layers, diff_ids, strict=True)]
        for key, layer in zip(keys, image.manifest.layers, strict=True):
            if key not in layers:
                layers[key] = _Layer(blobs, layer, key[1])
                layers[key].verify()
        name = f"{_encoded(config)}.json"
        configs[name] = content
        entries.append({"Config": name, "RepoTags": list(image.tags), "Layers": [layers[key].name for key in keys]})
    with tar(file) as archive:
        for name, content in {"manifest.json": json.dumps(entries).encode(), **configs}.items():
            add(archive, name, io.BytesIO(content), len(content))
        for file_of_layer in layers.values():
            file_of_layer.add_to(archive)


def is_docker_archive_of(images: Sequence[TaggedImage], path: Path) -> bool:
    """Tell whether a file is such an archive of images, by the digests of everything in it.

    Args:
        images: The images.
        path: The file, which need not exist.
    """
    blobs = [blob.digest for image in images for blob in image.manifest.blobs]
    try:
        digests, documents = _contents(path, blobs, 1 + len(images))
        entries = json.loads(documents["manifest.json"])
        return all(_is_of(image, entry, digests, documents) for image, entry in zip(images, entries, strict=True))
    except (OSError, ClientError, ValueError, LookupError, TypeError, RecursionError):
        return False


def _is_of(
    image: TaggedImage, entry: Mapping[str, Any], digests: Mapping[str, set[str]], documents: Mapping[str, bytes]
) -> bool:
    config = checked_config(image.manifest)
    diff_ids = _diff_ids(documents[entry["Config"]], image.manifest)
    layers = list(zip(entry["Layers"], image.manifest.layers, diff_ids, strict=True))
    return (
        entry["RepoTags"] == list(image.tags)
        and config.digest in digests[entry["Config"]]
        and all(digests[name] & {layer.digest, diff_id} for name, layer, diff_id in layers)
    )


def _contents(path: Path, wanted: Iterable[str], most_documents: int) -> tuple[dict[str, set[str]], dict[str, bytes]]:
    """Return the digests of each file in an archive, with the algorithms of `wanted`, and the documents in it."""
    algorithms = {each.partition(":")[0] for each in wanted} | {"sha256"}
    digests: dict[str, set[str]] = {}
    documents: dict[str, bytes] = {}
    with path.open("rb") as file:
        archive = Decompressed(file, str(path), Allowance(MOST_BYTES))
        for number, member in enumerate(members(archive)):
            if number > _MOST_FILES:
                raise archive.damaged("it has too many files")
            hashes = [hasher(algorithm) for algorithm in algorithms]
            if member.name.endswith(".json") and member.size <= LARGEST_CONFIG and len(documents) < most_documents:
                documents[member.name] = archive.read_whole(member.size)
                digests[member.name] = {digest_of(documents[member.name], each) for each in algorithms}
                continue
            for chunk in archive.chunks(member.size):
                for each in hashes:
                    each.update(chunk)
            digests[member.name] = {f"{each.name}:{each.hexdigest()}" for each in hashes}
    return digests, documents


class _Layer:
    """A layer, and its file in an archive."""

    def __init__(self, blobs: Path, descriptor: Descriptor, diff_id: str) -> None:
        self._path = path_of(blobs, descriptor.digest)
        self._diff_id = diff_id
        self._digest = descriptor.digest
        self._size = 0
        with self._path.open("rb") as file:
            self._compression = compression_of(file, f"Layer {descriptor.digest}")
        self.name = f"{_encoded(descriptor)}.tar{'.gz' if self._compression is Compression.GZIP else ''}"

    def verify(self) -> None:
        """Compare the decompressed layer with the config.

        Raises:
            IntegrityError: If it has another digest.
            ClientError: If it can't be decompressed.
        """
        found = hasher(self._diff_id)
        with self._decompressed() as content:
            while chunk := content.read(_CHUNK):
                found.update(chunk)
            self._size = content.position
        if found.hexdigest() != self._diff_id.partition(":")[2]:
            raise IntegrityError(
                f"Digest mismatch: layer {self._digest} doesn't decompress to {self._diff_id}, as the config says. No "
                "tool would load the archive.",
                digest=self._digest,
            )

    def add_to(self, archive: tarfile.TarFile) -> None:
        """Add its file; it has to be verified before."""
        if self._compression is Compression.ZSTD:
            with self._decompressed() as content:
                add(archive, self.name, content, self._size)
            return
        with self._path.open("rb") as file:
            add(archive, self.name, file, os.fstat(file.fileno()).st_size)

    @contextmanager
    def _decompressed(self) -> Iterator[Decompressed]:
        with self._path.open("rb") as file:
            yield Decompressed(file, f"Layer {self._digest}", Allowance(MOST_BYTES))


def checked_config(manifest: Manifest) -> Descriptor:
    """Return the config of an image, if the image can be in a Docker archive as far as its manifest says.

    Raises:
        ClientError: If it can't.
        MissingPackageError: If that needs a package that isn't installed.
    """
    if any(layer.media_type.endswith("zstd") for layer in manifest.layers):
        zstd_module()
    encrypted = next((layer.digest for layer in manifest.layers if "+encrypted" in layer.media_type), None)
    if encrypted is not None:
        raise _not_archivable(f"Layer {encrypted} is encrypted, which Docker archives don't support.")
    config = manifest.config
    if config is None or config.media_type not in CONFIG_MEDIA_TYPES:
        raise _not_archivable(f"{manifest.digest} is an artifact. Docker archives hold images only.")
    if config.size > LARGEST_CONFIG:
        raise _not_archivable(f"The config {config.digest} has more than {LARGEST_CONFIG} bytes.")
    return config


def _diff_ids(config: bytes, manifest: Manifest) -> tuple[str, ...]:
    diff_ids = ImageConfig.parse(config).diff_ids
    if len(diff_ids) != len(manifest.layers):
        raise _not_archivable(
            f"The config lists {len(diff_ids)} layers, but the manifest {len(manifest.layers)}. No tool would load the "
            "archive."
        )
    if not all(map(is_digest, diff_ids)):
        raise _not_archivable("The config lists a layer without a sha256 or sha512 digest.")
    return diff_ids


def _not_archivable(message: str) -> ClientError:
    return ClientError(message, code="not-archivable")


def _encoded(descriptor: Descriptor) -> str:
    return descriptor.digest.partition(":")[2]
