"""A service, for programs: what images are made of, where their layers are, and the layers themselves.

from ecr_layers import Service

with Service("https://abc.lambda-url.us-east-1.on.aws/") as service:
    service.fetch_image("team/app:1.2", "app")
"""

import contextlib
import io
import os
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

from ecr_layers.errors import ClientError, ServiceError, UsageError, one_line
from ecr_layers.fetch import Fetched, Fetcher, FetchOptions, ProgressCallback, image_to_fetch
from ecr_layers.files.image_files import MOST_BYTES, ImageFiles
from ecr_layers.oci.config import LARGEST_CONFIG, ImageConfig
from ecr_layers.oci.manifests import (
    INDEX_MEDIA_TYPES,
    MANIFEST_MEDIA_TYPES,
    Descriptor,
    Manifest,
    Platform,
    platforms_in_words,
)
from ecr_layers.oci.references import ImageReference, Repository, checked_digest
from ecr_layers.registry.api import Api
from ecr_layers.registry.authentication import Authentication
from ecr_layers.transfer.downloads import Downloads
from ecr_layers.transfer.layer_file import LayerFile
from ecr_layers.transfer.loader import TransferSettings
from ecr_layers.transfer.parallel import in_parallel
from ecr_layers.transfer.retries import Retries
from ecr_layers.transfer.source import BlobSource

SERVICE_VARIABLE = "ECR_LAYERS_URL"
"""The environment variable with the service's URL, for whoever does not name it."""

LAYERS_A_REQUEST = 500
"""How many layers one request asks for; the service takes no more."""

DEEPEST_INDEX = 4
"""How many indexes may name one another before there is an image."""

MOST_INDEXES = 32
"""How many nested indexes are read in the search for a platform."""

# What ECR says of a digest that is no layer's, but may be an image's.
_NO_LAYER = frozenset({"LayersNotFoundException", "LayerInaccessibleException"})
# A URL that is about to expire is not used for a new request.
_SHORTEST_LIFE = timedelta(seconds=15)
_ACCEPT = ", ".join((*MANIFEST_MEDIA_TYPES, *INDEX_MEDIA_TYPES))
_SERVICE = re.compile(r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?/?|https?://\[[0-9a-fA-F:]+\](?::[0-9]{1,5})?/?")


@dataclass(frozen=True, slots=True)
class DownloadUrl:
    """Where a layer is. The URL is a secret: who has it can download the layer until it expires.

    Attributes:
        digest: The layer's digest.
        url: The pre-signed URL.
        expires_at: When it expires, None if it does not say.
    """

    digest: str
    url: str = field(repr=False)
    expires_at: datetime | None

    def is_valid(self) -> bool:
        """Tell whether it is still valid for a new request, by this machine's clock."""
        return self.expires_at is None or self.expires_at - datetime.now(UTC) > _SHORTEST_LIFE


def service_url(text: str | None = None) -> str:
    """Return the URL of a service, without a slash at its end.

    Args:
        text: A function URL or a domain; without it, the environment variable `ECR_LAYERS_URL` is read.

    Raises:
        UsageError: If it is not such a URL.
    """
    service = text or os.environ.get(SERVICE_VARIABLE, "")
    if not service:
        raise UsageError(f"No service is named. Name its function URL or domain, or set {SERVICE_VARIABLE} to it.")
    url = service if "://" in service else f"https://{service}"
    if not _SERVICE.fullmatch(url):
        raise UsageError(f"{one_line(service)!r} is no service. Give a function URL, https://….on.aws/, or a domain.")
    return url.rstrip("/")


class Service:
    """A service for one caller. Keeps connections open until it is closed; may be used from several threads.

    Args:
        url: Its function URL or domain; without it, that in the environment variable `ECR_LAYERS_URL`.
        authentication: How a caller proves who it is: by default with AWS credentials if it is a function URL, and
            else with a pull token from the environment or from `docker login`.
        retries: How often a request is made again that can succeed later.
        transfers: How blobs are loaded: over how many connections, in how large parts.

    Attributes:
        url: The service's URL, without a slash at its end.
        retries: How often a request is made again.

    Raises:
        UsageError: If the URL is not one, or there are no credentials of the kind that the service takes.
    """

    def __init__(
        self,
        url: str | None = None,
        authentication: Authentication | None = None,
        retries: Retries | None = None,
        transfers: TransferSettings | None = None,
    ) -> None:
        self.url = service_url(url)
        self.retries = retries or Retries()
        self._api = Api(self.url, (authentication or Authentication()).of(self.url), self.retries)
        self._takes_posts = True
        # What is on this machine has no certificate.
        self._transfers = transfers or TransferSettings()
        self._downloads = Downloads(allows_http=self.url.startswith("http://"), connections=self._transfers.connections)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._api.close()
        self._downloads.close()

    def resolve(self, repository: str | Repository, digests: Iterable[str]) -> list[DownloadUrl]:
        """Return the download URLs of layers and configs.

        Args:
            repository: Where they are, such as `team/app`.
            digests: Their digests, any number.

        Returns:
            One URL for each digest, in their order; a digest that is given twice is answered once.

        Raises:
            ServiceError: If one of them is not given.
            UsageError: If a name or digest is malformed.
        """
        place = _repository(repository)
        wanted = list(dict.fromkeys(checked_digest(digest) for digest in digests))
        batches = [wanted[start : start + LAYERS_A_REQUEST] for start in range(0, len(wanted), LAYERS_A_REQUEST)]
        return [url for batch in batches for url in self._resolve_batch(place, batch)]

    def download_urls(self, repository: Repository) -> "DownloadUrls":
        """Return the download URLs of a repository's layers, as they are needed."""
        return DownloadUrls(self, repository)

    def fetch_image(
        self,
        image: str,
        directory: str | Path,
        *,
        platform: str | None = None,
        manifest: Manifest | None = None,
        max_bytes: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> Fetched:
        """Fetch an image into an OCI image layout, every blob verified.

        Manifests of Docker's are written as OCI's, as other tools do, whose digest is another; the originals are there
        as well.

        What is there already is not loaded, and what an earlier call or process has left is gone on with. Two calls or
        processes with the same directory wait for each other.

        Args:
            image: The image, such as `team/app:1.2` or `team/app@sha256:…`.
            directory: The layout. There may be other images in it; a tag that is there already goes over to this image.
            platform: The platform of the image to take from an index; without it, an index is fetched with all images.
            manifest: The image's manifest, if it is known: the service need not give out any then.
            max_bytes: How many bytes a blob may have; a larger one is an error before anything is loaded.
            progress: Gets the progress of each blob that has made some, about ten times a second, in this thread.

        Raises:
            ServiceError: If the service does not give what it takes.
            TransferError: If a blob could not be loaded, though it was tried again.
            IntegrityError: If a blob, loaded twice, does not have its digest.
            TargetError: If the directory can't be written.
            ClientError: If a blob is too large. All these errors derive from this one.
        """
        reference = ImageReference.parse(image)
        root = manifest or image_to_fetch(self, reference, platform, is_one=False)
        return self.fetcher(reference.repository, _options(max_bytes, progress)).image(
            root, reference.tag, Path(directory)
        )

    def fetch_docker_archive(
        self,
        image: str,
        target: str | Path,
        *,
        platform: str | None = None,
        manifest: Manifest | None = None,
        max_bytes: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> Fetched:
        """Fetch an image into an archive for `docker load`, every blob verified.

        Until the archive is written, the blobs are in a directory beside it, `TARGET.layout`, from which a later call
        goes on; it takes as much space again.

        Args:
            image: The image, such as `team/app:1.2`. The archive has its tag.
            target: The archive.
            platform: The platform of the image to take from an index; without it, the only image, or the one for Linux
                on this machine's architecture.
            manifest: The image's manifest, if it is known: the service need not give out any then.
            max_bytes: How many bytes a blob may have; a larger one is an error before anything is loaded.
            progress: Gets the progress of each blob that has made some, about ten times a second, in this thread.

        Raises:
            ClientError: As with `fetch_image`; or if the image can't be in such an archive.
        """
        reference = ImageReference.parse(image)
        root = manifest or image_to_fetch(self, reference, platform, is_one=True)
        fetcher = self.fetcher(reference.repository, _options(max_bytes, progress))
        return fetcher.docker_archive(root, reference, Path(target))

    def fetch_layers(
        self,
        repository: str,
        digests: Iterable[str],
        directory: str | Path,
        *,
        max_bytes: int | None = None,
        progress: ProgressCallback | None = None,
    ) -> Fetched:
        """Fetch layers or configs by their digests, each verified, into `DIRECTORY/sha256/…`.

        Args:
            repository: Where they are, such as `team/app`.
            digests: Their digests.
            directory: The directory, which is like `blobs` in an image layout.
            max_bytes: How many bytes a blob may have; a larger one is an error before anything of it is loaded.
            progress: Gets the progress of each blob that has made some, about ten times a second, in this thread.

        Raises:
            ClientError: As with `fetch_image`.
        """
        wanted = [checked_digest(digest) for digest in digests]
        return self.fetcher(Repository.parse(repository), _options(max_bytes, progress)).blobs(wanted, Path(directory))

    def fetcher(self, repository: Repository, options: FetchOptions) -> Fetcher:
        """Return what fetches from a repository."""
        return Fetcher(self, self._downloads, self._transfers, repository, options)

    def open_layer(self, repository: str | Repository, digest: str, size: int | None = None) -> io.BufferedReader:
        """Open a layer or config as a file: it can be read and sought in, and nothing is loaded that is not read.

        If it is read from its beginning to its end, the digest is verified at the end; otherwise it can't be.

        Args:
            repository: Where it is, such as `team/app`.
            digest: Its digest.
            size: Its size in bytes, if that is known; it saves a request.

        Returns:
            The file, to be closed by the caller, and before the service. Reading raises `TransferError` if the bytes
            are not given, though they were asked for again, and `IntegrityError` if they are not what the digest says.

        Raises:
            ServiceError: If the service does not give its download URL.
            TransferError: If its size is not known and can't be asked for.
        """
        urls = DownloadUrls(self, _repository(repository))
        source = BlobSource(checked_digest(digest), urls, self._downloads)
        urls.get(digest)
        return io.BufferedReader(LayerFile(source, self.retries, size), 64 * 1024)

    def read_manifest(self, image: str | ImageReference) -> Manifest:
        """Return the manifest or index that a tag or digest names, verified.

        Args:
            image: The image, such as `team/app:1.2` or `team/app@sha256:…`.

        Raises:
            ServiceError: If the service does not give it.
            IntegrityError: If its bytes do not have its digest.
        """
        reference = image if isinstance(image, ImageReference) else ImageReference.parse(image)
        try:
            answer = self._api.get(f"/v2/{reference.repository}/manifests/{reference.name}", accept=_ACCEPT)
        except ServiceError as error:
            raise self._explained(error, reference) from None
        media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip() or None
        digest = reference.digest or answer.headers.get("Docker-Content-Digest")
        return Manifest.parse(answer.content, media_type, digest and checked_digest(digest))

    def find_image(self, image: str | ImageReference, platform: str | Platform | None = None) -> Manifest:
        """Return the manifest of one image; where the name is that of an index, of its image for a platform.

        Indexes in an index are followed. An image that is in no index is returned whatever the platform.

        Args:
            image: The image, such as `team/app:1.2`.
            platform: The platform, such as `linux/arm64`. Without it, the only image of an index, or the one for Linux
                on this machine's architecture.

        Raises:
            UsageError: If the index has no image for the platform; the message has those that it has.
            ServiceError: If the service does not give it.
            IntegrityError: If its bytes do not have its digest.
        """
        reference = image if isinstance(image, ImageReference) else ImageReference.parse(image)
        manifest = self.read_manifest(reference)
        if not manifest.is_index:
            return manifest
        wanted = Platform.parse(platform) if isinstance(platform, str) else platform
        found = self._search(reference.repository, manifest, wanted)
        if found is not None:
            return found
        raise UsageError(
            f"{reference} is an image index without an image for {wanted or Platform.of_this_machine()}. It has "
            f"{platforms_in_words(manifest.platforms)}: name one with --platform."
        )

    def find_platforms(self, image: str | ImageReference) -> tuple[Platform, ...]:
        """Return the platforms that an image index, and the indexes in it, have images for; none for a single image.

        Args:
            image: The image, such as `team/app:1.2`.

        Raises:
            ServiceError: If the service does not give it.
            IntegrityError: If its bytes do not have its digest.
        """
        reference = image if isinstance(image, ImageReference) else ImageReference.parse(image)
        indexes = [self.read_manifest(reference)]
        seen = {indexes[0].digest}
        for index in indexes:
            nested = [entry for entry in index.manifests if entry.is_index and entry.digest not in seen]
            seen |= {entry.digest for entry in nested}
            indexes += [self.read_entry(reference.repository, entry) for entry in nested[: MOST_INDEXES - len(indexes)]]
        return tuple(dict.fromkeys(platform for index in indexes for platform in index.platforms))

    def read_config(
        self, image: str | ImageReference, platform: str | None = None, manifest: Manifest | None = None
    ) -> ImageConfig:
        """Return what an image's config says, verified.

        Args:
            image: The image, such as `team/app:1.2`.
            platform: The platform, as for `find_image`.
            manifest: The image's manifest, if it is known: the service need not give out any then.

        Raises:
            ClientError: If the image has no config, or one that is not JSON or too large.
            ServiceError: If the service does not give it.
            IntegrityError: If its bytes do not have its digest.
        """
        reference = image if isinstance(image, ImageReference) else ImageReference.parse(image)
        found = manifest or self.find_image(reference, platform)
        if found.config is None:
            raise ClientError(f"{found.digest} is an artifact of an old kind and has no config.")
        if found.config.size > LARGEST_CONFIG:
            raise ClientError(f"The config {found.config.digest} has more than {LARGEST_CONFIG} bytes.")
        with self.open_layer(reference.repository, found.config.digest, found.config.size) as file:
            return ImageConfig.parse(file.read())

    def image_files(
        self,
        image: str | ImageReference,
        platform: str | None = None,
        manifest: Manifest | None = None,
        max_bytes: int = MOST_BYTES,
    ) -> ImageFiles:
        """Return the files of an image; of its layers, those are read that it takes to find a file.

        Args:
            image: The image, such as `team/app:1.2`.
            platform: The platform, as for `find_image`.
            manifest: The image's manifest, if it is known: the service need not give out any then.
            max_bytes: How many bytes of layers may be read, after decompression.

        Raises:
            UsageError: If the name is that of an index without an image for the platform.
            ServiceError: If the service does not give the manifest.
            IntegrityError: If its bytes do not have its digest.
        """
        reference = image if isinstance(image, ImageReference) else ImageReference.parse(image)
        found = manifest or self.find_image(reference, platform)
        return ImageFiles(
            found.layers,
            lambda layer: self.open_layer(reference.repository, layer.digest, layer.size),
            max_bytes,
        )

    def read_entry(self, repository: Repository, entry: Descriptor) -> Manifest:
        """Return a manifest or index that an index names, verified.

        Raises:
            ServiceError: If the service does not give it.
            IntegrityError: If its bytes do not have its digest.
        """
        return self.read_manifest(ImageReference(repository, None, entry.digest))

    def _search(self, repository: Repository, index: Manifest, platform: Platform | None) -> Manifest | None:
        """Return the first image for a platform in an index and the indexes in it, None if there is none."""
        waiting = [(entry, 1) for entry in index.entries_for(platform)]
        for _ in range(MOST_INDEXES):
            if not waiting:
                return None
            entry, depth = waiting.pop(0)
            manifest = self.read_entry(repository, entry)
            if not manifest.is_index:
                return manifest
            if depth < DEEPEST_INDEX:
                waiting = [(each, depth + 1) for each in manifest.entries_for(platform)] + waiting
        raise ClientError(f"More than {MOST_INDEXES} indexes name one another in {repository}. Name the image.")

    def _resolve_batch(self, repository: Repository, digests: Sequence[str]) -> list[DownloadUrl]:
        if self._takes_posts and len(digests) > 1:
            try:
                return self._resolve_by_post(repository, digests)
            except ServiceError as error:
                # A domain in front of the service lets nothing but GET and HEAD through.
                if error.status != HTTPStatus.METHOD_NOT_ALLOWED:
                    raise
                self._takes_posts = False
        if len(digests) == 1:
            return [self._resolve_one(repository, digests[0])]
        return in_parallel(lambda digest: self._resolve_one(repository, digest), digests)

    def _resolve_one(self, repository: Repository, digest: str) -> DownloadUrl:
        try:
            answer = self._api.get("/download-url", {**_parameters(repository), "layerDigest": digest})
        except ServiceError as error:
            raise self._explained_layer(error, repository, digest) from None
        return _download_url(answer.json())

    def _resolve_by_post(self, repository: Repository, digests: Sequence[str]) -> list[DownloadUrl]:
        found: dict[str, DownloadUrl] = {}
        attempt = 1
        while True:
            missing = [digest for digest in digests if digest not in found]
            answer = self._api.post("/download-urls", {**_parameters(repository), "layerDigests": missing}).json()
            found |= {url.digest: url for url in map(_download_url, _objects(answer, "downloadUrls"))}
            failures = {str(each.get("layerDigest")): _failure(each) for each in _objects(answer, "failures")}
            final = next(((digest, error) for digest, error in failures.items() if not error.is_retryable), None)
            if final is not None:
                raise self._explained_layer(final[1], repository, final[0])
            if all(digest in found for digest in digests):
                return [found[digest] for digest in digests]
            wait = self.retries.wait(attempt)
            if wait is None or not failures:
                raise next(iter(failures.values()), _strange_answer())
            self.retries.sleep(wait)
            attempt += 1

    def _explained(self, error: ServiceError, image: ImageReference) -> ServiceError:
        """Return what an error about an image means for whoever named it."""
        if error.code == "NotEnabled":
            return _like(
                error,
                f"{self._host} gives out layers, and no manifests: its operator has not set imagePull. Give the "
                "image's manifest with --manifest FILE, or name layers with --digest.",
            )
        if error.code == "ImageNotFoundException" and image.digest and self._is_layer(image.repository, image.digest):
            return _like(
                error,
                f"{image.digest} is a layer's digest, not an image's: fetch it with "
                f"{image.repository} --digest {image.digest}",
            )
        return error

    def _explained_layer(self, error: ServiceError, repository: Repository, digest: str) -> ServiceError:
        """Return what an error about a layer means for whoever named it."""
        if error.code in _NO_LAYER and self._is_image(repository, digest):
            return _like(error, f"{digest} is an image's digest, not a layer's: use {repository}@{digest}")
        return error if digest in str(error) or error.status is not None else _like(error, f"{digest}: {error}")

    def _is_image(self, repository: Repository, digest: str) -> bool:
        try:
            self._api.get(f"/v2/{repository}/manifests/{digest}", accept=_ACCEPT)
        except ClientError:
            return False
        return True

    def _is_layer(self, repository: Repository, digest: str) -> bool:
        try:
            self._api.get("/download-url", {**_parameters(repository), "layerDigest": digest})
        except ClientError:
            return False
        return True

    @property
    def _host(self) -> str:
        return self.url.partition("://")[2]


class DownloadUrls:
    """The download URLs of one repository's layers, each kept until it expires or is refused.

    Args:
        service: The service that gives them.
        repository: Where the layers are.
    """

    def __init__(self, service: Service, repository: Repository) -> None:
        self._service = service
        self._repository = repository
        self._urls: dict[str, DownloadUrl] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def resolve(self, digests: Iterable[str]) -> None:
        """Resolve many at once, so that `get` need not ask for each.

        Raises:
            ServiceError: If one of them is not given.
        """
        self._urls |= {url.digest: url for url in self._service.resolve(self._repository, digests)}

    def get(self, digest: str, refused: DownloadUrl | None = None) -> DownloadUrl:
        """Return a layer's download URL.

        Args:
            digest: The layer's digest.
            refused: The one that was returned before and is of no use any more. If another thread has got a new one in
                its place, that is returned.

        Raises:
            ServiceError: If the service does not give it.
        """
        with self._one_at_a_time(digest):
            url = self._urls.get(digest)
            if url is None or url is refused or not url.is_valid():
                (url,) = self._service.resolve(self._repository, [digest])
                self._urls[digest] = url
            return url

    @contextlib.contextmanager
    def _one_at_a_time(self, digest: str) -> Iterator[None]:
        with self._lock:
            lock = self._locks.setdefault(digest, threading.Lock())
        with lock:
            yield


def _options(max_bytes: int | None, progress: ProgressCallback | None) -> FetchOptions:
    return FetchOptions(max_bytes=max_bytes) if progress is None else FetchOptions(max_bytes, progress)


def _repository(repository: str | Repository) -> Repository:
    return repository if isinstance(repository, Repository) else Repository.parse(repository)


def _parameters(repository: Repository) -> dict[str, str]:
    parameters = {"repositoryName": repository.name}
    return parameters if repository.registry_id is None else {**parameters, "registryId": repository.registry_id}


def _objects(answer: dict[str, Any], name: str) -> list[dict[str, Any]]:
    entries = answer.get(name)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise _strange_answer()
    return entries


def _download_url(entry: dict[str, Any]) -> DownloadUrl:
    url, digest, expires_at = entry.get("downloadUrl"), entry.get("layerDigest"), entry.get("expiresAt")
    if not isinstance(url, str) or not isinstance(digest, str):
        raise _strange_answer()
    try:
        expiry = None if expires_at is None else datetime.fromisoformat(str(expires_at)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _strange_answer() from None
    return DownloadUrl(digest, url, expiry)


def _failure(entry: dict[str, Any]) -> ServiceError:
    return ServiceError(
        one_line(str(entry.get("message"))),
        code=str(entry.get("code")),
        is_retryable=entry.get("retryable") is True,
    )


def _like(error: ServiceError, message: str) -> ServiceError:
    return ServiceError(message, code=error.code, status=error.status, is_retryable=error.is_retryable)


def _strange_answer() -> ServiceError:
    return ServiceError("The answer is not of the form that this service has. Check the address.")
