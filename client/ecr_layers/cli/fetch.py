"""`ecr-layers fetch`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ecr_layers.cli import output
from ecr_layers.cli.errors import EXIT_STATUSES, tell
from ecr_layers.cli.options import ByteCount, image_options, limit_rate_option, operands, service_options, take_service
from ecr_layers.cli.progress import MODES, Display, display
from ecr_layers.cli.signals import Stopped
from ecr_layers.client import Client
from ecr_layers.errors import UsageError
from ecr_layers.oci.references import checked_digest
from ecr_layers.saving import Saved

OCI, DOCKER_ARCHIVE = "oci", "docker-archive"
MOST_CONNECTIONS = 128

_EPILOG = f"""\
\b
examples:
  ecr-layers fetch team/app:1.2 -o app/
      this machine's image in an OCI image layout
  ecr-layers fetch team/app:1.2 --all-platforms -o app/
      all images of an index
  ecr-layers fetch team/app:1.2 --platform linux/arm64 -o docker-archive:app.tar
      an archive for docker load; -o - writes it to the standard output
  ecr-layers fetch team/app --digest sha256:… --digest sha256:… -o blobs/
      layers or configs: blobs/sha256/…

Run the same command again to resume, whatever stopped it. Commands with the same target wait for each other.

\b
{EXIT_STATUSES}"""


@dataclass(frozen=True, slots=True)
class _Request:
    """What to fetch, and where to."""

    name: str
    output: Path | None
    format: str
    platform: str | None
    manifest: Path | None
    all_platforms: bool
    digests: tuple[str, ...]
    image_name: str | None
    max_bytes: int | None
    is_quick: bool


@click.command(short_help="Download an image or layers, verified", epilog=_EPILOG)
@click.argument("words", nargs=-1, metavar="IMAGE")
@click.option("-o", "--output", "target", metavar="PATH", help="directory, or file of a docker-archive")
@image_options
@click.option("--all-platforms", is_flag=True, help="all images of an index")
@click.option("--digest", "digests", multiple=True, metavar="DIGEST", help="a layer or config; can be repeated")
@click.option("--format", "kind", type=click.Choice([OCI, DOCKER_ARCHIVE]), help=f"format  [default: {OCI}]")
@click.option("--name", "image_name", metavar="NAME", help="the image's name in the target: HOST/team/app:1.2")
@click.option("--max-bytes", type=ByteCount(), metavar="N", help="refuse larger blobs; 2G, 2GB or 2GiB")
@click.option("--quick", "is_quick", is_flag=True, help="check existing blobs by size only, not by digest")
@click.option(
    "--connections", type=click.IntRange(1, MOST_CONNECTIONS), default=32, show_default=True, help="parallel ranges"
)
@click.option("--progress", "mode", type=click.Choice(MODES), default="auto", show_default=True, help="progress")
@click.option("--json", "mode", flag_value="json", help="the same as --progress=json")
@click.option("--quiet", "mode", flag_value="none", help="the same as --progress=none")
@limit_rate_option
@service_options
def command(words: tuple[str, ...], target: str | None, connections: int, mode: str, **options: Any) -> int:
    """Download an image or layers, every blob verified."""
    service = take_service(options)
    url, (name,) = operands(service, words, "IMAGE")
    request = _request(name, target, options)
    with display(mode) as shown, service.client(url, connections, shown.retrying) as client:
        try:
            saved = _fetch(client, request, shown)
        except Stopped:
            tell("Stopped. Run it again to resume.")
            raise
        shown.finish(saved)
    return 0


def _request(name: str, target: str | None, options: dict[str, Any]) -> _Request:
    """Return the request that the options describe.

    Raises:
        UsageError: If they contradict each other.
    """
    if not target:
        raise _wrong("Name the target with -o PATH.")
    kind, path, named = _target(target, options.pop("kind"))
    image_name = options.pop("image_name")
    request = _Request(name, path, kind, image_name=image_name or named, **options)
    if request.digests and (":" in name or request.platform or request.all_platforms or kind != OCI):
        raise _wrong("With --digest, name a repository only: no tag, platform or format.")
    if sum(map(bool, (request.platform, request.manifest, request.all_platforms))) > 1:
        raise _wrong("Use only one of --platform, --all-platforms and --manifest.")
    if kind == DOCKER_ARCHIVE and request.all_platforms:
        raise _wrong("A docker-archive holds one image. Use --format oci for --all-platforms.")
    if kind == DOCKER_ARCHIVE and path is not None and (not path.name or path.is_dir()):
        raise _wrong(f"{path} is a directory, but a docker-archive is a file. Use a name such as -o app.tar.")
    if kind == OCI and path is None:
        raise _wrong("Only --format docker-archive can be written to the standard output.")
    for digest in request.digests:
        checked_digest(digest)
    return request


def _target(target: str, kind: str | None) -> tuple[str, Path | None, str | None]:
    """Return format, path and image name of a target, also as skopeo writes it: `oci:PATH:NAME`."""
    prefix, colon, rest = target.partition(":")
    named = None
    if colon and prefix in {OCI, DOCKER_ARCHIVE}:
        if kind not in {None, prefix}:
            raise _wrong(f"{target!r} contradicts --format {kind}.")
        path, _, reference = rest.partition(":")
        kind, target, named = prefix, path, reference or None
    if not target:
        raise _wrong("Name the target with -o PATH.")
    return kind or OCI, None if target == "-" else Path(target), named


def _fetch(client: Client, request: _Request, shown: Display) -> Saved:
    options: dict[str, Any] = {
        "max_bytes": request.max_bytes,
        "is_quick": request.is_quick,
        "progress": shown.update,
        "on_wait": lambda: shown.note(f"Waiting for another ecr-layers process to finish with {request.output}…"),
    }
    if request.digests and request.output is not None:
        return client.save_layers(request.name, request.digests, request.output, **options)
    image = client.image(
        request.name,
        platform=request.platform,
        all_platforms=request.all_platforms,
        manifest=request.manifest,
    )
    if request.format == OCI and request.output is not None:
        return image.save(request.output, name=request.image_name, **options)
    if request.output is not None:
        return image.save_docker(request.output, name=request.image_name, **options)
    with output.errors():
        return image.save_docker(output.stream(), name=request.image_name, **options)


def _wrong(message: str) -> UsageError:
    return UsageError(message, code="invalid-arguments")
