"""The stack: puts the constructs together and says what they came to; defines no resource itself."""

from aws_cdk import Annotations, CfnOutput, Stack, Tags
from constructs import Construct

from infra.asset import LAMBDA, Target
from infra.audit import Audit
from infra.edge import Edge
from infra.event_triggers import EventTriggers
from infra.monitoring import Monitoring
from infra.regions import Region
from infra.resolver_function import ResolverFunction
from infra.settings import DeploymentSettings


class LayerResolverStack(Stack):
    """The whole service in one stack.

    Args:
        scope: The app.
        settings: What the operator has set.
        target: What the deployment package is built for.
        region: Where it is to be deployed.

    Attributes:
        resolver: The function with its function URL.
        edge: CloudFront in front of it, None if the operator has not turned it on.
    """

    def __init__(
        self, scope: Construct, settings: DeploymentSettings, target: Target = LAMBDA, region: Region | None = None
    ) -> None:
        super().__init__(
            scope,
            settings.stack_name,
            description="ECR Layer Resolver: pre-signed download URLs of image layers in Amazon ECR",
        )
        region = region or Region()
        # So `cdk diff` names a setting that has changed.
        self.template_options.metadata = settings.values()
        Tags.of(self).add("Application", "ecr-layer-resolver")
        self.resolver = ResolverFunction(self, "Resolver", settings, target)
        events = EventTriggers(self, "Events", settings, region, self.resolver)
        self.edge = Edge(self, "Edge", settings, region, self.resolver) if settings.edge else None
        monitoring = Monitoring(self, "Monitoring", settings, self.resolver.alias, events, self.edge)
        if settings.saved_queries:
            Audit(self, "Audit", settings, self.resolver.log_group)
        self._add_outputs(region, events, monitoring)
        self._add_notes(settings, region)

    def _add_outputs(self, region: Region, events: EventTriggers, monitoring: Monitoring) -> None:
        name = monitoring.dashboard_name
        host = region.console_host
        address = f"https://{host}/cloudwatch/home?region={self.region}#dashboards/dashboard/{name}" if host else name
        outputs = {
            "FunctionUrl": (self.resolver.url.url, "Where to send requests"),
            "FunctionArn": (self.resolver.function.function_arn, "The function"),
            "AliasArn": (self.resolver.alias.function_arn, "The alias behind the function URL"),
            "EventBusName": (events.bus.event_bus_name, "Where to send events, and where results go"),
            "FailureQueueUrl": (events.failure_queue.queue_url, "Where events end that failed"),
            "Dashboard": (address, "Requests, errors, latency and alarms"),
        }
        if self.edge is not None:
            outputs |= {
                "RegistryDomain": (self.edge.domain, "Where to log in with a pull token, and pull"),
                "DistributionDomain": (
                    self.edge.distribution.distribution_domain_name,
                    "What the domain is a CNAME or alias of",
                ),
                "DistributionId": (self.edge.distribution.distribution_id, "The CloudFront distribution"),
                "TokenStoreArn": (self.edge.token_store.key_value_store_arn, "Where pull tokens are"),
            }
        for output, (value, description) in outputs.items():
            CfnOutput(self, output, value=value, description=description)

    def _add_notes(self, settings: DeploymentSettings, region: Region) -> None:
        notes = Annotations.of(self)
        if settings.edge and not settings.image_pull:
            notes.add_warning_v2(
                "EcrLayerResolver:EdgeWithoutImagePull",
                "The setting edge lets clients log in, but without imagePull they can't pull images: there are no "
                "manifests, only blobs. Set imagePull to true, unless blobs are all that you want to give out.",
            )
        if settings.edge and not region.has_edge_monitoring:
            notes.add_warning_v2(
                "EcrLayerResolver:EdgeWithoutAlarms",
                f"CloudFront's metrics are in us-east-1, so a stack in {region.name} can show them on its dashboard, "
                "but has no alarms on them. docs/edge.md shows how to make them in us-east-1.",
            )
        if "*" in settings.repositories:
            notes.add_warning_v2(
                "EcrLayerResolver:AllRepositories",
                "The setting repositories has '*', so who may call the service can download every layer of the "
                "registry. Name the repositories in cdk.json, such as team/app or team/*.",
            )
        if settings.alarm_email is None:
            notes.add_warning_v2(
                "EcrLayerResolver:NoAlarmEmail",
                "Nobody hears the alarms, because alarmEmail has no address. Set it in cdk.json, unless something else "
                "subscribes to the alarms' SNS topic.",
            )
        if settings.snap_start and not region.has_snap_start:
            notes.add_warning_v2(
                "EcrLayerResolver:NoSnapStart",
                f"Lambda is not known to have SnapStart for Python in {region.name}, which the setting snapStart asks "
                "for: the deployment fails unless it has it by now. To do without, remove snapStart from cdk.json.",
            )
        if not region.has_function_urls:
            notes.add_warning_v2(
                "EcrLayerResolver:NoFunctionUrls",
                f"Lambda is not known to have function URLs in {region.name}, and the stack needs one: the deployment "
                "fails unless it has them by now. See "
                "https://docs.aws.amazon.com/lambda/latest/dg/urls-configuration.html.",
            )
