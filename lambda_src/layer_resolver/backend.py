"""What the APIs ask: the parts behind them, made once for a process."""

from dataclasses import dataclass

from layer_resolver.blobs import BlobReader
from layer_resolver.images import ImageReader
from layer_resolver.resolver import LayerUrlResolver
from layer_resolver.settings import Settings


@dataclass(frozen=True, slots=True)
class Backend:
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
