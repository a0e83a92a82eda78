"""The stack: puts the constructs together and says what they came to; defines no resource itself."""

from aws_cdk import CfnOutput, Stack, Tags
from constructs import Construct

from infra.asset import LAMBDA, Target
from infra.event_triggers import EventTriggers
from infra.monitoring import Monitoring
from infra.resolver_function import ResolverFunction
from infra.settings import DeploymentSettings


class LayerResolverStack(Stack):
    """The whole service in one stack.

    Args:
        scope: The app.
        settings: What the operator has set.
        target: What the deployment package is built for.

    Attributes:
        resolver: The function with its function URL.
    """

    def __init__(self, scope: Construct, settings: DeploymentSettings, target: Target = LAMBDA) -> None:
        super().__init__(
            scope,
            settings.stack_name,
            description="ECR Layer Resolver: pre-signed download URLs of image layers in Amazon ECR",
        )
        Tags.of(self).add("Application", "ecr-layer-resolver")
        self.resolver = ResolverFunction(self, "Resolver", settings, target)
        events = EventTriggers(self, "Events", settings, self.resolver)
        monitoring = Monitoring(self, "Monitoring", settings, self.resolver.alias, events)
        CfnOutput(self, "FunctionUrl", value=self.resolver.url.url, description="Where to send requests")
        CfnOutput(self, "FunctionArn", value=self.resolver.function.function_arn, description="The function")
        CfnOutput(
            self, "AliasArn", value=self.resolver.alias.function_arn, description="The alias behind the function URL"
        )
        CfnOutput(
            self, "FailureQueueUrl", value=events.failure_queue.queue_url, description="Where events end that failed"
        )
        CfnOutput(
            self,
            "Dashboard",
            value=f"https://{self.region}.console.aws.amazon.com/cloudwatch/home?region={self.region}"
            f"#dashboards/dashboard/{monitoring.dashboard_name}",
            description="Requests, errors, latency and alarms",
        )
