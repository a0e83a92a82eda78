"""Files with secrets: only their owner can read them."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ecr_layers.cli import output
from ecr_layers.errors import TargetError, UsageError


@contextmanager
def secret_output(path: Path | None, *, overwrites: bool = False) -> Iterator[Callable[[str], None]]:
    """Return what writes a secret and a line's end: to a new file with mode 0600, or to the standard output.

    The file is reserved first, so that what can't be written is known before the secret is made. It appears whole, or
    not at all.

    Args:
        path: The file; None for the standard output.
        overwrites: Whether to replace a file that exists.

    Raises:
        UsageError: If the file exists.
        TargetError: If it can't be written.
    """
    if path is None:
        yield output.write_line
        return
    with ExitStack() as stack:
        with _errors(path):
            if _reserve(path, overwrites=overwrites):
                stack.callback(path.unlink, missing_ok=True)
            descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            os.close(descriptor)
        temporary = Path(name)
        stack.callback(temporary.unlink, missing_ok=True)

        def write(text: str) -> None:
            with _errors(path):
                with temporary.open("w", encoding="utf-8") as file:
                    file.write(f"{text}\n")
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
            stack.pop_all()

        yield write


def _reserve(path: Path, *, overwrites: bool) -> bool:
    """Create an empty file, and tell whether there was none."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        if not overwrites or path.is_dir():
            raise UsageError(f"{path} exists. Choose another name, or use --overwrite.", code="file-exists") from None
        return False
    return True


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TargetError(f"{path} can't be written: {error.strerror}.") from None
