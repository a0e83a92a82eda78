"""The construct as other CDK apps use it."""

import json
import re
from typing import Any

import pytest
from aws_cdk import App, CfnParameter, Duration, Environment, RemovalPolicy, Size, Stack, Stage
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from aws_cdk.assertions import Template

from infra import EcrLayerResolver, Edge, EdgeAlarms, SettingsError
from tests.infra.templates import only, resources, statements, variables

CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/12345678-1234-1234-1234-123456789012"
VIRGINIA = Environment(account="123456789012", region="us-east-1")


def new_stack(**kwargs: Any) -> Stack:
    """Return a stack of somebody else's app, whose context is their own."""
    return Stack(App(context={"aws:cdk:bundling-stacks": [], "their": "key"}), "Theirs", **kwargs)


def template_of(stack: Stack) -> dict[str, Any]:
    return dict(Template.from_stack(stack).to_json())


def names_in(template: dict[str, Any]) -> set[str]:
    """Return the names that a template gives its resources, which an account can have only once."""
    found = set()
    for resource in template["Resources"].values():
        properties = resource.get("Properties", {})
        config: Any = next((each for name, each in properties.items() if name.endswith("Config")), {})
        for holder in (properties, config if isinstance(config, dict) else {}):
            name = holder.get("Name") or holder.get("DashboardName")
            if name and resource["Type"] not in {"AWS::Lambda::Alias", "AWS::Route53::RecordSet"}:
                found.add(f"{resource['Type']} {json.dumps(name)}")
    return found


def test_two_resolvers_in_a_stack_share_no_name() -> None:
    stack = new_stack(env=VIRGINIA)
    for construct_id in ("One", "Two"):
        edge = Edge(access_logs=True, cache_duration=Duration.minutes(5))
        EcrLayerResolver(stack, construct_id, repositories=["team/*"], image_pull=True, edge=edge)
    template = template_of(stack)
    named = [name for construct_id in ("One", "Two") for name in names_in(part(template, construct_id))]
    assert len(named) > 40
    assert len(named) == len(set(named))
    environments = [each["Properties"]["Environment"] for each in resources(template, "AWS::Lambda::Function").values()]
    assert len({each["Variables"]["STACK_NAME"] for each in environments}) == 2


def part(template: dict[str, Any], construct_id: str) -> dict[str, Any]:
    return {"Resources": {name: each for name, each in template["Resources"].items() if name.startswith(construct_id)}}


def test_stages_and_regions_of_an_app_share_no_name() -> None:
    app = App(context={"aws:cdk:bundling-stacks": []})
    named: list[str] = []
    for name, region in (("Dev", "eu-west-1"), ("Prod", "eu-west-1"), ("ProdVirginia", "us-east-1")):
        stack = Stack(Stage(app, name, env=Environment(account="123456789012", region=region)), "Layers")
        EcrLayerResolver(stack, "Resolver", repositories=["team/*"], image_pull=True, edge=Edge())
        named += names_in(template_of(stack))
    assert len(named) == len(set(named))


def test_the_stacks_own_region_decides() -> None:
    stack = new_stack(env=Environment(region="ap-southeast-5"))
    with pytest.raises(SettingsError, match="maximum_result_size: must be 256 at most in ap-southeast-5"):
        EcrLayerResolver(stack, "Layers", repositories=["a/b"], maximum_result_size=Size.kibibytes(512))


def test_what_cdk_resolves_later_is_taken() -> None:
    stack = new_stack()
    repository = ecr.Repository(stack, "Repository")
    parameter = CfnParameter(stack, "Name")
    bus = events.EventBus(stack, "TheirBus")
    role = iam.Role(stack, "Role", assumed_by=iam.AccountRootPrincipal())
    resolver = EcrLayerResolver(
        stack,
        "Layers",
        repositories=[repository, parameter.value_as_string],
        image_pull=True,
        event_bus=bus,
        edge=Edge(public_repositories=[repository]),
    )
    resolver.grant_invoke_url(role)
    template = template_of(stack)
    (name,) = resources(template, "AWS::ECR::Repository")
    (read,) = [each for each in statements(template) if "ecr:BatchGetImage" in each["Action"]]
    pushes = next(each for each in resources(template, "AWS::Events::Rule").values() if "aws.ecr" in str(each))
    code = resources(template, "AWS::CloudFront::Function").values()
    for place in (read, pushes, list(code)):
        assert f'{{"Ref": "{name}"}}' in json.dumps(place)
    assert '{"Ref": "Name"}' in json.dumps(read)


def test_all_props_reach_the_template() -> None:
    stack = new_stack(env=VIRGINIA)
    topic, bus = sns.Topic(stack, "Alarms"), events.EventBus(stack, "Own")
    zone = route53.PublicHostedZone(stack, "Zone", zone_name="example.com")
    store = cloudfront.KeyValueStore(stack, "Store")
    resolver = EcrLayerResolver(
        stack,
        "Layers",
        repositories=["team/*"],
        registries=["210987654321"],
        image_pull=True,
        list_tags=True,
        pull_through_prefixes=["team"],
        allowed_origins=["https://example.com"],
        memory_size=1024,
        timeout=Duration.seconds(30),
        reserved_concurrent_executions=7,
        snap_start=False,
        keep_versions=True,
        ipv6=True,
        download_url_hosts=["s3.example.com"],
        log_level="DEBUG",
        log_retention=logs.RetentionDays.ONE_YEAR,
        log_removal_policy=RemovalPolicy.DESTROY,
        saved_queries=False,
        tracing=True,
        event_sources=["com.example"],
        event_bus=bus,
        pull_events=True,
        maximum_result_size=Size.kibibytes(200),
        alarm_topic=topic,
        edge=Edge(
            domain_name="registry.example.com",
            certificate=acm.Certificate.from_certificate_arn(stack, "Certificate", CERTIFICATE),
            hosted_zone=zone,
            public_repositories=["team/app"],
            tls_policy=cloudfront.SecurityPolicyProtocol.TLS_V1_3_2025,
            cache_duration=Duration.minutes(10),
            additional_metrics=False,
            web_acl_arn="arn:aws:wafv2:us-east-1:123456789012:global/webacl/a/b",
            access_logs=True,
            token_store=store,
        ),
    )
    template = template_of(stack)
    function = only(template, "AWS::Lambda::Function")["Properties"]
    assert (function["MemorySize"], function["Timeout"], function["ReservedConcurrentExecutions"]) == (1024, 30, 7)
    assert "SnapStart" not in function
    assert variables(template).keys() >= {"IMAGE_PULL", "LIST_TAGS", "PULL_EVENT_BUS", "DOWNLOAD_URL_HOSTS"}
    assert {each["Properties"]["RetentionInDays"] for each in resources(template, "AWS::Logs::LogGroup").values()} == {
        365
    }
    config = only(template, "AWS::CloudFront::Distribution")["Properties"]["DistributionConfig"]
    assert config["Aliases"] == ["registry.example.com"]
    assert config["ViewerCertificate"]["MinimumProtocolVersion"] == "TLSv1.3_2025"
    assert len(resources(template, "AWS::Route53::RecordSet")) == 2
    assert len(resources(template, "AWS::Events::EventBus")) == len(resources(template, "AWS::SNS::Topic")) == 1
    assert len(resources(template, "AWS::CloudFront::KeyValueStore")) == 1
    assert not resources(template, "AWS::CloudFront::MonitoringSubscription")
    assert not resources(template, "AWS::Logs::QueryDefinition")
    assert (resolver.token_store, resolver.alarm_topic, resolver.event_bus) == (store, topic, bus)


@pytest.mark.parametrize(
    ("props", "problem"),
    [
        ({"repositories": ["UPPER"]}, "repositories[0]: must be a repository name, a prefix such as 'team/*'"),
        ({"timeout": Duration.minutes(16)}, "timeout: must be 3 to 900 seconds"),
        ({"edge": Edge(), "timeout": Duration.minutes(2)}, "timeout must be 59 at most with edge"),
        ({"auth_type": lambda_.FunctionUrlAuthType.NONE}, "repositories must name what is public and can't be '*'"),
        ({"edge": Edge(domain_name="registry.example.com")}, "edge.domain_name and edge.certificate need each other"),
        ({"edge": Edge(cache_duration=Duration.hours(1))}, "edge.cache_duration: must be 0 to 1500 seconds"),
        (
            {"edge": Edge(tls_policy=cloudfront.SecurityPolicyProtocol.TLS_V1_2_2021)},
            "edge.tls_policy: must be TLSv1.2_2025 or TLSv1.3_2025",
        ),
        ({"pull_time_exclusion": True}, "pull_time_exclusion has no effect without image_pull"),
    ],
)
def test_invalid_props_are_named_as_they_were_written(props: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)) as caught:
        EcrLayerResolver(new_stack(), "Layers", **({"repositories": ["*"]} | props))
    assert str(caught.value).startswith("Theirs/Layers: Invalid settings:\n  ")


@pytest.mark.parametrize(
    ("props", "policy"), [({}, "Delete"), ({"pull_events": True}, "Retain"), ({"edge": Edge()}, "Retain")]
)
def test_logs_that_name_callers_outlive_the_stack(props: dict[str, Any], policy: str) -> None:
    stack = new_stack()
    EcrLayerResolver(stack, "Layers", repositories=["a/b"], **props)
    assert only(template_of(stack), "AWS::Logs::LogGroup")["DeletionPolicy"] == policy


class TestMethods:
    def test_rules_for_pulls_and_results_are_on_the_resolvers_bus(self) -> None:
        stack = new_stack()
        resolver = EcrLayerResolver(stack, "Layers", repositories=["a/b"], pull_events=True, event_sources=[])
        queue = sqs.Queue(stack, "Queue")
        resolver.on_pull("Pulls", target=targets.SqsQueue(queue))
        resolver.on_result("Results", target=targets.SqsQueue(queue))
        template = template_of(stack)
        (bus,) = resources(template, "AWS::Events::EventBus")
        rules = [each["Properties"] for each in resources(template, "AWS::Events::Rule").values()]
        assert [each["EventBusName"] for each in rules] == [{"Ref": bus}] * 2
        pulls, results = [each["EventPattern"] for each in rules]
        assert pulls == {"source": ["ecr-layer-resolver"], "detail-type": ["ECR Layer Pull"]}
        assert results["detail-type"] == ["Lambda Function Invocation Result - Success"]

    def test_pulls_are_events_only_if_they_are_turned_on(self) -> None:
        resolver = EcrLayerResolver(new_stack(), "Layers", repositories=["a/b"])
        with pytest.raises(ValueError, match=r"Theirs/Layers has no events about pulls\. Set pull_events to True"):
            resolver.on_pull("Pulls")

    def test_a_role_may_manage_tokens_and_nothing_else(self) -> None:
        stack = new_stack()
        role = iam.Role(stack, "Role", assumed_by=iam.AccountRootPrincipal())
        resolver = EcrLayerResolver(stack, "Layers", repositories=["a/b"], edge=Edge())
        resolver.grant_manage_tokens(role)
        template = template_of(stack)
        (store,) = resources(template, "AWS::CloudFront::KeyValueStore")
        (granted,) = [each for each in statements(template) if "cloudfront-keyvaluestore" in str(each["Action"])]
        assert granted["Resource"] == {"Fn::GetAtt": [store, "Arn"]}
        assert "cloudfront-keyvaluestore:UpdateKeys" in granted["Action"]

    def test_without_an_edge_there_are_no_tokens(self) -> None:
        stack = new_stack()
        role = iam.Role(stack, "Role", assumed_by=iam.AccountRootPrincipal())
        resolver = EcrLayerResolver(stack, "Layers", repositories=["a/b"])
        assert (resolver.token_store, resolver.distribution, resolver.registry_domain) == (None, None, None)
        with pytest.raises(ValueError, match=r"has no pull tokens\. Give it an edge"):
            resolver.grant_manage_tokens(role)

    def test_metrics_are_those_of_this_resolver(self) -> None:
        stack = new_stack()
        resolver = EcrLayerResolver(stack, "Layers", repositories=["a/b"])
        for index, metric in enumerate(
            (
                resolver.metric_requests(),
                resolver.metric_requests_failed(),
                resolver.metric_request_latency(),
                resolver.metric_layers_resolved(),
                resolver.metric_cache_hits(),
                resolver.metric_layers_failed("ThrottlingException"),
                resolver.metric_ecr_latency(),
            )
        ):
            metric.create_alarm(stack, f"Alarm{index}", threshold=1, evaluation_periods=1)
        template = template_of(stack)
        alarms = [
            each["Properties"]
            for name, each in resources(template, "AWS::CloudWatch::Alarm").items()
            if name.startswith("Alarm")
        ]
        own = {each["MetricName"]: each["Dimensions"] for each in alarms if each["Namespace"] == "EcrLayerResolver"}
        assert own.keys() == {"LayersResolved", "CacheHits", "LayersFailed", "EcrCallLatency"}
        name = variables(template)["STACK_NAME"]
        assert all({"Name": "stack", "Value": name} in dimensions for dimensions in own.values())


def test_an_edge_outside_us_east_1_has_its_alarms_there() -> None:
    app = App(context={"aws:cdk:bundling-stacks": []})
    stacks = [
        Stack(
            app,
            region,
            env=Environment(account="123456789012", region=region),
            cross_region_references=True,
        )
        for region in ("eu-west-1", "us-east-1")
    ]
    resolver = EcrLayerResolver(stacks[0], "Layers", repositories=["team/*"], edge=Edge())
    assert resolver.distribution
    topic = sns.Topic(stacks[1], "Topic")
    EdgeAlarms(stacks[1], "Alarms", distribution=resolver.distribution, alarm_topic=topic)
    alarms = [each["Properties"] for each in resources(template_of(stacks[1]), "AWS::CloudWatch::Alarm").values()]
    assert [each["MetricName"] for each in alarms] == ["5xxErrorRate", "4xxErrorRate", "401ErrorRate"]
    found = resources(template_of(stacks[0]), "AWS::CloudWatch::Alarm").values()
    assert not any(each["Properties"]["Namespace"] == "AWS/CloudFront" for each in found)
