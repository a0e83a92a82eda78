"""`ecr-layers extract`."""

from typing import Any

import click

from ecr_layers.cli import output
from ecr_layers.cli.errors import EXIT_STATUSES, tell
from ecr_layers.cli.options import chosen_image, reading_options
from ecr_layers.errors import escaped
from ecr_layers.files.merged import FileInfo

_EPILOG = f"""\
\b
examples:
  ecr-layers extract team/app:1.2 -o rootfs
  ecr-layers extract team/app:1.2 /etc /usr/bin/app -o files
  ecr-layers extract team/app:1.2 /srv -o - | tar -x

Whole layers are verified before the first file is written, and kept in a temporary directory (TMPDIR) until the end. If
PATHs are given, of a layer with a table of contents only their files are read and verified. Sparse files, and in a
directory devices, are left out with a note. A tar archive keeps owners and extended attributes.

\b
{EXIT_STATUSES}"""


@click.command(short_help="Extract files of an image", epilog=_EPILOG)
@click.argument("words", nargs=-1, metavar="IMAGE [PATH]...")
@click.option(
    "-o", "--output", "target", required=True, metavar="DIR", help="new or empty directory; - for a tar archive"
)
@click.option("--same-owner", "keeps_owner", is_flag=True, help="set owners and set-user-ID bits; needs root")
@reading_options
def command(
    words: tuple[str, ...],
    target: str,
    max_bytes: int,
    *,
    keeps_owner: bool,
    whole_layers: bool,
    **options: Any,
) -> int:
    """Extract files and directories of an image, or all of it, as a container would see them.

    Files keep their paths below DIR. Links in PATH are followed inside the image.
    """
    with chosen_image(words, options, *["PATH"] * (len(words) - 1)) as (image, paths):
        if target == "-":
            with output.errors():
                left_out = image.extract_tar(output.stream(), *paths, max_bytes=max_bytes, whole_layers=whole_layers)
        else:
            left_out = image.extract(
                target, *paths, keeps_owner=keeps_owner, max_bytes=max_bytes, whole_layers=whole_layers
            )
    _tell_left_out(left_out)
    return 0


def _tell_left_out(files: tuple[FileInfo, ...]) -> None:
    for file in files:
        kind = file.kind.name.lower().replace("_", " ")
        tell(f"note: left out {escaped(file.path)} ({kind}).")
