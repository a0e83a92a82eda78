"""The whole service on this machine: the function behind a local function URL, with the local ECR and S3."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from botocore.credentials import Credentials

from ecr_layers.ops.http_auth import FunctionUrlAuth
from local.aws import LOCAL_S3, REGION, S3, LocalAws, local_aws
from local.docs_page import DocsPage, examples_of
from local.execution_environment import Function
from local.function_url import LOCAL_CALLER_ARN, create_function_url_app
from local.lambda_service import AsynchronousConfiguration, AsynchronousInvocations, LambdaApi, LocalLambda
from local.oci_layout import OciLayout
from local.server import running
from local.sigv4 import RequestVerifier

HANDLER = "layer_resolver.handler.lambda_handler"
CODE = Path(__file__).parent.parent / "lambda_src"

EVERYTHING: Mapping[str, str] = {"IMAGE_PULL": "true", "LIST_TAGS": "true"}
"""Environment variables of the function that turn on whatever an operator can turn on."""

# Lambda waits a minute and then two.
_RETRY_DELAYS_SECONDS = (1.0, 2.0)


@dataclass(frozen=True, slots=True)
class FunctionUrl:
    """How the function URL is to be.

    Attributes:
        port: Its port on 127.0.0.1; 0 takes any that is free.
        renames_headers: Whether it renames headers, as AWS's is reported to.
        caller: Whose signature it asks for, as with the auth AWS_IAM; without it, everyone may call.
        caller_arn: The IAM ARN of that caller.
        has_docs_page: Whether it also answers `/docs`, the page to try the API.
        edge_serves_layers: Whether callers through an edge get URLs under its host.
        registries: Other accounts whose registries it serves; they have the same images.
    """

    port: int = 0
    renames_headers: bool = False
    caller: Credentials | None = None
    caller_arn: str = LOCAL_CALLER_ARN
    has_docs_page: bool = False
    edge_serves_layers: bool = False
    registries: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Service:
    """A running service: the function URL, Lambda's Invoke endpoint, ECR and S3."""

    url: str
    lambda_url: str
    function_arn: str
    aws: LocalAws


@contextmanager
def local_service(
    repositories: Mapping[str, OciLayout],
    *,
    function_url: FunctionUrl = FunctionUrl(),
    ecr_latency_ms: float = 0.0,
    s3: S3 = LOCAL_S3,
    opted_into: Mapping[str, str] = EVERYTHING,
    write_log: Callable[[str], None],
) -> Iterator[Service]:
    """Run the service while the context lasts; it is ready when the context is entered.

    Raises:
        PortError: If the port can't be listened on.
        httpx.HTTPStatusError: If the function does not start; what it wrote says why.
    """
    caller = function_url.caller
    with local_aws(repositories, ecr_latency_ms=ecr_latency_ms, s3=s3, registries=function_url.registries) as aws:
        layers = {"EDGE_LAYERS_ORIGIN": aws.s3_url} if function_url.edge_serves_layers else {}
        allowed = {"ALLOWED_REGISTRIES": ",".join(function_url.registries)} if function_url.registries else {}
        environment = {**aws.environment(), **opted_into, **layers, **allowed}
        function = Function(handler=HANDLER, code=CODE, environment=environment, snap_start=True)
        service = LocalLambda(function, write_log)
        app = create_function_url_app(
            service.invoke,
            renames_headers=function_url.renames_headers,
            verifier=RequestVerifier(caller, REGION) if caller else None,
            caller_arn=function_url.caller_arn,
        )
        if function_url.has_docs_page:
            app = DocsPage(app, examples_of(*next(iter(repositories.items()))))
        with (
            service,
            AsynchronousInvocations(service, AsynchronousConfiguration(_RETRY_DELAYS_SECONDS)) as asynchronous,
            running(LambdaApi(service, asynchronous).app()) as lambda_url,
            running(app, port=function_url.port) as url,
        ):
            # A proxy that the environment names can't reach this machine's loopback interface.
            auth = FunctionUrlAuth(caller, REGION) if caller else None
            httpx.get(f"{url}/healthz", auth=auth, timeout=30, trust_env=False).raise_for_status()
            try:
                yield Service(url, lambda_url, function.arn, aws)
            finally:
                # Before the servers, so that requests under way are answered and none of these waits for the function.
                service.close()
