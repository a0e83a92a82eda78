"""Progress of a fetch: moving lines on a terminal, plain lines elsewhere, or JSON for programs."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ecr_layers.cli import output
from ecr_layers.cli.errors import tell
from ecr_layers.saving.options import Progress, Saved
from ecr_layers.transfer.blobs import BlobState

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

MODES = ("auto", "plain", "json", "none")
"""The values of --progress."""

_DONE = frozenset({BlobState.FINISHED, BlobState.PRESENT})
_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_BETWEEN_RETRY_NOTES = 2.0
_SHOWN_DIGITS = 12


class Display:
    """Shows nothing; the base of the others."""

    def __init__(self) -> None:
        self._last_retry = 0.0
        self._blobs: dict[str, Progress] = {}

    def update(self, progress: Progress) -> None:
        """Show a blob's progress."""

    def finish(self, saved: Saved) -> None:
        """Show the result."""

    def note(self, line: str) -> None:
        """Show a line about something else."""

    def retrying(self, reason: str, seconds: float) -> None:
        """Show that a request failed and is repeated; not more often than every two seconds."""
        now = time.monotonic()
        if now - self._last_retry >= _SECONDS_BETWEEN_RETRY_NOTES:
            self._last_retry = now
            self.note(f"Retrying in {seconds:.1f} s: {reason}")


class JsonDisplay(Display):
    """Writes JSON objects, one a line, to the standard output: for each step of a blob, and one at the end."""

    def __init__(self) -> None:
        super().__init__()
        self._is_read = True

    def update(self, progress: Progress) -> None:
        """Write a blob's progress."""
        self._write(
            event="blob",
            digest=progress.digest,
            size=progress.size,
            loadedBytes=progress.loaded,
            state=progress.state.value,
        )

    def finish(self, saved: Saved) -> None:
        """Write the result."""
        self._write(
            event="fetched",
            output=str(saved.output) if saved.output else None,
            digest=saved.digest,
            name=saved.name,
            blobs=list(saved.blobs),
            loadedBytes=saved.loaded_bytes,
            presentBytes=saved.present_bytes,
            foreignLayers=list(saved.foreign),
            referrers=list(saved.referrers),
        )

    def note(self, line: str) -> None:
        """Write a line about something else."""
        self._write(event="note", message=line)

    def _write(self, **members: Any) -> None:
        if not self._is_read:
            return
        try:
            output.write_line(json.dumps(members))
        except output.ReaderGoneError:
            # The reader has gone; the fetch continues.
            self._is_read = False


class PlainDisplay(Display):
    """Writes a line for each finished blob, and every ten seconds one for all."""

    def __init__(self) -> None:
        super().__init__()
        self._last = time.monotonic()

    def update(self, progress: Progress) -> None:
        """Write a line if the blob is finished, or if it is time."""
        self._blobs[progress.digest] = progress
        if progress.state in _DONE:
            _print(f"{progress.digest} {progress.state.value} ({decimal(progress.size or 0)}, {self._count()})")
        elif time.monotonic() - self._last >= _SECONDS_BETWEEN_LINES:
            loaded = sum(each.loaded for each in self._blobs.values())
            size = sum(each.size or 0 for each in self._blobs.values())
            _print(f"{decimal(loaded)} of {decimal(size)}, {self._count()}")
        else:
            return
        self._last = time.monotonic()

    def finish(self, saved: Saved) -> None:
        """Write the result."""
        _summarize(saved)

    def note(self, line: str) -> None:
        """Write a line about something else."""
        _print(line)

    def _count(self) -> str:
        there = sum(each.state in _DONE for each in self._blobs.values())
        return f"{there} of {len(self._blobs)} blobs"


class TerminalDisplay(Display):
    """Shows a moving line for each blob, and one for all; finished ones disappear if there are many.

    Args:
        bars: Shows the lines.
    """

    def __init__(self, bars: "Bars") -> None:
        super().__init__()
        self._bars = bars
        self._total = bars.add_task("total", total=None)
        self._lines: dict[str, TaskID] = {}

    def update(self, progress: Progress) -> None:
        """Move a blob's line."""
        self._blobs[progress.digest] = progress
        if progress.digest not in self._lines and progress.state is not BlobState.WAITING:
            algorithm, _, encoded = progress.digest.partition(":")
            name = f"{algorithm}:{encoded[:_SHOWN_DIGITS]}"
            self._lines[progress.digest] = self._bars.add_task(name, total=None)
        if progress.digest in self._lines:
            is_crowded = len(self._blobs) > max(1, self._bars.console.height - 4)
            self._bars.update(
                self._lines[progress.digest],
                completed=progress.loaded,
                total=progress.size,
                visible=not (is_crowded and progress.state in _DONE),
            )
        sizes = [each.size for each in self._blobs.values()]
        self._bars.update(
            self._total,
            completed=sum(each.loaded for each in self._blobs.values()),
            total=None if None in sizes else sum(size or 0 for size in sizes),
        )

    def finish(self, saved: Saved) -> None:
        """Show the result below the lines."""
        self._bars.stop()
        _summarize(saved)

    def note(self, line: str) -> None:
        """Show a line above the moving ones."""
        self._bars.console.print(line, markup=False, highlight=False)


@contextmanager
def display(mode: str) -> Iterator[Display]:
    """Return the display for a mode; by default, a terminal's if the standard error is one.

    Args:
        mode: One of `MODES`.
    """
    if mode != "auto" or not sys.stderr.isatty():
        yield {"json": JsonDisplay, "none": Display}.get(mode, PlainDisplay)()
        return
    # It takes longer to load than everything else.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bars  # noqa: PLC0415

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        yield TerminalDisplay(bars)


def decimal(size: int) -> str:
    """Return a size for people, such as `3.4 MB`."""
    amount = float(size)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{size:,} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, such as `2 blobs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _summarize(saved: Saved) -> None:
    for digest in saved.foreign:
        _print(f"Skipped the foreign layer {digest}, which the registry doesn't have.")
    parts = [f"{saved.output}:" if saved.output else "", saved.name or "", saved.digest or ""]
    count = counted(len(saved.blobs), "blob")
    present = f", {decimal(saved.present_bytes)} already present" if saved.present_bytes else ""
    referrers = f", {counted(len(saved.referrers), 'referrer')}" if saved.referrers else ""
    amounts = f"{count}, {decimal(saved.loaded_bytes)} downloaded{present}{referrers}"
    _print(" ".join(part for part in [*parts, amounts] if part))


def _print(line: str) -> None:
    tell(line, prefix="")
