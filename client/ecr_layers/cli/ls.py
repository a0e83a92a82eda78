"""`ecr-layers ls`."""

import json
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from ecr_layers.cli import output
from ecr_layers.cli.options import chosen_image, reading_options
from ecr_layers.errors import escaped
from ecr_layers.files.archives import Kind
from ecr_layers.files.merged import FileInfo

_EPILOG = """\
\b
examples:
  ecr-layers ls team/app:1.2
  ecr-layers ls team/app:1.2 /etc -l --layers
  ecr-layers ls team/app:1.2 --json | jq -r 'select(.size > 1000000).path'

Layers are read from the newest down, only as far as needed; the root needs all of them. Of a layer with a table of
contents, only the table is read."""

_TYPES = {
    Kind.DIRECTORY: stat.S_IFDIR,
    Kind.SYMBOLIC_LINK: stat.S_IFLNK,
    Kind.CHARACTER_DEVICE: stat.S_IFCHR,
    Kind.BLOCK_DEVICE: stat.S_IFBLK,
    Kind.PIPE: stat.S_IFIFO,
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@click.command(short_help="List the files of an image", epilog=_EPILOG)
@click.argument("words", nargs=-1, metavar="IMAGE [PATH]")
@click.option("-l", "--long", "is_long", is_flag=True, help="print mode, owner, size, time in UTC and link target")
@click.option("--layers", "shows_layers", is_flag=True, help="print the digest of each file's layer")
@click.option("--json", "is_json", is_flag=True, help="print a JSON object a line")
@reading_options
def command(
    words: tuple[str, ...],
    max_bytes: int,
    *,
    whole_layers: bool,
    is_long: bool,
    shows_layers: bool,
    is_json: bool,
    **options: Any,
) -> int:
    """List the files at a path of an image and below, as a container would see them.

    Links in PATH are followed inside the image. Control characters in names are escaped.
    """
    line = _json if is_json else _formatter(is_long=is_long, shows_layers=shows_layers)
    has_path = len(words) > 1
    with chosen_image(words, options, *["PATH"] * has_path) as (image, paths):
        for file in image.files(max_bytes, whole_layers=whole_layers).walk(*paths):
            output.write(f"{line(file)}\n".encode(errors="backslashreplace"))
    return 0


def _json(file: FileInfo) -> str:
    document = {
        "path": file.path,
        "type": file.kind.name.lower().replace("_", "-"),
        "mode": f"{file.attributes.mode:04o}",
        "uid": file.attributes.uid,
        "gid": file.attributes.gid,
        "size": file.size,
        "mtime": file.attributes.mtime,
        "target": file.target or None,
        "layer": file.layer,
    }
    return json.dumps(document)


def _formatter(*, is_long: bool, shows_layers: bool) -> Callable[[FileInfo], str]:
    columns = [lambda file: file.layer] * shows_layers + [_long if is_long else lambda file: escaped(file.path)]
    return lambda file: "  ".join(column(file) for column in columns)


def _long(file: FileInfo) -> str:
    attributes = file.attributes
    mode = stat.filemode(_TYPES.get(file.kind, stat.S_IFREG) | attributes.mode)
    owner = f"{attributes.uid}:{attributes.gid}"
    time = (_EPOCH + timedelta(seconds=attributes.mtime)).strftime("%Y-%m-%d %H:%M:%S")
    target = f" -> {escaped(file.target)}" if file.target else ""
    return f"{mode} {owner:9} {file.size:>12} {time} {escaped(file.path)}{target}"
