"""The edge in the template, word for word, and what it leaves as it is."""

import json
import re
from typing import Any

import pytest

from infra import contract
from infra.edge import configuration
from infra.edge_functions import edge_function
from infra.options import SettingsError
from infra.regions import Region
from infra.trust_rules import TrustRule
from tests.infra.templates import (
    ACCOUNT,
    PARTITION,
    REGION,
    Resource,
    body_of_dashboard,
    logical_id,
    only,
    resources,
    settings_of,
    shown,
    synth,
    synth_in,
    variables,
)

CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/12345678-1234-1234-1234-123456789012"
DOMAIN: dict[str, Any] = {"domainName": "registry.example.com", "certificateArn": CERTIFICATE}
NAME = {"Fn::Join": ["", ["EcrLayerResolver-", REGION]]}
RULE: dict[str, Any] = {
    "issuer": "https://token.actions.githubusercontent.com",
    "claims": {"repository_id": "5678", "ref": "refs/heads/main"},
    "repositories": ["team/*"],
}
VIRGINIA, IRELAND = Region.named("us-east-1"), Region.named("eu-west-1")


CALLER_HEADERS = (contract.TOKEN_HEADER, contract.RULE_HEADER, contract.TOKEN_ID_HEADER)
ALL_FORWARDED = {
    "CookiesConfig": {"CookieBehavior": "none"},
    "HeadersConfig": {
        "HeaderBehavior": "whitelist",
        "Headers": ["Accept", "If-None-Match", "Origin", *CALLER_HEADERS, "CloudFront-Viewer-Address"],
    },
    "Name": NAME,
    "QueryStringsConfig": {"QueryStringBehavior": "all"},
}


# What the function only writes into its log.
INFORMS_ONLY = {*CALLER_HEADERS, "cloudfront-viewer-address"}


def edge(**values: Any) -> dict[str, Any]:
    return synth(edge=True, **values)


def distribution(**values: Any) -> Resource:
    config: Resource = only(edge(**values), "AWS::CloudFront::Distribution")["Properties"]["DistributionConfig"]
    return config


def ref(template: dict[str, Any], resource_type: str) -> Resource:
    return {"Ref": logical_id(template, resource_type)}


def origin_request_policies(template: dict[str, Any]) -> list[Resource]:
    policies = resources(template, "AWS::CloudFront::OriginRequestPolicy").values()
    return [each["Properties"]["OriginRequestPolicyConfig"] for each in policies]


def without_metadata(template: dict[str, Any], *resource_types: str) -> dict[str, Any]:
    return {kind: [each["Properties"] for each in resources(template, kind).values()] for kind in resource_types}


def test_without_it_there_is_nothing_of_cloudfront_and_the_function_does_not_know_of_any() -> None:
    template = synth()
    assert "CloudFront" not in json.dumps(template["Resources"])
    assert "cloudfront.amazonaws.com" not in json.dumps(template)
    assert "EDGE_DISTRIBUTION_ARN" not in variables(template)
    assert not {"RegistryDomain", "TokenStoreArn"} & set(template["Outputs"])


def test_turning_it_on_leaves_the_role_the_function_url_and_all_that_was_allowed_as_they_were() -> None:
    before, after = synth(allowedPrincipals=["210987654321"]), edge(allowedPrincipals=["210987654321"])
    same = ("AWS::IAM::Role", "AWS::IAM::Policy", "AWS::Lambda::Url", "AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy")
    assert without_metadata(after, *same) == without_metadata(before, *same)
    assert only(after, "AWS::Lambda::Url")["Properties"]["AuthType"] == "AWS_IAM"
    kept = {name: each for name, each in after["Resources"].items() if name in before["Resources"]}
    permissions = resources(before, "AWS::Lambda::Permission")
    assert {name: kept[name] for name in permissions} == permissions
    new = {each["Type"] for name, each in after["Resources"].items() if name not in before["Resources"]}
    assert new <= {
        "AWS::CloudFront::Distribution",
        "AWS::CloudFront::Function",
        "AWS::CloudFront::KeyValueStore",
        "AWS::CloudFront::MonitoringSubscription",
        "AWS::CloudFront::OriginAccessControl",
        "AWS::CloudFront::OriginRequestPolicy",
        "AWS::CloudWatch::Alarm",
        "AWS::Lambda::Permission",
        # What the function is told is part of its version.
        "AWS::Lambda::Version",
    }


def test_the_function_url_lets_in_this_distribution_and_no_other() -> None:
    template = edge()
    alias = ref(template, "AWS::Lambda::Alias")
    distribution_id = ref(template, "AWS::CloudFront::Distribution")
    arn = {"Fn::Join": ["", ["arn:", PARTITION, ":cloudfront::", ACCOUNT, ":distribution/", distribution_id]]}
    permissions = [each["Properties"] for each in resources(template, "AWS::Lambda::Permission").values()]
    allowed = {"FunctionName": alias, "Principal": "cloudfront.amazonaws.com", "SourceArn": arn}
    assert [each for each in permissions if each["Principal"] != "events.amazonaws.com"] == [
        {"Action": "lambda:InvokeFunctionUrl", **allowed},
        {"Action": "lambda:InvokeFunction", "InvokedViaFunctionUrl": True, **allowed},
    ]


def test_the_store_of_tokens_is_made_empty_so_that_no_deployment_changes_a_token() -> None:
    template = edge()
    ((name, store),) = resources(template, "AWS::CloudFront::KeyValueStore").items()
    assert store["Properties"]["Name"] == NAME
    assert "ImportSource" not in store["Properties"]
    function, on_response = (each["Properties"] for each in resources(template, "AWS::CloudFront::Function").values())
    assert function["AutoPublish"] is True
    assert function["FunctionConfig"]["Runtime"] == "cloudfront-js-2.0"
    assert function["FunctionConfig"]["KeyValueStoreAssociations"] == [
        {"KeyValueStoreARN": {"Fn::GetAtt": [name, "Arn"]}}
    ]
    expected = configuration(settings_of({"edge": True}), "EcrLayerResolver")
    assert function["FunctionCode"] == edge_function("viewer_request", expected)
    assert on_response["FunctionCode"] == edge_function("viewer_response")
    assert "KeyValueStoreAssociations" not in on_response["FunctionConfig"]


@pytest.mark.parametrize(
    ("origins", "key"),
    [([], ["x-ecr-layers-method"]), (["https://app.example.com"], ["x-ecr-layers-method", "Origin"])],
)
def test_manifests_by_digest_and_blobs_are_kept_for_as_long_as_is_set_by_path_and_method(
    origins: list[str], key: list[str]
) -> None:
    template = edge(edgeCacheSeconds=600, allowedOrigins=origins)
    config = only(template, "AWS::CloudFront::Distribution")["Properties"]["DistributionConfig"]
    assert [each["PathPattern"] for each in config["CacheBehaviors"]] == ["/v2/*/blobs/*:*", "/v2/*/manifests/*:*"]
    policies = {"CachePolicyId", "OriginRequestPolicyId"}
    default = {name: each for name, each in config["DefaultCacheBehavior"].items() if name not in policies}
    for behaviour in config["CacheBehaviors"]:
        assert {name: each for name, each in behaviour.items() if name not in {"PathPattern", *policies}} == default
        assert behaviour["CachePolicyId"] == ref(template, "AWS::CloudFront::CachePolicy")
    policy = only(template, "AWS::CloudFront::CachePolicy")["Properties"]["CachePolicyConfig"]
    assert (policy["MinTTL"], policy["DefaultTTL"], policy["MaxTTL"]) == (600, 600, 600)
    assert policy["ParametersInCacheKeyAndForwardedToOrigin"] == {
        "CookiesConfig": {"CookieBehavior": "none"},
        "EnableAcceptEncodingBrotli": False,
        "EnableAcceptEncodingGzip": False,
        "HeadersConfig": {"HeaderBehavior": "whitelist", "Headers": key},
        "QueryStringsConfig": {"QueryStringBehavior": "none"},
    }


@pytest.mark.parametrize("allowed_origins", [[], ["https://app.example.com"]])
def test_what_can_change_a_cached_answer_is_forwarded_only_as_part_of_the_key(allowed_origins: list[str]) -> None:
    template = edge(edgeCacheSeconds=600, allowedOrigins=allowed_origins)
    config = only(template, "AWS::CloudFront::Distribution")["Properties"]["DistributionConfig"]
    default, cached = resources(template, "AWS::CloudFront::OriginRequestPolicy")
    assert config["DefaultCacheBehavior"]["OriginRequestPolicyId"] == {"Ref": default}
    assert {each["OriginRequestPolicyId"]["Ref"] for each in config["CacheBehaviors"]} == {cached}
    all_forwarded, forwarded = origin_request_policies(template)
    assert all_forwarded == ALL_FORWARDED
    assert {each.lower() for each in forwarded["HeadersConfig"]["Headers"]} == INFORMS_ONLY
    assert forwarded["QueryStringsConfig"]["QueryStringBehavior"] == "none"
    assert forwarded["CookiesConfig"]["CookieBehavior"] == "none"


@pytest.mark.parametrize(
    ("path", "is_kept"),
    [
        ("/v2/team/app/blobs/sha256:00", True),
        ("/v2/team/app/manifests/sha512:00", True),
        ("/v2/team/app/manifests/latest", False),
        ("/v2/team/app/tags/list", False),
        ("/v2/team/app/referrers/sha256:00", False),
        ("/download-url", False),
        ("/v2/", False),
    ],
)
def test_what_can_change_is_not_kept(path: str, is_kept: bool) -> None:
    patterns = [each["PathPattern"] for each in distribution(edgeCacheSeconds=1)["CacheBehaviors"]]
    assert any(re.fullmatch(pattern.replace("*", ".*"), path) for pattern in patterns) is is_kept


@pytest.mark.parametrize(("region", "are_there"), [(VIRGINIA, True), (IRELAND, False)])
def test_alarms_of_the_edge_are_where_its_metrics_are_and_the_dashboard_is_everywhere(
    region: Region, are_there: bool
) -> None:
    template = synth_in(region, edge=True)
    alarms = [each["Properties"] for each in resources(template, "AWS::CloudWatch::Alarm").values()]
    of_edge = {
        each["MetricName"]: (each["Statistic"], each["Threshold"], each["EvaluationPeriods"], each["Period"])
        for each in alarms
        if each["Namespace"] == "AWS/CloudFront"
    }
    of_requests = {
        "5xxErrorRate": ("Average", 1, 1, 300),
        "4xxErrorRate": ("Average", 50, 3, 300),
        "401ErrorRate": ("Average", 50, 3, 300),
    }
    of_function = {"FunctionExecutionErrors": ("Sum", 0, 1, 300), "FunctionThrottles": ("Sum", 0, 1, 300)}
    assert of_edge == (of_requests | of_function if are_there else {})
    # The first widget has the state of the alarms.
    _, *widgets = json.loads(body_of_dashboard(template))["widgets"]
    assert [(each["properties"].get("title"), shown(each)) for each in widgets[1:6]] == [
        ("Requests to the edge", ["Requests Sum"]),
        ("Answered with 4xx and 5xx, in %", ["4xxErrorRate Average", "5xxErrorRate Average"]),
        ("Answered with 401, 403 and 404, in %", [f"{status}ErrorRate Average" for status in (401, 403, 404)]),
        ("Answered from the edge's cache, in %", ["CacheHitRate Average"]),
        (
            "Function at the edge",
            ["FunctionInvocations Sum", "FunctionExecutionErrors Sum", "FunctionThrottles Sum"],
        ),
    ]
    for widget in widgets[1:6]:
        assert {each[-1]["region"] for each in widget["properties"]["metrics"]} == {"us-east-1"}


def test_a_metric_of_cloudfront_has_the_one_statistic_that_it_has() -> None:
    alarms = [each["Properties"] for each in resources(edge(), "AWS::CloudWatch::Alarm").values()]
    for alarm in alarms:
        if alarm["Namespace"] == "AWS/CloudFront":
            assert alarm["Statistic"] == ("Average" if alarm["MetricName"].endswith("Rate") else "Sum")
            assert {each["Name"] for each in alarm["Dimensions"]} <= {"DistributionId", "FunctionName", "Region"}
            assert {"Name": "Region", "Value": "Global"} in alarm["Dimensions"]


def test_the_functions_at_the_edge_know_the_deployment() -> None:
    values = {"edge": True, "repositories": ["team/app", "web/app"], "publicRepositories": ["team/app"], **DOMAIN}
    assert configuration(settings_of(values), "registry.example.com") == {
        "realm": "registry.example.com",
        "publicRepositories": ("team/app",),
        "allowedOrigins": (),
        "catalog": ("team/app", "web/app"),
        "tokenScheme": "",
    }
    with_rules = configuration(settings_of({"edge": True, "trustRules": {"ci": RULE}}), "x")
    assert (with_rules["catalog"], with_rules["tokenScheme"]) == ((), "https")


class TestTrustRules:
    """The setting trustRules."""

    def test_the_exchange_function_has_no_permission_but_to_read_its_keys_and_to_log(self) -> None:
        template = edge(trustRules={"ci": RULE})
        (secret,) = resources(template, "AWS::SecretsManager::Secret")
        (name,) = (name for name in resources(template, "AWS::IAM::Role") if "TokenExchange" in name)
        policies = [
            each["Properties"]["PolicyDocument"]["Statement"]
            for each in resources(template, "AWS::IAM::Policy").values()
            if each["Properties"]["Roles"] == [{"Ref": name}]
        ]
        actions = {action for (*statements,) in policies for each in statements for action in each["Action"]}
        assert actions == {
            "logs:CreateLogStream",
            "logs:PutLogEvents",
            "secretsmanager:DescribeSecret",
            "secretsmanager:GetSecretValue",
        }
        assert all(each["Resource"] in ({"Ref": secret}, log_group_of(each)) for (*all_,) in policies for each in all_)

    def test_the_token_path_leads_to_the_exchange_function_which_only_cloudfront_may_call(self) -> None:
        template = edge(trustRules={"ci": RULE})
        config = only(template, "AWS::CloudFront::Distribution")["Properties"]["DistributionConfig"]
        (behaviour,) = (each for each in config["CacheBehaviors"] if each["PathPattern"] == "/token")
        (origin,) = (each for each in config["Origins"] if each["Id"] == behaviour["TargetOriginId"])
        (url,) = (name for name in resources(template, "AWS::Lambda::Url") if "TokenExchange" in name)
        assert url in json.dumps(origin["DomainName"])
        assert resources(template, "AWS::Lambda::Url")[url]["Properties"]["AuthType"] == "AWS_IAM"
        permissions = [
            each["Properties"]
            for each in resources(template, "AWS::Lambda::Permission").values()
            if each["Properties"]["FunctionName"] == {"Fn::GetAtt": [url, "FunctionArn"]}
        ]
        assert [each["Action"] for each in permissions] == ["lambda:InvokeFunctionUrl", "lambda:InvokeFunction"]
        assert {each["Principal"] for each in permissions} == {"cloudfront.amazonaws.com"}

    def test_the_rules_are_the_exchange_functions_and_the_resolver_does_not_know_them(self) -> None:
        functions = resources(edge(trustRules={"ci": RULE}), "AWS::Lambda::Function")
        environments = [each["Properties"]["Environment"]["Variables"] for each in functions.values()]
        (rules,) = (each[contract.TRUST_RULES] for each in environments if contract.TRUST_RULES in each)
        assert json.loads(rules) == {
            "ci": RULE | {"claims": {name: [value] for name, value in RULE["claims"].items()}, "minutes": 60}
        }

    def test_without_rules_there_is_neither_the_function_nor_the_secret(self) -> None:
        assert not resources(edge(), "AWS::SecretsManager::Secret")
        assert len(resources(edge(), "AWS::Lambda::Function")) == 1

    @pytest.mark.parametrize(
        ("changed", "complaint"),
        [
            ({"claims": {"ref": "refs/heads/main"}}, "claims must identify the owner by repository_owner_id, or rep"),
            ({"claims": {"repository_id": "1", "sub": "x"}}, "claims must not have sub, whose form GitHub changed"),
            ({"issuer": "https://gitlab.com", "claims": {"ref": "x"}}, "claims must identify the owner by sub"),
            (
                {"issuer": "https://eks.example.com", "claims": {"kubernetes.io.namespace": "x"}},
                "claims must identify the owner by kubernetes.io.namespace and kubernetes.io.serviceaccount.name",
            ),
            ({"issuer": "http://gitlab.com"}, "trustRules.ci.issuer: must be an issuer exactly as its tokens have it"),
            ({"claims": {"repository_id": []}}, "must be a text, or a list of texts of which one has to match"),
            ({"claims": {"repository_id": 5678}}, "must be a text, or a list of texts of which one has to match"),
            ({"repositories": [f"team/{'x' * 200}{each}" for each in "abcde"]}, "at most 1,024 fit; use prefixes"),
            ({"minutes": 61}, "trustRules.ci.minutes: must be 1 to 60 minutes"),
            ({"repositories": ["web/*"]}, "trustRules.ci has web/*, but repositories does not; add it"),
            ({"repositories": ["210987654321/team/*"]}, "but registries does not have 210987654321; add it"),
        ],
    )
    def test_a_rule_that_strangers_could_match_or_a_malformed_one_ends_synth(
        self, changed: dict[str, Any], complaint: str
    ) -> None:
        with pytest.raises(SettingsError, match=re.escape(complaint)):
            settings_of({"edge": True, "repositories": ["team/*"], "trustRules": {"ci": RULE | changed}})

    @pytest.mark.parametrize(
        ("rules", "complaint"),
        [
            ("{", "trustRules: must be an object of rules by their names"),
            ([], "trustRules: must be an object of names and values"),
            ({"CI": {}}, "trustRules.CI: must be a name of 1 to 32 small letters, digits and '-'"),
            ({"ci": {}}, "trustRules.ci.issuer: must be given"),
            ({"ci": RULE | {"claim": {}}}, "trustRules.ci.claim: must not be given; a trust rule has issuer, claims"),
            ({"ci": RULE | {"claims": "x"}}, "trustRules.ci.claims: must be an object of names and values"),
        ],
    )
    def test_rules_are_an_object_by_their_names(self, rules: Any, complaint: str) -> None:
        with pytest.raises(SettingsError, match=re.escape(complaint)):
            settings_of({"edge": True, "trustRules": rules})

    def test_a_rule_of_a_construct_has_the_claims_of_its_platform(self) -> None:
        rule = TrustRule.github(owner_id="1", repositories=["team/*"], ref="refs/heads/main")
        assert rule.claims == {"repository_owner_id": ("1",), "ref": ("refs/heads/main",)}
        pods = TrustRule.kubernetes(
            issuer="https://oidc.example.com/id", repositories=["*"], namespace="web", service_account=["a", "b"]
        )
        assert pods.claims["kubernetes.io.serviceaccount.name"] == ("a", "b")


def log_group_of(statement: dict[str, Any]) -> Any:
    """Return the resource of a statement that is about logs."""
    return statement["Resource"] if statement["Action"][0].startswith("logs:") else None


def test_names_that_an_account_has_once_are_the_stacks_and_the_regions_and_not_too_long() -> None:
    def name(stack_name: str) -> str:
        template = edge(stackName=stack_name)
        (first, region) = only(template, "AWS::CloudFront::KeyValueStore")["Properties"]["Name"]["Fn::Join"][1]
        assert region == REGION
        return str(first)

    assert name("a" * 40) == f"{'a' * 40}-"
    long, longer = name("a" * 128), name("a" * 127)
    assert long != longer
    assert len(long) == len(longer) == 41


def test_a_configuration_that_does_not_fit_is_refused() -> None:
    repositories = [f"team/a-repository-with-a-usual-name-{number}" for number in range(80)]
    with pytest.raises(SettingsError, match=r"CloudFront allows 10,240\. Name fewer public repositories"):
        edge(repositories=["team/*"], publicRepositories=repositories)
    edge(repositories=["team/*"], publicRepositories=repositories[:30], allowedOrigins=["https://a.b"])


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"edge": "maybe"}, "edge: must be true or false"),
        ({"domainName": "registry.example.com"}, "domainName has no effect without edge; set edge to true, or remove"),
        ({"edgeLogs": True}, "edgeLogs has no effect without edge"),
        ({"edgeCacheSeconds": 5}, "edgeCacheSeconds has no effect without edge"),
        ({"publicRepositories": ["a/b"]}, "publicRepositories has no effect without edge"),
        ({"edge": True, "authType": "NONE", "repositories": ["a/b"]}, "edge needs authType AWS_IAM"),
        ({"edge": True, "domainName": "registry.example.com"}, "domainName and certificateArn need each other"),
        ({"edge": True, "certificateArn": CERTIFICATE}, "domainName and certificateArn need each other"),
        ({"edge": True, "hostedZoneId": "Z0123456789"}, "hostedZoneId needs domainName"),
        ({"edge": True, "edgeTlsPolicy": "TLSv1.3_2025"}, "edgeTlsPolicy needs domainName"),
        ({"edge": True, **DOMAIN, "edgeTlsPolicy": "TLSv1.2_2021"}, "edgeTlsPolicy: must be TLSv1.2_2025 or TLSv1.3"),
        ({"edge": True, **DOMAIN, "domainName": "Registry.example.com"}, "domainName: must be the name of a host"),
        ({"edge": True, **DOMAIN, "domainName": "https://registry.example.com"}, "domainName: must be the name of a"),
        ({"edge": True, **DOMAIN, "domainName": "registry"}, "domainName: must be the name of a host"),
        ({"edge": True, **DOMAIN, "domainName": "*.example.com"}, "domainName: must be the name of a host"),
        (
            {"edge": True, **DOMAIN, "certificateArn": CERTIFICATE.replace("us-east-1", "eu-west-1")},
            "certificateArn: must be of a certificate in us-east-1, where CloudFront reads certificates, and this one",
        ),
        ({"edge": True, **DOMAIN, "certificateArn": "arn:aws:iam::1:x"}, "certificateArn: must be the ARN of a cert"),
        ({"edge": True, **DOMAIN, "hostedZoneId": "example.com"}, "hostedZoneId: must be the id of a hosted zone"),
        ({"edge": True, "edgeCacheSeconds": 1501}, "edgeCacheSeconds: must be 0 to 1500 seconds"),
        ({"edge": True, "edgeCacheSeconds": -1}, "edgeCacheSeconds: must be 0 to 1500 seconds"),
        (
            {"edge": True, "webAclArn": "arn:aws:wafv2:eu-west-1:123456789012:regional/webacl/a/b"},
            "webAclArn: must be the ARN of a web ACL for CloudFront: in us-east-1",
        ),
        ({"edge": True, "publicRepositories": ["*"]}, "it must name what is public and can't be '*'"),
        ({"edge": True, "publicRepositories": ["Team"]}, "publicRepositories[0]: must be a repository name"),
        (
            {"edge": True, "repositories": ["team/*"], "publicRepositories": ["web/app"]},
            "publicRepositories has web/app, but repositories does not; add it",
        ),
        (
            {"edge": True, "repositories": ["team/app"], "publicRepositories": ["team/*"]},
            "publicRepositories has team/*, but repositories does not; add it",
        ),
        (
            {"edge": True, "publicRepositories": ["210987654321/team/app"]},
            "publicRepositories has 210987654321/team/app, but registries does not have 210987654321; add it",
        ),
        (
            {"edge": True, "registries": ["210987654321"], "publicRepositories": ["210987654321/*"]},
            "it must name what is public and can't be '*'",
        ),
    ],
)
def test_a_bad_setting_of_the_edge_ends_synth_with_one_line(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings_of(values)
    first, *lines = str(caught.value).splitlines()
    assert first == "Invalid settings:"
    (line,) = lines
    assert complaint in line


@pytest.mark.parametrize(
    ("region", "values", "complaint"),
    [
        ("eu-west-1", {"edge": True, "edgeLogs": True}, "edgeLogs: must be false in eu-west-1"),
        ("us-gov-west-1", {"edge": True}, "edge: can't be in us-gov-west-1"),
        ("cn-north-1", {"edge": True}, "edge: can't be in cn-north-1"),
    ],
)
def test_what_a_region_can_not_have_ends_synth(region: str, values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(complaint)):
        settings_of(values, Region.named(region))
    assert settings_of(values, VIRGINIA).edge
