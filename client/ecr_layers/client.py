"""A service, for programs.

from ecr_layers import Client

with Client("https://abc.lambda-url.us-east-1.on.aws/") as client:
    client.image("team/app:1.2").save("app/")
"""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Self, Unpack

from ecr_layers import __version__
from ecr_layers.errors import UsageError
from ecr_layers.image import Image
from ecr_layers.oci.manifests import LARGEST_MANIFEST, Manifest
from ecr_layers.oci.platforms import Platform
from ecr_layers.oci.references import ImageReference, Repository, checked_digest
from ecr_layers.registry.addresses import service_url
from ecr_layers.registry.authentication import Authentication
from ecr_layers.registry.service import Service
from ecr_layers.saving.images import save_layers
from ecr_layers.saving.mirror import Mirror, Mirrored
from ecr_layers.saving.options import Saved, SaveOptions
from ecr_layers.saving.outputs import Format, save_images
from ecr_layers.transfer.blobs import TransferSettings
from ecr_layers.transfer.retries import Retries
from ecr_layers.transfer.source import DownloadUrl


class Client:
    """A service for one caller. It keeps connections open until it is closed; threads may share it.

    Without any credentials, it finds AWS credentials for a function URL; otherwise a pull token in `ECR_LAYERS_TOKEN`,
    or what `docker login` stored.

    Args:
        url: The service's function URL or domain; by default the environment variable `ECR_LAYERS_URL`.
        token: A pull token, `NAME:PASSWORD`.
        token_file: A file with a pull token.
        region: Sign with AWS credentials for this region, if the URL doesn't name it.
        is_anonymous: Whether to send no credentials.
        retries: How long to go on trying.
        transfers: How blobs are downloaded.

    Attributes:
        url: The service's URL, without a slash at its end.

    Raises:
        UsageError: If the URL isn't valid, or the credentials can't be used.
    """

    def __init__(  # noqa: PLR0913 (all but the URL are optional, and have names)
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        token_file: str | Path | None = None,
        region: str | None = None,
        is_anonymous: bool = False,
        retries: Retries | None = None,
        transfers: TransferSettings | None = None,
    ) -> None:
        self.url = service_url(url)
        authentication = Authentication(
            token=token,
            token_file=None if token_file is None else Path(token_file),
            region=region,
            is_anonymous=is_anonymous,
        )
        self._service = Service(
            self.url,
            authentication.of(self.url),
            retries or Retries(),
            transfers or TransferSettings(),
            f"ecr-layers/{__version__}",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._service.close()

    @property
    def host(self) -> str:
        """The service's host, with the port if the URL has one."""
        return self._service.host

    def image(
        self,
        name: str,
        *,
        platform: str | None = None,
        all_platforms: bool = False,
        manifest: Manifest | str | Path | None = None,
    ) -> Image:
        """Return an image.

        Args:
            name: Its name: `team/app:1.2` or `team/app@sha256:…`, with `123456789012/` in front for another account's
                registry. Names from other tools work, too: `docker://…`, and an ECR registry's host in front.
            platform: The platform, such as `linux/arm64`; by default the only image of an index, or the one for Linux
                on this machine's architecture.
            all_platforms: Whether to keep an index with all its images. Such an image has no layers and files.
            manifest: The image's manifest, or a file with it, for services that don't serve manifests.

        Raises:
            UsageError: If the name is malformed, or there is no image for the platform.
            ServiceError: If the service refuses it.
            IntegrityError: If a manifest doesn't have its digest.
        """
        reference = ImageReference.parse(name)
        if reference.host is not None and reference.host != self._service.host:
            raise UsageError(
                f"{name[:150]!r} is in the registry {reference.host}, but the service is {self._service.host}.",
                code="other-registry",
            )
        wanted = Platform.parse(platform) if platform else None
        root = self._root(reference, manifest)
        found = root if all_platforms else self._service.images.choose(reference, root, wanted)
        return Image(self._service, reference, root, found)

    def save(
        self,
        images: Iterable[Image],
        target: str | Path | BinaryIO,
        kind: Format = Format.OCI,
        *,
        name: str | None = None,
        have: Iterable[Image | str | Path] = (),
        **options: Unpack[SaveOptions],
    ) -> tuple[Saved, ...]:
        """Save images in a layout or an archive, every blob verified.

        Blobs in a layout aren't downloaded again, an archive that has the images stays as it is, and an earlier call or
        process that was stopped is resumed. Calls and processes with the same target wait for each other. In layouts,
        Docker manifests become OCI manifests, with another digest; the originals are kept beside them.

        Args:
            images: The images.
            target: The layout, which may have other images, or the archive; until that is complete, the blobs are in
                `TARGET.partial`, which takes as much space again. An open file, such as a pipe, is written without
                resuming.
            kind: The format.
            name: The full name of an only image, such as `registry.example.com/team/app:1.2`; by default the service's
                host, repository and tag. An image with a digest has no default name.
            have: Images, layouts or archives of layouts whose blobs are left out. The result is a delta, which is whole
                with such a layout: see `apply`.
            options: See `SaveOptions`.

        Returns:
            A result for each image, in their order. Blobs that they share count for the first.

        Raises:
            ServiceError: If the service refuses something.
            TransferError: If a blob couldn't be downloaded, despite retries.
            IntegrityError: If a blob has another digest after two downloads.
            TargetError: If the target can't be written.
            ClientError: The base of all these, for a blob over the limit, and for an image that can't be archived.
        """
        return save_images(self._service, list(images), target, kind, options, name, have)

    def mirror(
        self,
        repository: str,
        directory: str | Path,
        *tags: str,
        removes: bool = False,
        **options: Unpack[SaveOptions],
    ) -> Mirrored:
        """Save the images of a repository's tags, of all platforms, in an OCI image layout.

        Images that the layout has aren't read again; `verify` checks them. The operator has to set `listTags`.

        Args:
            repository: The repository.
            directory: The layout; it may have other images.
            tags: Which tags, such as `1.*`; all by default.
            removes: Whether to remove those tags from the layout that the repository doesn't have anymore. `prune`
                removes their blobs.
            options: See `SaveOptions`.

        Raises:
            ClientError: As for `save`, or if the service doesn't list tags.
        """
        return Mirror(self._service, Repository.parse(repository), tags or ("*",), removes, options).run(
            Path(directory)
        )

    def save_layers(
        self, repository: str, digests: Iterable[str], directory: str | Path, **options: Unpack[SaveOptions]
    ) -> Saved:
        """Save layers or configs by their digests, each verified, as `DIRECTORY/sha256/…`.

        Args:
            repository: Their repository, such as `team/app`.
            digests: Their digests.
            directory: The directory, which is like `blobs` in an image layout.
            options: See `SaveOptions`.

        Raises:
            ClientError: As for `save`.
        """
        wanted = [checked_digest(digest) for digest in digests]
        return save_layers(self._service, Repository.parse(repository), wanted, Path(directory), options)

    def open_layer(self, repository: str, digest: str, size: int | None = None) -> io.BufferedReader:
        """Open a layer or config as a seekable file that downloads what is read.

        If it is read in order to its end, its digest is verified there; otherwise it can't be.

        Args:
            repository: Its repository, such as `team/app`.
            digest: Its digest.
            size: Its size in bytes, if it is known; that saves a request.

        Returns:
            The file; close it before the client. Reading raises `TransferError` and `IntegrityError`.

        Raises:
            ServiceError: If the service refuses its download URL.
            TransferError: If its size is unknown and S3 doesn't say it.
        """
        return self._service.open_layer(Repository.parse(repository), checked_digest(digest), size)

    def resolve(self, repository: str, digests: Iterable[str]) -> list[DownloadUrl]:
        """Return the download URLs of layers and configs.

        Args:
            repository: Their repository, such as `team/app`.
            digests: Their digests, any number.

        Returns:
            One URL for each digest, in their order; a repeated digest has one.

        Raises:
            ServiceError: If the service refuses one of them.
            UsageError: If a name or digest is malformed.
        """
        return self._service.layers.resolve(Repository.parse(repository), digests)

    def tags(self, repository: str) -> list[str]:
        """Return the tags of a repository; the operator has to set `listTags`.

        Args:
            repository: Its name, such as `team/app`.

        Raises:
            ServiceError: If the service refuses it.
            UsageError: If the name is malformed.
        """
        return self._service.images.tags(Repository.parse(repository))

    def _root(self, reference: ImageReference, manifest: Manifest | str | Path | None) -> Manifest:
        if manifest is None:
            return self._service.images.read_manifest(reference)
        return manifest if isinstance(manifest, Manifest) else _read_file(Path(manifest), reference)


def _read_file(path: Path, reference: ImageReference) -> Manifest:
    """Read the manifest of an image from a file; it has to have the reference's digest, if there is one."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_MANIFEST + 1)
    except OSError as error:
        raise UsageError(f"Can't read the manifest from {path}: {error.strerror}.", code="invalid-manifest") from None
    manifest = Manifest.parse(content, None, reference.digest)
    if manifest.is_index:
        raise UsageError(
            f"{path} is an image index, which has no layers. Use the manifest of an image in it.",
            code="invalid-manifest",
        )
    return manifest
