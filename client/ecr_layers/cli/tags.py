"""`ecr-layers tags`."""

from typing import Any

import click

from ecr_layers.cli import output
from ecr_layers.cli.options import operands, service_options, take_service
from ecr_layers.errors import printable

_EPILOG = """\
\b
example:
  ecr-layers tags team/app

The operator has to set listTags."""


@click.command(short_help="List the tags of a repository", epilog=_EPILOG)
@click.argument("words", nargs=-1, metavar="REPOSITORY")
@service_options
def command(words: tuple[str, ...], **options: Any) -> int:
    """List the tags of a repository, a tag a line."""
    service = take_service(options)
    url, (repository,) = operands(service, words, "REPOSITORY")
    with service.client(url) as client:
        tags = client.tags(repository)
    output.write("".join(f"{printable(tag)}\n" for tag in tags).encode(errors="backslashreplace"))
    return 0
