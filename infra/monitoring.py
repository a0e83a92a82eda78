"""Dashboard and alarms: each alarm needs operator action, and one cause raises one alarm.

- HTTP requests answered with 5xx, or that killed the function: the alias's `Url5xxCount`.
- Events without a result: the dead-letter queue. Lambda and EventBridge report events that can't reach it.
- Pull events that didn't reach the bus: the function's own metric.
- Requests that the edge answers itself: CloudFront's metrics. They are in us-east-1, so only a stack there has alarms.
- Requests that ECR throttled or denied, answered with 429 and 403, and failed layers of a batch that is answered with
  200: the function's own metrics by error code.
- A flood of requests, where anyone may call: the number of requests.
- Jobs that can't log in: the exchange function's `Url5xxCount`.

Clients cause denials too, by asking for a wrong name, so denials raise an alarm only if they last, and not if anyone
may call. Lambda's `Errors` has no alarm: it counts a malformed event three times, and the other alarms cover the rest.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from aws_cdk import Aws, Duration
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from cdk_monitoring_constructs import (
    CustomMetricGroup,
    DashboardRenderingPreference,
    DefaultDashboardFactory,
    MonitoringFacade,
)
from constructs import Construct

from . import contract
from .edge import EdgeDistribution
from .event_triggers import EventTriggers
from .options import Options
from .regions import US_EAST_1
from .token_exchange import TokenExchange

# What to do about each code that is the operator's; the codes are those of the error table.
_ADVICE = {
    contract.THROTTLED: "ECR throttles the account's requests: ask for fewer layers at a time, or for a higher quota.",
    contract.ACCESS_DENIED: "For a quarter of an hour, ECR has denied the function a repository: repositories and "
    "registries don't have it, its own policy doesn't allow the function's role, or a client keeps asking for it.",
    "CredentialsRefused": "AWS refuses the credentials of the function's role: check that the role is as the stack "
    "made it.",
    "InternalError": "The function failed. Its log has the error and where it was raised.",
    "RequestTimeoutException": "ECR can't be reached or does not answer in time: see timeoutSeconds, and the state of "
    "ECR in this region.",
    "ServerException": "ECR has a problem of its own: see its state in this region.",
}


@dataclass(frozen=True, slots=True)
class _Watched:
    """A condition for an alarm; `ignores_few` keeps a percentile of few samples from changing the alarm's state."""

    name: str
    metric: cloudwatch.IMetric
    description: str
    threshold: float = 0
    periods: int = 1
    ignores_few: bool = False


class Monitoring(Construct):
    """A dashboard, alarms, and the topic that alarms go to.

    Args:
        scope: The resolver.
        construct_id: The id.
        options: The resolver's options.
        name: The resolver's name.
        alias: The function's alias.
        events: The event triggers.
        edge: The edge, if there is one.
        has_edge_alarms: Whether the stack is where alarms on CloudFront's metrics can be.
        alarm_topic: Where alarms go; None for a new topic.

    Attributes:
        dashboard: The dashboard.
        alarm_topic: The topic.
        service: The metrics that the function writes.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        options: Options,
        name: str,
        alias: lambda_.Alias,
        events: EventTriggers,
        edge: EdgeDistribution | None,
        has_edge_alarms: bool,
        alarm_topic: sns.ITopic | None,
    ) -> None:
        super().__init__(scope, construct_id)
        self.alarm_topic = alarm_topic or _alarm_topic(self)
        self.service = ServiceMetrics(name)
        watched = [
            *_function(options, alias),
            *_codes(options, self.service),
            *_events(alias, events),
            *_pull_events(options, self.service),
            *(_edge(edge) if edge and has_edge_alarms else ()),
            *(_exchange(edge.exchange) if edge and edge.exchange else ()),
        ]
        alarms = _add_alarms(self, watched, self.alarm_topic)
        # The library's own widgets for functions have iterators and provisioned concurrency, those for queues have
        # consumers, and this resolver has none of them.
        segments = {
            "Edge": _edge_groups(edge),
            "Requests over HTTP": _http_groups(alias),
            "Callers": _caller_groups(options, self.service),
            "Function": _function_groups(alias),
            "Layers": _layer_groups(self.service),
            "Rules": _rule_groups(events),
            "Failure queue": _queue_groups(events),
        }
        self.dashboard = self._dashboard(f"{name}-{Aws.REGION}", alarms, segments)

    def _dashboard(
        self, name: str, alarms: list[cloudwatch.Alarm], segments: dict[str, list[CustomMetricGroup]]
    ) -> cloudwatch.Dashboard:
        factory = DefaultDashboardFactory(
            self,
            "Dashboards",
            dashboard_name_prefix=name,
            create_dashboard=True,
            create_summary_dashboard=False,
            create_alarm_dashboard=False,
            rendering_preference=DashboardRenderingPreference.INTERACTIVE_ONLY,
        )
        facade = MonitoringFacade(self, "Facade", dashboard_factory=factory)
        facade.add_widget(cloudwatch.AlarmStatusWidget(title="Alarms", alarms=list(alarms), width=24, height=5))
        for title, groups in segments.items():
            if groups:
                facade.monitor_custom(
                    human_readable_name=title, alarm_friendly_name=title.replace(" ", ""), metric_groups=groups
                )
        dashboard = factory.dashboard
        if dashboard is None:
            raise RuntimeError("cdk-monitoring-constructs made no dashboard.")
        return dashboard


class EdgeAlarms(Construct):
    """Alarms on an edge's metrics, for a stack in us-east-1, where CloudFront has them.

    A resolver whose stack is in us-east-1 has these alarms already. For another one, make its stack and the one in
    us-east-1 with `cross_region_references=True`.

    Args:
        scope: The stack in us-east-1, or a construct in it.
        construct_id: The id.
        distribution: The resolver's distribution.
        alarm_topic: Where alarms go, in us-east-1.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        distribution: cloudfront.IDistribution,
        alarm_topic: sns.ITopic,
    ) -> None:
        super().__init__(scope, construct_id)
        _add_alarms(self, _edge_requests(distribution.distribution_id), alarm_topic)


def _add_alarms(scope: Construct, conditions: Iterable[_Watched], topic: sns.ITopic) -> list[cloudwatch.Alarm]:
    action = actions.SnsAction(topic)
    alarms = []
    for watched in conditions:
        # Alarms of cdk-monitoring-constructs are metric math even over one metric, which costs more and which
        # emulators don't know, so the alarms are CDK's own.
        alarm = cloudwatch.Alarm(
            scope,
            f"{watched.name}Alarm",
            metric=watched.metric,
            threshold=watched.threshold,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
            evaluation_periods=watched.periods,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
            evaluate_low_sample_count_percentile="ignore" if watched.ignores_few else None,
            alarm_description=watched.description,
        )
        alarm.add_alarm_action(action)
        alarm.add_ok_action(action)
        alarms.append(alarm)
    return alarms


class ServiceMetrics:
    """The metrics that the function of one resolver writes; several share the namespace."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._dimensions = {contract.SERVICE_DIMENSION: contract.SERVICE, contract.STACK_DIMENSION: name}

    def metric(self, name: str, statistic: str = "Sum", **dimensions: str) -> cloudwatch.Metric:
        """Return a metric with these dimensions."""
        return _own_metric(name, statistic, self._dimensions | dimensions)

    def by(self, name: str, *further: str) -> cloudwatch.MathExpression:
        """Return a metric by further dimensions, whatever values they have."""
        dimensions = ",".join(sorted({*self._dimensions, *further}))
        terms = f'MetricName="{name}" {contract.STACK_DIMENSION}="{self._name}"'
        return cloudwatch.MathExpression(
            expression=f"SEARCH('{{{contract.NAMESPACE},{dimensions}}} {terms}', 'Sum', 300)",
            using_metrics={},
            label="",
        )


def _own_metric(name: str, statistic: str, dimensions: dict[str, str]) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace=contract.NAMESPACE,
        metric_name=name,
        dimensions_map=dimensions,
        statistic=statistic,
        period=Duration.minutes(5),
    )


def _cold_starts(alias: lambda_.Alias) -> cloudwatch.Metric:
    """Return the metric that Powertools writes itself: by function, not by stack."""
    function = {contract.FUNCTION_NAME_DIMENSION: alias.lambda_.function_name}
    return _own_metric(contract.COLD_START, "Sum", {contract.SERVICE_DIMENSION: contract.SERVICE} | function)


def _function(options: Options, alias: lambda_.Alias) -> Iterator[_Watched]:
    # https://docs.aws.amazon.com/lambda/latest/dg/urls-monitoring.html
    yield _Watched(
        "Url5xx", alias.metric("Url5xxCount", statistic="Sum"), "Requests were answered with 5xx. The log says why."
    )
    yield _Watched(
        "Throttles",
        alias.metric_throttles(),
        "Lambda throttled requests: raise reservedConcurrency or the account's quota.",
    )
    yield _Watched(
        "Duration",
        alias.metric_duration(statistic="p99"),
        "Requests take nearly as long as the function may run; near its time-out they are answered with 504.",
        threshold=options.timeout_seconds * 1000 * 0.8,
        ignores_few=True,
    )
    if options.auth_type == "NONE" or options.public_repositories:
        yield _Watched(
            "Requests",
            alias.metric("UrlRequestCount", statistic="Sum"),
            "More than 100 requests a second for a quarter of an hour, at your cost. Anyone may call: see sourceIp in "
            "the log.",
            threshold=100 * 300,
            periods=3,
        )


def _codes(options: Options, service: ServiceMetrics) -> Iterator[_Watched]:
    metrics = [(contract.LAYERS_FAILED, code) for code in contract.OPERATORS_CODES]
    metrics += [(contract.REQUESTS_FAILED, code) for code in contract.OPERATORS_CODES_BELOW_500]
    for name, code in metrics:
        metric = service.metric(name, **{contract.CODE_DIMENSION: code})
        if code != contract.ACCESS_DENIED:
            yield _Watched(f"{name}{code}", metric, _ADVICE[code])
        elif options.auth_type != "NONE":
            yield _Watched(f"{name}{code}", metric, _ADVICE[code], periods=3)


def _events(alias: lambda_.Alias, events: EventTriggers) -> Iterator[_Watched]:
    yield _Watched(
        "FailureQueue",
        events.failure_queue.metric_approximate_number_of_messages_visible(),
        "Events got no result and wait in the failure queue; docs/events.md says how to look at them and send them "
        "again.",
    )
    yield _Watched(
        "DestinationDelivery",
        alias.metric("DestinationDeliveryFailures", statistic="Sum"),
        "Lambda couldn't deliver a result, and dropped it. Send the event again, with fewer layers.",
    )
    # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-monitoring.html
    advice = {
        "FailedInvocations": "EventBridge could not invoke the function, and gave up: see whether the alias is there.",
        "InvocationsFailedToBeSentToDlq": "EventBridge could not put events into the failure queue, and dropped them: "
        "check the queue's policy.",
    }
    for purpose, rule in events.rules.items():
        for name, description in advice.items():
            yield _Watched(f"{purpose}Rule{name}", rule.metric(name), description)


def _pull_events(options: Options, service: ServiceMetrics) -> Iterator[_Watched]:
    if options.pull_events:
        yield _Watched(
            "PullEvents",
            service.metric(contract.PULL_EVENTS_FAILED),
            "Events about pulls did not get onto the bus. The log has these pulls too, with the cause in "
            "pullEventFailure.",
        )


def _exchange(exchange: TokenExchange) -> Iterator[_Watched]:
    yield _Watched(
        "TokenExchange5xx",
        exchange.function.metric("Url5xxCount", statistic="Sum"),
        "Jobs can't log in: the issuer's keys or the signing keys can't be read, or there are none yet. The exchange "
        "function's log says which.",
    )


def _edge(edge: EdgeDistribution) -> Iterator[_Watched]:
    yield from _edge_requests(edge.distribution.distribution_id)
    for name, description in {
        "FunctionExecutionErrors": "The function at the edge failed, and its requests were answered with 503.",
        "FunctionThrottles": "CloudFront throttled the function at the edge, and its requests were answered with 503.",
    }.items():
        yield _Watched(f"Edge{name}", _edge_function_metric(edge, name), description)


def _edge_requests(distribution_id: str) -> Iterator[_Watched]:
    yield _Watched(
        "Edge5xx",
        _edge_metric(distribution_id, "5xxErrorRate", "Average"),
        "More than 1 % of the requests to the edge were answered with 5xx: the function's log says why, or pull tokens "
        "can't be checked.",
        threshold=1,
    )
    yield _Watched(
        "Edge4xx",
        _edge_metric(distribution_id, "4xxErrorRate", "Average"),
        "More than half of the requests to the edge are refused or find nothing, for a quarter of an hour: see the "
        "requests in the log of the edge.",
        threshold=50,
        periods=3,
    )
    yield _Watched(
        "Edge401",
        _edge_metric(distribution_id, "401ErrorRate", "Average"),
        "More than half of the requests to the edge have no valid pull token, for a quarter of an hour: a token of a "
        "client has expired or was revoked, or somebody tries passwords.",
        threshold=50,
        periods=3,
    )


def _edge_metric(distribution_id: str, name: str, statistic: str) -> cloudwatch.Metric:
    """Return a metric of the distribution, with the one statistic that CloudFront gives it a meaning for.

    Source: https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/programming-cloudwatch-metrics.html
    """
    return _cloudfront_metric(name, statistic, DistributionId=distribution_id)


def _edge_function_metric(edge: EdgeDistribution, name: str, statistic: str = "Sum") -> cloudwatch.Metric:
    return _cloudfront_metric(name, statistic, FunctionName=edge.function.function_name)


def _cloudfront_metric(name: str, statistic: str, **dimensions: str) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace="AWS/CloudFront",
        metric_name=name,
        dimensions_map={**dimensions, "Region": "Global"},
        statistic=statistic,
        period=Duration.minutes(5),
        region=US_EAST_1,
    )


def _alarm_topic(scope: Construct) -> sns.Topic:
    topic = sns.Topic(scope, "AlarmTopic", display_name="ECR Layer Resolver alarms", enforce_ssl=True)
    topic.add_to_resource_policy(
        iam.PolicyStatement(
            sid="Alarms",
            principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
            actions=["sns:Publish"],
            resources=[topic.topic_arn],
            conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
        )
    )
    return topic


def _edge_groups(edge: EdgeDistribution | None) -> list[CustomMetricGroup]:
    if edge is None:
        return []
    distribution_id = edge.distribution.distribution_id
    rates = [_edge_metric(distribution_id, name, "Average") for name in ("4xxErrorRate", "5xxErrorRate")]
    refused = [_edge_metric(distribution_id, f"{status}ErrorRate", "Average") for status in (401, 403, 404)]
    function = [
        _edge_function_metric(edge, name)
        for name in ("FunctionInvocations", "FunctionExecutionErrors", "FunctionThrottles")
    ]
    return [
        CustomMetricGroup(title="Requests to the edge", metrics=[_edge_metric(distribution_id, "Requests", "Sum")]),
        CustomMetricGroup(title="Answered with 4xx and 5xx, in %", metrics=list(rates)),
        CustomMetricGroup(title="Answered with 401, 403 and 404, in %", metrics=list(refused)),
        CustomMetricGroup(
            title="Answered from the edge's cache, in %",
            metrics=[_edge_metric(distribution_id, "CacheHitRate", "Average")],
        ),
        CustomMetricGroup(title="Function at the edge", metrics=list(function)),
    ]


def _http_groups(alias: lambda_.Alias) -> list[CustomMetricGroup]:
    counts = [alias.metric(name, statistic="Sum") for name in ("UrlRequestCount", "Url4xxCount", "Url5xxCount")]
    latency = [alias.metric("UrlRequestLatency", statistic=each) for each in ("Average", "Maximum")]
    return [
        CustomMetricGroup(title="Requests, and those answered with 4xx and 5xx", metrics=list(counts)),
        CustomMetricGroup(title="Latency", metrics=list(latency)),
    ]


def _caller_groups(options: Options, service: ServiceMetrics) -> list[CustomMetricGroup]:
    by_caller = service.by(contract.REQUESTS, contract.CALLER_KIND_DIMENSION, contract.OUTCOME_DIMENSION)
    groups = [CustomMetricGroup(title="Invocations by kind of caller and outcome", metrics=[by_caller])]
    if options.pull_events:
        failed = service.metric(contract.PULL_EVENTS_FAILED)
        groups.append(CustomMetricGroup(title="Events about pulls that failed", metrics=[failed]))
    return groups


def _function_groups(alias: lambda_.Alias) -> list[CustomMetricGroup]:
    counts = [alias.metric_invocations(), alias.metric_errors(), alias.metric_throttles()]
    concurrency = alias.metric("ConcurrentExecutions", statistic="Maximum")
    return [
        CustomMetricGroup(title="Invocations, errors and throttles", metrics=list(counts)),
        CustomMetricGroup(
            title="Duration", metrics=[alias.metric_duration(statistic=each) for each in ("p50", "p90", "p99")]
        ),
        CustomMetricGroup(title="Concurrency and cold starts", metrics=[concurrency, _cold_starts(alias)]),
    ]


def _layer_groups(service: ServiceMetrics) -> list[CustomMetricGroup]:
    return [
        CustomMetricGroup(
            title="Layers resolved, and those of them from the cache",
            metrics=[service.metric(contract.LAYERS_RESOLVED), service.metric(contract.CACHE_HITS)],
        ),
        CustomMetricGroup(
            title="Layers failed by code", metrics=[service.by(contract.LAYERS_FAILED, contract.CODE_DIMENSION)]
        ),
        CustomMetricGroup(
            title="Requests failed by code", metrics=[service.by(contract.REQUESTS_FAILED, contract.CODE_DIMENSION)]
        ),
        CustomMetricGroup(
            title="ECR latency",
            metrics=[service.metric(contract.ECR_CALL_LATENCY, each) for each in ("p50", "p90", "p99")],
        ),
    ]


def _rule_groups(events: EventTriggers) -> list[CustomMetricGroup]:
    names = ("MatchedEvents", "Invocations", "FailedInvocations", "InvocationsSentToDlq")
    return [
        CustomMetricGroup(title=f"{purpose} rule", metrics=[rule.metric(name) for name in names])
        for purpose, rule in events.rules.items()
    ]


def _queue_groups(events: EventTriggers) -> list[CustomMetricGroup]:
    queue = events.failure_queue
    return [
        CustomMetricGroup(title="Messages that wait", metrics=[queue.metric_approximate_number_of_messages_visible()]),
        CustomMetricGroup(title="Age of the oldest", metrics=[queue.metric_approximate_age_of_oldest_message()]),
    ]
