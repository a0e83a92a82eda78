"""`ecr-layers diff`."""

import json
from collections.abc import Iterator
from typing import Any

import click

from ecr_layers.cli import output
from ecr_layers.cli.options import (
    layer_bytes_option,
    limit_rate_option,
    operands,
    platform_option,
    service_options,
    take_service,
)
from ecr_layers.comparison import ImageDiff, diff
from ecr_layers.errors import escaped, printable

_EPILOG = """\
\b
examples:
  ecr-layers diff team/app:1.2 team/app:1.3
  ecr-layers diff team/app:1.2 team/app:1.3 --json | jq -r '.added[].path'

Files are marked A (added), C (changed) or D (removed). Times don't count. Layers are kept in a temporary directory
(TMPDIR) until the end."""

_MEMBERS = {
    "platform": "platform",
    "created": "created",
    "entrypoint": "entrypoint",
    "cmd": "cmd",
    "working_directory": "workingDir",
    "user": "user",
    "exposed_ports": "exposedPorts",
    "labels": "labels",
    "environment": "env",
}


@click.command(short_help="Compare two images", epilog=_EPILOG)
@click.argument("words", nargs=-1, metavar="IMAGE1 IMAGE2")
@platform_option
@click.option("--env", "shows_environment", is_flag=True, help="print environment variables; they may hold secrets")
@click.option("--json", "is_json", is_flag=True, help="print a JSON object")
@layer_bytes_option
@limit_rate_option
@service_options
def command(
    words: tuple[str, ...],
    platform: str | None,
    max_bytes: int,
    *,
    shows_environment: bool,
    is_json: bool,
    **options: Any,
) -> int:
    """Compare two images: files, config, layers in common, and what the second adds to a download."""
    service = take_service(options)
    url, names = operands(service, words, "IMAGE1", "IMAGE2")
    with service.client(url) as client:
        first, second = (client.image(name, platform=platform) for name in names)
        document = _document(diff(first, second, max_bytes))
    if not shows_environment:
        document["config"].pop("env", None)
    lines = [json.dumps(document, indent=2)] if is_json else _lines(document)
    output.write("".join(f"{line}\n" for line in lines).encode(errors="backslashreplace"))
    return 0


def _document(found: ImageDiff) -> dict[str, Any]:
    return {
        "layersInCommon": [layer.digest for layer in found.common_layers],
        "newLayers": [{"digest": layer.digest, "size": layer.size} for layer in found.new_layers],
        "newBytes": found.new_bytes,
        "config": {_MEMBERS[name]: [_plain(old), _plain(new)] for name, (old, new) in found.config.items()},
        "added": [{"path": file.path, "size": file.size} for file in found.added],
        "changed": [{"path": change.path, "aspects": list(change.aspects)} for change in found.changed],
        "removed": [{"path": file.path, "size": file.size} for file in found.removed],
    }


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict):
        return dict(value)
    return list(value) if isinstance(value, tuple) else str(value)


def _lines(document: dict[str, Any]) -> Iterator[str]:
    common, new = len(document["layersInCommon"]), len(document["newLayers"])
    yield f"Layers  {common} in common, {new} new, {document['newBytes']:,} bytes to download"
    for name, (old, changed) in document["config"].items():
        values = " -> ".join(json.dumps(value, ensure_ascii=False) for value in (old, changed))
        yield printable(f"Config  {name}: {values}")
    yield from (f"A  {escaped(file['path'])}" for file in document["added"])
    yield from (f"C  {escaped(each['path'])}  ({', '.join(each['aspects'])})" for each in document["changed"])
    yield from (f"D  {escaped(file['path'])}" for file in document["removed"])
