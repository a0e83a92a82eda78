"""Lambda's entry point: tells which trigger an event comes from, and hands it on."""

from collections.abc import Callable
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from layer_resolver.errors import UNSUPPORTED_EVENT, ResolverError
from layer_resolver.http_api import HttpApi, is_function_url_event, problem_details
from layer_resolver.observability import Invocation, logger, metrics, record_ecr_call, redact_library_logs
from layer_resolver.resolver import Deadline, EcrClient, LayerUrlResolver, create_ecr_client

# What is kept of the invocation's time for writing the answer.
_SECONDS_TO_ANSWER = 0.5

Handler = Callable[[Any, LambdaContext], dict[str, Any]]


def create_handler(client: EcrClient) -> Handler:
    """Return the handler of a function that asks `client`.

    Args:
        client: The ECR client; `create_ecr_client` makes the one of the deployed function.
    """
    http_api = HttpApi(LayerUrlResolver(client, record_ecr_call))

    @logger.inject_lambda_context(log_event=False, correlation_id_path="requestContext.requestId", clear_state=True)
    @metrics.log_metrics(capture_cold_start_metric=True)
    def handle(event: Any, context: LambdaContext) -> dict[str, Any]:
        invocation = Invocation()
        if is_function_url_event(event):
            deadline = Deadline.after(context.get_remaining_time_in_millis() / 1000 - _SECONDS_TO_ANSWER)
            answer = http_api.handle(event, context, deadline, invocation)
        else:
            answer = _refuse(context, invocation)
        invocation.publish()
        return answer

    handler: Handler = handle
    return handler


def _refuse(context: LambdaContext, invocation: Invocation) -> dict[str, Any]:
    """Return problem details for an event that no trigger of the function sends."""
    error = ResolverError(UNSUPPORTED_EVENT)
    invocation.status, invocation.error = error.kind.http_status, error
    return problem_details(error, context.aws_request_id)


redact_library_logs()
lambda_handler = create_handler(create_ecr_client())
