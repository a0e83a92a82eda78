"""This project's own stack: one resolver with the settings of `cdk.json`, its outputs and warnings."""

from typing import Any

from aws_cdk import Annotations, CfnOutput, Duration, RemovalPolicy, Size, Stack, Tags
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from .construct import EcrLayerResolver
from .edge import TLS_POLICIES, Edge
from .findings import accept_findings
from .regions import Region
from .settings import RETENTION, DeploymentSettings


class LayerResolverStack(Stack):
    """The whole service in one stack.

    Args:
        scope: The app or stage.
        construct_id: The id.
        settings: What the operator has set.
        code: A function package of your own.
        kwargs: Further props of the stack, such as `env`.

    Attributes:
        resolver: The resolver.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: DeploymentSettings,
        code: lambda_.Code | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            scope,
            construct_id,
            **{"description": "ECR Layer Resolver: pre-signed download URLs of image layers in Amazon ECR", **kwargs},
        )
        # So `cdk diff` names a setting that has changed.
        self.template_options.metadata = settings.values()
        Tags.of(self).add("Application", "ecr-layer-resolver")
        self.resolver = self._resolver(settings, code)
        for principal in settings.allowed_principals:
            self.resolver.grant_invoke_url(_principal(principal))
        if settings.alarm_email:
            self.resolver.alarm_topic.add_subscription(subscriptions.EmailSubscription(settings.alarm_email))
        accept_findings(self.resolver)
        region = Region.of(self)
        self._add_outputs(region)
        self._add_warnings(settings, region)

    def _resolver(self, settings: DeploymentSettings, code: lambda_.Code | None) -> EcrLayerResolver:
        bus = settings.event_bus_name
        keep_logs = settings.keep_logs
        return EcrLayerResolver(
            self,
            # CDK leaves an id of this name out of logical ids and names, so those of earlier releases stay.
            "Default",
            repositories=settings.repositories,
            registries=settings.registries,
            image_pull=settings.image_pull,
            list_tags=settings.list_tags,
            pull_through_prefixes=settings.pull_through_prefixes,
            pull_time_exclusion=settings.pull_time_exclusion,
            auth_type=lambda_.FunctionUrlAuthType[settings.auth_type],
            allowed_origins=settings.allowed_origins,
            memory_size=settings.memory_size,
            timeout=Duration.seconds(settings.timeout_seconds),
            reserved_concurrent_executions=settings.reserved_concurrency,
            snap_start=settings.snap_start,
            keep_versions=settings.keep_versions,
            ipv6=settings.ipv6,
            download_url_hosts=settings.download_url_hosts,
            log_level=settings.log_level,
            log_retention=RETENTION[settings.log_retention_days],
            log_removal_policy=keep_logs if keep_logs is None else _removal_policy(keeps=keep_logs),
            saved_queries=settings.saved_queries,
            tracing=settings.tracing,
            event_sources=settings.event_sources,
            event_bus=events.EventBus.from_event_bus_name(self, "Bus", bus) if bus else None,
            pull_events=settings.pull_events,
            maximum_result_size=Size.kibibytes(settings.maximum_result_kilobytes),
            edge=self._edge(settings) if settings.edge else None,
            code=code,
        )

    def _edge(self, settings: DeploymentSettings) -> Edge:
        certificate, zone, store = settings.certificate_arn, settings.hosted_zone_id, settings.token_store_arn
        return Edge(
            domain_name=settings.domain_name,
            certificate=acm.Certificate.from_certificate_arn(self, "Certificate", certificate) if certificate else None,
            hosted_zone=route53.HostedZone.from_hosted_zone_attributes(
                self, "HostedZone", hosted_zone_id=zone, zone_name=str(settings.domain_name)
            )
            if zone
            else None,
            public_repositories=settings.public_repositories,
            tls_policy=TLS_POLICIES[settings.edge_tls_policy],
            cache_duration=Duration.seconds(settings.edge_cache_seconds),
            additional_metrics=settings.edge_metrics,
            web_acl_arn=settings.web_acl_arn,
            access_logs=settings.edge_logs,
            layers=settings.edge_layers,
            trust_rules=settings.trust_rules,
            token_store=cloudfront.KeyValueStore.from_key_value_store_arn(self, "TokenStore", store) if store else None,
        )

    def _add_outputs(self, region: Region) -> None:
        resolver = self.resolver
        name = resolver.dashboard.dashboard_name
        host = region.console_host
        address = f"https://{host}/cloudwatch/home?region={self.region}#dashboards/dashboard/{name}" if host else name
        outputs = {
            "FunctionUrl": (resolver.function_url.url, "Where to send requests"),
            "FunctionArn": (resolver.function.function_arn, "The function"),
            "AliasArn": (resolver.alias.function_arn, "The alias behind the function URL"),
            "EventBusName": (resolver.event_bus.event_bus_name, "Where to send events, and where results go"),
            "FailureQueueUrl": (resolver.failure_queue.queue_url, "Dead-letter queue for failed events"),
            "Dashboard": (address, "Requests, errors, latency and alarms"),
        }
        if resolver.distribution and resolver.token_store:
            outputs |= {
                "RegistryDomain": (str(resolver.registry_domain), "Where to log in with a pull token, and pull"),
                "DistributionDomain": (
                    resolver.distribution.distribution_domain_name,
                    "Target of the domain's CNAME or alias record",
                ),
                "DistributionId": (resolver.distribution.distribution_id, "The CloudFront distribution"),
                "TokenStoreArn": (resolver.token_store.key_value_store_arn, "The store of pull tokens"),
            }
        if resolver.signing_keys:
            secret = resolver.signing_keys.secret_arn
            outputs["SigningKeySecret"] = (secret, "The keys of short tokens; see `ecr-layers token rotate-keys`")
        for output, (value, description) in outputs.items():
            CfnOutput(self, output, value=value, description=description)

    def _add_warnings(self, settings: DeploymentSettings, region: Region) -> None:
        def warn(name: str, message: str) -> None:
            Annotations.of(self).add_warning_v2(f"EcrLayerResolver:{name}", message)

        if settings.edge and not settings.image_pull:
            warn(
                "EdgeWithoutImagePull",
                "The setting edge lets clients log in, but without imagePull they can't pull images: there are no "
                "manifests, only blobs. Set imagePull to true, unless you only serve blobs.",
            )
        if settings.edge and not region.has_edge_monitoring:
            warn(
                "EdgeWithoutAlarms",
                f"CloudFront's metrics are in us-east-1, so a stack in {region.name} can show them on its dashboard, "
                "but has no alarms on them. docs/edge.md shows how to make them in us-east-1.",
            )
        if "*" in settings.repositories:
            warn(
                "AllRepositories",
                "The setting repositories has '*', so callers of the service can download every layer of the "
                "registry. Name the repositories in cdk.json, such as team/app or team/*.",
            )
        if settings.alarm_email is None:
            warn(
                "NoAlarmEmail",
                "Nobody hears the alarms, because alarmEmail has no address. Set it in cdk.json, unless something "
                "else subscribes to the alarms' SNS topic.",
            )
        if not region.has_function_urls:
            warn(
                "NoFunctionUrls",
                f"Lambda is not known to have function URLs in {region.name}, and the stack needs one: the "
                "deployment fails unless it has them by now. See "
                "https://docs.aws.amazon.com/lambda/latest/dg/urls-configuration.html.",
            )


def _removal_policy(*, keeps: bool) -> RemovalPolicy:
    return RemovalPolicy.RETAIN if keeps else RemovalPolicy.DESTROY


def _principal(name: str) -> iam.IPrincipal:
    if name.startswith("arn:"):
        return iam.ArnPrincipal(name)
    if name.startswith("o-"):
        return iam.OrganizationPrincipal(name)
    return iam.AccountPrincipal(name)
