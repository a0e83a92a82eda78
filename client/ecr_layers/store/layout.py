"""The directory that a fetch writes to: an OCI image layout, or a directory of blobs.

Source: https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ecr_layers.errors import ClientError, TargetError
from ecr_layers.oci.manifests import OCI_INDEX, Descriptor

REFERENCE_NAME = "org.opencontainers.image.ref.name"
"""The annotation with an image's tag."""

_LARGEST_INDEX = 32 * 1024 * 1024
_VERSION = b'{"imageLayoutVersion": "1.0.0"}'
_ADVICE = {
    errno.ENOSPC: "Make space and run the command again; it goes on where it is.",
    errno.EDQUOT: "Make space and run the command again; it goes on where it is.",
    errno.EACCES: "Name a target that you may write to.",
    errno.EPERM: "Name a target that you may write to.",
    errno.EROFS: "Name a target that can be written.",
    errno.ENOTDIR: "Name a directory as the target.",
    errno.EEXIST: "Name a directory as the target.",
    errno.EMFILE: "Allow more open files (ulimit -n), or use fewer connections.",
}


@contextlib.contextmanager
def target_errors(path: Path) -> Iterator[None]:
    """Turn what the system says about files into errors of one line.

    Raises:
        TargetError: In the place of an OSError.
    """
    try:
        yield
    except OSError as error:
        name = error.filename if isinstance(error.filename, str) else path
        reason = error.strerror or type(error).__name__
        advice = _ADVICE.get(error.errno or 0, "Check the target and run the command again; it goes on where it is.")
        raise TargetError(f"{name} can't be written: {reason}. {advice}") from None


@contextlib.contextmanager
def locked(directory: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Make a directory, and let no other run have it at the same time; one that comes later waits.

    The lock is the directory's own (flock), so nothing is left of it, whatever ends the process.

    Args:
        directory: The directory.
        on_wait: Called if another run has it, before it is waited for.

    Raises:
        OSError: If it can't be made or opened.
    """
    descriptor = _lock(directory, on_wait)
    while not _is_at(directory, descriptor):
        # The run that had it has removed the directory.
        os.close(descriptor)
        descriptor = _lock(directory, on_wait)
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(directory: Path, on_wait: Callable[[], None]) -> int:
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        on_wait()
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def _is_at(directory: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(directory.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def path_of(blobs: Path, digest: str) -> Path:
    """Return the file of a blob in a directory of blobs: `sha256/…`.

    Args:
        blobs: The directory, which in an image layout is `blobs`.
        digest: The digest, which has been checked (`references.is_digest`).
    """
    algorithm, _, encoded = digest.partition(":")
    return blobs / algorithm / encoded


def is_there(path: Path, size: int | None) -> bool:
    """Tell whether a blob is in the target: only what was verified has its name there.

    Args:
        path: Its file.
        size: How many bytes it has to have, None if that is not known. What has another size was damaged later.
    """
    return path.is_file() and (size is None or path.stat().st_size == size)


def write_file(path: Path, content: bytes) -> None:
    """Write a file so that it is there as a whole or not at all.

    Raises:
        OSError: If it can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    # A link that somebody has put there is not followed.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    with os.fdopen(os.open(part, flags, 0o666), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def add_image(directory: Path, image: Descriptor, tag: str | None) -> None:
    """Add an image, of which everything is there, to a layout's index; a tag that another image has goes over to it.

    Raises:
        ClientError: If the index that is there is malformed.
        OSError: If it can't be written.
    """
    entries = _entries(directory)
    if tag is None:
        is_new = all(entry.get("digest") != image.digest for entry in entries)
    else:
        entries = [entry for entry in entries if _tag(entry) != tag]
        is_new = True
    if is_new:
        entries.append(_entry(image, tag))
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    write_file(directory / "oci-layout", _VERSION)
    write_file(directory / "index.json", json.dumps(index, indent=2).encode())


def check_index(directory: Path) -> None:
    """Make sure that an image can be added, before it is loaded.

    Raises:
        ClientError: If the index that is there is malformed.
        OSError: If it can't be read.
    """
    _entries(directory)


def _entries(directory: Path) -> list[dict[str, Any]]:
    """Return the entries of the index that is there."""
    path = directory / "index.json"
    if not path.exists():
        return []
    with path.open("rb") as file:
        content = file.read(_LARGEST_INDEX + 1)
    try:
        entries = json.loads(content)["manifests"] if len(content) <= _LARGEST_INDEX else None
    except (ValueError, KeyError, TypeError, RecursionError):
        entries = None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ClientError(f"{path} is no image index. Name another directory, or move it away.")
    return entries


def _tag(entry: dict[str, Any]) -> object:
    annotations = entry.get("annotations")
    return annotations.get(REFERENCE_NAME) if isinstance(annotations, dict) else None


def _entry(image: Descriptor, tag: str | None) -> dict[str, Any]:
    entry: dict[str, Any] = {"mediaType": image.media_type, "digest": image.digest, "size": image.size}
    if tag is not None:
        entry["annotations"] = {REFERENCE_NAME: tag}
    return entry
