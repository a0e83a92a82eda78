"""`ecr-layers digest`."""

from typing import Any

import click

from ecr_layers.cli import output
from ecr_layers.cli.options import image_or_index, platform_of_index_option, service_options

_EPILOG = """\
\b
examples:
  ecr-layers digest team/app:1.2
  ecr-layers fetch "team/app@$(ecr-layers digest team/app:1.2)" -o app/"""


@click.command(short_help="Print an image's digest", epilog=_EPILOG)
@click.argument("words", nargs=-1, metavar="IMAGE")
@platform_of_index_option
@service_options
def command(words: tuple[str, ...], platform: str | None, **options: Any) -> int:
    """Print the digest of an image's manifest or index, verified."""
    with image_or_index(words, platform, options) as image:
        output.write_line(image.digest)
    return 0
