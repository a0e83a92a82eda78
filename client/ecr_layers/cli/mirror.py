"""`ecr-layers mirror`."""

from pathlib import Path
from typing import Any

import click

from ecr_layers.cli.errors import EXIT_STATUSES
from ecr_layers.cli.options import download_options, operands, service_options, take_downloads, take_service
from ecr_layers.errors import printable

_EPILOG = f"""\
\b
examples:
  ecr-layers mirror team/app -o app/ --tag '1.*' --tag latest
  ecr-layers mirror team/app -o app/ --delete && ecr-layers prune app/

The operator has to set listTags.

\b
{EXIT_STATUSES}"""


@click.command(short_help="Bring a layout up to date with a repository's tags", epilog=_EPILOG)
@click.argument("words", nargs=-1, metavar="REPOSITORY")
@click.option("-o", "--output", "target", type=click.Path(path_type=Path), required=True, metavar="DIR", help="layout")
@click.option("--tag", "tags", multiple=True, metavar="PATTERN", help="which tags, such as '1.*'; can be repeated")
@click.option("--delete", "removes", is_flag=True, help="remove tags from the layout that the repository doesn't have")
@download_options
@service_options
def command(words: tuple[str, ...], target: Path, tags: tuple[str, ...], *, removes: bool, **options: Any) -> int:
    """Download the images of a repository's tags that are new or changed to an OCI image layout, all platforms."""
    service, downloads = take_service(options), take_downloads(options)
    url, (repository,) = operands(service, words, "REPOSITORY")
    with downloads.client(service, url, target) as (client, shown, of_blobs):
        mirrored = client.mirror(repository, target, *tags, removes=removes, **of_blobs)
        for saved in mirrored.saved:
            shown.finish(saved)
        for tag in mirrored.removed:
            shown.note(f"{target}: removed {printable(tag)}")
        shown.note(f"{target}: {len(mirrored.saved)} new or changed, {len(mirrored.unchanged)} unchanged")
    return 0
