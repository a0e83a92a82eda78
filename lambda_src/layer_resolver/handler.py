"""Lambda's entry point: tells which trigger an event comes from, and hands it on."""

import random
from collections.abc import Callable
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from snapshot_restore_py import register_after_restore

from layer_resolver.event_api import EventApi
from layer_resolver.http_api import HttpApi, is_function_url_event
from layer_resolver.images import ImageReader
from layer_resolver.observability import (
    Invocation,
    logger,
    metrics,
    record_cache_hits,
    record_ecr_call,
    redact_library_logs,
)
from layer_resolver.registry_api import RegistryApi, is_registry_request
from layer_resolver.resolver import Deadline, EcrClient, LayerUrlResolver, create_ecr_client
from layer_resolver.settings import Settings

# What is kept of the invocation's time for writing the answer.
_SECONDS_TO_ANSWER = 0.5

# A request to the function URL has the id that the caller is told; an event of EventBridge has an id of its own.
_CORRELATION_ID = "requestContext.requestId || id"

Handler = Callable[[Any, LambdaContext], dict[str, Any]]


def create_handler(client: EcrClient, settings: Settings | None = None) -> Handler:
    """Return the handler of a function that asks `client`.

    Args:
        client: The ECR client; `create_ecr_client` makes the one of the deployed function.
        settings: What the operator has opted into; without it, nothing.
    """
    settings = settings or Settings()
    resolver = LayerUrlResolver(client, record_ecr_call, record_cache_hits)
    images = ImageReader(client, record_ecr_call)
    http_api = HttpApi(resolver, images, settings)
    registry_api = RegistryApi(resolver, images, settings)
    event_api = EventApi(resolver, images, settings)

    @logger.inject_lambda_context(log_event=False, correlation_id_path=_CORRELATION_ID, clear_state=True)
    @metrics.log_metrics(capture_cold_start_metric=True)
    def handle(event: Any, context: LambdaContext) -> dict[str, Any]:
        invocation = Invocation()
        deadline = Deadline.after(context.get_remaining_time_in_millis() / 1000 - _SECONDS_TO_ANSWER)
        try:
            if is_function_url_event(event):
                if is_registry_request(event):
                    return registry_api.handle(event, context, deadline, invocation)
                return http_api.handle(event, context, deadline, invocation)
            return event_api.handle(event, context.aws_request_id, deadline, invocation)
        finally:
            invocation.publish()

    handler: Handler = handle
    return handler


redact_library_logs()
_handler = create_handler(create_ecr_client(), Settings.from_environment())


def lambda_handler(event: Any, context: LambdaContext) -> dict[str, Any]:
    """Answer an event of any of the function's triggers; Lambda calls this."""
    return _handler(event, context)


def renew_after_restore() -> None:
    """Make anew what must not be the same in all environments that SnapStart restores from one snapshot.

    That is the client's credentials and connections, the cached URLs, and the random numbers that spread retries.
    Source: https://docs.aws.amazon.com/lambda/latest/dg/snapstart-uniqueness.html
    """
    global _handler  # noqa: PLW0603
    random.seed()
    _handler = create_handler(create_ecr_client(), Settings.from_environment())


register_after_restore(renew_after_restore)
