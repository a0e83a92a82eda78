"""Arguments that several commands have, and how the service they name is reached."""

import argparse
import os
import re
from pathlib import Path

from ecr_layers.client import SERVICE_VARIABLE, Service, service_url
from ecr_layers.errors import UsageError
from ecr_layers.fetch import read_manifest_file
from ecr_layers.oci.manifests import Manifest, Platform
from ecr_layers.oci.references import ImageReference
from ecr_layers.registry.authentication import Authentication


def add_service(parser: argparse.ArgumentParser, *operands: str) -> None:
    """Add the service and how to log in to it, and the operands behind it.

    The service may be left out where the environment variable names it; how many words there are says whether it is.

    Args:
        parser: The command's parser.
        operands: The names of the command's own operands, in capital letters.
    """
    parser.usage = " ".join(["%(prog)s [SERVICE]", *operands, "[OPTION ...]"])
    parser.add_argument(
        "words",
        nargs="*",
        metavar="SERVICE",
        help=f"function URL or domain of the service; if it is left out, that in the environment variable "
        f"{SERVICE_VARIABLE}",
    )
    parser.set_defaults(operands=operands)
    parser.add_argument("--region", help="sign for this region, if the URL does not name it")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="file with the pull token, NAME:PASSWORD")
    parser.add_argument("--no-sign", action="store_true", help="send no credentials")


def add_image(parser: argparse.ArgumentParser) -> None:
    """Add what one image is named with, besides its name."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--platform", metavar="OS/ARCH", help="the image of this platform, such as linux/arm64")
    which.add_argument(
        "--manifest", type=Path, metavar="FILE", help="the image's manifest; the service need not give it"
    )


def operands(options: argparse.Namespace) -> list[str]:
    """Return the command's own operands, without the service.

    Raises:
        UsageError: If there are too few or too many.
    """
    words, names = options.words, options.operands
    # Without this, a command that lacks an operand would take the service for it.
    least = len(names) if os.environ.get(SERVICE_VARIABLE) else len(names) + 1
    if not least <= len(words) <= len(names) + 1:
        raise UsageError(f"Give {' and '.join(['the service', *names])}, or set {SERVICE_VARIABLE} and leave it out.")
    return list(words[len(words) - len(names) :])


def url_of_service(options: argparse.Namespace) -> str:
    """Return the URL of the service that was named, without a slash at its end.

    Raises:
        UsageError: If there is none, or it is malformed.
    """
    named = len(options.words) > len(operands(options))
    return service_url(options.words[0] if named else None)


def authentication(options: argparse.Namespace) -> Authentication:
    """Return how the caller proves who it is."""
    return Authentication(region=options.region, token_file=options.token_file, is_anonymous=options.no_sign)


def find_image(options: argparse.Namespace, service: Service, reference: ImageReference) -> Manifest:
    """Return the manifest of the image that was named.

    Raises:
        ClientError: If it can't be had.
    """
    if options.manifest:
        return read_manifest_file(options.manifest, reference)
    return service.find_image(reference, Platform.parse(options.platform) if options.platform else None)


def service(options: argparse.Namespace) -> Service:
    """Return the service that was named; the caller closes it.

    Raises:
        UsageError: If it is not a service's URL, or there are no credentials of the kind that it takes.
    """
    return Service(url_of_service(options), authentication(options))


def byte_count(text: str) -> int:
    """Return the number of bytes that an argument names, such as 2000000 or 2M.

    Raises:
        argparse.ArgumentTypeError: If it names none.
    """
    match = re.fullmatch(r"(?P<number>[0-9]{1,18})(?P<unit>[KMG]?)", text)
    if match is None:
        raise argparse.ArgumentTypeError("a number of bytes, such as 2000000, 2000K, 2M or 2G")
    return int(match["number"]) * {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}[match["unit"]]


def port(text: str) -> int:
    """Return the port that an argument names.

    Raises:
        argparse.ArgumentTypeError: If it is not a port.
    """
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > 65535:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return int(text)
