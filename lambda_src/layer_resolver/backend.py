"""The parts behind the APIs, made once for a process."""

from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from layer_resolver.blobs import BlobReader
from layer_resolver.errors import LAYER_INACCESSIBLE, LAYERS_NOT_FOUND, LISTED_ENTRIES, ResolverError
from layer_resolver.images import ImageReader
from layer_resolver.invocation import Invocation
from layer_resolver.models import REGISTERED_DIGEST
from layer_resolver.resolver import LayerUrlResolver
from layer_resolver.settings import Settings

IMAGE_DIGEST_ADVICE = "Use it as imageDigest with GET /images/download-urls."
"""What to do with the digest of an image where a layer's is asked for."""

_ABSENT = (LAYERS_NOT_FOUND, LAYER_INACCESSIBLE)


class Backend(NamedTuple):
    """The parts behind the APIs.

    Attributes:
        resolver: Gives the download URLs of layers.
        images: Reads manifests, tags and referrers.
        blobs: Reads configs, and sizes of blobs.
        settings: What the operator has opted into.
    """

    resolver: LayerUrlResolver
    images: ImageReader
    blobs: BlobReader
    settings: Settings

    def point_to_images(self, failures: Iterable[ResolverError], invocation: Invocation, advice: str) -> None:
        """Change the message of layers that were not found because their digests are those of images.

        ECR is asked once, for the first ten of them, and only with `imagePull`, which permits it.

        Args:
            failures: Why layers of one repository have no download URLs.
            invocation: The invocation that asks.
            advice: What to do with the digest of an image.
        """
        absent = {
            str(error.subject.name): error
            for error in failures
            if error.kind in _ABSENT and error.subject is not None and REGISTERED_DIGEST.admits(error.subject.name)
        }
        subject = next((error.subject for error in absent.values()), None)
        if subject is None or not self.settings.image_pull:
            return
        with suppress(ResolverError):
            found = self.images.images_among(subject.repository, list(absent)[:LISTED_ENTRIES], invocation)
            for digest in found & absent.keys():
                absent[digest].detail = f"{digest} is the digest of an image, not of a layer. {advice}"
