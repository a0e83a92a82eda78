"""`ecr-layers cat`: one file of an image, without unpacking it."""

import argparse
import os
import sys

from ecr_layers.commands import arguments
from ecr_layers.errors import TargetError
from ecr_layers.image_files import MOST_BYTES
from ecr_layers.references import ImageReference

HELP = "Print one file of an image; only the layers that it takes to find it are read"

NOBODY_READS = 141
"""Exit status of a command whose output nobody reads any more: that of SIGPIPE in a shell."""

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
  130  a signal stopped it"""


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
        try:
            for chunk in chunks:
                sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            # Python would complain of what is left when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return NOBODY_READS
        except OSError as error:
            raise TargetError(f"The output can't be written: {error.strerror}.") from None
    return 0
