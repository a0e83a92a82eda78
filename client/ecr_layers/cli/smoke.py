"""`ecr-layers smoke`."""

from typing import TYPE_CHECKING, Any

import click

from ecr_layers.cli.options import ServiceOptions, operands, service_options, take_service
from ecr_layers.errors import MissingPackageError, UsageError
from ecr_layers.registry.addresses import region_of
from ecr_layers.registry.authentication import Authentication
from ecr_layers.registry.signing import PullToken, callers_credentials

if TYPE_CHECKING:
    import httpx

    from ecr_layers.ops.smoke import SmokeTest


@click.command(short_help="Check a deployed service")
@click.argument("words", nargs=-1, metavar="")
@click.option("--repository", metavar="NAME", help="repository of the layer to resolve  [default: any]")
@click.option("--digest", metavar="DIGEST", help="digest of the layer to resolve  [default: any]")
@click.option("--image", metavar="TAG", help="tag or digest of an image of the repository, to read its manifest")
@click.option("--public", "is_public", is_flag=True, help="the function URL is public: authType NONE")
@service_options
def command(
    words: tuple[str, ...],
    repository: str | None,
    digest: str | None,
    image: str | None,
    *,
    is_public: bool,
    **options: Any,
) -> int:
    """Check a deployed service from outside, with your AWS credentials or a pull token."""
    service = take_service(options)
    url, _ = operands(service, words)
    if digest and not repository:
        raise _wrong("--digest needs --repository.")
    if image and not digest and region_of(url):
        raise _wrong("--image needs --digest; without both, an image is looked up in ECR.")
    try:
        import httpx  # noqa: PLC0415 (only this command needs it)
        from rich.console import Console  # noqa: PLC0415

        import ecr_layers.ops.smoke  # noqa: F401, PLC0415
    except ImportError:
        raise MissingPackageError("The checks need", "ops") from None
    authorize = Authentication(
        token_file=service.token_file, region=service.region, is_anonymous=service.is_anonymous
    ).of(url)
    with httpx.Client(timeout=30) as client:
        if isinstance(authorize, PullToken):
            test = _with_token(url, authorize, client, (repository, digest, image))
        else:
            test = _signed(service, url, client, (repository, digest, image), is_public=is_public)
        return 0 if test.run(Console()) else 1


Layer = tuple[str | None, str | None, str | None]
"""Repository, digest and image."""


def _signed(
    service: ServiceOptions, url: str, client: "httpx.Client", wanted: Layer, *, is_public: bool
) -> "SmokeTest":
    from ecr_layers.ops.aws import create_client  # noqa: PLC0415
    from ecr_layers.ops.http_auth import FunctionUrlAuth  # noqa: PLC0415
    from ecr_layers.ops.smoke import Layer as Found  # noqa: PLC0415
    from ecr_layers.ops.smoke import SmokeTest, find_layer  # noqa: PLC0415

    region = service.region or region_of(url)
    if region is None:
        raise _wrong(
            f"{url} isn't a function URL. Use --token-file for a pull token, or --region to sign; with make, "
            "TOKEN_FILE= or REGION=."
        )
    auth = FunctionUrlAuth(callers_credentials(), region)
    repository, digest, image = wanted
    if repository and digest:
        layer = Found(repository, digest, image)
    else:
        layer = find_layer(create_client("ecr", region), repository)
    return SmokeTest(url, layer, client, auth, is_public=is_public)


def _with_token(url: str, token: PullToken, client: "httpx.Client", wanted: Layer) -> "SmokeTest":
    from ecr_layers.ops import edge_smoke  # noqa: PLC0415
    from ecr_layers.ops.http_auth import PullTokenAuth  # noqa: PLC0415
    from ecr_layers.ops.smoke import Layer as Found  # noqa: PLC0415

    auth = PullTokenAuth(token)
    repository, digest, image = wanted
    if not repository:
        raise _wrong("Name a repository in the token's scope: --repository; with make, REPOSITORY=.")
    layer = Found(repository, digest, image) if digest else edge_smoke.find_layer(url, client, auth, repository, image)
    return edge_smoke.EdgeSmokeTest(url, layer, client, auth)


def _wrong(message: str) -> UsageError:
    return UsageError(message, code="invalid-arguments")
