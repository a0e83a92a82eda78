"""The template, word for word where it matters."""

from typing import Any

import pytest

from infra.regions import Region
from tests.infra.templates import (
    Resource,
    bus_arn,
    only,
    repository_arn,
    resources,
    settings_of,
    statements,
    synth,
    synth_in,
    variables,
)


def test_the_function_may_get_download_urls_write_its_own_log_pass_results_on_and_nothing_else() -> None:
    template = synth()
    (log_group,) = resources(template, "AWS::Logs::LogGroup")
    (queue,) = resources(template, "AWS::SQS::Queue")
    (bus,) = resources(template, "AWS::Events::EventBus")
    ((role_name, role),) = resources(template, "AWS::IAM::Role").items()
    assert "ManagedPolicyArns" not in role["Properties"]
    assert [policy["PolicyDocument"]["Statement"] for policy in role["Properties"]["Policies"]] == [
        [{"Effect": "Allow", "Action": "ecr:GetDownloadUrlForLayer", "Resource": repository_arn("*")}]
    ]
    attached = only(template, "AWS::IAM::Policy")["Properties"]
    assert attached["Roles"] == [{"Ref": role_name}]
    assert attached["PolicyDocument"]["Statement"] == [
        {
            "Effect": "Allow",
            "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
            "Resource": {"Fn::GetAtt": [log_group, "Arn"]},
        },
        {
            "Effect": "Allow",
            "Action": ["sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:SendMessage"],
            "Resource": {"Fn::GetAtt": [queue, "Arn"]},
        },
        {"Effect": "Allow", "Action": "events:PutEvents", "Resource": {"Fn::GetAtt": [bus, "Arn"]}},
    ]
    assert not resources(template, "AWS::IAM::ManagedPolicy")


def test_the_permission_is_for_the_named_repositories_in_the_named_registries() -> None:
    template = synth(repositories=["team/app", "web/*"], registries=["210987654321"])
    policy = only(template, "AWS::IAM::Role")["Properties"]["Policies"][0]["PolicyDocument"]
    assert policy["Statement"][0]["Resource"] == [
        repository_arn("team/app"),
        repository_arn("web/*"),
        repository_arn("team/app", "210987654321"),
        repository_arn("web/*", "210987654321"),
    ]


def test_every_action_that_the_stack_allows_anyone_is_named_here() -> None:
    allowed = [each for each in statements(synth(alarmEmail="ops@example.com")) if each["Effect"] == "Allow"]
    assert sorted(str(each["Action"]) for each in allowed) == [
        "['logs:CreateLogStream', 'logs:PutLogEvents']",
        "['sqs:GetQueueAttributes', 'sqs:GetQueueUrl', 'sqs:SendMessage']",
        "ecr:GetDownloadUrlForLayer",
        "events:PutEvents",
        "sns:Publish",
        "sqs:SendMessage",
        "sts:AssumeRole",
    ]
    assert all(each.get("Resource") != "*" and each.get("Principal") != "*" for each in allowed)


@pytest.mark.parametrize(("bus", "expected"), [(None, "own"), ("default", "default"), ("builds", "builds")])
def test_events_about_pulls_go_to_the_one_bus_that_the_role_may_put_results_on(bus: str | None, expected: str) -> None:
    template = synth(pullEvents=True, eventBusName=bus or "")
    own = next(iter(resources(template, "AWS::Events::EventBus")), "")
    assert variables(template)["PULL_EVENT_BUS"] == ({"Ref": own} if expected == "own" else expected)
    # Nothing more is allowed: results go to that bus as well.
    assert statements(template) == statements(synth(eventBusName=bus or ""))
    puts = [each for each in statements(template) if "events:PutEvents" in str(each["Action"])]
    assert [each["Resource"] for each in puts] == [
        {"Fn::GetAtt": [own, "Arn"]} if expected == "own" else bus_arn(expected)
    ]


def url_permissions(template: dict[str, Any]) -> list[Resource]:
    permissions = [each["Properties"] for each in resources(template, "AWS::Lambda::Permission").values()]
    return [each for each in permissions if each["Principal"] != "events.amazonaws.com"]


def test_by_default_no_one_is_granted_anything_but_the_rule() -> None:
    template = synth()
    (alias,) = resources(template, "AWS::Lambda::Alias")
    (rule,) = resources(template, "AWS::Events::Rule")
    assert only(template, "AWS::Lambda::Permission")["Properties"] == {
        "Action": "lambda:InvokeFunction",
        "FunctionName": {"Ref": alias},
        "Principal": "events.amazonaws.com",
        "SourceArn": {"Fn::GetAtt": [rule, "Arn"]},
    }


@pytest.mark.parametrize(
    ("principal", "expected"),
    [
        ("123456789012", {"Principal": "123456789012"}),
        ("arn:aws:iam::123456789012:role/ci", {"Principal": "arn:aws:iam::123456789012:role/ci"}),
        ("o-abcdefghij", {"Principal": "*", "PrincipalOrgID": "o-abcdefghij"}),
    ],
)
def test_a_principal_is_granted_both_permissions_on_the_alias(principal: str, expected: Resource) -> None:
    template = synth(allowedPrincipals=[principal])
    (alias,) = resources(template, "AWS::Lambda::Alias")
    assert url_permissions(template) == [
        {
            "Action": "lambda:InvokeFunctionUrl",
            "FunctionName": {"Ref": alias},
            "FunctionUrlAuthType": "AWS_IAM",
            **expected,
        },
        {
            "Action": "lambda:InvokeFunction",
            "FunctionName": {"Ref": alias},
            "InvokedViaFunctionUrl": True,
            **expected,
        },
    ]


@pytest.mark.parametrize(
    ("level", "application", "system"),
    [("DEBUG", "DEBUG", "DEBUG"), ("INFO", "INFO", "INFO"), ("WARNING", "INFO", "WARN"), ("ERROR", "INFO", "WARN")],
)
def test_no_log_level_lets_lambda_drop_metrics_which_it_takes_for_info(
    level: str, application: str, system: str
) -> None:
    template = synth(logLevel=level)
    logging = only(template, "AWS::Lambda::Function")["Properties"]["LoggingConfig"]
    assert (logging["LogFormat"], logging["ApplicationLogLevel"], logging["SystemLogLevel"]) == (
        "JSON",
        application,
        system,
    )
    assert variables(template)["POWERTOOLS_LOG_LEVEL"] == level


def test_tracing_adds_the_permissions_to_write_traces_and_nothing_else() -> None:
    plain, traced = synth(), synth(tracing=True)
    assert "TracingConfig" not in only(plain, "AWS::Lambda::Function")["Properties"]
    assert only(traced, "AWS::Lambda::Function")["Properties"]["TracingConfig"] == {"Mode": "Active"}
    assert [each for each in statements(traced) if each not in statements(plain)] == [
        {"Effect": "Allow", "Action": ["xray:PutTelemetryRecords", "xray:PutTraceSegments"], "Resource": "*"}
    ]
    assert len(statements(traced)) == len(statements(plain)) + 1


@pytest.mark.parametrize(
    ("prefixes", "repositories", "imported"),
    [
        (["docker-hub"], ["docker-hub/library/nginx", "team/*"], ["docker-hub/library/nginx"]),
        (
            ["docker-hub"],
            ["docker-hub/library/*", "docker-hub/team/app"],
            ["docker-hub/library/*", "docker-hub/team/app"],
        ),
        (["docker-hub"], ["docker*", "team/*"], ["docker-hub/*"]),
        (["docker-hub"], ["docker-hub*"], ["docker-hub/*"]),
        (["docker-hub"], ["docker-hub/*", "docker-hubs/app", "docker-hub"], ["docker-hub/*"]),
        (["docker-hub", "ghcr"], ["*"], ["docker-hub/*", "ghcr/*"]),
        (["docker-hub", "ROOT"], ["docker-hub/nginx", "team/*"], ["docker-hub/nginx", "team/*"]),
    ],
)
def test_a_pull_through_cache_fills_only_repositories_that_are_served(
    prefixes: list[str], repositories: list[str], imported: list[str]
) -> None:
    template = synth(pullThroughPrefixes=prefixes, repositories=repositories, registries=["210987654321"])
    policy = only(template, "AWS::IAM::Role")["Properties"]["Policies"][1]
    arns = [repository_arn(name) for name in imported]
    (statement,) = policy["PolicyDocument"]["Statement"]
    assert statement["Resource"] == (arns if len(arns) > 1 else arns[0])


def test_the_settings_are_in_the_metadata_so_that_a_diff_names_what_has_changed() -> None:
    values = {"repositories": ["team/app"], "memorySize": 1024}
    settings = settings_of(values)
    expected = {name: value for name, value in settings.values().items() if value is not None}
    assert synth(**values)["Metadata"] == expected
    assert expected.keys() > values.keys()


class TestEvents:
    def test_without_sources_no_event_invokes_the_function(self) -> None:
        template = synth(eventSources="")
        assert not resources(template, "AWS::Events::Rule")
        assert not resources(template, "AWS::Lambda::Permission")

    def test_the_stack_has_a_bus_of_its_own_by_default_because_results_are_secret(self) -> None:
        template = synth()
        ((name, bus),) = resources(template, "AWS::Events::EventBus").items()
        # A log of the bus can have whole events.
        assert {"Policy", "LogConfig"}.isdisjoint(bus["Properties"])
        assert not resources(template, "AWS::Events::EventBusPolicy")
        assert bus["DeletionPolicy"] == "Delete"
        assert only(template, "AWS::Events::Rule")["Properties"]["EventBusName"] == {"Ref": name}
        configuration = only(template, "AWS::Lambda::EventInvokeConfig")["Properties"]["DestinationConfig"]
        assert configuration["OnSuccess"] == {"Destination": {"Fn::GetAtt": [name, "Arn"]}}
        assert template["Outputs"]["EventBusName"]["Value"] == {"Ref": name}

    @pytest.mark.parametrize("settings", [{}, {"imagePull": True}, {"eventBusName": "default", "imagePull": True}])
    def test_no_rule_can_invoke_the_alias_before_its_results_have_where_to_go(self, settings: dict[str, Any]) -> None:
        template = synth(**settings)
        (configuration,) = resources(template, "AWS::Lambda::EventInvokeConfig")
        rules = resources(template, "AWS::Events::Rule")
        assert len(rules) == (2 if settings else 1)
        assert all(configuration in rule["DependsOn"] for rule in rules.values())


class TestWholeImages:
    @pytest.mark.parametrize(
        ("setting", "action", "variable"),
        [("imagePull", "ecr:BatchGetImage", "IMAGE_PULL"), ("listTags", "ecr:ListImages", "LIST_TAGS")],
    )
    def test_each_adds_one_action_on_the_same_repositories(self, setting: str, action: str, variable: str) -> None:
        template = synth(**{setting: True}, repositories=["team/app", "web/*"])
        policies = only(template, "AWS::IAM::Role")["Properties"]["Policies"]
        assert policies[0]["PolicyDocument"]["Statement"] == [
            {
                "Effect": "Allow",
                "Action": sorted(["ecr:GetDownloadUrlForLayer", action]),
                "Resource": [repository_arn("team/app"), repository_arn("web/*")],
            }
        ]
        assert len(policies) == 1
        assert variables(template).keys() - variables(synth()).keys() == {variable}
        assert variables(template)[variable] == "true"

    @pytest.mark.parametrize(
        ("repositories", "names"),
        [(["*"], {}), (["team/app", "web/*"], {"repository-name": ["team/app", {"prefix": "web/"}]})],
    )
    def test_images_that_are_pushed_invoke_the_alias(self, repositories: list[str], names: dict[str, Any]) -> None:
        template = synth(imagePull=True, repositories=repositories, eventSources=[], eventBusName="builds")
        (alias,) = resources(template, "AWS::Lambda::Alias")
        rule = only(template, "AWS::Events::Rule")["Properties"]
        assert rule["EventBusName"] == "default"
        assert rule["EventPattern"] == {
            "source": ["aws.ecr"],
            "detail-type": ["ECR Image Action"],
            "detail": {"action-type": ["PUSH"], "result": ["SUCCESS"], **names},
        }
        assert rule["Targets"][0]["Arn"] == {"Ref": alias}
        assert "DeadLetterConfig" in rule["Targets"][0]

    def test_without_the_settings_the_template_does_not_change(self) -> None:
        assert synth() == synth(imagePull=False, listTags=False)


def test_removing_the_stack_leaves_nothing_unless_logs_are_to_be_kept() -> None:
    assert {each.get("DeletionPolicy", "Delete") for each in synth()["Resources"].values()} == {"Delete"}
    assert only(synth(keepLogs=True), "AWS::Logs::LogGroup")["DeletionPolicy"] == "Retain"


def test_an_upgrade_replaces_nothing_that_others_know_or_that_keeps_something() -> None:
    # A resource whose logical id changes is made anew, and the old one deleted: a URL that callers know, pull tokens,
    # events that wait, logs. What has a name of ours can't be made anew at all, as long as the old one has it.
    template = synth_in(Region.named("us-east-1"), edge=True, edgeLogs=True, edgeCacheSeconds=60, imagePull=True)
    lasting = {
        "AWS::CloudFront::CachePolicy": ["EdgeCachePolicy32B47291"],
        "AWS::CloudFront::Distribution": ["EdgeDistribution0060737B"],
        "AWS::CloudFront::Function": ["EdgeViewerRequest3FB6D975", "EdgeViewerResponse2BAC8FBA"],
        "AWS::CloudFront::KeyValueStore": ["EdgeTokenStoreCB66EEE3"],
        "AWS::CloudFront::OriginAccessControl": ["EdgeAccessControlDFD05F92"],
        "AWS::CloudFront::OriginRequestPolicy": [
            "EdgeOriginRequestPolicyFC6270B4",
            "EdgeCachedOriginRequestPolicy5A1BA3F7",
        ],
        "AWS::CloudWatch::Dashboard": ["MonitoringDashboardsDashboard7D19B914"],
        "AWS::Events::EventBus": ["EventsBus45DE4339"],
        "AWS::IAM::Role": ["ResolverRoleAEF8B50A"],
        "AWS::Lambda::Alias": ["ResolverAlias0F732E2E"],
        "AWS::Lambda::Function": ["ResolverFunction8C958500"],
        "AWS::Lambda::Url": ["ResolverAliasFunctionUrlA3CD90A1"],
        "AWS::Logs::DeliveryDestination": ["EdgeDeliveryDestination92064617"],
        "AWS::Logs::DeliverySource": ["EdgeDeliverySourceBAC2A62A"],
        "AWS::Logs::LogGroup": ["ResolverLogGroup4E6FE11D", "EdgeLogGroup6DBFC131"],
        "AWS::SNS::Topic": ["MonitoringAlarmTopicAF62D4F1"],
        "AWS::SQS::Queue": ["EventsFailureQueue134A9891"],
    }
    assert {kind: list(resources(template, kind)) for kind in lasting} == lasting
