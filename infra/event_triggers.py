"""EventBridge: rules that invoke the function, its results on the event bus, and the dead-letter queue."""

from aws_cdk import Duration, Fn, RemovalPolicy
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_destinations as destinations
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from . import contract
from .limits import pushes
from .options import Options
from .regions import Region
from .resolver_function import ResolverFunction

DEFAULT_BUS = "default"

# ECR's download URLs are valid for an hour; after half an hour the sender no longer waits for them.
MAXIMUM_EVENT_AGE = Duration.minutes(30)


class EventTriggers(Construct):
    """Lets events invoke the function; its results go to the event bus, and failed events to a dead-letter queue.

    Args:
        scope: The resolver.
        construct_id: The id.
        options: The resolver's options.
        region: Where the stack is.
        resolver: The function.
        bus: The event bus; None for a new one.

    Attributes:
        bus: The event bus for requests and results.
        failure_queue: The dead-letter queue, which gets every failed event whole.
        rules: The rules by their purpose.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        options: Options,
        region: Region,
        resolver: ResolverFunction,
        bus: events.IEventBus | None,
    ) -> None:
        super().__init__(scope, construct_id)
        self.bus = bus or self._own_bus()
        self.failure_queue = sqs.Queue(
            self,
            "FailureQueue",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.days(14),
            # A failed event may be as large as events can be, even if results must be smaller.
            max_message_size_bytes=region.largest_event_kilobytes * 1024,
            removal_policy=RemovalPolicy.DESTROY,
        )
        self._asynchronous_invocations = lambda_.EventInvokeConfig(
            self,
            "AsynchronousInvocations",
            function=resolver.function,
            # Lambda reads the configuration of the invoked qualifier, and falls back to no other.
            qualifier=resolver.alias.alias_name,
            on_success=destinations.EventBridgeDestination(self.bus),
            on_failure=destinations.SqsDestination(self.failure_queue),
            retry_attempts=2,
            max_event_age=MAXIMUM_EVENT_AGE,
        )
        self._asynchronous_invocations.node.add_dependency(resolver.alias)
        if options.pull_events:
            # The role may put events on this bus already, because Lambda sends results with the role's permissions.
            resolver.function.add_environment(contract.PULL_EVENT_BUS, self.bus.event_bus_name)
        self.rules: dict[str, Rule] = {}
        if options.event_sources:
            pattern = events.EventPattern(
                source=list(options.event_sources), detail_type=[contract.REQUEST_DETAIL_TYPE]
            )
            self.rules["Request"] = self._add_rule(
                "RequestRule", "Requests for layer download URLs", self.bus, pattern, resolver.alias
            )
        if options.image_pull:
            pattern = events.EventPattern(
                source=["aws.ecr"], detail_type=[contract.PUSH_DETAIL_TYPE], detail=pushes(options)
            )
            self.rules["Push"] = self._add_rule(
                "PushRule", "Images pushed to ECR", self._default_bus(), pattern, resolver.alias
            )

    def _own_bus(self) -> events.EventBus:
        # Results have download URLs, and everyone in the account can read the default bus.
        bus = events.EventBus(self, "Bus", description="Requests to the ECR Layer Resolver, and their results")
        bus.apply_removal_policy(RemovalPolicy.DESTROY)
        return bus

    def _default_bus(self) -> events.IEventBus:
        """Return the bus that AWS's own events are on."""
        if self.bus.event_bus_name == DEFAULT_BUS:
            return self.bus
        return events.EventBus.from_event_bus_name(self, "DefaultBus", DEFAULT_BUS)

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
