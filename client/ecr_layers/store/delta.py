"""Applies a delta, or any layout, to another layout."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ecr_layers.errors import ClientError, IntegrityError
from ecr_layers.oci.manifests import Descriptor, Manifest
from ecr_layers.oci.references import hasher
from ecr_layers.store.reading import LayoutFiles, reachable
from ecr_layers.store.target import check_space, has_digest, locked, new_file, path_of, target_errors

_READ_AT_ONCE = 1024 * 1024
_LISTED = 3


@dataclass(frozen=True, slots=True)
class Applied:
    """What `apply` did.

    Attributes:
        digests: The digests of the images and artifacts in the delta's index.
        copied_bytes: How many bytes were copied to the layout.
        present_bytes: How many bytes of these images the layout had.
    """

    digests: tuple[str, ...]
    copied_bytes: int
    present_bytes: int


def apply(
    delta: str | Path, layout: str | Path, *, is_quick: bool = False, on_wait: Callable[[], None] = lambda: None
) -> Applied:
    """Add the images of a delta to a layout that has the rest of their blobs.

    The layout's index changes last, so that the layout has the old images or both, whatever stops it.

    Args:
        delta: The directory or archive that `Image.save` has written with `have`, or any other layout.
        layout: The layout's directory.
        is_quick: Whether the layout's own blobs are checked by their sizes only, not by their digests.
        on_wait: Called before waiting for another process.

    Raises:
        UsageError: If one of them isn't a layout.
        ClientError: If the layout doesn't have what the delta builds on, or a manifest is malformed.
        IntegrityError: If a blob doesn't have its digest.
        TargetError: If the layout can't be written.
    """
    source, directory = LayoutFiles(Path(delta)), Path(layout)
    # Any other directory is left alone.
    LayoutFiles(directory)
    with target_errors(directory), locked(directory, on_wait):
        target = LayoutFiles(directory)
        blobs = _blobs(source, target)
        new = [blob for blob in blobs if source.has(blob)]
        old = [blob for blob in blobs if not source.has(blob) and target.has(blob)]
        _check_base(blobs, {blob.digest for blob in (*new, *old)}, target)
        check_space(directory, sum(blob.size for blob in new))
        for blob in () if is_quick else old:
            _verify(target, blob)
        for blob in new:
            _copy(source, blob, path_of(directory / "blobs", blob.digest))
        target.index.merge(source.index)
        target.index.write(directory)
    return Applied(
        tuple(entry.digest for entry in source.entries),
        sum(blob.size for blob in new),
        sum(blob.size for blob in old),
    )


def _blobs(source: LayoutFiles, target: LayoutFiles) -> list[Descriptor]:
    def manifest(descriptor: Descriptor) -> Manifest | None:
        return source.manifest(descriptor) or target.manifest(descriptor)

    return list(reachable(source.entries, manifest))


def _check_base(blobs: Iterable[Descriptor], found: set[str], target: LayoutFiles) -> None:
    missing = [blob.digest for blob in blobs if blob.digest not in found and not blob.urls]
    if missing:
        more = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
        raise ClientError(
            f"{target.path} doesn't have what the delta builds on: {', '.join(missing[:_LISTED])}{more}. Apply it to "
            "the layout that it was made for, or fetch the whole image.",
            code="base-missing",
            missing=missing,
        )


def _verify(files: LayoutFiles, blob: Descriptor) -> None:
    with files.open(blob.digest) as file:
        if not has_digest(file, blob.digest):
            raise _mismatch(files, blob)


def _copy(files: LayoutFiles, blob: Descriptor, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    found = hasher(blob.digest)
    with files.open(blob.digest) as file, new_file(path) as copy:
        while chunk := file.read(_READ_AT_ONCE):
            found.update(chunk)
            copy.write(chunk)
        if found.hexdigest() != blob.digest.partition(":")[2]:
            raise _mismatch(files, blob)


def _mismatch(files: LayoutFiles, blob: Descriptor) -> IntegrityError:
    return IntegrityError(
        f"Digest mismatch: {files.path} has other bytes for {blob.digest}. The layout still has its old images only.",
        digest=blob.digest,
    )
