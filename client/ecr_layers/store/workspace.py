"""The directory beside a target where its blobs are until it is complete, `NAME.partial`: an image layout."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ecr_layers.errors import TargetError
from ecr_layers.store.layout import INDEX, VERSION
from ecr_layers.store.target import locked

_MARK = "made-by-ecr-layers"


@contextmanager
def workspace(target: Path, on_wait: Callable[[], None]) -> Iterator[Path]:
    """Make and lock the directory of a target, or reuse the blobs of an earlier run.

    It is removed at the end, but stays after an error, and with files of others.

    Args:
        target: The archive or directory.
        on_wait: Called before waiting for another process.

    Raises:
        TargetError: If there is such a directory that this client didn't make.
        OSError: If it can't be made or removed.
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
        # An earlier run may have been for other images.
        (directory / INDEX).unlink(missing_ok=True)
        yield directory
        _remove(directory)


def _remove(directory: Path) -> None:
    shutil.rmtree(directory / "blobs", ignore_errors=True)
    for name in (INDEX, VERSION):
        (directory / name).unlink(missing_ok=True)
    if [each.name for each in directory.iterdir()] == [_MARK]:
        (directory / _MARK).unlink()
        directory.rmdir()
