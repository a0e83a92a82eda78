"""`ecr-layers manifest`."""

from typing import Any

import click

from ecr_layers.cli import output
from ecr_layers.cli.options import image_or_index, platform_of_index_option, service_options

_EPILOG = """\
\b
examples:
  ecr-layers manifest team/app:1.2 | jq .
  ecr-layers manifest team/app:1.2 --platform linux/arm64 > manifest.json"""


@click.command(short_help="Print an image's manifest", epilog=_EPILOG)
@click.argument("words", nargs=-1, metavar="IMAGE")
@platform_of_index_option
@service_options
def command(words: tuple[str, ...], platform: str | None, **options: Any) -> int:
    """Print the manifest or index of an image, verified, byte for byte."""
    with image_or_index(words, platform, options) as image:
        output.write(image.manifest.content)
    return 0
