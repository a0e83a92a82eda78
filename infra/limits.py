"""What AWS would refuse of the finished template, refused before anything is deployed."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from infra.regions import Region

Resource = dict[str, Any]

# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html: white space does not count.
INLINE_POLICIES = 10_240
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html
EVENT_PATTERN = 2_048
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
ENVIRONMENT = 4 * 1024
RESOURCE_POLICY = 20 * 1024
# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/cloudfront-limits.html#limits-functions
EDGE_FUNCTION = 10 * 1024
_RANDOM = "X" * 13
_LONGEST_REGION = "ap-southeast-1"


class LimitError(Exception):
    """The settings come to more than AWS takes; the message says of what, and what to do."""


def check_limits(template: dict[str, Any], region: Region | None = None) -> None:
    """Check a template against the limits that depend on the settings.

    What AWS makes up itself, such as ids at the end of names, is counted with the length that it has.

    Args:
        template: The CloudFormation template.
        region: Where it is to be deployed.

    Raises:
        LimitError: If AWS would refuse it.
    """
    rendered = _Rendering(template, region or Region())
    checks: tuple[Callable[[_Rendering], Iterator[str]], ...] = (
        _too_long_policies,
        _too_long_patterns,
        _too_large_environments,
        _too_many_principals,
        _too_large_edge_functions,
    )
    problems = [problem for check in checks for problem in check(rendered)]
    if problems:
        raise LimitError("\n".join(["AWS would refuse this deployment:", *(f"  {each}" for each in problems)]))


class _Rendering:
    """A template as CloudFormation sees it once it has put in what is only known then."""

    def __init__(self, template: dict[str, Any], region: Region) -> None:
        self.template = template
        self._pseudo_parameters = {
            "AWS::Partition": region.partition,
            "AWS::Region": region.name or _LONGEST_REGION,
            "AWS::AccountId": "0" * 12,
            "AWS::URLSuffix": "amazonaws.com",
        }

    def of_type(self, resource_type: str) -> Iterator[tuple[str, Resource]]:
        """Give the logical ids and the rendered properties of all resources of a type."""
        for name, resource in self.template["Resources"].items():
            if resource["Type"] == resource_type:
                yield name, self.render(resource.get("Properties", {}))

    def render(self, value: Any) -> Any:
        """Return a value without functions of CloudFormation."""
        if isinstance(value, list):
            return [self.render(each) for each in value]
        if not isinstance(value, dict):
            return value
        if value.keys() == {"Ref"}:
            return self._pseudo_parameters.get(value["Ref"], f"{value['Ref']}-{_RANDOM}")
        if value.keys() == {"Fn::GetAtt"}:
            return self._arn(value["Fn::GetAtt"][0])
        if value.keys() == {"Fn::Join"}:
            separator, parts = value["Fn::Join"]
            return separator.join(str(self.render(part)) for part in parts)
        return {name: self.render(each) for name, each in value.items()}

    def _arn(self, logical_id: str) -> str:
        service = self.template["Resources"][logical_id]["Type"].split("::")[1].lower()
        place = ":".join(self._pseudo_parameters[f"AWS::{each}"] for each in ("Partition", "Region", "AccountId"))
        return f"arn:{service}:{place}:{logical_id}-{_RANDOM}"


def _length(value: Any) -> int:
    """Return how many characters a document has that IAM and EventBridge count."""
    return len(value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False))


def _too_long_policies(rendered: _Rendering) -> Iterator[str]:
    roles = {name: [each["PolicyDocument"] for each in role.get("Policies", [])] for name, role in _roles(rendered)}
    for _, policy in rendered.of_type("AWS::IAM::Policy"):
        for role in policy.get("Roles", []):
            roles[role.removesuffix(f"-{_RANDOM}")].append(policy["PolicyDocument"])
    for documents in roles.values():
        length = sum(len(re.sub(r"\s", "", json.dumps(each, separators=(",", ":")))) for each in documents)
        if length > INLINE_POLICIES:
            yield (
                f"The policies of the function's role have {length:,} characters, and IAM takes {INLINE_POLICIES:,}. "
                "Name fewer repositories: prefixes such as team/* stand for many, and each of registries has all of "
                "them once more."
            )


def _roles(rendered: _Rendering) -> Iterator[tuple[str, Resource]]:
    return rendered.of_type("AWS::IAM::Role")


def _too_long_patterns(rendered: _Rendering) -> Iterator[str]:
    for _, rule in rendered.of_type("AWS::Events::Rule"):
        length = _length(rule["EventPattern"])
        if length <= EVENT_PATTERN:
            continue
        if "aws.ecr" in rule["EventPattern"]["source"]:
            what, way_out = "images that are pushed", "Name fewer repositories: prefixes such as team/* stand for many."
        else:
            what, way_out = "requests", "Name fewer eventSources."
        yield f"The event pattern for {what} has {length:,} characters; EventBridge takes {EVENT_PATTERN:,}. {way_out}"


def _too_large_environments(rendered: _Rendering) -> Iterator[str]:
    for _, function in rendered.of_type("AWS::Lambda::Function"):
        variables = function.get("Environment", {}).get("Variables", {})
        size = sum(len(f"{name}{value}".encode()) for name, value in variables.items())
        if size > ENVIRONMENT:
            yield (
                f"The function's environment has {size:,} bytes, and Lambda takes {ENVIRONMENT:,}. Name fewer "
                "registries or downloadUrlHosts, or deploy a second stack for the others."
            )


def _too_many_principals(rendered: _Rendering) -> Iterator[str]:
    size = sum(_length(_statement(name, each)) for name, each in rendered.of_type("AWS::Lambda::Permission"))
    if size > RESOURCE_POLICY:
        yield (
            f"The resource policy of the function has about {size:,} bytes, and Lambda takes {RESOURCE_POLICY:,}. Name "
            "fewer allowedPrincipals: an account id stands for all of its roles and users, and an organisation id for "
            "all of its accounts."
        )


def _too_large_edge_functions(rendered: _Rendering) -> Iterator[str]:
    for _, function in rendered.of_type("AWS::CloudFront::Function"):
        size = len(function["FunctionCode"].encode())
        if size > EDGE_FUNCTION:
            yield (
                f"The function at the edge has {size:,} bytes, and CloudFront takes {EDGE_FUNCTION:,}. Name fewer "
                "publicRepositories or allowedOrigins: prefixes such as team/* stand for many repositories."
            )


def _statement(name: str, permission: Resource) -> Resource:
    """Return the statement that Lambda makes of a permission, about as long as it then is."""
    conditions = {
        "ArnLike": permission.get("SourceArn"),
        "StringEquals": permission.get("FunctionUrlAuthType") or permission.get("PrincipalOrgID"),
        "Bool": permission.get("InvokedViaFunctionUrl"),
    }
    return {
        "Sid": f"{name}-{_RANDOM}",
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{permission['Principal']}:root"},
        "Action": permission["Action"],
        "Resource": permission["FunctionName"],
        "Condition": {
            operator: {"lambda:FunctionUrlAuthType": value} for operator, value in conditions.items() if value
        },
    }
