"""How a fetch shows how far it is: lines that move on a terminal, plain lines elsewhere, or JSON for programs."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bars

from ecr_layers.cli import output
from ecr_layers.fetch import Fetched, Progress
from ecr_layers.transfer.loader import BlobState

_DONE = frozenset({BlobState.FINISHED, BlobState.PRESENT})
_SECONDS_BETWEEN_LINES = 10.0
_SHOWN_DIGITS = 12


class Display(Protocol):
    """Shows a fetch to whoever runs the command."""

    def update(self, progress: Progress) -> None:
        """Show how far a blob is."""

    def finish(self, fetched: Fetched) -> None:
        """Show what has been fetched."""

    def note(self, line: str) -> None:
        """Show a line about something else."""


class QuietDisplay:
    """Shows nothing."""

    def update(self, progress: Progress) -> None:
        """Show nothing."""

    def finish(self, fetched: Fetched) -> None:
        """Show nothing."""

    def note(self, line: str) -> None:
        """Show nothing."""


class JsonDisplay:
    """Writes a JSON object a line to the standard output: one for each step of a blob, and one at the end."""

    def __init__(self) -> None:
        self._is_read = True

    def update(self, progress: Progress) -> None:
        """Write how far a blob is."""
        self._write(
            event="blob",
            digest=progress.digest,
            size=progress.size,
            loadedBytes=progress.loaded,
            state=progress.state.value,
        )

    def finish(self, fetched: Fetched) -> None:
        """Write what has been fetched."""
        self._write(
            event="fetched",
            output=str(fetched.output),
            digest=fetched.digest,
            blobs=list(fetched.blobs),
            loadedBytes=fetched.loaded_bytes,
            presentBytes=fetched.present_bytes,
            foreignLayers=list(fetched.foreign),
        )

    def note(self, line: str) -> None:
        """Write a line about something else."""
        self._write(event="note", message=line)

    def _write(self, **members: Any) -> None:
        if not self._is_read:
            return
        try:
            print(json.dumps(members), flush=True)
        except BrokenPipeError:
            # Whoever read this has gone; the fetch goes on.
            self._is_read = False
            output.forget_rest()


class PlainDisplay:
    """Writes a line for each blob that is there, and every ten seconds one for all."""

    def __init__(self) -> None:
        self._blobs: dict[str, Progress] = {}
        self._last = time.monotonic()

    def update(self, progress: Progress) -> None:
        """Write a line if the blob is there, or if it is time."""
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

    def finish(self, fetched: Fetched) -> None:
        """Write what has been fetched."""
        _summarize(fetched)

    def note(self, line: str) -> None:
        """Write a line about something else."""
        _print(line)

    def _count(self) -> str:
        there = sum(each.state in _DONE for each in self._blobs.values())
        return f"{there} of {len(self._blobs)} blobs"


class TerminalDisplay:
    """Shows a moving line for each blob, and one for all; those that are there give way if there are many.

    Args:
        bars: What shows the lines.
    """

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._total = bars.add_task("total", total=None)
        self._lines: dict[str, TaskID] = {}
        self._blobs: dict[str, Progress] = {}

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

    def finish(self, fetched: Fetched) -> None:
        """Show what has been fetched, below the lines."""
        self._bars.stop()
        _summarize(fetched)

    def note(self, line: str) -> None:
        """Show a line above the moving ones."""
        self._bars.console.print(line, markup=False, highlight=False)


@contextmanager
def display(*, is_quiet: bool, is_json: bool) -> Iterator[Display]:
    """Return what shows a fetch: to a terminal, if the standard error is one.

    Args:
        is_quiet: Whether to show nothing.
        is_json: Whether to write JSON to the standard output.
    """
    console = Console(stderr=True)
    if is_quiet or is_json or not console.is_terminal:
        yield QuietDisplay() if is_quiet else JsonDisplay() if is_json else PlainDisplay()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Bars(*columns, console=console) as bars:
        yield TerminalDisplay(bars)


def _summarize(fetched: Fetched) -> None:
    for digest in fetched.foreign:
        _print(f"{digest} is a foreign layer, which the registry does not have: it was left out.")
    named = f" {fetched.digest}" if fetched.digest else ""
    there = f", {decimal(fetched.present_bytes)} were there" if fetched.present_bytes else ""
    _print(f"{fetched.output}:{named} {len(fetched.blobs)} blobs, {decimal(fetched.loaded_bytes)} loaded{there}")


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
