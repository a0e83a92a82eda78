"""Dashboard and alarms: what an operator looks at, and what wakes one."""

from aws_cdk import Aws, Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from cdk_monitoring_constructs import (
    CustomMetricGroup,
    DashboardRenderingPreference,
    DefaultDashboardFactory,
    LatencyType,
    MonitoringFacade,
)
from constructs import Construct

from infra.event_triggers import EventTriggers
from infra.findings import accept_in_template
from infra.settings import DeploymentSettings

# The names that the function's observability.py gives its metrics.
NAMESPACE = "EcrLayerResolver"
_SERVICE = {"service": "ecr-layer-resolver"}

_THROTTLED_CODE = "ThrottlingException"


class Monitoring(Construct):
    """A dashboard, alarms, and the topic that alarms go to.

    Attributes:
        dashboard_name: The dashboard's name.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        settings: DeploymentSettings,
        alias: lambda_.Alias,
        events: EventTriggers,
    ) -> None:
        super().__init__(scope, construct_id)
        topic = _alarm_topic(self, settings.alarm_email)
        self.dashboard_name = f"{settings.stack_name}-{Aws.REGION}"
        facade = MonitoringFacade(
            self,
            "Facade",
            dashboard_factory=DefaultDashboardFactory(
                self,
                "Dashboards",
                dashboard_name_prefix=self.dashboard_name,
                create_dashboard=True,
                create_summary_dashboard=False,
                create_alarm_dashboard=False,
                rendering_preference=DashboardRenderingPreference.INTERACTIVE_ONLY,
            ),
        )
        facade.monitor_lambda_function(
            lambda_function=alias,
            human_readable_name="Function",
            alarm_friendly_name="Function",
            latency_types_to_render=[LatencyType.P50, LatencyType.P90, LatencyType.P99],
        )
        facade.monitor_custom(human_readable_name="Layers", alarm_friendly_name="Layers", metric_groups=_groups())
        facade.monitor_sqs_queue(
            queue=events.failure_queue, human_readable_name="Failure queue", alarm_friendly_name="FailureQueue"
        )
        notify = actions.SnsAction(topic)
        self._add_function_alarms(settings, alias, notify)
        self._add_event_alarms(alias, events, notify)

    def _add_function_alarms(
        self, settings: DeploymentSettings, alias: lambda_.Alias, notify: cloudwatch.IAlarmAction
    ) -> None:
        self._add_alarm("Errors", alias.metric_errors(), "The function failed. Its log has the error.", notify)
        self._add_alarm(
            "Throttles",
            alias.metric_throttles(),
            "Lambda turned requests away: raise reservedConcurrency, or the account's quota.",
            notify,
        )
        self._add_alarm(
            "Duration",
            alias.metric_duration(statistic="p99"),
            "Requests take nearly as long as the function may run; near its time-out they are answered with 504.",
            notify,
            threshold=settings.timeout_seconds * 1000 * 0.8,
        )
        self._add_alarm(
            "EcrThrottling",
            _metric("LayersFailed", "Sum", code=_THROTTLED_CODE),
            "ECR throttles the account's requests: ask for fewer layers at a time, or for a higher quota.",
            notify,
        )

    def _add_event_alarms(self, alias: lambda_.Alias, events: EventTriggers, notify: cloudwatch.IAlarmAction) -> None:
        self._add_alarm(
            "FailureQueue",
            events.failure_queue.metric_approximate_number_of_messages_visible(),
            "Events failed and wait in the failure queue; docs/events.md says how to look at them and send them again.",
            notify,
        )
        self._add_alarm(
            "DestinationDelivery",
            alias.metric("DestinationDeliveryFailures", statistic="Sum"),
            "Lambda could not pass a result on, and dropped it. Send the event again, with fewer layers.",
            notify,
        )

    def _add_alarm(
        self,
        name: str,
        metric: cloudwatch.IMetric,
        description: str,
        notify: cloudwatch.IAlarmAction,
        *,
        threshold: float = 0,
    ) -> None:
        # Alarms of cdk-monitoring-constructs are metric math even over one metric, which costs more and which
        # emulators do not know, so the alarms are CDK's own.
        alarm = cloudwatch.Alarm(
            self,
            f"{name}Alarm",
            metric=metric,
            threshold=threshold,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
            evaluation_periods=1,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
            alarm_description=description,
        )
        alarm.add_alarm_action(notify)
        alarm.add_ok_action(notify)


def _alarm_topic(scope: Construct, email: str | None) -> sns.Topic:
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
    accept_in_template(
        topic,
        checkov={
            "CKV_AWS_26": "CloudWatch can't publish with AWS's own key, and alarms name metrics and nothing else."
        },
    )
    if email is not None:
        topic.add_subscription(subscriptions.EmailSubscription(email))
    return topic


def _groups() -> list[CustomMetricGroup]:
    return [
        CustomMetricGroup(
            title="Layers resolved, and those of them from the cache",
            metrics=[_metric("LayersResolved", "Sum"), _metric("CacheHits", "Sum")],
        ),
        CustomMetricGroup(
            title="Failures by code",
            metrics=[
                cloudwatch.MathExpression(
                    expression=f"SEARCH('{{{NAMESPACE},code,service}} MetricName=\"LayersFailed\"', 'Sum', 300)",
                    using_metrics={},
                    label="",
                )
            ],
        ),
        CustomMetricGroup(
            title="ECR latency",
            metrics=[_metric("EcrCallLatency", statistic) for statistic in ("p50", "p90", "p99")],
        ),
        CustomMetricGroup(
            title="Cold starts",
            metrics=[
                cloudwatch.MathExpression(
                    expression=f"SEARCH('{{{NAMESPACE},function_name,service}} MetricName=\"ColdStart\"', 'Sum', 300)",
                    using_metrics={},
                    label="",
                )
            ],
        ),
    ]


def _metric(name: str, statistic: str, **dimensions: str) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace=NAMESPACE,
        metric_name=name,
        dimensions_map=_SERVICE | dimensions,
        statistic=statistic,
        period=Duration.minutes(5),
    )
