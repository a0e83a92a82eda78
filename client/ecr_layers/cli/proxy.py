"""`ecr-layers proxy`: signs requests to a function URL, for clients that can't."""

import argparse
import socket

import httpx

from ecr_layers.cli import arguments
from ecr_layers.errors import UsageError
from ecr_layers.registry.signing import callers_credentials, region_of

HELP = "Sign requests to a function URL, for clients that can't, such as those of registries"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    arguments.add_service(parser)
    parser.add_argument(
        "--port", type=arguments.port, default=9001, help="port on 127.0.0.1; 0 takes any (default: 9001)"
    )


def run(options: argparse.Namespace) -> int:
    """Run the proxy until a signal ends it, which is no failure."""
    try:
        import uvicorn  # noqa: PLC0415 (what only this command needs)

        from ecr_layers.ops.signing_proxy import SigningProxy  # noqa: PLC0415
    except ImportError:
        raise UsageError("The proxy needs more packages: pip install 'ecr-layers[proxy]'") from None
    url = arguments.url_of_service(options)
    region = region_of(url, options.region)
    credentials = callers_credentials()
    with httpx.Client(timeout=60) as client, _listening(options.port) as listener:
        proxy = SigningProxy(url, credentials, region, client)
        # No access log: it would have the paths and queries of requests.
        config = uvicorn.Config(proxy.app(), log_level="warning", access_log=False, lifespan="off", ws="none")
        print(f"Listening on http://127.0.0.1:{listener.getsockname()[1]}, signing for {url}/", flush=True)
        try:
            uvicorn.Server(config).run(sockets=[listener])
        except KeyboardInterrupt:
            return 0
    return 0


def _listening(port: int) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise UsageError(f"Port {port} of 127.0.0.1 can't be used: {error.strerror}. Name another.") from None
