"""The template, word for word where it matters."""

from typing import Any

import pytest

from infra.regions import Region
from tests.infra.templates import (
    ACCOUNT,
    REGION,
    Resource,
    bus_arn,
    logical_id,
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


def test_without_the_setting_the_function_knows_no_bus() -> None:
    assert "PULL_EVENT_BUS" not in variables(synth())


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
    assert variables(synth()) == {
        "POWERTOOLS_LOG_LEVEL": "INFO",
        "STACK_NAME": "EcrLayerResolver",
        "MAXIMUM_RESULT_KILOBYTES": "1024",
    }


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


def test_origins_turn_cors_on_for_requests_that_a_browser_signs() -> None:
    cors = only(synth(allowedOrigins=["https://example.com"]), "AWS::Lambda::Url")["Properties"]["Cors"]
    assert cors == {
        "AllowOrigins": ["https://example.com"],
        "AllowMethods": ["GET", "HEAD", "POST"],
        "AllowHeaders": [
            "accept",
            "authorization",
            "content-type",
            "if-none-match",
            "x-amz-content-sha256",
            "x-amz-date",
            "x-amz-security-token",
        ],
        "ExposeHeaders": [
            "docker-content-digest",
            "docker-distribution-api-version",
            "etag",
            "link",
            "oci-filters-applied",
            "oci-subject",
            "retry-after",
        ],
        "MaxAge": 3600,
    }


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


def test_download_urls_may_lead_to_the_hosts_that_the_operator_adds() -> None:
    hosts = ["s3.internal.example.com", "mirror.example.com"]
    assert variables(synth(downloadUrlHosts=hosts))["DOWNLOAD_URL_HOSTS"] == ",".join(hosts)
    assert "DOWNLOAD_URL_HOSTS" not in variables(synth())


def test_ipv6_makes_the_function_use_ecrs_dual_stack_endpoint() -> None:
    assert variables(synth(ipv6=True))["AWS_USE_DUALSTACK_ENDPOINT"] == "true"


def test_a_pull_through_cache_may_be_filled_under_its_prefix_alone() -> None:
    template = synth(pullThroughPrefixes=["docker-hub"], imagePull=True)
    policy = only(template, "AWS::IAM::Role")["Properties"]["Policies"][1]
    assert policy["PolicyName"] == "ImportFromUpstream"
    assert policy["PolicyDocument"]["Statement"] == [
        {"Effect": "Allow", "Action": "ecr:BatchImportUpstreamImage", "Resource": repository_arn("docker-hub/*")}
    ]


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


def test_a_pull_through_cache_without_a_prefix_may_be_filled_in_the_named_repositories() -> None:
    template = synth(pullThroughPrefixes=["ROOT"], repositories=["library/nginx", "team/*"])
    policy = only(template, "AWS::IAM::Role")["Properties"]["Policies"][1]
    assert policy["PolicyDocument"]["Statement"][0]["Resource"] == [
        repository_arn("library/nginx"),
        repository_arn("team/*"),
    ]


def test_the_settings_are_in_the_metadata_so_that_a_diff_names_what_has_changed() -> None:
    values = {"repositories": ["team/app"], "memorySize": 1024}
    settings = settings_of(values)
    expected = {name: value for name, value in settings.values().items() if value is not None}
    assert synth(**values)["Metadata"] == expected
    assert expected.keys() > values.keys()


@pytest.mark.parametrize(
    ("setting", "resource_type", "property_name", "expected"),
    [
        ({"memorySize": 1024}, "AWS::Lambda::Function", "MemorySize", 1024),
        ({"timeoutSeconds": 30}, "AWS::Lambda::Function", "Timeout", 30),
        ({"reservedConcurrency": 7}, "AWS::Lambda::Function", "ReservedConcurrentExecutions", 7),
        ({"snapStart": False}, "AWS::Lambda::Function", "SnapStart", None),
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
        "AWS::Logs::QueryDefinition",
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
        assert policy in resources(template, "AWS::Lambda::Function")[function]["DependsOn"]

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

    @pytest.mark.parametrize("name", ["default", "builds"])
    def test_another_bus_is_used_as_it_is(self, name: str) -> None:
        template = synth(eventBusName=name)
        assert not resources(template, "AWS::Events::EventBus")
        assert only(template, "AWS::Events::Rule")["Properties"]["EventBusName"] == name
        configuration = only(template, "AWS::Lambda::EventInvokeConfig")["Properties"]["DestinationConfig"]
        assert configuration["OnSuccess"] == {"Destination": bus_arn(name)}
        assert template["Outputs"]["EventBusName"]["Value"] == name

    @pytest.mark.parametrize("settings", [{}, {"imagePull": True}, {"eventBusName": "default", "imagePull": True}])
    def test_no_rule_can_invoke_the_alias_before_its_results_have_where_to_go(self, settings: dict[str, Any]) -> None:
        template = synth(**settings)
        (configuration,) = resources(template, "AWS::Lambda::EventInvokeConfig")
        rules = resources(template, "AWS::Events::Rule")
        assert len(rules) == (2 if settings else 1)
        assert all(configuration in rule["DependsOn"] for rule in rules.values())

    @pytest.mark.parametrize(("region", "kilobytes"), [("eu-west-1", 1024), ("mx-central-1", 256)])
    def test_results_and_failed_events_may_be_as_large_as_the_partition_lets_events_be(
        self, region: str, kilobytes: int
    ) -> None:
        template = synth_in(Region.named(region))
        queue = only(template, "AWS::SQS::Queue")["Properties"]
        assert queue["MaximumMessageSize"] == kilobytes * 1024
        assert variables(template)["MAXIMUM_RESULT_KILOBYTES"] == str(kilobytes)

    def test_smaller_results_leave_room_for_large_failed_events(self) -> None:
        template = synth(maximumResultKilobytes=200)
        assert variables(template)["MAXIMUM_RESULT_KILOBYTES"] == "200"
        assert only(template, "AWS::SQS::Queue")["Properties"]["MaximumMessageSize"] == 1024 * 1024


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

    def test_other_registries_may_be_named_in_paths(self) -> None:
        template = synth(registries=["210987654321", "109876543210"])
        assert variables(template)["ALLOWED_REGISTRIES"] == "210987654321,109876543210"

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


def test_versions_are_kept_to_go_back_to_if_the_operator_says_so() -> None:
    assert only(synth(keepVersions=True), "AWS::Lambda::Version")["DeletionPolicy"] == "Retain"


def test_an_address_subscribes_to_the_alarms() -> None:
    assert not resources(synth(), "AWS::SNS::Subscription")
    subscription = only(synth(alarmEmail="ops@example.com"), "AWS::SNS::Subscription")["Properties"]
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", "ops@example.com")


def test_the_outputs_say_where_everything_is() -> None:
    template = synth()

    before = "https://console.aws.amazon.com/cloudwatch/home?region="
    name = {"Ref": logical_id(template, "AWS::CloudWatch::Dashboard")}
    dashboard = {"Fn::Join": ["", [before, REGION, "#dashboards/dashboard/", name]]}
    assert {name: (each["Value"], each["Description"]) for name, each in template["Outputs"].items()} == {
        "FunctionUrl": (
            {"Fn::GetAtt": [logical_id(template, "AWS::Lambda::Url"), "FunctionUrl"]},
            "Where to send requests",
        ),
        "FunctionArn": ({"Fn::GetAtt": [logical_id(template, "AWS::Lambda::Function"), "Arn"]}, "The function"),
        "AliasArn": ({"Ref": logical_id(template, "AWS::Lambda::Alias")}, "The alias behind the function URL"),
        "EventBusName": (
            {"Ref": logical_id(template, "AWS::Events::EventBus")},
            "Where to send events, and where results go",
        ),
        "FailureQueueUrl": ({"Ref": logical_id(template, "AWS::SQS::Queue")}, "Dead-letter queue for failed events"),
        "Dashboard": (dashboard, "Requests, errors, latency and alarms"),
    }


def test_a_new_resource_has_to_be_named_here() -> None:
    assert sorted({each["Type"] for each in synth()["Resources"].values()}) == [
        "AWS::CloudWatch::Alarm",
        "AWS::CloudWatch::Dashboard",
        "AWS::Events::EventBus",
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
        "AWS::Logs::QueryDefinition",
        "AWS::SNS::Topic",
        "AWS::SNS::TopicPolicy",
        "AWS::SQS::Queue",
        "AWS::SQS::QueuePolicy",
    ]
