"""`ecr-layers cat`: one file of an image, without unpacking it."""

import argparse

from ecr_layers.cli import arguments, output
from ecr_layers.files.image_files import MOST_BYTES
from ecr_layers.oci.references import ImageReference

HELP = "Print one file of an image; only the layers that it takes to find it are read"

_EPILOG = """\
examples:
  ecr-layers cat SERVICE team/app:1.2 /etc/os-release
  ecr-layers cat SERVICE team/app:1.2 /usr/bin/app --platform linux/arm64 > app
  ecr-layers cat SERVICE team/app:1.2 /etc/passwd --manifest manifest.json
      from a service that gives out layers and no manifests

The newest layer is read first, and no layer below the one that has the file. Links are followed inside the image, and
what a newer layer removes is not found. A layer is verified before a file of it is printed, but for files of more than
32 MiB, which are printed while it is verified.

exit status:
  0  the file is printed
  1  there is no such file, it is a directory, a layer can't be read, or the service does not give it
  2  the command line or the credentials are wrong
  3  what was loaded is not what its digest says
  4  the output can't be written
  130  a signal stopped it
  141  nobody reads the output any more"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    arguments.add_service(parser, "IMAGE", "PATH")
    arguments.add_image(parser)
    parser.epilog = _EPILOG
    parser.add_argument(
        "--max-bytes",
        type=arguments.byte_count,
        default=MOST_BYTES,
        metavar="N",
        help="read no more bytes of layers, after decompression; with K, M or G behind it too (default: 64 GiB)",
    )


def run(options: argparse.Namespace) -> int:
    """Print the file."""
    image, path = arguments.operands(options)
    reference = ImageReference.parse(image)
    with arguments.service(options) as service:
        manifest = arguments.find_image(options, service, reference)
        chunks = service.image_files(reference, manifest=manifest, max_bytes=options.max_bytes).read(path)
        for chunk in chunks:
            output.write(chunk)
    return 0
