"""The whole service on this machine: the function behind a local function URL, with the local ECR and S3."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx

from local.aws import LocalAws, local_aws
from local.execution_environment import Function
from local.function_url import create_function_url_app
from local.lambda_service import AsynchronousConfiguration, AsynchronousInvocations, LambdaApi, LocalLambda
from local.oci_layout import OciLayout
from local.server import running
from local.sigv4 import LIFETIME

HANDLER = "layer_resolver.handler.lambda_handler"
CODE = Path(__file__).parent.parent / "lambda_src"

EVERYTHING: Mapping[str, str] = {"IMAGE_PULL": "true", "LIST_TAGS": "true"}
"""Environment variables of the function that turn on whatever an operator can turn on."""

# Lambda waits a minute and then two; nobody wants to wait that long for a local try.
_RETRY_DELAYS_SECONDS = (1.0, 2.0)


class PortError(Exception):
    """The port can't be listened on; the message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Service:
    """A running service.

    Attributes:
        url: The function URL.
        lambda_url: The endpoint of Lambda's Invoke action.
        aws: The local ECR and S3.
    """

    url: str
    lambda_url: str
    aws: LocalAws


@contextmanager
def local_service(
    repositories: Mapping[str, OciLayout],
    *,
    port: int = 0,
    ecr_latency_ms: float = 0.0,
    url_lifetime: timedelta = LIFETIME,
    opted_into: Mapping[str, str] = EVERYTHING,
    write_log: Callable[[str], None],
) -> Iterator[Service]:
    """Run the service while the context lasts; it is ready when the context is entered.

    Args:
        repositories: The image layout behind each repository name.
        port: The function URL's port on 127.0.0.1; 0 takes any that is free.
        ecr_latency_ms: How long, in milliseconds, each call to ECR takes at least.
        url_lifetime: How long download URLs are valid.
        opted_into: Environment variables of the function for what an operator can opt into.
        write_log: Gets each line that the function writes.

    Raises:
        PortError: If the port can't be listened on.
        httpx.HTTPStatusError: If the function does not start; what it wrote says why.
    """
    with local_aws(repositories, ecr_latency_ms=ecr_latency_ms, url_lifetime=url_lifetime) as aws:
        function = Function(
            handler=HANDLER, code=CODE, environment={**aws.environment(), **opted_into}, snap_start=True
        )
        with (
            LocalLambda(function, write_log) as service,
            AsynchronousInvocations(service, AsynchronousConfiguration(_RETRY_DELAYS_SECONDS)) as asynchronous,
            running(LambdaApi(service, asynchronous).app()) as lambda_url,
            _function_url(service, port) as url,
        ):
            # A proxy that the environment names can't reach this machine's loopback interface.
            httpx.get(f"{url}/healthz", timeout=30, trust_env=False).raise_for_status()
            try:
                yield Service(url, lambda_url, aws)
            finally:
                # Before the servers, so that requests under way are answered and none of these waits for the function.
                service.close()


@contextmanager
def _function_url(service: LocalLambda, port: int) -> Iterator[str]:
    with ExitStack() as stack:
        try:
            url = stack.enter_context(running(create_function_url_app(service.invoke), port=port))
        except OSError as error:
            raise PortError(
                f"Port {port} of 127.0.0.1 can't be used: {error.strerror}. "
                "Name another one, or 0 for any that is free."
            ) from None
        yield url
