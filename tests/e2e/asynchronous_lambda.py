"""Asynchronous invocations for the emulator, which has neither Lambda's retries nor its destinations.

What the deployed rule matches goes to a queue in the place of the alias; from there it goes to the deployed package in
the real runtime client, with the retries, age and destinations that were deployed for the alias.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from local.execution_environment import Function
from local.lambda_service import AsynchronousConfiguration, AsynchronousInvocations, LocalLambda
from tests.e2e.emulator import ACCOUNT, REGION, Emulator

# A minute and two at Lambda.
RETRY_DELAYS_SECONDS = (0.3, 0.6)


class Destinations:
    """Passes records on as Lambda does.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    """

    def __init__(self, emulator: Emulator, configuration: dict[str, Any]) -> None:
        self._events, self._sqs = emulator.client("events"), emulator.client("sqs")
        destinations = configuration["DestinationConfig"]
        self._bus = destinations["OnSuccess"]["Destination"]
        self._queue = destinations["OnFailure"]["Destination"].rpartition(":")[2]

    def __call__(self, record: dict[str, Any]) -> None:
        if record["requestContext"]["condition"] != "Success":
            url = self._sqs.get_queue_url(QueueName=self._queue)["QueueUrl"]
            self._sqs.send_message(QueueUrl=url, MessageBody=json.dumps(record))
            return
        entry = {
            "Source": "lambda",
            "DetailType": "Lambda Function Invocation Result - Success",
            "Resources": [self._bus, record["requestContext"]["functionArn"]],
            "Detail": json.dumps(record),
            "EventBusName": self._bus,
        }
        assert self._events.put_events(Entries=[entry])["FailedEntryCount"] == 0


@contextmanager
def asynchronous_lambda(
    emulator: Emulator, function_name: str, bus: str, rule: str, package: Path
) -> Iterator[list[str]]:
    """Run what the rule matches as Lambda does, while the context lasts.

    Args:
        emulator: Where the stack is deployed.
        function_name: The deployed function.
        bus: The event bus of the deployed rule.
        rule: The deployed rule.
        package: The deployed package, unpacked.

    Yields:
        The lines that the function logs.
    """
    functions, events, sqs = (emulator.client(name) for name in ("lambda", "events", "sqs"))
    deployed = functions.get_function_configuration(FunctionName=function_name, Qualifier="live")
    configuration = functions.get_function_event_invoke_config(FunctionName=function_name, Qualifier="live")
    (target,) = events.list_targets_by_rule(EventBusName=bus, Rule=rule)["Targets"]
    assert target["Arn"].endswith(f":function:{function_name}:live")

    url = sqs.create_queue(QueueName="asynchronous-lambda")["QueueUrl"]
    arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:asynchronous-lambda"
    events.put_targets(EventBusName=bus, Rule=rule, Targets=[{"Id": target["Id"], "Arn": arn}])

    regions = {"AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION}
    credentials = {"AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": "any"}
    function = Function(
        handler=deployed["Handler"],
        code=package,
        environment=deployed["Environment"]["Variables"] | regions | credentials,
        timeout_seconds=deployed["Timeout"],
        snap_start=True,
    )
    log: list[str] = []
    stopped = threading.Event()
    with ExitStack() as stack:
        service = stack.enter_context(LocalLambda(function, log.append))
        invocations = stack.enter_context(
            AsynchronousInvocations(
                service,
                AsynchronousConfiguration(
                    RETRY_DELAYS_SECONDS[: configuration["MaximumRetryAttempts"]],
                    configuration["MaximumEventAgeInSeconds"],
                    Destinations(emulator, configuration),
                ),
            )
        )
        poller = threading.Thread(target=_poll, args=(sqs, url, invocations, stopped))
        poller.start()
        try:
            yield log
        finally:
            stopped.set()
            poller.join()
            events.put_targets(EventBusName=bus, Rule=rule, Targets=[target])
            sqs.delete_queue(QueueUrl=url)


def _poll(sqs: Any, url: str, invocations: AsynchronousInvocations, stopped: threading.Event) -> None:
    while not stopped.is_set():
        for message in sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1).get("Messages", []):
            invocations.submit(message["Body"].encode())
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
