"""The construct that other CDK apps import: the resolver with its event triggers, monitoring and edge."""

from collections.abc import Sequence
from typing import Any

from aws_cdk import Duration, Names, RemovalPolicy, Size
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_sns as sns
from constructs import Construct

from . import contract
from .audit import Audit
from .edge import TLS_POLICIES, Edge, EdgeDistribution
from .event_triggers import EventTriggers
from .monitoring import Monitoring
from .options import Options, SettingsError
from .regions import Region
from .resolver_function import LogRetention, ResolverFunction

# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/kvs-with-functions-edit-using-api.html
_MANAGE_TOKENS = ("DescribeKeyValueStore", "GetKey", "ListKeys", "PutKey", "DeleteKey", "UpdateKeys")


class EcrLayerResolver(Construct):
    """Resolves layers of ECR repositories into pre-signed download URLs, over HTTPS and by events.

    Args:
        scope: The scope.
        construct_id: The id. Names that AWS needs come from the construct's path, so several fit in one stack.
        repositories: What to serve: repositories of the stack's registry, their names, prefixes such as `team/*`, or
            `*` for all.
        registries: Account ids of other registries to serve the same repositories from.
        image_pull: Serve manifests to OCI clients, and resolve pushed images; adds `ecr:BatchGetImage`.
        list_tags: List tags; adds `ecr:ListImages`.
        pull_through_prefixes: Prefixes of pull-through cache rules that a first pull may fill; `ROOT` for a rule
            without one. Adds `ecr:BatchImportUpstreamImage`.
        pull_time_exclusion: Don't count reads of manifests as pulls in lifecycle rules; needs `image_pull`.
        auth_type: `NONE` lets anyone call the function URL.
        allowed_origins: Origins of web pages that may call the function URL (CORS).
        memory_size: The function's memory in MB.
        timeout: The function's time-out, in whole seconds: 3 seconds to 15 minutes; 59 seconds at most with an edge.
        reserved_concurrent_executions: Concurrency reserved for the function, and its maximum. With `auth_type` `NONE`
            10 by default, otherwise none.
        snap_start: Use Lambda SnapStart; by default where the region has it.
        keep_versions: Keep the function's old versions, to roll back by the alias.
        ipv6: Call ECR by its dual-stack endpoint.
        download_url_hosts: Hosts to accept in download URLs beside AWS's own.
        log_level: `DEBUG`, `INFO`, `WARNING` or `ERROR`.
        log_retention: How long log entries are kept.
        log_removal_policy: Whether log groups outlive the stack. They do by default with `pull_events` or an edge,
            whose logs say who pulled what.
        saved_queries: Save queries for CloudWatch Logs Insights.
        tracing: Send traces to AWS X-Ray.
        event_sources: Sources whose events may ask for layers; none turns the rule off.
        event_bus: The bus for requests and results; a new one by default, because results have download URLs.
        pull_events: Put an event on the bus for each pull.
        maximum_result_size: The largest result of an event, in whole KiB; what the region's events can have by default.
        alarm_topic: Where alarms go; a new topic by default.
        edge: CloudFront in front, with pull tokens.
        code: A function package of your own, instead of the one that comes with the construct.

    Raises:
        SettingsError: If a prop is invalid, or conflicts with another or with the stack's region. A `ValueError`.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        repositories: Sequence[str | ecr.IRepository],
        registries: Sequence[str] = (),
        image_pull: bool = False,
        list_tags: bool = False,
        pull_through_prefixes: Sequence[str] = (),
        pull_time_exclusion: bool = False,
        auth_type: lambda_.FunctionUrlAuthType = lambda_.FunctionUrlAuthType.AWS_IAM,
        allowed_origins: Sequence[str] = (),
        memory_size: int = 512,
        timeout: Duration | None = None,
        reserved_concurrent_executions: int | None = None,
        snap_start: bool | None = None,
        keep_versions: bool = False,
        ipv6: bool = False,
        download_url_hosts: Sequence[str] = (),
        log_level: str = "INFO",
        log_retention: logs.RetentionDays = logs.RetentionDays.ONE_MONTH,
        log_removal_policy: RemovalPolicy | None = None,
        saved_queries: bool = True,
        tracing: bool = False,
        event_sources: Sequence[str] = ("ecr-layer-resolver.requests",),
        event_bus: events.IEventBus | None = None,
        pull_events: bool = False,
        maximum_result_size: Size | None = None,
        alarm_topic: sns.ITopic | None = None,
        edge: Edge | None = None,
        code: lambda_.Code | None = None,
    ) -> None:
        super().__init__(scope, construct_id)
        self._region = Region.of(self)
        self.options = self._checked(
            _edge_options(edge)
            | {
                "repositories": _names(repositories),
                "registries": registries,
                "image_pull": image_pull,
                "list_tags": list_tags,
                "pull_through_prefixes": pull_through_prefixes,
                "pull_time_exclusion": pull_time_exclusion,
                "auth_type": auth_type.name,
                "allowed_origins": allowed_origins,
                "memory_size": memory_size,
                "timeout_seconds": timeout.to_seconds() if timeout else None,
                "reserved_concurrency": reserved_concurrent_executions,
                "snap_start": snap_start,
                "keep_versions": keep_versions,
                "ipv6": ipv6,
                "download_url_hosts": download_url_hosts,
                "log_level": log_level,
                "saved_queries": saved_queries,
                "tracing": tracing,
                "event_sources": event_sources,
                "pull_events": pull_events,
                "maximum_result_kilobytes": maximum_result_size.to_kibibytes() if maximum_result_size else None,
            }
        )
        # A stack's name may have 128 characters.
        self.name: str = Names.unique_resource_name(self, max_length=200, separator="-", allowed_special_characters="-")
        keeps_logs = pull_events or edge is not None
        retention = LogRetention(
            log_retention, log_removal_policy or (RemovalPolicy.RETAIN if keeps_logs else RemovalPolicy.DESTROY)
        )
        self._resolver = ResolverFunction(
            self,
            "Resolver",
            options=self.options,
            region=self._region,
            name=self.name,
            retention=retention,
            code=code,
        )
        self._events = EventTriggers(
            self, "Events", options=self.options, region=self._region, resolver=self._resolver, bus=event_bus
        )
        self._edge: EdgeDistribution | None = None
        if edge:
            self._edge = EdgeDistribution(
                self,
                "Edge",
                edge=edge,
                options=self.options,
                name=self.name,
                resolver=self._resolver,
                retention=retention,
            )
        self._monitoring = Monitoring(
            self,
            "Monitoring",
            options=self.options,
            name=self.name,
            alias=self._resolver.alias,
            events=self._events,
            edge=self._edge,
            has_edge_alarms=self._region.has_edge_monitoring,
            alarm_topic=alarm_topic,
        )
        if saved_queries:
            Audit(self, "Audit", name=self.name, log_group=self.log_group)

    def _checked(self, values: dict[str, Any]) -> Options:
        try:
            return Options.checked(values, self._region)
        except SettingsError as error:
            raise SettingsError(f"{self.node.path}: {error}") from None

    @property
    def function(self) -> lambda_.Function:
        """The function. Invoke its alias instead."""
        return self._resolver.function

    @property
    def alias(self) -> lambda_.Alias:
        """The alias `live`, behind the function URL and the event triggers."""
        return self._resolver.alias

    @property
    def function_url(self) -> lambda_.FunctionUrl:
        """The function URL."""
        return self._resolver.url

    @property
    def log_group(self) -> logs.LogGroup:
        """The function's log group."""
        return self._resolver.log_group

    @property
    def event_bus(self) -> events.IEventBus:
        """The event bus for requests, results and events about pulls."""
        return self._events.bus

    @property
    def failure_queue(self) -> Any:
        """The dead-letter queue of failed events, an `aws_sqs.Queue`."""
        return self._events.failure_queue

    @property
    def dashboard(self) -> cloudwatch.Dashboard:
        """The dashboard."""
        return self._monitoring.dashboard

    @property
    def alarm_topic(self) -> sns.ITopic:
        """The topic that alarms go to."""
        return self._monitoring.alarm_topic

    @property
    def distribution(self) -> cloudfront.Distribution | None:
        """The CloudFront distribution; None without an edge."""
        return self._edge.distribution if self._edge else None

    @property
    def token_store(self) -> cloudfront.IKeyValueStore | None:
        """The store of pull tokens; None without an edge."""
        return self._edge.token_store if self._edge else None

    @property
    def signing_keys(self) -> secretsmanager.Secret | None:
        """The secret with the keys that sign short tokens; None without trust rules."""
        exchange = self._edge.exchange if self._edge else None
        return exchange.signing_keys if exchange else None

    @property
    def registry_domain(self) -> str | None:
        """The host for logins and pulls; None without an edge."""
        return self._edge.domain if self._edge else None

    def grant_invoke_url(self, grantee: iam.IGrantable) -> iam.Grant:
        """Allow a principal to call the function URL."""
        return self.function_url.grant_invoke_url(grantee)

    def grant_manage_tokens(self, grantee: iam.IGrantable) -> iam.Grant:
        """Allow a principal to manage pull tokens, and the keys of short tokens if there are any.

        Raises:
            ValueError: If there is no edge.
        """
        if self.token_store is None:
            raise ValueError(f"{self.node.path} has no pull tokens. Give it an edge.")
        if self.signing_keys:
            self.signing_keys.grant_read(grantee)
            self.signing_keys.grant_write(grantee)
        return iam.Grant.add_to_principal(
            grantee=grantee,
            actions=[f"cloudfront-keyvaluestore:{action}" for action in _MANAGE_TOKENS],
            resource_arns=[self.token_store.key_value_store_arn],
        )

    def on_result(self, id: str, *, target: events.IRuleTarget | None = None) -> events.Rule:  # noqa: A002 (CDK's name)
        """Return a rule for results of events, which have download URLs: treat them as secrets.

        Args:
            id: The rule's id.
            target: Where results go.
        """
        # https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
        pattern = events.EventPattern(
            source=["lambda"],
            detail_type=["Lambda Function Invocation Result - Success"],
            detail={"requestContext": {"functionArn": events.Match.prefix(self.function.function_arn)}},
        )
        return self._on(id, pattern, target)

    def on_pull(self, id: str, *, target: events.IRuleTarget | None = None) -> events.Rule:  # noqa: A002 (CDK's name)
        """Return a rule for events about pulls, which say who got what.

        Args:
            id: The rule's id.
            target: Where the events go.

        Raises:
            ValueError: If `pull_events` is off.
        """
        if not self.options.pull_events:
            raise ValueError(f"{self.node.path} has no events about pulls. Set pull_events to True.")
        pattern = events.EventPattern(source=[contract.PULL_SOURCE], detail_type=[contract.PULL_DETAIL_TYPE])
        return self._on(id, pattern, target)

    def _on(self, id: str, pattern: events.EventPattern, target: events.IRuleTarget | None) -> events.Rule:  # noqa: A002
        return events.Rule(
            self, id, event_bus=self.event_bus, event_pattern=pattern, targets=[target] if target else None
        )

    def metric_requests(self) -> cloudwatch.Metric:
        """Return the number of requests to the function URL."""
        return self.alias.metric("UrlRequestCount", statistic="Sum")

    def metric_requests_failed(self) -> cloudwatch.Metric:
        """Return the number of requests to the function URL that were answered with 5xx."""
        return self.alias.metric("Url5xxCount", statistic="Sum")

    def metric_request_latency(self) -> cloudwatch.Metric:
        """Return the latency of requests to the function URL, in milliseconds."""
        return self.alias.metric("UrlRequestLatency", statistic="p99")

    def metric_layers_resolved(self) -> cloudwatch.Metric:
        """Return the number of layers that got a download URL."""
        return self._monitoring.service.metric(contract.LAYERS_RESOLVED)

    def metric_cache_hits(self) -> cloudwatch.Metric:
        """Return the number of layers whose download URL came from the function's cache."""
        return self._monitoring.service.metric(contract.CACHE_HITS)

    def metric_layers_failed(self, code: str) -> cloudwatch.Metric:
        """Return the number of layers that failed with an error.

        Args:
            code: The error's code, such as `ThrottlingException`; docs/api.md lists all.
        """
        return self._monitoring.service.metric(contract.LAYERS_FAILED, **{contract.CODE_DIMENSION: code})

    def metric_ecr_latency(self) -> cloudwatch.Metric:
        """Return the time that ECR took to answer, in milliseconds."""
        return self._monitoring.service.metric(contract.ECR_CALL_LATENCY, "p99")


def _names(repositories: Sequence[str | ecr.IRepository]) -> list[str]:
    return [each if isinstance(each, str) else each.repository_name for each in repositories]


def _edge_options(edge: Edge | None) -> dict[str, Any]:
    if edge is None:
        return {}
    return {
        "edge": True,
        "public_repositories": _names(edge.public_repositories),
        "domain_name": edge.domain_name,
        "certificate_arn": edge.certificate and edge.certificate.certificate_arn,
        "hosted_zone_id": edge.hosted_zone and edge.hosted_zone.hosted_zone_id,
        "edge_tls_policy": next((name for name, policy in TLS_POLICIES.items() if policy == edge.tls_policy), "other"),
        "edge_cache_seconds": edge.cache_duration.to_seconds(),
        "edge_metrics": edge.additional_metrics,
        "trust_rules": dict(edge.trust_rules),
        "web_acl_arn": edge.web_acl_arn,
        "token_store_arn": edge.token_store and edge.token_store.key_value_store_arn,
        "edge_logs": edge.access_logs,
        "edge_layers": edge.layers,
    }
