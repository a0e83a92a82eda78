"""Findings of cdk-nag, checkov and cfn-lint on this project's stack that are accepted, and why."""

from typing import cast

from aws_cdk import Acknowledgment, CfnResource, Validations
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import IConstruct

from .construct import EcrLayerResolver

_WEB_ACL = "A web ACL is the operator's setting webAclArn."
_ACCESS_LOGS = "Access logs are the operator's setting edgeLogs, which writes to CloudWatch Logs."
_TLS = "With domainName it is edgeTlsPolicy; CloudFront's own name has a fixed policy."

_ROTATION = "`ecr-layers token rotate-keys` rotates the keys, in the edge's store at the same time."

_CDK_NAG: dict[type[IConstruct], dict[str, str]] = {
    lambda_.Function: {"AwsSolutions-L1": "Lambda supports Python 3.13 until 2029; the package is built for it."},
    secretsmanager.Secret: {"AwsSolutions-SMG4": _ROTATION},
    sqs.Queue: {"AwsSolutions-SQS3": "It is a dead-letter queue itself."},
    cloudfront.Distribution: {
        "AwsSolutions-CFR1": "The operator limits where clients may be, with webAclArn.",
        "AwsSolutions-CFR2": _WEB_ACL,
        "AwsSolutions-CFR3": _ACCESS_LOGS,
        "AwsSolutions-CFR4": _TLS,
    },
}

_CHECKOV: dict[type[IConstruct], dict[str, str]] = {
    lambda_.Function: {
        "CKV_AWS_115": "The operator reserves concurrency, with reservedConcurrency.",
        "CKV_AWS_116": "Failed events go to the dead-letter queue by the alias's asynchronous configuration.",
        "CKV_AWS_117": "It needs nothing in a VPC, and would need endpoints of ECR there.",
        "CKV_AWS_173": "The environment has no secret; Lambda encrypts it with its own key.",
    },
    logs.LogGroup: {"CKV_AWS_158": "CloudWatch Logs encrypts with its own key, and logs have no secret."},
    secretsmanager.Secret: {
        "CKV_AWS_149": "Secrets Manager encrypts with its own key, and no other account reads the secret.",
        "CKV2_AWS_57": _ROTATION,
    },
    sqs.Queue: {"CKV_AWS_27": "SQS encrypts with its own key."},
    sns.Topic: {"CKV_AWS_26": "CloudWatch can't publish with AWS's own key, and alarms only name metrics."},
    cloudfront.Distribution: {"CKV_AWS_68": _WEB_ACL, "CKV_AWS_86": _ACCESS_LOGS, "CKV_AWS_174": _TLS},
}
_PUBLIC = {"CKV_AWS_258": "The operator made these repositories public, with authType."}

_CFN_LINT = {lambda_.Function: "W3005"}
"""CDK writes the function's dependency on its role twice."""


def accept_findings(resolver: EcrLayerResolver) -> None:
    """Accept all findings on a resolver."""
    for construct in resolver.node.find_all():
        kind = type(construct)
        _acknowledge(construct, _CDK_NAG.get(kind, {}))
        if isinstance(construct, iam.Role):
            _acknowledge(construct, _wildcards(resolver))
        checkov = _CHECKOV.get(kind, {})
        if isinstance(construct, lambda_.FunctionUrl) and resolver.options.auth_type == "NONE":
            checkov = _PUBLIC
        if checkov:
            resource = cast("CfnResource", construct.node.default_child)
            skipped = [{"id": finding, "comment": reason} for finding, reason in checkov.items()]
            resource.add_metadata("checkov", {"skip": skipped})
        if kind in _CFN_LINT:
            resource = cast("CfnResource", construct.node.default_child)
            resource.add_metadata("cfn-lint", {"config": {"ignore_checks": [_CFN_LINT[lambda_.Function]]}})


def _acknowledge(construct: IConstruct, reasons: dict[str, str]) -> None:
    if reasons:
        Validations.of(construct).acknowledge(
            *(Acknowledgment(id=finding, reason=reason) for finding, reason in reasons.items())
        )


def _wildcards(resolver: EcrLayerResolver) -> dict[str, str]:
    """Return cdk-nag's findings about statements of the role that end with `*`."""
    options = resolver.options
    names = [*options.repositories, *options.imported_repositories()]
    reason = "The operator named these repositories by their prefix, in the settings."
    arns = {
        f"AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:ecr:<AWS::Region>:{account}:repository/{name}]": reason
        for account in ("<AWS::AccountId>", *options.registries)
        for name in names
        if name.endswith("*")
    }
    return arns | {"AwsSolutions-IAM5[Resource::*]": "X-Ray's actions for writing traces have no resource."}
