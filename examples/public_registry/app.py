"""A registry from which anyone pulls two repositories, and token holders pull all of the team's."""

from aws_cdk import App, CfnOutput, Duration, Stack
from ecr_layer_resolver import EcrLayerResolver, Edge

app = App()
stack = Stack(app, "PublicRegistry")

resolver = EcrLayerResolver(
    stack,
    "Layers",
    repositories=["team/*"],
    image_pull=True,
    edge=Edge(public_repositories=["team/app", "team/docs"], cache_duration=Duration.minutes(20)),
)

CfnOutput(stack, "RegistryDomain", value=str(resolver.registry_domain))
app.synth()
