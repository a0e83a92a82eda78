"""Arguments that several commands have, and how the service they name is reached."""

import argparse
import os
import re
from pathlib import Path

import httpx

from ecr_layers.authentication import Authentication
from ecr_layers.errors import UsageError

SERVICE_VARIABLE = "ECR_LAYERS_URL"


def add_service(parser: argparse.ArgumentParser) -> None:
    """Add the service and how to log in to it."""
    parser.add_argument(
        "service",
        metavar="SERVICE",
        help=f"function URL or domain of the service, or '-' for the environment variable {SERVICE_VARIABLE}",
    )
    parser.add_argument("--region", help="sign for this region, if the URL does not name it")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="file with the pull token, NAME:PASSWORD")
    parser.add_argument("--no-sign", action="store_true", help="send no credentials")


def service_url(options: argparse.Namespace) -> str:
    """Return the URL of the service that was named, without a slash at its end.

    Raises:
        UsageError: If it is none.
    """
    service: str = options.service
    if service == "-":
        service = os.environ.get(SERVICE_VARIABLE, "")
        if not service:
            raise UsageError(f"{SERVICE_VARIABLE} is not set. Set it to the service, or name the service.")
    url = service if "://" in service else f"https://{service}"
    if not re.fullmatch(r"https?://[A-Za-z0-9.:\[\]-]+/?", url):
        raise UsageError(f"{service!r} is no service. Give a function URL, https://….on.aws/, or a domain.")
    return url.rstrip("/")


def authentication(options: argparse.Namespace, url: str) -> httpx.Auth | None:
    """Return what proves to the service who asks, None if nothing is to.

    Raises:
        UsageError: If there are no credentials of the kind that the service takes.
    """
    found = Authentication(region=options.region, token_file=options.token_file, is_anonymous=options.no_sign)
    return found.of(url)


def port(text: str) -> int:
    """Return the port that an argument names.

    Raises:
        argparse.ArgumentTypeError: If it is none.
    """
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > 65535:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return int(text)
