"""`ecr-layers url`."""

from typing import Any

import click

from ecr_layers.cli import output
from ecr_layers.cli.options import operands, service_options, take_service

_EPILOG = """\
\b
example:
  curl -L "$(ecr-layers url team/app sha256:…)" -o layer.tar.gz"""


@click.command(short_help="Print a layer's download URL", epilog=_EPILOG)
@click.argument("words", nargs=-1, metavar="REPOSITORY DIGEST")
@service_options
def command(words: tuple[str, ...], **options: Any) -> int:
    """Print the download URL of a layer. It is a secret until it expires."""
    service = take_service(options)
    url, (repository, digest) = operands(service, words, "REPOSITORY", "DIGEST")
    with service.client(url) as client:
        (found,) = client.resolve(repository, [digest])
    output.write_line(found.url)
    return 0
