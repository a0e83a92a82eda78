"""Findings of the tools that check the template, accepted where they arise and with the reason.

cdk-nag and CDK itself read acknowledgments of the construct; checkov and cfn-lint read metadata in the template.
"""

from typing import cast

from aws_cdk import Acknowledgment, CfnResource, Validations
from constructs import Construct


def accept(construct: Construct, reasons: dict[str, str]) -> None:
    """Accept findings of cdk-nag, or warnings of CDK, on a construct.

    Args:
        construct: What they are about.
        reasons: Why each is right as it is, by its id.
    """
    Validations.of(construct).acknowledge(
        *(Acknowledgment(id=finding, reason=reason) for finding, reason in reasons.items())
    )


def accept_in_template(construct: Construct, *, checkov: dict[str, str], cfn_lint: tuple[str, ...] = ()) -> None:
    """Accept findings of checkov and cfn-lint on a construct's resource.

    Args:
        construct: The construct whose main resource they are about.
        checkov: Why each is right as it is, by its id.
        cfn_lint: The ids of rules of cfn-lint, which takes no reason.
    """
    resource = cast("CfnResource", construct.node.default_child)
    skipped = [{"id": finding, "comment": reason} for finding, reason in checkov.items()]
    resource.add_metadata("checkov", {"skip": skipped})
    if cfn_lint:
        resource.add_metadata("cfn-lint", {"config": {"ignore_checks": list(cfn_lint)}})
