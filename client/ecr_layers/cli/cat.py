"""`ecr-layers cat`."""

from typing import Any

import click

from ecr_layers.cli import output
from ecr_layers.cli.errors import EXIT_STATUSES
from ecr_layers.cli.options import chosen_image, reading_options

_EPILOG = f"""\
\b
examples:
  ecr-layers cat team/app:1.2 /etc/os-release
  ecr-layers cat team/app:1.2 /usr/bin/app --platform linux/arm64 > app

Layers are read from the newest down, only as far as needed, and only in part if they have a table of contents. Files
over 32 MiB are printed while their layer is verified, so check the exit status.

\b
{EXIT_STATUSES}"""


@click.command(short_help="Print a file of an image", epilog=_EPILOG)
@click.argument("words", nargs=-1, metavar="IMAGE PATH")
@reading_options
def command(words: tuple[str, ...], max_bytes: int, *, whole_layers: bool, **options: Any) -> int:
    """Print a file as a container would see it. Links are followed inside the image."""
    with chosen_image(words, options, "PATH") as (image, (path,)):
        for chunk in image.files(max_bytes, whole_layers=whole_layers).read(path):
            output.write(chunk)
    return 0
