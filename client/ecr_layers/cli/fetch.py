"""`ecr-layers fetch`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ecr_layers.cli import output
from ecr_layers.cli.errors import EXIT_STATUSES
from ecr_layers.cli.options import (
    download_options,
    image_options,
    operands,
    service_options,
    take_downloads,
    take_service,
)
from ecr_layers.client import Client
from ecr_layers.errors import UsageError
from ecr_layers.image import Image
from ecr_layers.oci.references import checked_digest
from ecr_layers.saving.options import Saved, SaveOptions
from ecr_layers.saving.outputs import Format

FILES = "files"
KINDS = (*(each.value for each in Format), FILES)

_EPILOG = f"""\
\b
examples:
  ecr-layers fetch team/app:1.2 -o app/
      this machine's image in an OCI image layout
  ecr-layers fetch team/app:1.2 team/web:3 --all-platforms -o app/
      all images of two indexes
  ecr-layers fetch team/app:1.2 --platform linux/arm64 -o docker-archive:app.tar
      an archive for docker load; -o - writes it to the standard output
  ecr-layers fetch team/app:1.3 --have app/ -o oci-archive:delta.tar
      only what the layout app/ doesn't have, for ecr-layers apply
  ecr-layers fetch team/app@sha256:… --format files -o sbom/
      the files of an artifact
  ecr-layers fetch team/app --digest sha256:… --digest sha256:… -o blobs/
      layers or configs: blobs/sha256/…

Run the same command again to resume, whatever stopped it. Commands with the same target wait for each other.

\b
{EXIT_STATUSES}"""


@dataclass(frozen=True, slots=True)
class _Request:
    """What to fetch, and where to."""

    names: tuple[str, ...]
    output: Path | None
    kind: str
    platform: str | None
    manifest: Path | None
    all_platforms: bool
    digests: tuple[str, ...]
    image_name: str | None
    have: tuple[str, ...]


@click.command(short_help="Download images or layers, verified", epilog=_EPILOG)
@click.argument("words", nargs=-1, metavar="IMAGE…")
@click.option("-o", "--output", "target", metavar="PATH", help="directory, or file of an archive")
@image_options
@click.option("--all-platforms", is_flag=True, help="all images of an index")
@click.option("--digest", "digests", multiple=True, metavar="DIGEST", help="a layer or config; can be repeated")
@click.option("--format", "kind", type=click.Choice(KINDS), help=f"format  [default: {Format.OCI}]")
@click.option("--name", "image_name", metavar="NAME", help="the image's name in the target: HOST/team/app:1.2")
@click.option(
    "--have", multiple=True, metavar="PATH_OR_IMAGE", help="leave out the blobs of a layout or image; can be repeated"
)
@download_options
@service_options
def command(words: tuple[str, ...], target: str | None, **options: Any) -> int:
    """Download images or layers, every blob verified."""
    service, downloads = take_service(options), take_downloads(options)
    url, names = operands(service, words, "IMAGE", repeats=True)
    request = _request(tuple(names), target, options)
    with downloads.client(service, url, request.output) as (client, shown, of_blobs):
        for saved in _fetch(client, request, of_blobs):
            shown.finish(saved)
    return 0


def _request(names: tuple[str, ...], target: str | None, options: dict[str, Any]) -> _Request:
    """Return the request that the options describe.

    Raises:
        UsageError: If they contradict each other.
    """
    kind, path, named = _target(target or "", options.pop("kind"))
    request = _Request(names, path, kind, image_name=options.pop("image_name") or named, **options)
    _check_images(request)
    is_archive = kind in {Format.OCI_ARCHIVE, Format.DOCKER_ARCHIVE}
    if not is_archive and path is None:
        raise _wrong("Only archives can be written to the standard output. Use --format oci-archive or docker-archive.")
    if is_archive and path is not None and (not path.name or path.is_dir()):
        raise _wrong(f"{path} is a directory, but a {kind} is a file. Use a name such as -o app.tar.")
    if kind == FILES and path is not None and not path.name:
        raise _wrong(f"{path} isn't a new directory. Use a name such as -o files/.")
    return request


def _check_images(request: _Request) -> None:
    kind, is_single = request.kind, len(request.names) == 1
    has_choice = request.platform or request.all_platforms
    if request.digests and (not is_single or ":" in request.names[0] or has_choice or kind != Format.OCI):
        raise _wrong("With --digest, name a repository only: no tag, platform or format.")
    if sum(map(bool, (request.platform, request.manifest, request.all_platforms))) > 1:
        raise _wrong("Use only one of --platform, --all-platforms and --manifest.")
    if not is_single and (request.manifest or request.image_name or kind == FILES):
        raise _wrong("Name one image only with --manifest, --name and --format files.")
    if kind == Format.DOCKER_ARCHIVE and request.all_platforms:
        raise _wrong("A docker-archive can't hold an index. Use --format oci for --all-platforms.")
    if request.have and (request.digests or kind not in {Format.OCI, Format.OCI_ARCHIVE}):
        raise _wrong("Use --have with --format oci or oci-archive.")
    for digest in request.digests:
        checked_digest(digest)


def _target(target: str, kind: str | None) -> tuple[str, Path | None, str | None]:
    """Return format, path and image name of a target, also as skopeo writes it: `oci:PATH:NAME`."""
    prefix, colon, rest = target.partition(":")
    named = None
    if colon and prefix in KINDS:
        if kind not in {None, prefix}:
            raise _wrong(f"{target!r} contradicts --format {kind}.")
        path, _, reference = rest.partition(":")
        kind, target, named = prefix, path, reference or None
    if not target:
        raise _wrong("Name the target with -o PATH.")
    return kind or Format.OCI, None if target == "-" else Path(target), named


def _fetch(client: Client, request: _Request, options: SaveOptions) -> tuple[Saved, ...]:
    if request.digests and request.output is not None:
        return (client.save_layers(request.names[0], request.digests, request.output, **options),)
    images = [_image(client, name, request) for name in request.names]
    if request.kind == FILES and request.output is not None:
        return (images[0].save_files(request.output, **options),)
    kind, name = Format(request.kind), request.image_name
    have = [each if Path(each).exists() else _image(client, each, request) for each in request.have]
    if request.output is not None:
        return client.save(images, request.output, kind, name=name, have=have, **options)
    with output.errors():
        return client.save(images, output.stream(), kind, name=name, have=have, **options)


def _image(client: Client, name: str, request: _Request) -> Image:
    return client.image(name, platform=request.platform, all_platforms=request.all_platforms, manifest=request.manifest)


def _wrong(message: str) -> UsageError:
    return UsageError(message, code="invalid-arguments")
