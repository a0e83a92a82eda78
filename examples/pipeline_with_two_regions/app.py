"""A pipeline that deploys a resolver to two regions, one after the other."""

from aws_cdk import App, Environment, Stack, Stage, pipelines
from constructs import Construct
from ecr_layer_resolver import EcrLayerResolver

ACCOUNT = "123456789012"
CONNECTION = f"arn:aws:codeconnections:eu-west-1:{ACCOUNT}:connection/12345678-1234-1234-1234-123456789012"


class Layers(Stage):
    """The resolver in one region."""

    def __init__(self, scope: Construct, construct_id: str, region: str) -> None:
        super().__init__(scope, construct_id, env=Environment(account=ACCOUNT, region=region))
        EcrLayerResolver(Stack(self, "Layers"), "Resolver", repositories=["team/*"], image_pull=True)


app = App()
stack = Stack(app, "Pipeline", env=Environment(account=ACCOUNT, region="eu-west-1"))
pipeline = pipelines.CodePipeline(
    stack,
    "Pipeline",
    cross_account_keys=False,
    synth=pipelines.ShellStep(
        "Synth",
        input=pipelines.CodePipelineSource.connection("example/layers", "main", connection_arn=CONNECTION),
        commands=["pip install ecr-layer-resolver", "npx cdk synth"],
    ),
)
for region in ("eu-west-1", "us-east-1"):
    pipeline.add_stage(Layers(pipeline, region, region))
app.synth()
