"""The template, word for word where it matters."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from aws_cdk import App
from aws_cdk.assertions import Template

from infra.settings import DeploymentSettings
from infra.stack import LayerResolverStack

Resource = dict[str, Any]
PARTITION, REGION, ACCOUNT = {"Ref": "AWS::Partition"}, {"Ref": "AWS::Region"}, {"Ref": "AWS::AccountId"}


@cache
def _synthesized(settings: DeploymentSettings) -> dict[str, Any]:
    return dict(Template.from_stack(LayerResolverStack(App(), settings)).to_json())


def synth(**values: Any) -> dict[str, Any]:
    return _synthesized(DeploymentSettings.from_values(values))


def resources(template: dict[str, Any], resource_type: str) -> dict[str, Resource]:
    return {name: each for name, each in template["Resources"].items() if each["Type"] == resource_type}


def only(template: dict[str, Any], resource_type: str) -> Resource:
    (resource,) = resources(template, resource_type).values()
    return resource


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


def test_the_function_may_get_download_urls_write_its_own_log_pass_results_on_and_nothing_else() -> None:
    template = synth()
    (log_group,) = resources(template, "AWS::Logs::LogGroup")
    (queue,) = resources(template, "AWS::SQS::Queue")
    ((role_name, role),) = resources(template, "AWS::IAM::Role").items()
    assert "ManagedPolicyArns" not in role["Properties"]
    assert [policy["PolicyDocument"]["Statement"] for policy in role["Properties"]["Policies"]] == [
        [{"Effect": "Allow", "Action": "ecr:GetDownloadUrlForLayer", "Resource": repository_arn("*")}],
        [
            {
                "Effect": "Allow",
                "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
                "Resource": {"Fn::GetAtt": [log_group, "Arn"]},
            }
        ],
    ]
    attached = only(template, "AWS::IAM::Policy")["Properties"]
    assert attached["Roles"] == [{"Ref": role_name}]
    assert attached["PolicyDocument"]["Statement"] == [
        {"Effect": "Allow", "Action": "events:PutEvents", "Resource": bus_arn("default")},
        {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": {"Fn::GetAtt": [queue, "Arn"]}},
    ]
    assert not resources(template, "AWS::IAM::ManagedPolicy")


def test_the_role_can_be_assumed_by_lambda_alone() -> None:
    assert only(synth(), "AWS::IAM::Role")["Properties"]["AssumeRolePolicyDocument"]["Statement"] == [
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}
    ]


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
        "ecr:GetDownloadUrlForLayer",
        "events:PutEvents",
        "sns:Publish",
        "sqs:SendMessage",
        "sqs:SendMessage",
        "sts:AssumeRole",
    ]
    assert all(each.get("Resource") != "*" and each.get("Principal") != "*" for each in allowed)


def test_only_cloudwatch_of_this_account_may_publish_alarms_and_only_over_tls() -> None:
    template = synth()
    (topic,) = resources(template, "AWS::SNS::Topic")
    denied, allowed = only(template, "AWS::SNS::TopicPolicy")["Properties"]["PolicyDocument"]["Statement"]
    assert denied["Effect"] == "Deny"
    assert denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert allowed == {
        "Sid": "Alarms",
        "Effect": "Allow",
        "Action": "sns:Publish",
        "Principal": {"Service": "cloudwatch.amazonaws.com"},
        "Resource": {"Ref": topic},
        "Condition": {"StringEquals": {"aws:SourceAccount": ACCOUNT}},
    }


def test_the_function_is_what_the_contract_says() -> None:
    function = only(synth(), "AWS::Lambda::Function")["Properties"]
    assert function["Runtime"] == "python3.13"
    assert function["Architectures"] == ["arm64"]
    assert function["Handler"] == "layer_resolver.handler.lambda_handler"
    assert (function["MemorySize"], function["Timeout"]) == (512, 15)
    assert function["LoggingConfig"]["LogFormat"] == "JSON"
    assert function["SnapStart"] == {"ApplyOn": "PublishedVersions"}
    assert "ReservedConcurrentExecutions" not in function
    assert function["Environment"] == {"Variables": {"POWERTOOLS_LOG_LEVEL": "INFO"}}


def test_the_function_url_belongs_to_the_alias_of_a_published_version() -> None:
    template = synth()
    alias, url = only(template, "AWS::Lambda::Alias")["Properties"], only(template, "AWS::Lambda::Url")["Properties"]
    (version,) = resources(template, "AWS::Lambda::Version")
    assert alias["Name"] == url["Qualifier"] == "live"
    assert alias["FunctionVersion"] == {"Fn::GetAtt": [version, "Version"]}
    assert url["AuthType"] == "AWS_IAM"
    assert "Cors" not in url


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


def test_without_authentication_everyone_may_call_the_alias() -> None:
    template = synth(authType="NONE", repositories=["public/app"])
    assert only(template, "AWS::Lambda::Url")["Properties"]["AuthType"] == "NONE"
    permissions = url_permissions(template)
    assert {each["Action"] for each in permissions} == {"lambda:InvokeFunctionUrl", "lambda:InvokeFunction"}
    assert all(each["Principal"] == "*" for each in permissions)


def test_origins_turn_cors_on() -> None:
    cors = only(synth(allowedOrigins=["https://example.com"]), "AWS::Lambda::Url")["Properties"]["Cors"]
    assert cors["AllowOrigins"] == ["https://example.com"]
    assert cors["AllowMethods"] == ["GET", "HEAD", "POST"]


@pytest.mark.parametrize(
    ("setting", "resource_type", "property_name", "expected"),
    [
        ({"memorySize": 1024}, "AWS::Lambda::Function", "MemorySize", 1024),
        ({"timeoutSeconds": 30}, "AWS::Lambda::Function", "Timeout", 30),
        ({"reservedConcurrency": 7}, "AWS::Lambda::Function", "ReservedConcurrentExecutions", 7),
        ({"snapStart": False}, "AWS::Lambda::Function", "SnapStart", None),
        (
            {"logLevel": "DEBUG"},
            "AWS::Lambda::Function",
            "Environment",
            {"Variables": {"POWERTOOLS_LOG_LEVEL": "DEBUG"}},
        ),
        ({"logRetentionDays": 365}, "AWS::Logs::LogGroup", "RetentionInDays", 365),
    ],
)
def test_a_setting_has_its_effect(
    setting: dict[str, Any], resource_type: str, property_name: str, expected: Any
) -> None:
    assert only(synth(**setting), resource_type)["Properties"].get(property_name) == expected


def test_every_resource_that_can_have_tags_has_the_applications() -> None:
    untagged = {
        "AWS::CloudWatch::Dashboard",
        "AWS::IAM::Policy",
        "AWS::Lambda::Alias",
        "AWS::Lambda::EventInvokeConfig",
        "AWS::Lambda::Permission",
        "AWS::Lambda::Url",
        "AWS::Lambda::Version",
        "AWS::SNS::TopicPolicy",
        "AWS::SQS::QueuePolicy",
    }
    for name, each in synth()["Resources"].items():
        if each["Type"] not in untagged:
            assert {"Key": "Application", "Value": "ecr-layer-resolver"} in each["Properties"]["Tags"], name


class TestEvents:
    def test_requests_from_the_configured_sources_invoke_the_alias(self) -> None:
        template = synth(eventSources=["com.example.builds", "com.example.scans"], eventBusName="builds")
        (alias,) = resources(template, "AWS::Lambda::Alias")
        (queue,) = resources(template, "AWS::SQS::Queue")
        rule = only(template, "AWS::Events::Rule")["Properties"]
        assert rule["EventBusName"] == "builds"
        assert rule["EventPattern"] == {
            "source": ["com.example.builds", "com.example.scans"],
            "detail-type": ["ECR Layer Download URL Request"],
        }
        (target,) = rule["Targets"]
        assert target["Arn"] == {"Ref": alias}
        assert target["DeadLetterConfig"] == {"Arn": {"Fn::GetAtt": [queue, "Arn"]}}
        assert target["RetryPolicy"] == {"MaximumEventAgeInSeconds": 1800, "MaximumRetryAttempts": 24}

    def test_without_sources_no_event_invokes_the_function(self) -> None:
        template = synth(eventSources="")
        assert not resources(template, "AWS::Events::Rule")
        assert not resources(template, "AWS::Lambda::Permission")

    def test_the_alias_sends_results_to_the_bus_and_failures_to_the_queue(self) -> None:
        template = synth(eventBusName="builds")
        (function,) = resources(template, "AWS::Lambda::Function")
        (queue,) = resources(template, "AWS::SQS::Queue")
        configuration = only(template, "AWS::Lambda::EventInvokeConfig")
        assert configuration["Properties"] == {
            "FunctionName": {"Ref": function},
            "Qualifier": "live",
            "MaximumRetryAttempts": 2,
            "MaximumEventAgeInSeconds": 1800,
            "DestinationConfig": {
                "OnSuccess": {"Destination": bus_arn("builds")},
                "OnFailure": {"Destination": {"Fn::GetAtt": [queue, "Arn"]}},
            },
        }
        # Lambda refuses destinations that the role may not use yet.
        (policy,) = resources(template, "AWS::IAM::Policy")
        assert policy in configuration["DependsOn"]

    def test_the_queue_is_encrypted_keeps_messages_for_14_days_and_takes_them_only_over_tls(self) -> None:
        template = synth()
        ((name, queue),) = resources(template, "AWS::SQS::Queue").items()
        assert queue["Properties"]["SqsManagedSseEnabled"] is True
        assert queue["Properties"]["MessageRetentionPeriod"] == 14 * 24 * 3600
        (rule,) = resources(template, "AWS::Events::Rule")
        arn = {"Fn::GetAtt": [name, "Arn"]}
        denied, allowed = only(template, "AWS::SQS::QueuePolicy")["Properties"]["PolicyDocument"]["Statement"]
        assert denied == {
            "Effect": "Deny",
            "Action": "sqs:*",
            "Principal": {"AWS": "*"},
            "Resource": arn,
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
        assert allowed["Effect"] == "Allow"
        assert allowed["Action"] == "sqs:SendMessage"
        assert allowed["Principal"] == {"Service": "events.amazonaws.com"}
        assert allowed["Resource"] == arn
        assert allowed["Condition"] == {"ArnEquals": {"aws:SourceArn": {"Fn::GetAtt": [rule, "Arn"]}}}

    def test_a_bus_of_its_own_is_created_if_asked_for(self) -> None:
        template = synth(eventBusName="layers", createEventBus=True)
        ((name, bus),) = resources(template, "AWS::Events::EventBus").items()
        assert bus["Properties"]["Name"] == "layers"
        assert only(template, "AWS::Events::Rule")["Properties"]["EventBusName"] == {"Ref": name}
        configuration = only(template, "AWS::Lambda::EventInvokeConfig")["Properties"]["DestinationConfig"]
        assert configuration["OnSuccess"] == {"Destination": {"Fn::GetAtt": [name, "Arn"]}}


class TestWholeImages:
    def test_image_pull_adds_one_permission_on_the_same_repositories(self) -> None:
        template = synth(imagePull=True, repositories=["team/app", "web/*"])
        policies = only(template, "AWS::IAM::Role")["Properties"]["Policies"]
        assert [policy["PolicyDocument"]["Statement"][0]["Action"] for policy in policies] == [
            "ecr:GetDownloadUrlForLayer",
            ["logs:CreateLogStream", "logs:PutLogEvents"],
            "ecr:BatchGetImage",
        ]
        assert policies[2]["PolicyDocument"]["Statement"] == [
            {
                "Effect": "Allow",
                "Action": "ecr:BatchGetImage",
                "Resource": [repository_arn("team/app"), repository_arn("web/*")],
            }
        ]
        variables = only(template, "AWS::Lambda::Function")["Properties"]["Environment"]["Variables"]
        assert variables == {"POWERTOOLS_LOG_LEVEL": "INFO", "IMAGE_PULL": "true"}

    def test_list_tags_adds_one_permission(self) -> None:
        template = synth(listTags=True)
        policies = only(template, "AWS::IAM::Role")["Properties"]["Policies"]
        assert policies[2]["PolicyDocument"]["Statement"] == [
            {"Effect": "Allow", "Action": "ecr:ListImages", "Resource": repository_arn("*")}
        ]
        variables = only(template, "AWS::Lambda::Function")["Properties"]["Environment"]["Variables"]
        assert variables == {"POWERTOOLS_LOG_LEVEL": "INFO", "LIST_TAGS": "true"}

    def test_other_registries_may_be_named_in_paths(self) -> None:
        function = only(synth(registries=["210987654321", "109876543210"]), "AWS::Lambda::Function")["Properties"]
        assert function["Environment"]["Variables"]["ALLOWED_REGISTRIES"] == "210987654321,109876543210"

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


def test_versions_are_kept_to_go_back_to_if_the_operator_says_so() -> None:
    assert only(synth(keepVersions=True), "AWS::Lambda::Version")["DeletionPolicy"] == "Retain"


def test_alarms_watch_errors_throttles_duration_and_ecr_and_go_to_the_topic() -> None:
    template = synth(timeoutSeconds=10)
    (topic,) = resources(template, "AWS::SNS::Topic")
    alarms = [each["Properties"] for each in resources(template, "AWS::CloudWatch::Alarm").values()]
    assert [(alarm["Namespace"], alarm["MetricName"], alarm["Threshold"]) for alarm in alarms] == [
        ("AWS/Lambda", "Errors", 0),
        ("AWS/Lambda", "Throttles", 0),
        ("AWS/Lambda", "Duration", 8000),
        ("EcrLayerResolver", "LayersFailed", 0),
        ("AWS/SQS", "ApproximateNumberOfMessagesVisible", 0),
        ("AWS/Lambda", "DestinationDeliveryFailures", 0),
    ]
    for alarm in alarms:
        assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": topic}]
        assert alarm["TreatMissingData"] == "notBreaching"


@pytest.mark.parametrize(
    "metric",
    [
        "Invocations",
        "Duration",
        "Errors",
        "Throttles",
        "ConcurrentExecutions",
        "ColdStart",
        "LayersResolved",
        "LayersFailed",
        "CacheHits",
        "EcrCallLatency",
        "ApproximateNumberOfMessagesVisible",
    ],
)
def test_the_dashboard_shows_what_an_operator_looks_for(metric: str) -> None:
    assert metric in str(only(synth(), "AWS::CloudWatch::Dashboard")["Properties"]["DashboardBody"])


def test_an_address_subscribes_to_the_alarms() -> None:
    assert not resources(synth(), "AWS::SNS::Subscription")
    subscription = only(synth(alarmEmail="ops@example.com"), "AWS::SNS::Subscription")["Properties"]
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", "ops@example.com")


def test_the_outputs_say_where_everything_is() -> None:
    assert synth()["Outputs"].keys() == {
        "FunctionUrl",
        "FunctionArn",
        "AliasArn",
        "FailureQueueUrl",
        "Dashboard",
    }


def test_a_new_resource_has_to_be_named_here() -> None:
    assert sorted({each["Type"] for each in synth()["Resources"].values()}) == [
        "AWS::CloudWatch::Alarm",
        "AWS::CloudWatch::Dashboard",
        "AWS::Events::Rule",
        "AWS::IAM::Policy",
        "AWS::IAM::Role",
        "AWS::Lambda::Alias",
        "AWS::Lambda::EventInvokeConfig",
        "AWS::Lambda::Function",
        "AWS::Lambda::Permission",
        "AWS::Lambda::Url",
        "AWS::Lambda::Version",
        "AWS::Logs::LogGroup",
        "AWS::SNS::Topic",
        "AWS::SNS::TopicPolicy",
        "AWS::SQS::Queue",
        "AWS::SQS::QueuePolicy",
    ]
