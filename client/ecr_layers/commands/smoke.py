"""`ecr-layers smoke`: checks a deployed service from outside."""

import argparse

import botocore.session
import httpx
from rich.console import Console

from ecr_layers.commands import arguments
from ecr_layers.errors import UsageError
from ecr_layers.signing import FunctionUrlAuth, callers_credentials, region_of
from ecr_layers.smoke import Layer, SmokeTest, find_layer

HELP = "Check a deployed service from outside, with your AWS credentials"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    arguments.add_service(parser)
    parser.add_argument("--repository", metavar="NAME", help="repository of the layer to resolve (default: any)")
    parser.add_argument("--digest", metavar="DIGEST", help="digest of the layer to resolve (default: any)")
    parser.add_argument(
        "--image", metavar="TAG", help="tag or digest of an image of the repository, whose manifest is looked at"
    )
    parser.add_argument("--public", action="store_true", help="the function URL is open to everyone: authType NONE")


def run(options: argparse.Namespace) -> int:
    """Make all checks, print what each found, and return 1 if one failed."""
    if options.digest and not options.repository:
        raise UsageError("A --digest needs the --repository that it is in.")
    if options.image and not options.digest:
        raise UsageError("An --image needs the --digest of a layer; without both, they are looked up in ECR.")
    url = arguments.url_of_service(options)
    region = region_of(url, options.region)
    auth = FunctionUrlAuth(callers_credentials(), region)
    if options.digest:
        layer = Layer(options.repository, options.digest, options.image)
    else:
        layer = find_layer(botocore.session.get_session().create_client("ecr", region_name=region), options.repository)
    with httpx.Client(timeout=30) as client:
        test = SmokeTest(url, layer, client, auth, is_public=options.public)
        return 0 if test.run(Console()) else 1
