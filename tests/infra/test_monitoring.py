"""What wakes an operator and what one looks at: each alarm with all that decides when it rings."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import costs
from infra.audit import QUERIES
from tests.infra.templates import Resource, body_of_dashboard, only, resources, synth

DOCS = Path(__file__).parents[2] / "docs"
OPERATIONS = (DOCS / "operations.md").read_text()


def alarms(template: dict[str, Any]) -> list[Resource]:
    return [each["Properties"] for each in resources(template, "AWS::CloudWatch::Alarm").values()]


def dimensions(alarm: Resource) -> dict[str, Any]:
    return {each["Name"]: each["Value"] for each in alarm["Dimensions"]}


def test_each_alarm_rings_as_soon_as_the_threshold_is_passed_and_not_when_nothing_happens() -> None:
    template = synth(imagePull=True, pullEvents=True)
    (topic,) = resources(template, "AWS::SNS::Topic")
    for alarm in alarms(template):
        assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
        is_denial = {"Name": "code", "Value": "AccessDeniedException"} in alarm["Dimensions"]
        assert alarm["EvaluationPeriods"] == (3 if is_denial else 1)
        assert alarm.get("DatapointsToAlarm", 1) == 1
        assert alarm["TreatMissingData"] == "notBreaching"
        assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": topic}]
        assert 20 < len(alarm["AlarmDescription"]) <= 1024
        assert "Metrics" not in alarm


@pytest.mark.parametrize(
    ("values", "rings"),
    [
        ({"authType": "NONE", "repositories": ["a/b"]}, True),
        ({"edge": True, "publicRepositories": ["a/b"]}, True),
        ({"edge": True}, False),
    ],
)
def test_a_flood_raises_an_alarm_where_anyone_may_call(values: dict[str, Any], rings: bool) -> None:
    found = [alarm for alarm in alarms(synth(**values)) if alarm["MetricName"] == "UrlRequestCount"]
    assert [(alarm["Threshold"], alarm["EvaluationPeriods"]) for alarm in found] == ([(30_000, 3)] if rings else [])


def test_strangers_cant_raise_an_alarm_by_asking_for_wrong_names() -> None:
    found = alarms(synth(authType="NONE", repositories=["a/b"]))
    assert not any({"Name": "code", "Value": "AccessDeniedException"} in alarm["Dimensions"] for alarm in found)


def test_several_stacks_have_metrics_of_their_own() -> None:
    for name in ("One", "Two"):
        own = [each for each in alarms(synth(stackName=name)) if each["Namespace"] == "EcrLayerResolver"]
        assert len(own) == 8
        for alarm in own:
            assert dimensions(alarm).keys() == {"service", "stack", "code"}
            assert (dimensions(alarm)["service"], dimensions(alarm)["stack"]) == ("ecr-layer-resolver", name)


def test_nothing_a_client_does_by_itself_rings_an_alarm() -> None:
    watched = {(alarm["MetricName"], dimensions(alarm).get("code")) for alarm in alarms(synth(imagePull=True))}
    assert {name for name, _ in watched}.isdisjoint({"Errors", "Url4xxCount"})
    codes = {"InvalidParameterException", "LayersNotFoundException", "UnsupportedEvent", "ResultTooLarge", "NotEnabled"}
    assert {code for _, code in watched}.isdisjoint(codes)


def dashboard(template: dict[str, Any]) -> str:
    return json.dumps(only(template, "AWS::CloudWatch::Dashboard")["Properties"]["DashboardBody"])


def test_the_dashboard_shows_every_alarm() -> None:
    template = synth(imagePull=True, pullEvents=True)
    body = dashboard(template)
    for name in resources(template, "AWS::CloudWatch::Alarm"):
        assert json.dumps({"Fn::GetAtt": [name, "Arn"]}) in body


def test_the_dashboard_has_no_widget_that_stays_empty() -> None:
    body = dashboard(synth(imagePull=True))
    never = ("IteratorAge", "Provisioned", "DeadLetterErrors", "PullEventsFailed")
    # Nothing consumes the failure queue.
    for name in (*never, "NumberOfMessagesDeleted", "SentMessageSize", "Consum"):
        assert name not in body


def test_callers_and_failures_are_shown_by_kind_and_by_code_for_this_stack_alone() -> None:
    searches = re.findall(r"SEARCH\('(.*?)'", dashboard(synth(stackName="One")).replace('\\\\\\"', '"'))
    assert searches == [
        '{EcrLayerResolver,callerKind,outcome,service,stack} MetricName="Requests" stack="One"',
        '{EcrLayerResolver,code,service,stack} MetricName="LayersFailed" stack="One"',
        '{EcrLayerResolver,code,service,stack} MetricName="RequestsFailed" stack="One"',
    ]


def test_the_queries_of_the_audit_are_saved_under_the_stacks_name() -> None:
    template = synth(stackName="One")
    (log_group,) = resources(template, "AWS::Logs::LogGroup")
    saved = [each["Properties"] for each in resources(template, "AWS::Logs::QueryDefinition").values()]
    assert {each["Name"]: each["QueryString"] for each in saved} == {
        f"One/{title}": query for title, query in QUERIES.items()
    }
    assert all(each["LogGroupNames"] == [{"Ref": log_group}] for each in saved)


def test_the_document_of_the_audit_explains_every_query() -> None:
    (table,) = re.findall(r"^\| query \|.*?\n\n", (DOCS / "audit.md").read_text(), re.MULTILINE | re.DOTALL)
    assert re.findall(r"^\| (.*?) \|", table, re.MULTILINE)[1:] == list(QUERIES)


def test_the_costs_count_as_many_alarms_and_metrics_as_the_stack_has() -> None:
    template = synth()
    more = {name: len(alarms(synth(**{name: True}))) - costs.ALARMS for name in costs.MORE_ALARMS}
    widgets = json.loads(body_of_dashboard(template))["widgets"]
    assert len(alarms(template)) == costs.ALARMS
    assert more == costs.MORE_ALARMS
    assert sum(len(widget["properties"].get("metrics", ())) for widget in widgets) == costs.DASHBOARD_METRICS


def test_the_alarms_that_operations_md_explains_are_the_stacks() -> None:
    rule = {"issuer": "https://gitlab.com", "claims": {"project_id": "1"}, "repositories": ["team/*"]}
    template = synth(edge=True, repositories=["team/*"], publicRepositories=["team/app"], trustRules={"ci": rule})
    section = OPERATIONS.partition("\n## Alarms\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE)
    explained = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    identifiers = [name for name, each in template["Resources"].items() if each["Type"] == "AWS::CloudWatch::Alarm"]
    names = [re.fullmatch(r"Monitoring(\w+)Alarm[0-9A-F]{8}", identifier) for identifier in identifiers]
    assert sorted(explained) == sorted(name[1] for name in names if name)
    assert all(names)


def test_the_outputs_that_operations_md_uses_are_the_stacks() -> None:
    used = re.findall(r"\$\(output (\w+)\)", OPERATIONS)
    assert used
    assert set(used) <= set(synth()["Outputs"])
