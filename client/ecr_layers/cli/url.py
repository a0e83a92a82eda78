"""`ecr-layers url`: prints a layer's download URL."""

import argparse

from ecr_layers.cli import arguments

HELP = "Print the download URL of a layer, which is a secret as long as it is valid"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    arguments.add_service(parser, "REPOSITORY", "DIGEST")
    parser.epilog = 'example:\n  curl -L "$(ecr-layers url SERVICE team/app sha256:…)" -o layer.tar.gz'


def run(options: argparse.Namespace) -> int:
    """Print the URL."""
    repository, digest = arguments.operands(options)
    with arguments.service(options) as service:
        (found,) = service.resolve(repository, [digest])
    print(found.url)
    return 0
