"""Lambda's entry point: tells which trigger an event comes from, and hands it on."""

import gc

# Loading makes many objects and hardly any garbage; looking for it takes a tenth of the time.
gc.disable()

import importlib
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from snapshot_restore_py import register_after_restore, register_before_snapshot

from layer_resolver.backend import Backend
from layer_resolver.blobs import BlobReader
from layer_resolver.download_urls import Hosts
from layer_resolver.ecr import Ecr, EcrClient, create_ecr_client, rehearse
from layer_resolver.event_api import EventApi
from layer_resolver.function_url import FunctionUrl
from layer_resolver.http_api import HttpApi
from layer_resolver.images import ImageReader
from layer_resolver.invocation import Invocation
from layer_resolver.network import Deadline, tls_context
from layer_resolver.observability import Publisher, quieten_libraries
from layer_resolver.registry_api import RegistryApi
from layer_resolver.resolver import LayerUrlResolver
from layer_resolver.settings import Settings

if TYPE_CHECKING:
    from layer_resolver.pull_events import EventsClient, PullEvents

# How much of the invocation's time is kept for writing the answer.
_SECONDS_TO_ANSWER = 0.5

# Modules that are loaded when a request first needs them.
_LOADED_LATER = (
    "layer_resolver.manifests",
    "layer_resolver.openapi",
    "aws_lambda_powertools.utilities.parser.models",
)

Handler = Callable[[Any, LambdaContext], dict[str, Any]]


def create_handler(
    create_client: Callable[[], EcrClient] = create_ecr_client,
    settings: Settings | None = None,
    create_events_client: "Callable[[], EventsClient] | None" = None,
) -> Handler:
    """Return the handler of a function.

    Args:
        create_client: Makes the ECR client.
        settings: What the operator has opted into; without it, nothing.
        create_events_client: Makes the client of EventBridge, if one is needed; without it, botocore's own.
    """
    settings = settings or Settings()
    ecr = Ecr(create_client)
    hosts = Hosts(ecr.partition, frozenset(settings.download_url_hosts), ecr.is_local)
    backend = Backend(LayerUrlResolver(ecr, hosts), ImageReader(ecr), BlobReader(), settings)
    function_url = FunctionUrl({"": HttpApi(backend), "v2": RegistryApi(backend)}, settings.edge_distribution_arn)
    event_api = EventApi(backend)
    publisher = Publisher(settings.stack_name)
    pull_events = _pull_events(settings, create_events_client)

    def handle(event: Any, context: LambdaContext) -> dict[str, Any]:
        remaining = context.get_remaining_time_in_millis() / 1000
        invocation = Invocation(
            Deadline.after(remaining - _SECONDS_TO_ANSWER),
            lambda_request_id=context.aws_request_id,
            function_arn=context.invoked_function_arn,
        )
        try:
            if is_function_url_event(event):
                answer = function_url.answer(event, invocation)
                if pull_events is not None:
                    pull_events.put(invocation)
                return answer
            return event_api.answer(event, invocation)
        finally:
            publisher.publish(invocation)

    return handle


def _pull_events(settings: Settings, create_client: "Callable[[], EventsClient] | None") -> "PullEvents | None":
    if settings.pull_event_bus is None:
        return None
    from layer_resolver.pull_events import PullEvents, create_events_client  # noqa: PLC0415

    return PullEvents(settings.pull_event_bus, create_client or create_events_client)


def is_function_url_event(event: object) -> bool:
    """Tell whether an event is a request to the function URL."""
    return isinstance(event, dict) and "rawPath" in event and "requestContext" in event


quieten_libraries()
_handler = create_handler(settings=Settings.from_environment())


def lambda_handler(event: Any, context: LambdaContext) -> dict[str, Any]:
    """Answer an event of any of the function's triggers; Lambda calls this."""
    return _handler(event, context)


def load_before_snapshot() -> None:
    """Load what a request would have to wait for otherwise, and drop what environments must not share.

    SnapStart restores many environments from one snapshot. The handler is made anew, so that the snapshot has neither
    credentials nor connections nor download URLs, and a restored environment has nothing left to make.
    Source: https://docs.aws.amazon.com/lambda/latest/dg/snapstart-uniqueness.html
    """
    global _handler  # noqa: PLW0603
    for module in _LOADED_LATER:
        importlib.import_module(module)
    tls_context()
    rehearse()
    _handler = create_handler(settings=Settings.from_environment())
    gc.freeze()


def renew_after_restore() -> None:
    """Give each environment random numbers of its own, for libraries that draw from the process's generator."""
    random.seed()


register_before_snapshot(load_before_snapshot)
register_after_restore(renew_after_restore)

# What is loaded stays, so the garbage collector need not look at it.
gc.freeze()
gc.enable()
