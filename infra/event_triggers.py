"""EventBridge in front of the function and behind it: the rule, the results' way to the bus, and the failure queue."""

from aws_cdk import Duration, Fn, RemovalPolicy
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_destinations as destinations
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra import contract
from infra.findings import accept, accept_in_template
from infra.regions import Region
from infra.resolver_function import ResolverFunction
from infra.settings import DeploymentSettings

DEFAULT_BUS = "default"

# ECR's download URLs are valid for an hour; who asked this long ago no longer waits.
MAXIMUM_EVENT_AGE = Duration.minutes(30)


class EventTriggers(Construct):
    """Lets events on a bus invoke the function, puts its results on the bus and what fails into a queue.

    Attributes:
        bus: The event bus that requests come from and results go to.
        failure_queue: Where every event ends that did not become a result, whole.
        rules: The rules, by what they are for.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        settings: DeploymentSettings,
        region: Region,
        resolver: ResolverFunction,
    ) -> None:
        super().__init__(scope, construct_id)
        self.bus = self._event_bus(settings)
        self.failure_queue = self._queue(region)
        self._asynchronous_invocations = self._send_results(resolver)
        if settings.pull_events:
            # The role may put events on this bus already: Lambda passes results on in its name.
            resolver.function.add_environment(contract.PULL_EVENT_BUS, self.bus.event_bus_name)
        self.rules: dict[str, Rule] = {}
        if settings.event_sources:
            pattern = events.EventPattern(
                source=list(settings.event_sources), detail_type=[contract.REQUEST_DETAIL_TYPE]
            )
            self.rules["Request"] = self._add_rule(
                "RequestRule", "Requests for layer download URLs", self.bus, pattern, resolver.alias
            )
        if settings.image_pull:
            # AWS's own events come on the default bus, whichever the others come on.
            bus = self.bus if settings.event_bus_name == DEFAULT_BUS else self._bus_named("DefaultBus", DEFAULT_BUS)
            self.rules["Push"] = self._add_rule(
                "PushRule", "Images pushed to ECR", bus, _pushes(settings), resolver.alias
            )

    def _event_bus(self, settings: DeploymentSettings) -> events.IEventBus:
        if settings.event_bus_name is not None:
            return self._bus_named("Bus", settings.event_bus_name)
        # Results hold download URLs, and what is on the default bus is for everyone in the account to see.
        bus = events.EventBus(self, "Bus", description="Requests to the ECR Layer Resolver, and their results")
        bus.apply_removal_policy(RemovalPolicy.DESTROY)
        return bus

    def _bus_named(self, construct_id: str, name: str) -> events.IEventBus:
        return events.EventBus.from_event_bus_name(self, construct_id, name)

    def _queue(self, region: Region) -> sqs.Queue:
        queue = sqs.Queue(
            self,
            "FailureQueue",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.days(14),
            # An event that fails may be as large as events can be, however small results have to stay.
            max_message_size_bytes=region.largest_event_kilobytes * 1024,
            removal_policy=RemovalPolicy.DESTROY,
        )
        accept(queue, {"AwsSolutions-SQS3": "It is itself where undeliverable events end."})
        accept_in_template(
            queue, checkov={"CKV_AWS_27": "SQS encrypts with a key of its own; a key to pay adds nothing."}
        )
        return queue

    def _send_results(self, resolver: ResolverFunction) -> lambda_.EventInvokeConfig:
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
        return configuration

    def _add_rule(
        self,
        construct_id: str,
        description: str,
        bus: events.IEventBus,
        pattern: events.EventPattern,
        alias: lambda_.Alias,
    ) -> "Rule":
        target = targets.LambdaFunction(
            alias, dead_letter_queue=self.failure_queue, max_event_age=MAXIMUM_EVENT_AGE, retry_attempts=24
        )
        rule = events.Rule(
            self, construct_id, description=description, event_bus=bus, event_pattern=pattern, targets=[target]
        )
        # An event that comes before the configuration is there would be answered, and its result lost.
        rule.node.add_dependency(self._asynchronous_invocations)
        return Rule(rule, bus)


class Rule:
    """A rule of EventBridge, and what it counts.

    Args:
        rule: The rule.
        bus: The event bus that it is on.
    """

    def __init__(self, rule: events.Rule, bus: events.IEventBus) -> None:
        on_default = bus.event_bus_name == DEFAULT_BUS
        # Of a rule that is not on the default bus, Ref is `bus|name`, so the name is taken from the ARN:
        # https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-events-rule.html
        name = Fn.select(1 if on_default else 2, Fn.split("/", rule.rule_arn))
        # Metrics of the default bus have no dimension for it:
        # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-monitoring.html
        self._dimensions = {"RuleName": name} if on_default else {"EventBusName": bus.event_bus_name, "RuleName": name}

    def metric(self, name: str) -> cloudwatch.Metric:
        """Return a metric of the rule."""
        return cloudwatch.Metric(
            namespace="AWS/Events",
            metric_name=name,
            dimensions_map=self._dimensions,
            statistic="Sum",
            period=Duration.minutes(5),
        )


def _pushes(settings: DeploymentSettings) -> events.EventPattern:
    """Return the pattern of images that were pushed to the configured repositories."""
    detail: dict[str, list[object]] = {"action-type": ["PUSH"], "result": ["SUCCESS"]}
    if "*" not in settings.repositories:
        detail["repository-name"] = [
            {"prefix": name.removesuffix("*")} if name.endswith("*") else name for name in settings.repositories
        ]
    return events.EventPattern(source=["aws.ecr"], detail_type=[contract.PUSH_DETAIL_TYPE], detail=detail)
