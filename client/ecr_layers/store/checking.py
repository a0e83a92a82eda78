"""Verifies layouts, and removes what nothing in them refers to."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ecr_layers.errors import ClientError, IntegrityError, UsageError
from ecr_layers.oci.manifests import Descriptor, Manifest
from ecr_layers.oci.references import is_digest
from ecr_layers.store.reading import LayoutFiles, reachable
from ecr_layers.store.target import has_digest, locked, target_errors

# Parts and journals of downloads, and links from a cache.
_UNFINISHED = {".part", ".journal", ".link"}


@dataclass(frozen=True, slots=True)
class Verified:
    """What `verify` found.

    Attributes:
        images: How many images and artifacts the index lists.
        blobs: How many blobs they lead to, manifests among them.
        size: The sizes of these blobs in bytes.
        foreign: The digests of foreign layers that are missing, as in the registry.
        problems: What is missing or damaged, one line each.
    """

    images: int
    blobs: int
    size: int
    foreign: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pruned:
    """What `prune` removed.

    Attributes:
        paths: The files, from the layout's directory.
        size: Their sizes in bytes.
    """

    paths: tuple[Path, ...]
    size: int


def verify(layout: str | Path) -> Verified:
    """Compare every blob of a layout with its digest and size.

    Args:
        layout: An OCI image layout, or an archive of one.

    Raises:
        UsageError: If it isn't one.
        ClientError: If its index is malformed.
    """
    files = LayoutFiles(Path(layout))
    problems: list[str] = []

    def manifest(descriptor: Descriptor) -> Manifest | None:
        try:
            return files.manifest(descriptor)
        except IntegrityError:
            # It is compared below.
            return None
        except ClientError as error:
            problems.append(f"{descriptor.digest}: {error}")
            return None

    found = tuple(reachable(files.entries, manifest))
    foreign = tuple(blob.digest for blob in found if blob.urls and files.size(blob.digest) is None)
    problems += filter(None, (problem(files, blob) for blob in found if blob.digest not in foreign))
    return Verified(len(files.entries), len(found), sum(blob.size for blob in found), foreign, tuple(problems))


def prune(layout: str | Path, *, is_dry_run: bool = False, on_wait: Callable[[], None] = lambda: None) -> Pruned:
    """Remove the blobs of a layout that no image in its index refers to, and parts of interrupted downloads.

    It waits for downloads into the layout.

    Args:
        layout: The layout's directory.
        is_dry_run: Whether to remove nothing, but to tell what would be removed.
        on_wait: Called before waiting for another process.

    Raises:
        UsageError: If it isn't a layout.
        ClientError: If a manifest is malformed or damaged, so that its blobs aren't known.
        TargetError: If a file can't be removed.
    """
    directory = Path(layout)
    # Any other directory is left alone.
    LayoutFiles(directory)
    with target_errors(directory), locked(directory, on_wait):
        kept = {blob.digest for blob in LayoutFiles(directory).reachable()}
        found = [path for path in _blobs(directory) if f"{path.parent.name}:{path.name}" not in kept]
        size = sum(path.lstat().st_size for path in found)
        for path in () if is_dry_run else found:
            path.unlink()
    return Pruned(tuple(path.relative_to(directory) for path in found), size)


def problem(files: LayoutFiles, blob: Descriptor) -> str | None:
    """Return what is wrong with a blob or manifest of a layout, as a line; None if its digest and size are right."""
    size = files.size(blob.digest)
    if size is None:
        return f"{blob.digest} is missing."
    if size != blob.size:
        return f"{blob.digest} has {size} bytes instead of {blob.size}."
    with files.open(blob.digest) as file:
        return None if has_digest(file, blob.digest) else f"{blob.digest} has other bytes."


def _blobs(layout: Path) -> list[Path]:
    """Return the files of blobs and of their parts; nothing else is ours to remove.

    Raises:
        UsageError: If other layouts may share them.
    """
    if (layout / "blobs").is_symlink():
        raise UsageError(f"{layout}/blobs is a symbolic link, so other layouts may share it.", code="shared-blobs")
    return sorted(path for path in layout.glob("blobs/*/*") if is_digest(f"{path.parent.name}:{_blob_name(path)}"))


def _blob_name(path: Path) -> str:
    """Return the name of the blob that a file is, or is becoming."""
    return path.name.partition(".")[0] if path.suffix in _UNFINISHED else path.name
