"""Options that exceed a limit of AWS are refused when the template is written."""

import json
from typing import Any

import pytest

from infra.limits import policy_characters
from infra.options import SettingsError
from infra.regions import Region
from tests.infra.templates import only, resources, settings_of, synth

REPOSITORIES = [f"team-{number:03}/service-with-a-usual-name" for number in range(150)]
HOSTS = [f"bucket-{number:03}.s3-of-our-own.eu-west-1.internal.example.com" for number in range(80)]
RULE = {"issuer": "https://gitlab.com", "claims": {"project_id": "1"}, "repositories": ["team/*"]}
REGISTRIES = [f"{number:012}" for number in range(400)]


def problems(region: str | None = None, **values: Any) -> str:
    try:
        settings_of(values, Region.named(region))
    except SettingsError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"repositories": REPOSITORIES},
            "IAM allows 10,240. Name fewer repositories: prefixes such as team/* stand for many",
        ),
        (
            {"repositories": REPOSITORIES[:60], "imagePull": True},
            "EventBridge allows 2,048. Name fewer repositories",
        ),
        ({"eventSources": [f"com.example.source-{each}" for each in range(100)]}, "Name fewer event sources"),
        ({"downloadUrlHosts": HOSTS}, "Lambda allows 4,096. Name fewer registries or download URL hosts"),
        (
            {"edge": True, "repositories": ["team/*"], "trustRules": {f"ci-{number}": RULE for number in range(40)}},
            "Lambda allows 4,096. Use fewer trust rules",
        ),
        (
            {"allowedPrincipals": REGISTRIES[:100]},
            "Lambda allows 20,480. Allow fewer principals: an account id stands for all of its roles and users",
        ),
        (
            {"edge": True, "repositories": ["team-*"], "publicRepositories": REPOSITORIES},
            "CloudFront allows 10,240. Name fewer public repositories",
        ),
    ],
)
def test_what_exceeds_a_limit_is_refused_with_what_to_do(values: dict[str, Any], message: str) -> None:
    (problem,) = problems(**values).splitlines()[1:]
    assert message in problem


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"repositories": REPOSITORIES[:80]},
        {"repositories": REPOSITORIES[:30], "imagePull": True, "listTags": True},
        {"edge": True, "repositories": ["team-*"], "publicRepositories": REPOSITORIES[:20]},
    ],
)
def test_what_is_within_the_limits_passes(values: dict[str, Any]) -> None:
    assert problems(**values) == ""


def test_a_long_partition_counts() -> None:
    assert problems("us-east-1", repositories=REPOSITORIES[:95]) == ""
    assert "IAM allows 10,240" in problems("us-gov-west-1", repositories=REPOSITORIES[:95])


def rendered(value: Any) -> str:
    """Return a policy as CloudFormation renders it, with names as long as it makes them."""
    names = {"AWS::Partition": "aws", "AWS::Region": "eu-central-1", "AWS::AccountId": "1" * 12}
    if isinstance(value, dict) and value.keys() <= {"Ref", "Fn::GetAtt", "Fn::Join"}:
        ((function, argument),) = value.items()
        if function == "Fn::Join":
            return "".join(map(rendered, argument[1]))
        return names.get(str(argument), "x" * 120)
    if isinstance(value, dict):
        return "{" + ",".join(f'"{name}":{rendered_item(each)}' for name, each in value.items()) + "}"
    return str(value)


def rendered_item(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ",".join(map(rendered_item, value)) + "]"
    text = rendered(value)
    return text if text.startswith("{") else json.dumps(text)


@pytest.mark.parametrize("count", [1, 20, 40])
def test_no_policy_is_longer_than_estimated(count: int) -> None:
    values: dict[str, Any] = {
        "repositories": [*REPOSITORIES[:count], "hub/*"],
        "pullThroughPrefixes": ["hub"],
        "imagePull": True,
        "listTags": True,
        "tracing": True,
    }
    template = synth(**values)
    documents = [each["PolicyDocument"] for each in only(template, "AWS::IAM::Role")["Properties"]["Policies"]]
    documents += [each["Properties"]["PolicyDocument"] for each in resources(template, "AWS::IAM::Policy").values()]
    size = sum(len(rendered(each)) for each in documents)
    assert size < policy_characters(settings_of(values), Region.named("eu-central-1")) < size + 1_000
