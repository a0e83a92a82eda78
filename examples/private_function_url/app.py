"""A private function URL that one role may call, an alarm on failed requests, and results of events in a queue."""

from aws_cdk import App, CfnOutput, Stack
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sqs as sqs
from ecr_layer_resolver import EcrLayerResolver

app = App()
stack = Stack(app, "Builds")

build_role = iam.Role(stack, "BuildRole", assumed_by=iam.ServicePrincipal("codebuild.amazonaws.com"))
results = sqs.Queue(stack, "Results", enforce_ssl=True)

resolver = EcrLayerResolver(stack, "Layers", repositories=["team/*"])
resolver.grant_invoke_url(build_role)
resolver.metric_requests_failed().create_alarm(stack, "Failed", threshold=1, evaluation_periods=1)
resolver.on_result("ResultsToQueue", target=targets.SqsQueue(results))

CfnOutput(stack, "FunctionUrl", value=resolver.function_url.url)
app.synth()
