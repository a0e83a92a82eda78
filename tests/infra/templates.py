"""Templates of the stack, and what tests look for in them."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from aws_cdk import App, Environment
from aws_cdk.assertions import Template

from infra.regions import Region
from infra.settings import DeploymentSettings
from infra.stack import LayerResolverStack

Resource = dict[str, Any]
PARTITION, REGION, ACCOUNT = {"Ref": "AWS::Partition"}, {"Ref": "AWS::Region"}, {"Ref": "AWS::AccountId"}


ROOT = Path(__file__).parents[2]


def new_app() -> App:
    """Return an app with the feature flags of cdk.json, which bundles no code."""
    context = json.loads((ROOT / "cdk.json").read_text())["context"]
    flags = {name: value for name, value in context.items() if name.startswith("@")}
    return App(context=flags | {"aws:cdk:bundling-stacks": []})


def settings_of(values: dict[str, Any], region: Region | None = None, account: str | None = None) -> DeploymentSettings:
    return DeploymentSettings.from_context(values, region or Region(), account)


def new_stack(values: dict[str, Any], region: Region | None = None) -> LayerResolverStack:
    """Return the stack of some settings, without a region unless one is named."""
    settings = settings_of(values, region)
    environment = Environment(region=region.name) if region and region.name else None
    return LayerResolverStack(new_app(), settings.stack_name, settings=settings, env=environment)


@cache
def _synthesized(values: str, region: Region) -> dict[str, Any]:
    return dict(Template.from_stack(new_stack(json.loads(values), region)).to_json())


def synth_in(region: Region, **values: Any) -> dict[str, Any]:
    return _synthesized(json.dumps(values), region)


def synth(**values: Any) -> dict[str, Any]:
    return synth_in(Region(), **values)


def resources(template: dict[str, Any], resource_type: str) -> dict[str, Resource]:
    return {name: each for name, each in template["Resources"].items() if each["Type"] == resource_type}


def only(template: dict[str, Any], resource_type: str) -> Resource:
    (resource,) = resources(template, resource_type).values()
    return resource


def logical_id(template: dict[str, Any], resource_type: str) -> str:
    (name,) = resources(template, resource_type)
    return name


def variables(template: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = only(template, "AWS::Lambda::Function")["Properties"]["Environment"]["Variables"]
    return found


def repository_arn(name: str, account: Any = ACCOUNT) -> Resource:
    if isinstance(account, str):
        return {"Fn::Join": ["", ["arn:", PARTITION, ":ecr:", REGION, f":{account}:repository/{name}"]]}
    return {"Fn::Join": ["", ["arn:", PARTITION, ":ecr:", REGION, ":", account, f":repository/{name}"]]}


def bus_arn(name: str) -> Resource:
    return {"Fn::Join": ["", ["arn:", PARTITION, ":events:", REGION, ":", ACCOUNT, f":event-bus/{name}"]]}


def statements(template: dict[str, Any]) -> list[Resource]:
    """Return the statements of every policy that the template has, of whatever kind."""

    def found(value: Any) -> Iterator[Resource]:
        if isinstance(value, dict):
            for name, each in value.items():
                if name == "Statement":
                    yield from each
                else:
                    yield from found(each)
        elif isinstance(value, list):
            for each in value:
                yield from found(each)

    return list(found(template["Resources"]))


def body_of_dashboard(template: dict[str, Any]) -> str:
    """Return the dashboard's document, with names in the place of what CloudFormation puts in."""
    _, parts = only(template, "AWS::CloudWatch::Dashboard")["Properties"]["DashboardBody"]["Fn::Join"]
    return "".join(part if isinstance(part, str) else "name" for part in parts)


def shown(widget: dict[str, Any]) -> list[str]:
    """Return the metrics of a widget, each with its statistic."""
    rows: list[str] = []
    for *named, last in widget["properties"].get("metrics", ()):
        options = last if isinstance(last, dict) else {}
        search = re.search(r'MetricName="(\w+)".*\'(\w+)\', 300', options.get("expression", ""))
        rows.append(" ".join(search.groups() if search else (named[1], options.get("stat", "Average"))))
    return rows
