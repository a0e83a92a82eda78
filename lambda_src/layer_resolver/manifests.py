"""Reads image manifests that callers send, whatever the trigger."""

from layer_resolver.errors import INVALID_PARAMETER, ResolverError
from layer_resolver.images import StoredManifest
from layer_resolver.models import ImageIndex, ImageManifest, LayerBatch, ManifestRepository
from layer_resolver.validation import parse_request

# What an architecture without a variant means: https://github.com/containerd/platforms (normalizeArch).
_DEFAULT_VARIANTS = ("/amd64/v1", "/arm/v7", "/arm64/v8")


def batch_of_manifest(document: str, media_type: str | None, repository: ManifestRepository) -> LayerBatch:
    """Return the config and the layers of an image manifest as a batch.

    Args:
        document: The manifest, as JSON.
        media_type: What the caller says that it is; None if that is left to the manifest.
        repository: Where its blobs are.

    Raises:
        ResolverError: `INVALID_PARAMETER`, if it is no image manifest or says that it is of another media type.
    """
    manifest = parse_request(document, ImageManifest)
    if media_type is not None and manifest.media_type not in {None, media_type}:
        # A document that is read as one type here and as another elsewhere is a known attack (CVE-2021-41190).
        raise ResolverError(
            INVALID_PARAMETER, "mediaType of the manifest and Content-Type of the request differ. Make them agree."
        )
    return manifest.batch(repository)


def index_refused(document: str) -> ResolverError:
    """Return the error for an image index, with the manifests that could be sent in its place.

    Raises:
        ResolverError: `INVALID_PARAMETER`, if it is no image index either.
    """
    index = parse_request(document, ImageIndex)
    named = ", ".join(f"{entry.digest} ({entry.platform or 'no platform'})" for entry in index.manifests)
    return ResolverError(
        INVALID_PARAMETER,
        "This is an image index, which has no layers of its own. Pick a platform and post its image manifest: "
        f"{named or 'this index names none'}.",
        extensions={"manifests": [entry.model_dump(mode="json", exclude_none=True) for entry in index.manifests]},
    )


def digest_for_platform(index: StoredManifest, platform: str | None) -> str:
    """Return the digest of the manifest that an image index has for a platform.

    Args:
        index: The image index.
        platform: The platform, such as `linux/arm64` or `linux/arm/v7`; None if the caller named none. One without a
            variant is the same as with the variant that its architecture has by default.

    Raises:
        ResolverError: `INVALID_PARAMETER`, with the platforms that there are, if there is no such manifest.
    """
    entries = parse_request(index.content.decode(), ImageIndex).manifests
    # Attestations of BuildKit's are entries of the platform unknown/unknown, and no images:
    # https://docs.docker.com/build/metadata/attestations/attestation-storage/
    platforms = {
        str(entry.platform): entry.digest
        for entry in reversed(entries)
        if entry.platform is not None and entry.platform.os != "unknown"
    }
    if platform is not None:
        in_short = {_in_short(name): digest for name, digest in platforms.items()}
        digest = platforms.get(platform) or in_short.get(_in_short(platform))
        if digest is not None:
            return digest
    named = sorted(platforms)
    problem = "is an image index: name a platform" if platform is None else f"has no image for {platform}"
    raise ResolverError(
        INVALID_PARAMETER,
        f"{index.digest} {problem}. It has {', '.join(named) or 'none'}.",
        extensions={"platforms": named},
    )


def _in_short(platform: str) -> str:
    """Return a platform without the variant that its architecture has by default."""
    return platform.rpartition("/")[0] if platform.endswith(_DEFAULT_VARIANTS) else platform
