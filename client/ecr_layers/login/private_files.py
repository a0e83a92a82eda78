"""Writes files with secrets: whole or not at all, and readable by their owner only."""

import os
import tempfile
from pathlib import Path

from ecr_layers.errors import TargetError


def write(path: Path, text: str) -> None:
    """Replace a file, or the one that a symbolic link leads to.

    Raises:
        TargetError: If it can't be written; an existing file stays as it was.
    """
    try:
        target = path.resolve()
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Its mode is 0600.
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(text)
            Path(temporary).replace(target)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its symbolic links are a loop"
        raise TargetError(f"Can't write {path}: {reason}.") from None
