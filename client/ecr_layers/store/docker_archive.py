"""Docker archives, as `docker load` and skopeo's `docker-archive:` read them.

An archive holds one image. Layers without compression, or with gzip, are stored as they are, as go-containerregistry
does; Zstandard layers are decompressed, because Docker before version 23 and other tools can't read them. Every layer
is decompressed once to compare it with the config, because loaders refuse the archive otherwise.

Source: https://github.com/moby/docker-image-spec/blob/main/spec.md#combined-image-json--filesystem-changeset-format
"""

import io
import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from ecr_layers.errors import ClientError, IntegrityError
from ecr_layers.files.archives import members
from ecr_layers.files.compression import Allowance, Compression, Decompressed, compression_of, zstd_module
from ecr_layers.files.image_files import MOST_BYTES
from ecr_layers.oci.config import CONFIG_MEDIA_TYPES, LARGEST_CONFIG, ImageConfig
from ecr_layers.oci.manifests import Descriptor, Manifest
from ecr_layers.oci.references import digest_of, hasher, is_digest
from ecr_layers.store.target import path_of

_CHUNK = 1024 * 1024
# Bounds for an existing archive, over those of any that this module writes.
_MOST_FILES, _DOCUMENTS = 10_000, 2


def write_docker_archive(blobs: Path, manifest: Manifest, names: Sequence[str], file: BinaryIO) -> None:
    """Write an archive with one image.

    Args:
        blobs: The directory of the image's verified blobs.
        manifest: The image's manifest.
        names: Names with tags, such as `team/app:1.2`; empty for an image without.
        file: The file to write; it need not be seekable.

    Raises:
        ClientError: If the image can't be in a Docker archive.
        IntegrityError: If a layer doesn't decompress to what the config says.
        OSError: If the file can't be written.
    """
    config = checked_config(manifest)
    content = path_of(blobs, config.digest).read_bytes()
    diff_ids = _diff_ids(content, manifest)
    layers = [_Layer(blobs, layer, diff_id) for layer, diff_id in zip(manifest.layers, diff_ids, strict=True)]
    each_once = {layer.name: layer for layer in layers}.values()
    for layer in each_once:
        layer.verify()
    config_name = f"{_encoded(config)}.json"
    entry = {"Config": config_name, "RepoTags": list(names), "Layers": [layer.name for layer in layers]}
    with _tar(file) as archive:
        for name, document in (("manifest.json", json.dumps([entry]).encode()), (config_name, content)):
            _add(archive, name, io.BytesIO(document), len(document))
        for layer in each_once:
            layer.add_to(archive)


def is_docker_archive_of(manifest: Manifest, names: Sequence[str], path: Path) -> bool:
    """Tell whether a file is such an archive of an image, by the digests of everything in it.

    Args:
        manifest: The image's manifest.
        names: The names with tags that it should have.
        path: The file, which need not exist.
    """
    config = checked_config(manifest)
    try:
        digests, documents = _contents(path, {each.digest for each in manifest.blobs})
        (entry,) = json.loads(documents["manifest.json"])
        diff_ids = _diff_ids(documents[entry["Config"]], manifest)
        layers = list(zip(entry["Layers"], manifest.layers, diff_ids, strict=True))
        return (
            entry["RepoTags"] == list(names)
            and config.digest in digests[entry["Config"]]
            and all(digests[name] & {layer.digest, diff_id} for name, layer, diff_id in layers)
        )
    except (OSError, ClientError, ValueError, LookupError, TypeError, RecursionError):
        return False


def _contents(path: Path, wanted: set[str]) -> tuple[dict[str, set[str]], dict[str, bytes]]:
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
            if member.name.endswith(".json") and member.size <= LARGEST_CONFIG and len(documents) < _DOCUMENTS:
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
                _add(archive, self.name, content, self._size)
            return
        with self._path.open("rb") as file:
            _add(archive, self.name, file, os.fstat(file.fileno()).st_size)

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


class _Sink:
    """A file that need not be seekable, as tarfile writes it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._position = 0

    def write(self, data: bytes) -> int:
        self._file.write(data)
        self._position += len(data)
        return len(data)

    def tell(self) -> int:
        return self._position


def _tar(file: BinaryIO) -> tarfile.TarFile:
    sink = cast("BinaryIO", _Sink(file))
    return tarfile.TarFile(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT, copybufsize=_CHUNK)


def _add(archive: tarfile.TarFile, name: str, content: "BinaryIO | Decompressed", size: int) -> None:
    member = tarfile.TarInfo(name)
    member.mode = 0o644
    member.size = size
    archive.addfile(member, cast("BinaryIO", content))
