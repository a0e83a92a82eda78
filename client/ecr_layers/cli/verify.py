"""`ecr-layers verify`."""

from pathlib import Path

import click

from ecr_layers.cli import output
from ecr_layers.cli.errors import EXIT_STATUSES, MISMATCH
from ecr_layers.cli.options import existing_layout
from ecr_layers.cli.progress import counted, decimal
from ecr_layers.errors import printable
from ecr_layers.store.checking import verify

_EPILOG = f"""\
\b
example:
  ecr-layers verify app/

\b
{EXIT_STATUSES}"""


@click.command(short_help="Verify a layout or an archive of one", epilog=_EPILOG)
@click.argument("layout", type=existing_layout, metavar="LAYOUT")
def command(layout: Path) -> int:
    """Compare every blob of an OCI image layout, or of an archive of one, with its digest and size."""
    found = verify(layout)
    for problem in found.problems:
        output.write_line(printable(problem))
    foreign = f", {counted(len(found.foreign), 'foreign layer')} left out" if found.foreign else ""
    state = counted(len(found.problems), "problem") if found.problems else "everything verified"
    images = counted(found.images, "image")
    output.write_line(f"{layout}: {images}, {counted(found.blobs, 'blob')}, {decimal(found.size)}{foreign}: {state}")
    return MISMATCH if found.problems else 0
