"""`ecr-layers prune`."""

from pathlib import Path

import click

from ecr_layers.cli import output
from ecr_layers.cli.errors import tell
from ecr_layers.cli.options import existing_layout, waiting_text
from ecr_layers.cli.progress import counted, decimal
from ecr_layers.store.checking import prune

_EPILOG = """\
\b
example:
  ecr-layers prune app/ --dry-run"""


@click.command(short_help="Remove a layout's unused blobs", epilog=_EPILOG)
@click.argument("layout", type=existing_layout, metavar="LAYOUT")
@click.option("--dry-run", "is_dry_run", is_flag=True, help="only list them")
def command(layout: Path, *, is_dry_run: bool) -> int:
    """Remove the blobs that no image in a layout's index refers to, and parts of downloads that were stopped.

    It waits for downloads into the layout.
    """
    pruned = prune(layout, is_dry_run=is_dry_run, on_wait=lambda: tell(waiting_text(layout), prefix=""))
    for path in pruned.paths:
        output.write_line(str(path))
    action = "to remove" if is_dry_run else "removed"
    output.write_line(f"{layout}: {counted(len(pruned.paths), 'file')}, {decimal(pruned.size)} {action}")
    return 0
