"""An image in a registry, for programs."""

import io
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import BinaryIO, Unpack

from ecr_layers.errors import ClientError, ServiceError
from ecr_layers.files.compression import Allowance
from ecr_layers.files.extraction import Target, keeping
from ecr_layers.files.image_files import MOST_BYTES, ImageFiles
from ecr_layers.files.merged import FileInfo
from ecr_layers.files.tables import LARGEST_TABLE, Table
from ecr_layers.files.targets import DirectoryTarget, TarTarget
from ecr_layers.files.toc import read_toc
from ecr_layers.files.ztoc import INDEX_ANNOTATION, Ztoc, ztocs
from ecr_layers.oci.config import ImageConfig
from ecr_layers.oci.manifests import Descriptor, Manifest
from ecr_layers.oci.platforms import Platform
from ecr_layers.oci.references import ImageReference, Repository, is_digest
from ecr_layers.registry.layers import NO_LAYER
from ecr_layers.registry.referrers import Referrer
from ecr_layers.registry.service import Service
from ecr_layers.saving.artifacts import save_files
from ecr_layers.saving.options import Saved, SaveOptions
from ecr_layers.saving.outputs import Format, save_images


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of an image.

    Attributes:
        digest: Its digest.
        size: Its size in bytes, as it is stored.
        media_type: Its media type.
    """

    digest: str
    size: int
    media_type: str
    _repository: Repository = field(repr=False, compare=False)
    _service: Service = field(repr=False, compare=False)

    def open(self) -> io.BufferedReader:
        """Open it as a seekable file that downloads what is read.

        If it is read in order to its end, its digest is verified there. Close the file before the client.

        Raises:
            ServiceError: If the service refuses its download URL. Reading raises `TransferError` and `IntegrityError`.
        """
        return self._service.open_layer(self._repository, self.digest, self.size)


class Image:
    """An image, resolved once. `Client.image` makes it.

    Args:
        service: The service.
        reference: The image's name.
        root: The manifest or index of that name.
        manifest: The image's manifest; the root for all images of an index.

    Attributes:
        reference: The image's name.
        manifest: Its manifest.
        digest: The digest of the manifest.
    """

    def __init__(self, service: Service, reference: ImageReference, root: Manifest, manifest: Manifest) -> None:
        self._service = service
        self._root = root
        self.reference = reference
        self.manifest = manifest
        self.digest = manifest.digest

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Its layers, the lowest first; empty for an index."""
        repository = self.reference.repository
        return tuple(
            Layer(each.digest, each.size, each.media_type, repository, self._service) for each in self.manifest.layers
        )

    @cached_property
    def config(self) -> ImageConfig:
        """Its config, verified.

        Raises:
            ClientError: If it has none, or a malformed or too large one.
        """
        return self._service.images.read_config(self.reference.repository, self.manifest)

    @cached_property
    def platforms(self) -> tuple[Platform, ...]:
        """The platforms of the index that the name belongs to; empty without an index."""
        return self._service.images.platforms(self.reference.repository, self._root)

    def files(self, max_bytes: int = MOST_BYTES, kept: Path | None = None, *, whole_layers: bool = False) -> ImageFiles:
        """Return its files as a container sees them. Layers are read when they are needed.

        Args:
            max_bytes: How many bytes of layers may be decompressed.
            kept: A directory for layers, so that each is loaded once, however many files are read.
            whole_layers: Whether to read whole layers even if they have a table of contents.
        """
        open_whole = partial(self._open, is_read_whole=True)
        open_layer = keeping(open_whole, kept) if kept else open_whole
        return ImageFiles(self.manifest.layers, open_layer, max_bytes, None if whole_layers else self._find_table)

    def read(self, path: str) -> bytes:
        """Return the content of a file. Links are followed inside the image.

        For large files and several files, use `files`.

        Args:
            path: Its path from the image's root.

        Raises:
            ClientError: If there is no such file, it is a directory, or a layer can't be read.
        """
        return b"".join(self.files().read(path))

    def extract(
        self,
        directory: str | Path,
        *paths: str,
        keeps_owner: bool = False,
        max_bytes: int = MOST_BYTES,
        whole_layers: bool = False,
    ) -> tuple[FileInfo, ...]:
        """Write files to a new or empty directory, below which they keep their paths.

        Whole layers are verified before the first file is written, and kept in a temporary directory meanwhile. Nothing
        outside the target is written.

        Args:
            directory: The directory.
            paths: Paths from the image's root, each with everything below; all files without one.
            keeps_owner: Whether to set owners, set-user-ID and set-group-ID bits, as root.
            max_bytes: How many bytes of layers may be decompressed. Each is decompressed twice.
            whole_layers: As for `files`. Without a path, whole layers are always read.

        Returns:
            The files left out: sparse files, and devices in a directory.

        Raises:
            UsageError: If owners can't be set.
            TargetError: If the directory isn't empty, or can't be written.
            ClientError: If nothing is at a path, or a layer can't be read.
        """
        with DirectoryTarget(Path(directory), keeps_owner=keeps_owner) as target:
            return self._extract(target, paths, max_bytes, whole_layers=whole_layers)

    def extract_tar(
        self, file: BinaryIO, *paths: str, max_bytes: int = MOST_BYTES, whole_layers: bool = False
    ) -> tuple[FileInfo, ...]:
        """Write files to a tar archive, with their owners.

        Args:
            file: An open file, such as a pipe.
            paths: As for `extract`.
            max_bytes: As for `extract`.
            whole_layers: As for `extract`.

        Returns:
            As for `extract`.

        Raises:
            ClientError: If nothing is at a path, or a layer can't be read.
            OSError: If the archive can't be written.
        """
        with TarTarget(file) as target:
            return self._extract(target, paths, max_bytes, whole_layers=whole_layers)

    def _extract(
        self, target: Target, paths: tuple[str, ...], max_bytes: int, *, whole_layers: bool
    ) -> tuple[FileInfo, ...]:
        whole_layers = whole_layers or not paths
        with tempfile.TemporaryDirectory(prefix="ecr-layers-") as kept:
            return self.files(max_bytes, Path(kept), whole_layers=whole_layers).extract(target, *paths)

    def save(
        self,
        directory: str | Path,
        *,
        name: str | None = None,
        have: Iterable["Image | str | Path"] = (),
        **options: Unpack[SaveOptions],
    ) -> Saved:
        """Save it in an OCI image layout, every blob verified; see `Client.save`."""
        (saved,) = save_images(self._service, [self], directory, Format.OCI, options, name, have)
        return saved

    def save_docker(
        self, target: str | Path | BinaryIO, *, name: str | None = None, **options: Unpack[SaveOptions]
    ) -> Saved:
        """Save it in an archive for `docker load`, every blob verified; see `Client.save`."""
        (saved,) = save_images(self._service, [self], target, Format.DOCKER_ARCHIVE, options, name)
        return saved

    def save_files(self, directory: str | Path, **options: Unpack[SaveOptions]) -> Saved:
        """Save the files of an artifact, such as an SBOM or a chart, in a new or empty directory.

        Their names are the titles of its layers (`org.opencontainers.image.title`), as oras writes them. Directories
        that oras has packed are unpacked.

        Args:
            directory: The directory. It is complete, or stays as it was.
            options: As for `Client.save`.

        Raises:
            ClientError: If no layer has a title, a title leads out of the directory, or a blob can't be downloaded.
            TargetError: If the directory isn't empty, or can't be written.
        """
        return save_files(self._service, self.reference.repository, self.manifest, Path(directory), options)

    def referrers(self, artifact_type: str | None = None) -> tuple[Referrer, ...]:
        """Return the signatures, SBOMs and other artifacts that refer to it, to an index's images, or to each other.

        Args:
            artifact_type: Return only those of a type.

        Raises:
            ServiceError: If the service refuses it.
            ClientError: If there are too many.
        """
        repository = self.reference.repository
        digests = [each.digest for each in self._service.images.read_all(repository, self.manifest)]
        found = self._service.referrers.find(repository, digests)
        return tuple(each for each in found if artifact_type in {None, each.descriptor.artifact_type})

    def _find_table(self, layer: Descriptor, allowance: Allowance) -> Table | None:
        """Return the table of a layer's files, from the layer or the SOCI index; None if neither has one."""
        ztoc = self._ztocs.get(layer.digest)
        if ztoc is None or ztoc.size > LARGEST_TABLE:
            return read_toc(layer, lambda: self._open(layer), allowance)
        try:
            with self._open(ztoc) as file:
                content = file.read()
        except ServiceError:
            return None
        return Ztoc(layer, content, lambda: self._open(layer))

    @cached_property
    def _ztocs(self) -> Mapping[str, Descriptor]:
        """SOCI's tables by their layers. Only the image's own annotation counts: anyone may add a referrer later."""
        digest = self.manifest.annotations.get(INDEX_ANNOTATION, "")
        if not is_digest(digest):
            return {}
        try:
            return ztocs(self._service.images.read_manifest(ImageReference(self.reference.repository, None, digest)))
        except ServiceError:
            # It wasn't copied with the image.
            return {}

    def _open(self, layer: Descriptor, *, is_read_whole: bool = False) -> io.BufferedReader:
        repository = self.reference.repository
        try:
            return self._service.open_layer(repository, layer.digest, layer.size, is_read_whole=is_read_whole)
        except ServiceError as error:
            if layer.urls and error.code in NO_LAYER:
                raise ClientError(
                    f"The registry doesn't have the foreign layer {layer.digest}. The file may be in it.",
                    code="foreign-layer",
                ) from None
            raise
