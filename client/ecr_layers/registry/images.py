"""Manifests and tags of images, from the service, and the choice of a platform."""

import re
from collections.abc import Iterable
from urllib.parse import parse_qs, urlsplit

from ecr_layers.errors import ClientError, IntegrityError, ServiceError, UsageError
from ecr_layers.oci.config import LARGEST_CONFIG, ImageConfig
from ecr_layers.oci.manifests import INDEX_MEDIA_TYPES, MANIFEST_MEDIA_TYPES, Descriptor, Manifest
from ecr_layers.oci.platforms import Platform
from ecr_layers.oci.references import ImageReference, Repository, checked_digest, digest_of
from ecr_layers.registry.api import Api, unexpected_answer
from ecr_layers.registry.layers import Layers
from ecr_layers.transfer.downloads import DownloadError, Downloads
from ecr_layers.transfer.parallel import in_parallel
from ecr_layers.transfer.retries import Retries
from ecr_layers.transfer.source import BlobSource, DownloadUrls
from ecr_layers.transfer.transport import Clock

DEEPEST_INDEX = 4
"""How many indexes may be nested in each other."""

MOST_READS = 32
"""How many manifests are read in the search for a platform."""

MOST_MANIFESTS = 1000
"""Most manifests of an index and the indexes in it."""

MOST_MANIFEST_BYTES = 64 * 1024 * 1024
"""Most bytes of those manifests together, which are held in memory."""

MOST_TAG_PAGES = 1000
"""Most pages of tags that are read; the service's have 1,000 tags."""

_NEXT_PAGE = re.compile(r'<(/[^>]*)>; *rel="?next"?')
_ACCEPT = ", ".join((*MANIFEST_MEDIA_TYPES, *INDEX_MEDIA_TYPES))
_LISTED = 10


class Images:
    """Reads manifests, configs and tags. May be used from several threads.

    Args:
        api: The service.
        layers: Resolves configs.
        downloads: Requests configs from S3.
        retries: How long to go on trying.
        clock: Tells whether a download URL has expired.
    """

    def __init__(self, api: Api, layers: Layers, downloads: Downloads, retries: Retries, clock: Clock) -> None:
        self._api = api
        self._layers = layers
        self._downloads = downloads
        self._retries = retries
        self._clock = clock

    def read_manifest(self, reference: ImageReference) -> Manifest:
        """Return the manifest or index of an image, verified.

        Raises:
            ServiceError: If the service refuses it.
            IntegrityError: If its bytes don't have its digest.
        """
        try:
            answer = self._api.get(f"/v2/{reference.repository}/manifests/{reference.name}", accept=_ACCEPT)
        except ServiceError as error:
            raise self._explained(error, reference) from None
        media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip() or None
        digest = reference.digest or answer.headers.get("Docker-Content-Digest")
        return Manifest.parse(answer.content, media_type, digest and checked_digest(digest))

    def tags(self, repository: Repository) -> list[str]:
        """Return the tags of a repository, from all pages.

        Raises:
            ServiceError: If the service refuses it.
            ClientError: If there are too many pages.
        """
        found: list[str] = []
        last = ""
        for _ in range(MOST_TAG_PAGES):
            page, following = self._tags_after(repository, last)
            found += page
            if following is None:
                return found
            if following == last:
                raise unexpected_answer()
            last = following
        raise ClientError(f"{repository} has over {MOST_TAG_PAGES} pages of tags.", code="too-many-tags")

    def _tags_after(self, repository: Repository, last: str) -> tuple[list[str], str | None]:
        """Return a page of tags, and the last tag before the next page; None if there is no other."""
        try:
            answer = self._api.get(f"/v2/{repository}/tags/list", {"last": last} if last else None)
        except ServiceError as error:
            if error.code == "NotEnabled":
                raise ServiceError(str(error), code="tags-not-listed", status=error.status) from None
            raise
        tags = answer.json().get("tags", False)
        if tags is not None and not (isinstance(tags, list) and all(isinstance(tag, str) for tag in tags)):
            raise unexpected_answer()
        link = _NEXT_PAGE.search(answer.headers.get("Link", ""))
        following = parse_qs(urlsplit(link[1]).query).get("last") if link else None
        return tags or [], following[0] if following else None

    def read_entry(self, repository: Repository, entry: Descriptor) -> Manifest:
        """Return a manifest or index that an index lists, verified.

        Raises:
            ServiceError: If the service refuses it.
            IntegrityError: If its bytes don't have its digest and size.
        """
        manifest = self.read_manifest(ImageReference(repository, None, entry.digest))
        if len(manifest.content) != entry.size:
            raise IntegrityError(
                f"{entry.digest} has {len(manifest.content)} bytes, but {entry.size} in its index, which is corrupt.",
                code="size-mismatch",
                digest=entry.digest,
            )
        return manifest

    def read_config(self, repository: Repository, manifest: Manifest) -> ImageConfig:
        """Return an image's config, verified.

        Raises:
            ClientError: If the image has no config, or a malformed or too large one.
            ServiceError: If the service refuses it.
            IntegrityError: If its bytes don't have its digest.
        """
        config = manifest.config
        if config is None:
            raise ClientError(f"{manifest.digest} is an artifact without a config.", code="no-config")
        if config.size > LARGEST_CONFIG:
            raise ClientError(f"The config {config.digest} has more than {LARGEST_CONFIG} bytes.", code="no-config")
        return ImageConfig.parse(self._read_blob(repository, config))

    def choose(self, reference: ImageReference, root: Manifest, platform: Platform | None) -> Manifest:
        """Return one image of an index, also of nested ones; an image that isn't an index as it is.

        Args:
            reference: The image's name, for messages.
            root: Its manifest or index.
            platform: The platform; by default the only image, or the one for Linux on this machine's architecture.

        Raises:
            UsageError: If there is no image for the platform.
            ServiceError: If the service refuses a manifest.
            IntegrityError: If its bytes don't have its digest.
        """
        if not root.is_index:
            self._check_platform(reference, root, platform)
            return root
        found = self._search(reference.repository, root, platform)
        if found is None:
            names = self.platforms(reference.repository, root)
            raise UsageError(
                f"{reference} has no image for {platform or Platform.of_this_machine()}. It has {_listed(names)}.",
                code="no-such-platform",
                platforms=[str(each) for each in names],
            )
        return found

    def platforms(self, repository: Repository, root: Manifest) -> tuple[Platform, ...]:
        """Return the platforms of an index and the indexes in it; none for a single image.

        Raises:
            ServiceError: If the service refuses an index.
            IntegrityError: If its bytes don't have its digest.
        """
        indexes, seen = [root], {root.digest}
        for index in indexes:
            nested = [entry for entry in index.manifests if entry.is_index and entry.digest not in seen]
            seen |= {entry.digest for entry in nested}
            indexes += [self.read_entry(repository, entry) for entry in nested[: MOST_READS - len(indexes)]]
        return tuple(dict.fromkeys(platform for index in indexes for platform in index.platforms))

    def read_all(self, repository: Repository, root: Manifest) -> list[Manifest]:
        """Return a manifest and everything it lists, each once; an entry comes before its index.

        Raises:
            ClientError: If there are too many.
            ServiceError: If the service refuses one.
            IntegrityError: If its bytes don't have its digest.
        """
        levels, seen, level = [[root]], {root.digest: len(root.content)}, [root]
        while entries := _new_entries(level, seen):
            if len(seen) > MOST_MANIFESTS or sum(seen.values()) > MOST_MANIFEST_BYTES:
                raise ClientError(
                    f"{root.digest} lists over {MOST_MANIFESTS} manifests, or over {MOST_MANIFEST_BYTES} bytes of "
                    "manifests. Choose one platform.",
                    code="too-many-manifests",
                )
            level = in_parallel(lambda entry: self.read_entry(repository, entry), entries)
            levels.append(level)
        return [manifest for level in reversed(levels) for manifest in level]

    def _search(self, repository: Repository, index: Manifest, platform: Platform | None) -> Manifest | None:
        """Return the first image for a platform in an index and the indexes in it; None if there is none."""
        waiting = [(entry, 1) for entry in index.entries_for(platform)]
        is_only = len(waiting) == 1 and platform is None
        wanted = platform or Platform.of_this_machine()
        for _ in range(MOST_READS):
            if not waiting:
                return None
            entry, depth = waiting.pop(0)
            manifest = self.read_entry(repository, entry)
            if manifest.is_index and depth < DEEPEST_INDEX:
                waiting = [(each, depth + 1) for each in manifest.entries_for(platform)] + waiting
            elif not manifest.is_index and (entry.platform or is_only or self._is_for(repository, manifest, wanted)):
                return manifest
        raise ClientError(
            f"More than {MOST_READS} indexes are nested in each other. Name the image by its digest.",
            code="too-many-manifests",
        )

    def _is_for(self, repository: Repository, manifest: Manifest, wanted: Platform) -> bool:
        """Tell whether an image without a platform in its index is for a platform, by its config."""
        return self.read_config(repository, manifest).platform in wanted.runs

    def _check_platform(self, reference: ImageReference, image: Manifest, platform: Platform | None) -> None:
        if platform is None:
            return
        found = self.read_config(reference.repository, image).platform
        if found is not None and found not in platform.runs:
            raise UsageError(
                f"{reference} is for {found}, not for {platform}.", code="no-such-platform", platforms=[str(found)]
            )

    def _read_blob(self, repository: Repository, blob: Descriptor) -> bytes:
        """Return a small blob, verified."""
        urls = DownloadUrls(lambda digests: self._layers.resolve(repository, digests), self._clock)
        source = BlobSource(blob.digest, urls, self._downloads, self._retries)
        attempts = source.attempts()
        while True:
            try:
                with source.open(0, max(blob.size - 1, 0)) as body:
                    content = body.read(blob.size + 1)
                if len(content) < blob.size:
                    raise DownloadError("the answer is too short")  # noqa: TRY301
                break
            except DownloadError as error:
                attempts.failed(error)
        if digest_of(content, blob.digest) != blob.digest:
            raise IntegrityError(
                f"Digest mismatch: {blob.digest} has other bytes. The registry's copy may be corrupt.",
                digest=blob.digest,
            )
        return content

    def _explained(self, error: ServiceError, image: ImageReference) -> ServiceError:
        """Return an error about an image with its remedy."""
        if error.code == "NotEnabled":
            return _like(error, f"{self._host} serves layers, but no manifests: its operator hasn't set imagePull.")
        if error.code == "ImageNotFoundException" and image.digest and self._is_layer(image.repository, image.digest):
            return ServiceError(
                f"{image.digest} is a layer's digest, not an image's.",
                code="layer-not-image",
                status=error.status,
                repository=str(image.repository),
                digest=image.digest,
            )
        if image.repository.registry_id and error.code == "RepositoryNotFoundException":
            account = image.repository.registry_id
            return _like(error, f"{error} If {account} is the service's own account, leave it out.")
        return error

    def _is_layer(self, repository: Repository, digest: str) -> bool:
        try:
            return digest not in self._layers.absent(repository, [digest])
        except ClientError:
            return False

    @property
    def _host(self) -> str:
        return self._api.url.partition("://")[2]


def _new_entries(manifests: Iterable[Manifest], seen: dict[str, int]) -> list[Descriptor]:
    """Return new entries of indexes, each once, and add them and their sizes to `seen`."""
    new = {entry.digest: entry for manifest in manifests for entry in manifest.manifests if entry.digest not in seen}
    seen.update({entry.digest: entry.size for entry in new.values()})
    return list(new.values())


def _listed(platforms: tuple[Platform, ...]) -> str:
    """Return the platforms of an index for a message."""
    names = [str(each) for each in platforms][:_LISTED]
    more = f" and {len(platforms) - len(names)} more" if len(platforms) > len(names) else ""
    return f"{', '.join(names)}{more}" if names else "none with a platform"


def _like(error: ServiceError, message: str) -> ServiceError:
    return ServiceError(message, code=error.code, status=error.status, is_retryable=error.is_retryable)
