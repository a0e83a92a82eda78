"""`ecr-layers referrers`."""

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import click

from ecr_layers.cli import output
from ecr_layers.cli.options import image_or_index, platform_of_index_option, service_options
from ecr_layers.errors import printable
from ecr_layers.registry.referrers import Referrer

_EPILOG = """\
\b
examples:
  ecr-layers referrers team/app:1.2
  ecr-layers referrers team/app:1.2 --artifact-type application/spdx+json --json | jq -r .digest
  ecr-layers fetch team/app@sha256:… --format files -o sbom/

Artifacts that cosign tagged are listed with the type of their first layer."""


@click.command(short_help="List an image's signatures, SBOMs and attestations", epilog=_EPILOG)
@click.argument("words", nargs=-1, metavar="IMAGE")
@click.option("--artifact-type", metavar="TYPE", help="only those of a type")
@platform_of_index_option
@click.option("--json", "is_json", is_flag=True, help="print a JSON object a line")
@service_options
def command(
    words: tuple[str, ...], artifact_type: str | None, platform: str | None, *, is_json: bool, **options: Any
) -> int:
    """List the artifacts that refer to an image, to an index's images, or to one of these artifacts."""
    with image_or_index(words, platform, options) as image:
        found = image.referrers(artifact_type)
    lines = _documents(found) if is_json else _lines(found)
    output.write("".join(f"{line}\n" for line in lines).encode(errors="backslashreplace"))
    return 0


def _documents(found: Iterable[Referrer]) -> Iterator[str]:
    for each in found:
        descriptor = each.descriptor
        yield json.dumps(
            {
                "digest": descriptor.digest,
                "artifactType": descriptor.artifact_type,
                "mediaType": descriptor.media_type,
                "size": descriptor.size,
                "subject": each.subject,
                "tag": each.tag,
                "annotations": dict(descriptor.annotations),
            }
        )


def _lines(found: Iterable[Referrer]) -> Iterator[str]:
    """Return a table on a terminal, and the same separated by tabs elsewhere."""
    rows = [(printable(each.descriptor.artifact_type or "-"), each.descriptor.digest, each.subject) for each in found]
    if not sys.stdout.isatty():
        return ("\t".join(row) for row in rows)
    rows.insert(0, ("TYPE", "DIGEST", "SUBJECT"))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return (f"{kind:{widths[0]}}  {digest:{widths[1]}}  {subject}" for kind, digest, subject in rows)
