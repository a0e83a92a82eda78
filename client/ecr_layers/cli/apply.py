"""`ecr-layers apply`."""

from pathlib import Path

import click

from ecr_layers.cli.errors import tell
from ecr_layers.cli.options import existing_layout, quick_option, waiting_text
from ecr_layers.cli.progress import decimal
from ecr_layers.store.delta import apply

_EPILOG = """\
\b
example:
  ecr-layers fetch team/app:1.3 --have app/ -o oci-archive:delta.tar
  ecr-layers apply delta.tar app/

The layout's index changes last: whatever stops the command, the layout is whole."""


@click.command(short_help="Add the images of a delta to a layout", epilog=_EPILOG)
@click.argument("delta", type=existing_layout, metavar="DELTA")
@click.argument("layout", type=existing_layout, metavar="LAYOUT")
@quick_option
def command(delta: Path, layout: Path, *, is_quick: bool) -> int:
    """Add the images of a delta, or of any layout or archive of one, to a layout that has the rest of their blobs."""
    applied = apply(delta, layout, is_quick=is_quick, on_wait=lambda: tell(waiting_text(layout), prefix=""))
    copied, present = decimal(applied.copied_bytes), decimal(applied.present_bytes)
    tell(f"{layout}: {', '.join(applied.digests)} {copied} added, {present} already present", prefix="")
    return 0
