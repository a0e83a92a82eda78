"""`ecr-layers smoke`: checks a deployed service from outside."""

import argparse

import botocore.session
import httpx
from rich.console import Console

from ecr_layers.cli import arguments
from ecr_layers.errors import UsageError
from ecr_layers.ops import edge_smoke
from ecr_layers.ops.smoke import Layer, SmokeTest, find_layer
from ecr_layers.registry.authentication import PullTokenAuth
from ecr_layers.registry.signing import FunctionUrlAuth, callers_credentials, is_function_url, region_of

HELP = "Check a deployed service from outside, with your AWS credentials or a pull token"


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
    url = arguments.url_of_service(options)
    if options.image and not options.digest and is_function_url(url):
        raise UsageError("An --image needs the --digest of a layer; without both, they are looked up in ECR.")
    auth = arguments.authentication(options).of(url)
    with httpx.Client(timeout=30) as client:
        if isinstance(auth, PullTokenAuth):
            test = _with_token(options, url, auth, client)
        else:
            test = _signed(options, url, client)
        return 0 if test.run(Console()) else 1


def _signed(options: argparse.Namespace, url: str, client: httpx.Client) -> SmokeTest:
    if options.region is None and not is_function_url(url):
        raise UsageError(
            f"{url} is no function URL. Give a pull token with TOKEN_FILE= or --token-file, or name the region to sign "
            "for with REGION= or --region."
        )
    region = region_of(url, options.region)
    auth = FunctionUrlAuth(callers_credentials(), region)
    if options.digest:
        layer = Layer(options.repository, options.digest, options.image)
    else:
        layer = find_layer(botocore.session.get_session().create_client("ecr", region_name=region), options.repository)
    return SmokeTest(url, layer, client, auth, is_public=options.public)


def _with_token(options: argparse.Namespace, url: str, auth: PullTokenAuth, client: httpx.Client) -> SmokeTest:
    if not options.repository:
        raise UsageError("Name a repository that the token is for: REPOSITORY=… or --repository.")
    if options.digest:
        layer = Layer(options.repository, options.digest, options.image)
    else:
        layer = edge_smoke.find_layer(url, client, auth, options.repository, options.image)
    return edge_smoke.EdgeSmokeTest(url, layer, client, auth)
