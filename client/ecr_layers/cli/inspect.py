"""`ecr-layers inspect`."""

import json
from collections.abc import Iterator
from typing import Any

import click

from ecr_layers.cli import output
from ecr_layers.cli.options import chosen_image, image_options, service_options
from ecr_layers.errors import printable
from ecr_layers.image import Image
from ecr_layers.oci.platforms import Platform

_EPILOG = """\
\b
examples:
  ecr-layers inspect team/app:1.2
  ecr-layers inspect team/app:1.2 --platform linux/arm64 --json | jq -r '.labels.version'"""


@click.command(short_help="Print an image's config, platforms and layers", epilog=_EPILOG)
@click.argument("words", nargs=-1, metavar="IMAGE")
@image_options
@click.option("--env", "shows_environment", is_flag=True, help="print environment variables; they may hold secrets")
@click.option("--json", "is_json", is_flag=True, help="print a JSON object")
@service_options
def command(words: tuple[str, ...], *, shows_environment: bool, is_json: bool, **options: Any) -> int:
    """Print an image's config, platforms and layers. No layer is read; sizes are in bytes, as stored."""
    with chosen_image(words, options) as (image, _):
        document = _document(image, image.platforms)
    if shows_environment:
        document["env"] = list(image.config.environment)
    lines = [json.dumps(document, indent=2)] if is_json else map(printable, _lines(str(image.reference), document))
    output.write("".join(f"{line}\n" for line in lines).encode(errors="backslashreplace"))
    return 0


def _document(image: Image, platforms: tuple[Platform, ...]) -> dict[str, Any]:
    """Return the document to print, with the names of the service's own `/images/config`."""
    config = image.config
    return {
        "imageDigest": image.digest,
        "mediaType": image.manifest.media_type,
        "platform": str(config.platform) if config.platform else None,
        "platforms": [str(each) for each in platforms],
        "created": config.created,
        "labels": dict(config.labels),
        "entrypoint": None if config.entrypoint is None else list(config.entrypoint),
        "cmd": None if config.cmd is None else list(config.cmd),
        "workingDir": config.working_directory,
        "user": config.user,
        "exposedPorts": list(config.exposed_ports),
        "size": sum(layer.size for layer in image.layers),
        "layers": [
            {"digest": layer.digest, "size": layer.size, "mediaType": layer.media_type} for layer in image.layers
        ],
    }


def _lines(image: str, document: dict[str, Any]) -> Iterator[str]:
    rows = {
        "Image": image,
        "Digest": document["imageDigest"],
        "Platform": document["platform"],
        "Platforms": ", ".join(document["platforms"]),
        "Created": document["created"],
        "Entrypoint": document["entrypoint"] and json.dumps(document["entrypoint"], ensure_ascii=False),
        "Cmd": document["cmd"] and json.dumps(document["cmd"], ensure_ascii=False),
        "Working dir": document["workingDir"],
        "User": document["user"],
        "Ports": ", ".join(document["exposedPorts"]),
    }
    yield from (f"{name:12} {value}" for name, value in rows.items() if value)
    yield from _list("Labels", [f"{name}={value}" for name, value in sorted(document["labels"].items())])
    yield from _list("Environment", document.get("env", []))
    yield f"{'Layers':12} {len(document['layers'])}, {document['size']:,} bytes"
    yield from (f"  {layer['digest']}  {layer['size']:>15,}  {layer['mediaType']}" for layer in document["layers"])


def _list(name: str, values: list[str]) -> Iterator[str]:
    yield from (f"{name if number == 0 else '':12} {value}" for number, value in enumerate(values))
