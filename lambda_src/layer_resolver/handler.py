"""Lambda's entry point: finds which trigger an event comes from, and passes it on."""

import random
from collections.abc import Callable
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from snapshot_restore_py import register_after_restore, register_before_snapshot

from layer_resolver.blobs import BlobReader
from layer_resolver.calls import Calls, Deadline
from layer_resolver.download_urls import Hosts
from layer_resolver.ecr import Ecr, create_client
from layer_resolver.event_api import EventApi
from layer_resolver.function_url import Api, FunctionUrl
from layer_resolver.http_api import HttpApi
from layer_resolver.images import ImageReader
from layer_resolver.invocation import Invocation
from layer_resolver.models import build_validators
from layer_resolver.observability import logger, metrics, publish
from layer_resolver.pull_events import PUT_SECONDS, PullEvents
from layer_resolver.registry_api import RegistryApi
from layer_resolver.resolver import LayerUrlResolver
from layer_resolver.settings import Settings

SECONDS_TO_ANSWER = 0.5
"""How much of the invocation's time is kept for writing the answer."""

Handler = Callable[[Any, LambdaContext], dict[str, Any]]


def create_handler(ecr_client: Any, settings: Settings, events_client: Any = None) -> Handler:
    """Return the function's handler, which uses the given boto3 clients; pull events need EventBridge's."""
    calls = Calls()
    ecr = Ecr(ecr_client, calls)
    hosts = Hosts(ecr.partition, frozenset(settings.download_url_hosts), ecr.is_local)
    resolver, blobs = LayerUrlResolver(ecr, hosts, settings.edge_layers_origin), BlobReader(calls)
    images = ImageReader(ecr, is_enabled=settings.image_pull)
    apis: dict[str, Api] = {"": HttpApi(resolver, images, blobs), "v2": RegistryApi(resolver, images, blobs, settings)}
    function_url = FunctionUrl(apis, settings.edge_distribution_arn)
    event_api = EventApi(resolver, images, settings.maximum_result_kilobytes)
    pull_events = PullEvents(settings.pull_event_bus, events_client, calls) if settings.pull_event_bus else None

    @logger.inject_lambda_context
    @metrics.log_metrics(capture_cold_start_metric=True)
    def handle(event: Any, context: LambdaContext) -> dict[str, Any]:
        remaining_seconds = context.get_remaining_time_in_millis() / 1000
        invocation = Invocation(Deadline.after(remaining_seconds - SECONDS_TO_ANSWER), context.aws_request_id)
        try:
            if not is_function_url_event(event):
                return event_api.answer(event, invocation)
            answer = function_url.answer(event, invocation)
            if pull_events is not None:
                pull_events.put(invocation)
            return answer
        finally:
            publish(invocation, settings.stack_name)

    handler: Handler = handle
    return handler


def is_function_url_event(event: object) -> bool:
    """Tell whether an event is a request to the function URL."""
    return isinstance(event, dict) and "rawPath" in event and "requestContext" in event


def _create_lambda_handler() -> Handler:
    settings = Settings.from_environment()
    events_client = create_client("events", read_seconds=2 * PUT_SECONDS) if settings.pull_event_bus else None
    return create_handler(create_client("ecr"), settings, events_client)


lambda_handler = _create_lambda_handler()
# pydantic builds models on first use; a snapshot should have them all.
register_before_snapshot(build_validators)
# Environments restored from one snapshot must not draw the same random numbers for their backoff; source:
# https://docs.aws.amazon.com/lambda/latest/dg/snapstart-uniqueness.html
register_after_restore(random.seed)
