"""What the templates of many settings have in common; test_snapshots.py compares some whole ones."""

import pytest

from infra.regions import Region
from tests.infra.templates import (
    only,
    repository_arn,
    resources,
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


@pytest.mark.parametrize(
    ("setting", "action", "variable"),
    [("imagePull", "ecr:BatchGetImage", "IMAGE_PULL"), ("listTags", "ecr:ListImages", "LIST_TAGS")],
)
def test_imagepull_and_listtags_each_add_one_action_on_the_same_repositories(
    setting: str, action: str, variable: str
) -> None:
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
