"""Names the kinds of events that other services send, for whoever has wired one of them to the function by mistake.

Sources: the samples of events in https://docs.aws.amazon.com/lambda/latest/dg/lambda-services.html.
"""

from collections.abc import Mapping
from typing import Any

_BY_EVENT_SOURCE = {
    "aws:s3": "an S3 event",
    "aws:sqs": "an SQS batch",
    "aws:sns": "an SNS notification",
    "aws:dynamodb": "a DynamoDB stream batch",
    "aws:kinesis": "a Kinesis batch",
    "aws:ses": "an SES event",
    "aws:codecommit": "a CodeCommit event",
    "aws:kafka": "a Kafka batch",
    "SelfManagedKafka": "a Kafka batch",
    "aws:rmq": "an Amazon MQ batch",
    "aws:mq": "an Amazon MQ batch",
    "aws:docdb": "a DocumentDB batch",
}
_BY_MEMBER = {
    "awslogs": "a batch of CloudWatch Logs",
    "CodePipeline.job": "a CodePipeline job",
    "ResponseURL": "a request for a CloudFormation custom resource",
    "invokingEvent": "an AWS Config event",
    "triggerSource": "a Cognito trigger",
    "deliveryStreamArn": "a Firehose transformation",
    # These have members of the next two as well.
    "connectionId": "a message of a WebSocket API",
    "serviceNetworkArn": "a request of VPC Lattice",
    "httpMethod": "a request of API Gateway or a load balancer",
    "routeKey": "a request of API Gateway",
    "tasks": "an S3 Batch Operations task",
    "alarmArn": "a CloudWatch alarm",
    "responsePayload": "a record of an asynchronous invocation, whose requestPayload has the event",
    "LifecycleEventHookExecutionId": "a lifecycle event of CodeDeploy",
    "SecretId": "a rotation of Secrets Manager",
    "getObjectContext": "a request to S3 Object Lambda",
    "sessionState": "a request of Amazon Lex",
    "selectionSetList": "a request of AppSync",
    "fieldName": "a request of AppSync",
}


def name_of(event: object) -> str | None:
    """Return the kind of an event, such as "an S3 event", None if it is unknown."""
    if isinstance(event, list):
        return "a batch of EventBridge Pipes" if event and isinstance(event[0], Mapping) else None
    if not isinstance(event, Mapping):
        return None
    source = _event_source(event)
    if isinstance(source, str) and source in _BY_EVENT_SOURCE:
        return _BY_EVENT_SOURCE[source]
    # What API Gateway and VPC Lattice tell of a request is one level down.
    context = event.get("requestContext")
    members = {*event, *(context if isinstance(context, Mapping) else ())}
    return next((name for member, name in _BY_MEMBER.items() if member in members), None)


def _event_source(event: Mapping[str, Any]) -> object:
    records = event.get("Records")
    first = records[0] if isinstance(records, list) and records else event
    # SNS spells it with a capital letter.
    return first.get("eventSource", first.get("EventSource")) if isinstance(first, Mapping) else None
