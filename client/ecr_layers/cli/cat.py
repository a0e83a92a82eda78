"""`ecr-layers cat`."""

from pathlib import Path
from typing import Any

import click

from ecr_layers.cli import output
from ecr_layers.cli.errors import EXIT_STATUSES
from ecr_layers.cli.options import (
    check_choice,
    image_options,
    layer_bytes_option,
    limit_rate_option,
    operands,
    service_options,
    take_service,
    whole_layers_option,
)

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
@image_options
@layer_bytes_option
@whole_layers_option
@limit_rate_option
@service_options
def command(
    words: tuple[str, ...],
    platform: str | None,
    manifest: Path | None,
    max_bytes: int,
    *,
    whole_layers: bool,
    **options: Any,
) -> int:
    """Print a file as a container would see it. Links are followed inside the image."""
    service = take_service(options)
    check_choice(platform, manifest)
    url, (name, path) = operands(service, words, "IMAGE", "PATH")
    with service.client(url) as client:
        image = client.image(name, platform=platform, manifest=manifest)
        for chunk in image.files(max_bytes, whole_layers=whole_layers).read(path):
            output.write(chunk)
    return 0
