"""What downloads have in common: options, progress, and results."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from ecr_layers.transfer.blobs import BlobState


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a blob.

    Attributes:
        digest: Its digest.
        size: Its size in bytes; None until it is known.
        loaded: How many of its bytes the target has; while an existing file is verified, how many are verified.
        state: Its state.
    """

    digest: str
    size: int | None
    loaded: int
    state: BlobState


ProgressCallback = Callable[[Progress], None]
"""Gets the progress of each blob that has made some, about ten times a second, in the thread that saves."""


class SaveOptions(TypedDict, total=False):
    """Options of all downloads, as keywords.

    Attributes:
        max_bytes: Largest blob that is accepted, in bytes; a larger one is an error before the download.
        is_quick: Whether existing blobs are checked by their sizes only, not by their digests.
        referrers: Whether to save signatures, SBOMs and attestations of an image, too.
        cache: A directory of blobs that downloads share; it is made if it is missing.
        cache_bytes: Most bytes that the cache keeps, 20 GiB by default.
        progress: Gets the progress of each blob.
        on_wait: Called before waiting for another process with the same target.
    """

    max_bytes: int | None
    is_quick: bool
    referrers: bool
    cache: str | Path | None
    cache_bytes: int
    progress: ProgressCallback
    on_wait: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Saved:
    """The result of a download.

    Attributes:
        output: The directory or file; None for an open file.
        digest: The digest of the image's manifest or index in the registry; None for single layers.
        name: The image's name in the layout; None without.
        blobs: The digests of all blobs in the target.
        loaded_bytes: How many bytes were downloaded.
        present_bytes: How many bytes the target had.
        foreign: The digests of foreign layers, which the registry doesn't have, so they were left out.
        referrers: The digests of the image's signatures and other artifacts.
    """

    output: Path | None
    digest: str | None
    blobs: tuple[str, ...]
    loaded_bytes: int
    present_bytes: int
    name: str | None = None
    foreign: tuple[str, ...] = ()
    referrers: tuple[str, ...] = ()


class _CallbackError(Exception):
    """Carries a callback's OSError past what takes it for one of the target."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error


@contextmanager
def callbacks_apart(options: SaveOptions) -> Iterator[SaveOptions]:
    """Return options whose callbacks' errors can't be mistaken for the target's, and reach the caller as they are."""

    def report(now: Progress) -> None:
        try:
            if "progress" in options:
                options["progress"](now)
        except OSError as error:
            raise _CallbackError(error) from None

    def wait() -> None:
        try:
            if "on_wait" in options:
                options["on_wait"]()
        except OSError as error:
            raise _CallbackError(error) from None

    try:
        yield {**options, "progress": report, "on_wait": wait}
    except _CallbackError as failed:
        raise failed.error from None
