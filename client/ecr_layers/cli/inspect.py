"""`ecr-layers inspect`: what an image is, without loading a layer of it."""

import argparse
import json
from collections.abc import Iterator
from typing import Any

from ecr_layers.cli import arguments, output
from ecr_layers.errors import printable
from ecr_layers.oci.config import ImageConfig
from ecr_layers.oci.manifests import Manifest, Platform
from ecr_layers.oci.references import ImageReference

HELP = "Print what an image's config says, its platforms and its layers; no layer is read"

_EPILOG = """\
examples:
  ecr-layers inspect SERVICE team/app:1.2
  ecr-layers inspect SERVICE team/app:1.2 --platform linux/arm64 --json | jq -r '.labels.version'

Sizes are in bytes, as the layers are stored. Environment variables are left out unless --env asks for them, because
some images have secrets there.

exit status:
  0  it is printed
  1  the service does not give it, or it is no image
  2  the command line or the credentials are wrong
  3  what was loaded is not what its digest says
  130  a signal stopped it"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    arguments.add_service(parser, "IMAGE")
    arguments.add_image(parser)
    parser.epilog = _EPILOG
    parser.add_argument("--env", action="store_true", help="print environment variables, too")
    parser.add_argument("--json", action="store_true", help="print a JSON object")


def run(options: argparse.Namespace) -> int:
    """Print what the image is."""
    (image,) = arguments.operands(options)
    reference = ImageReference.parse(image)
    with arguments.service(options) as service:
        platforms = () if options.manifest else service.find_platforms(reference)
        manifest = arguments.find_image(options, service, reference)
        config = service.read_config(reference, manifest=manifest)
    document = _document(manifest, config, platforms)
    if options.env:
        document["env"] = list(config.environment)
    lines = [json.dumps(document, indent=2)] if options.json else map(printable, _lines(str(reference), document))
    output.write("".join(f"{line}\n" for line in lines).encode())
    return 0


def _document(manifest: Manifest, config: ImageConfig, platforms: tuple[Platform, ...]) -> dict[str, Any]:
    """Return what is printed, with the names that the service's own `/images/config` has."""
    return {
        "imageDigest": manifest.digest,
        "mediaType": manifest.media_type,
        "platform": str(config.platform) if config.platform else None,
        "platforms": [str(each) for each in platforms],
        "created": config.created,
        "labels": dict(config.labels),
        "entrypoint": None if config.entrypoint is None else list(config.entrypoint),
        "cmd": None if config.cmd is None else list(config.cmd),
        "workingDir": config.working_directory,
        "user": config.user,
        "exposedPorts": list(config.exposed_ports),
        "size": sum(layer.size for layer in manifest.layers),
        "layers": [
            {"digest": layer.digest, "size": layer.size, "mediaType": layer.media_type} for layer in manifest.layers
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
