"""`ecr-layers fetch`: an image or layers, verified, into a directory or an archive."""

import argparse
import re
import sys
from pathlib import Path

from ecr_layers.cli import arguments
from ecr_layers.cli.progress import display
from ecr_layers.client import Service
from ecr_layers.errors import UsageError
from ecr_layers.fetch import Fetched, Fetcher, FetchOptions, image_to_fetch, read_manifest_file
from ecr_layers.oci.references import ImageReference, checked_digest
from ecr_layers.transfer.loader import TransferSettings

HELP = "Load an image or layers, each blob verified, and go on where an earlier run stopped"

OCI, DOCKER_ARCHIVE = "oci", "docker-archive"
MOST_CONNECTIONS = 128

_EPILOG = """\
examples:
  ecr-layers fetch SERVICE team/app:1.2 -o app/
      an OCI image layout: index.json, oci-layout, blobs/; of an image index all images
  ecr-layers fetch SERVICE team/app@sha256:… --platform linux/arm64 --format docker-archive -o app.tar
      one image of an index, for docker load
  ecr-layers fetch SERVICE team/app --digest sha256:… --digest sha256:… -o blobs/
      layers or configs alone: blobs/sha256/…
  ecr-layers fetch SERVICE team/app:1.2 --manifest manifest.json -o app/
      from a service that gives out layers and no manifests

IMAGE is team/app, team/app:TAG or team/app@sha256:…, with 123456789012/ in front for another account's registry. The
tag is latest if there is none. Without --platform an image index is loaded as a whole; a docker-archive holds one
image, so there it is the only one, or that of linux on this machine's architecture. Foreign layers, which the registry
does not have, are left out, and named.

A blob has the suffix .part until its size and digest are right, and a journal beside it. Run the same command again
after whatever stopped it: what is there is not loaded again. Runs with the same target wait for each other.

exit status:
  0  everything is there and verified
  1  the service or S3 does not give what it takes, though they were asked again
  2  the command line or the credentials are wrong
  3  what was loaded, twice, is not what its digest says
  4  the target can't be written
  130  a signal stopped it"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    arguments.add_service(parser, "IMAGE")
    parser.epilog = _EPILOG
    parser.add_argument(
        "-o", "--output", type=Path, metavar="PATH", help="directory to write to, or file if it is a docker-archive"
    )
    parser.add_argument("--platform", metavar="OS/ARCH", help="the image of this platform, such as linux/arm64")
    parser.add_argument(
        "--format",
        choices=[OCI, DOCKER_ARCHIVE],
        default=OCI,
        help=f"an OCI image layout, or an archive for docker load (default: {OCI})",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--manifest", type=Path, metavar="FILE", help="the image's manifest; the service need not give it"
    )
    what.add_argument("--digest", action="append", metavar="DIGEST", help="a layer or config; may be given many times")
    parser.add_argument(
        "--max-bytes",
        type=arguments.byte_count,
        metavar="N",
        help="refuse blobs with more bytes; with K, M or G behind it too",
    )
    parser.add_argument(
        "--connections", type=connection_count, default=32, metavar="N", help="ranges to load at once (default: 32)"
    )
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="write JSON objects, one a line, to the standard output")
    shown.add_argument("--quiet", action="store_true", help="write nothing but errors")


def run(options: argparse.Namespace) -> int:
    """Fetch, and show how far it is."""
    (image,) = arguments.operands(options)
    if options.output is None:
        raise UsageError("Name the target: -o PATH.")
    reference = ImageReference.parse(image)
    _check(options, image)
    with (
        Service(
            arguments.url_of_service(options),
            arguments.authentication(options),
            transfers=TransferSettings(connections=options.connections),
        ) as service,
        display(is_quiet=options.quiet, is_json=options.json) as shown,
    ):
        fetch_options = FetchOptions(
            options.max_bytes,
            shown.update,
            lambda: shown.note(f"Another run has {options.output}. Waiting for it to end."),
        )
        try:
            fetched = _fetch(service, service.fetcher(reference.repository, fetch_options), reference, options)
        except KeyboardInterrupt:
            print("Stopped. Run the same command again; it goes on where it is.", file=sys.stderr)
            raise
        shown.finish(fetched)
    return 0


def _check(options: argparse.Namespace, image: str) -> None:
    """Refuse options that exclude one another."""
    if options.digest and (":" in image or options.platform or options.format != OCI):
        raise UsageError("With --digest, name a repository alone: no tag, --platform or --format.")
    if options.format == DOCKER_ARCHIVE and (not options.output.name or options.output.is_dir()):
        raise UsageError(f"{options.output} is a directory, and a docker-archive is a file. Name one: -o app.tar")
    if options.manifest and options.platform:
        raise UsageError("A --manifest is that of one image already. Leave --platform out.")
    for digest in options.digest or ():
        checked_digest(digest)


def _fetch(service: Service, fetcher: Fetcher, reference: ImageReference, options: argparse.Namespace) -> Fetched:
    if options.digest:
        return fetcher.blobs(options.digest, options.output)
    if options.manifest:
        root = read_manifest_file(options.manifest, reference)
    else:
        root = image_to_fetch(service, reference, options.platform, is_one=options.format == DOCKER_ARCHIVE)
    if options.format == DOCKER_ARCHIVE:
        return fetcher.docker_archive(root, reference, options.output)
    return fetcher.image(root, reference.tag, options.output)


def connection_count(text: str) -> int:
    """Return the number of connections that an argument names.

    Raises:
        argparse.ArgumentTypeError: If it names none.
    """
    if not re.fullmatch("[0-9]{1,3}", text) or not 1 <= int(text) <= MOST_CONNECTIONS:
        raise argparse.ArgumentTypeError(f"a number from 1 to {MOST_CONNECTIONS}")
    return int(text)
