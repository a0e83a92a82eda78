"""`ecr-layers proxy`."""

import socket
from typing import Any

import click

from ecr_layers.cli import output
from ecr_layers.cli.options import operands, service_options, take_service
from ecr_layers.cli.signals import Stopped
from ecr_layers.errors import MissingPackageError, UsageError
from ecr_layers.registry.addresses import region_of
from ecr_layers.registry.signing import callers_credentials, require_privacy


@click.command(short_help="Sign requests to a function URL for other clients")
@click.argument("words", nargs=-1, metavar="")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=9001, show_default=True, help="port on 127.0.0.1; 0 takes any"
)
@service_options
def command(words: tuple[str, ...], port: int, **options: Any) -> int:
    """Run a proxy on this machine that signs requests to a function URL, for clients that can't."""
    service = take_service(options)
    url, _ = operands(service, words)
    try:
        import httpx  # noqa: PLC0415 (only this command needs them)
        import uvicorn  # noqa: PLC0415

        from ecr_layers.ops.signing_proxy import SigningProxy  # noqa: PLC0415
    except ImportError:
        raise MissingPackageError("The proxy needs", "ops") from None
    region = service.region or region_of(url)
    if region is None:
        raise UsageError(f"{url} doesn't name its region. Use --region; with make, REGION=.", code="no-region-in-url")
    require_privacy(url)
    credentials = callers_credentials()
    with httpx.Client(timeout=60) as client, _listening(port) as listener:
        proxy = SigningProxy(url, credentials, region, client)
        # An access log would have the paths and queries of requests.
        config = uvicorn.Config(proxy.app(), log_level="warning", access_log=False, lifespan="off", ws="none")
        output.write_line(f"Listening on http://127.0.0.1:{listener.getsockname()[1]}, signing for {url}/")
        try:
            uvicorn.Server(config).run(sockets=[listener])
        except (KeyboardInterrupt, Stopped):
            return 0
    return 0


def _listening(port: int) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise UsageError(
            f"Port {port} of 127.0.0.1 can't be used: {error.strerror}. Use another --port.", code="port-in-use"
        ) from None
