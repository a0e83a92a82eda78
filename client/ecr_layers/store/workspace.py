"""The directory beside a Docker archive where its blobs are until it is complete: `NAME.partial`."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ecr_layers.errors import TargetError
from ecr_layers.store.target import locked, path_of

_MARK = "made-by-ecr-layers"


@contextmanager
def workspace(target: Path, on_wait: Callable[[], None]) -> Iterator[Path]:
    """Make and lock the directory of a target, or reuse the one of an earlier run.

    Args:
        target: The archive.
        on_wait: Called before waiting for another process.

    Raises:
        TargetError: If there is such a directory that this client didn't make.
        OSError: If it can't be made.
    """
    directory = target.with_name(f"{target.name}.partial")
    with locked(directory, on_wait):
        mark = directory / _MARK
        if not mark.is_file():
            if any(directory.iterdir()):
                raise TargetError(
                    f"{directory} already exists, and isn't from ecr-layers. Move it, or choose another target.",
                    code="target-exists",
                    path=str(directory),
                )
            mark.touch()
        yield directory


def remove(directory: Path, digests: Iterable[str]) -> None:
    """Remove the files of an image's blobs, and what becomes empty. Other files stay.

    Raises:
        OSError: If one can't be removed.
    """
    for digest in digests:
        path = path_of(directory, digest)
        for suffix in ("", ".part", ".journal"):
            path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            path.parent.rmdir()
    if [each.name for each in directory.iterdir()] == [_MARK]:
        (directory / _MARK).unlink()
        directory.rmdir()
