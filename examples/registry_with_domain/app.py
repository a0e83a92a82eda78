"""A registry in an existing stack: its domain, its repositories, pull tokens, and an event for each pull.

Usage: cdk deploy -c account=123456789012
"""

from aws_cdk import App, Environment, Stack
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_sqs as sqs
from constructs import Construct
from ecr_layer_resolver import EcrLayerResolver, Edge


class PlatformStack(Stack):
    """What the platform team has: a hosted zone, a repository, an auditor's queue. CloudFront needs us-east-1."""

    def __init__(self, scope: Construct, construct_id: str, env: Environment) -> None:
        super().__init__(scope, construct_id, env=env)
        zone = route53.PublicHostedZone(self, "Zone", zone_name="example.com")
        certificate = acm.Certificate(
            self,
            "Certificate",
            domain_name="registry.example.com",
            validation=acm.CertificateValidation.from_dns(zone),
        )
        repository = ecr.Repository(self, "App")
        audit = sqs.Queue(self, "Audit", enforce_ssl=True)
        operators = iam.Role(self, "Operators", assumed_by=iam.AccountRootPrincipal())

        resolver = EcrLayerResolver(
            self,
            "Layers",
            repositories=[repository, "team/*"],
            image_pull=True,
            list_tags=True,
            pull_events=True,
            edge=Edge(domain_name="registry.example.com", certificate=certificate, hosted_zone=zone),
        )
        resolver.grant_manage_tokens(operators)
        resolver.on_pull("Pulls", target=targets.SqsQueue(audit))


app = App()
account = app.node.try_get_context("account") or "123456789012"
PlatformStack(app, "Platform", env=Environment(account=account, region="us-east-1"))
app.synth()
