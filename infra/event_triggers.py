"""EventBridge in front of the function and behind it: the rule, the results' way to the bus, and the failure queue."""

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_destinations as destinations
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.findings import accept, accept_in_template
from infra.resolver_function import ResolverFunction
from infra.settings import DeploymentSettings

# The contract with event_api.py of the function.
DETAIL_TYPE = "ECR Layer Download URL Request"

# ECR's download URLs are valid for an hour; who asked this long ago no longer waits.
MAXIMUM_EVENT_AGE = Duration.minutes(30)


class EventTriggers(Construct):
    """Lets events on a bus invoke the function, puts its results on the bus and what fails into a queue.

    Attributes:
        bus: The event bus that requests come from and results go to.
        failure_queue: Where every event ends that did not become a result, whole.
    """

    def __init__(
        self, scope: Construct, construct_id: str, settings: DeploymentSettings, resolver: ResolverFunction
    ) -> None:
        super().__init__(scope, construct_id)
        self.bus = self._event_bus(settings)
        self.failure_queue = self._queue()
        self._send_results(resolver)
        if settings.event_sources:
            pattern = events.EventPattern(source=list(settings.event_sources), detail_type=[DETAIL_TYPE])
            self._add_rule("RequestRule", "Requests for layer download URLs", self.bus, pattern, resolver.alias)
        if settings.image_pull:
            # AWS's own events come on the default bus, whichever the others come on.
            bus = events.EventBus.from_event_bus_name(self, "DefaultBus", "default")
            self._add_rule("PushRule", "Images pushed to ECR", bus, _pushes(settings), resolver.alias)

    def _event_bus(self, settings: DeploymentSettings) -> events.IEventBus:
        if settings.create_event_bus:
            bus = events.EventBus(self, "Bus", event_bus_name=settings.event_bus_name)
            bus.apply_removal_policy(RemovalPolicy.DESTROY)
            return bus
        return events.EventBus.from_event_bus_name(self, "Bus", settings.event_bus_name)

    def _queue(self) -> sqs.Queue:
        queue = sqs.Queue(
            self,
            "FailureQueue",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.days(14),
            removal_policy=RemovalPolicy.DESTROY,
        )
        accept(queue, {"AwsSolutions-SQS3": "It is itself where undeliverable events end."})
        accept_in_template(
            queue, checkov={"CKV_AWS_27": "SQS encrypts with a key of its own; a key to pay adds nothing."}
        )
        return queue

    def _send_results(self, resolver: ResolverFunction) -> None:
        """Have Lambda retry asynchronous invocations of the alias, and pass on what comes of them."""
        policy = iam.Policy(
            self,
            "SendResults",
            statements=[
                iam.PolicyStatement(actions=["events:PutEvents"], resources=[self.bus.event_bus_arn]),
                iam.PolicyStatement(actions=["sqs:SendMessage"], resources=[self.failure_queue.queue_arn]),
            ],
        )
        resolver.role.attach_inline_policy(policy)
        configuration = lambda_.EventInvokeConfig(
            self,
            "AsynchronousInvocations",
            function=resolver.function,
            # Lambda looks up the configuration of the qualifier that was invoked; there is none to fall back on.
            qualifier=resolver.alias.alias_name,
            on_success=destinations.EventBridgeDestination(self.bus),
            on_failure=destinations.SqsDestination(self.failure_queue),
            retry_attempts=2,
            max_event_age=MAXIMUM_EVENT_AGE,
        )
        # Lambda checks, when it takes the configuration, that the role may use the destinations.
        configuration.node.add_dependency(policy, resolver.alias)

    def _add_rule(
        self,
        construct_id: str,
        description: str,
        bus: events.IEventBus,
        pattern: events.EventPattern,
        alias: lambda_.Alias,
    ) -> None:
        target = targets.LambdaFunction(
            alias, dead_letter_queue=self.failure_queue, max_event_age=MAXIMUM_EVENT_AGE, retry_attempts=24
        )
        events.Rule(self, construct_id, description=description, event_bus=bus, event_pattern=pattern, targets=[target])


def _pushes(settings: DeploymentSettings) -> events.EventPattern:
    """Return the pattern of images that were pushed to the configured repositories."""
    detail: dict[str, list[object]] = {"action-type": ["PUSH"], "result": ["SUCCESS"]}
    if "*" not in settings.repositories:
        detail["repository-name"] = [
            {"prefix": name.removesuffix("*")} if name.endswith("*") else name for name in settings.repositories
        ]
    return events.EventPattern(source=["aws.ecr"], detail_type=["ECR Image Action"], detail=detail)
