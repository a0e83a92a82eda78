"""The edge in the template, and its settings."""

import json
import re
from typing import Any

import pytest

from infra.edge import configuration
from infra.options import SettingsError
from infra.regions import Region
from infra.trust_rules import TrustRule
from tests.infra.templates import (
    REGION,
    Resource,
    body_of_dashboard,
    only,
    resources,
    settings_of,
    synth,
    synth_in,
)

CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/12345678-1234-1234-1234-123456789012"
DOMAIN: dict[str, Any] = {"domainName": "registry.example.com", "certificateArn": CERTIFICATE}
RULE: dict[str, Any] = {
    "issuer": "https://token.actions.githubusercontent.com",
    "claims": {"repository_id": "5678", "ref": "refs/heads/main"},
    "repositories": ["team/*"],
}


def edge(**values: Any) -> dict[str, Any]:
    return synth(edge=True, **values)


def distribution(**values: Any) -> Resource:
    config: Resource = only(edge(**values), "AWS::CloudFront::Distribution")["Properties"]["DistributionConfig"]
    return config


def without_metadata(template: dict[str, Any], *resource_types: str) -> dict[str, Any]:
    return {kind: [each["Properties"] for each in resources(template, kind).values()] for kind in resource_types}


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


def test_the_dashboard_reads_the_edges_metrics_where_cloudfront_writes_them() -> None:
    # The first widget has the state of the alarms.
    _, *widgets = json.loads(body_of_dashboard(synth_in(Region.named("eu-west-1"), edge=True)))["widgets"]
    for widget in widgets[1:6]:
        assert {each[-1]["region"] for each in widget["properties"]["metrics"]} == {"us-east-1"}


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
        ({"edge": True, **DOMAIN, "domainName": "*.example.com"}, "domainName: must be the name of a host"),
        (
            {"edge": True, **DOMAIN, "certificateArn": CERTIFICATE.replace("us-east-1", "eu-west-1")},
            "certificateArn: must be of a certificate in us-east-1, where CloudFront reads certificates, and this one",
        ),
        ({"edge": True, **DOMAIN, "certificateArn": "arn:aws:iam::1:x"}, "certificateArn: must be the ARN of a cert"),
        ({"edge": True, **DOMAIN, "hostedZoneId": "example.com"}, "hostedZoneId: must be the id of a hosted zone"),
        ({"edge": True, "edgeCacheSeconds": 1501}, "edgeCacheSeconds: must be 0 to 1500 seconds"),
        (
            {"edge": True, "webAclArn": "arn:aws:wafv2:eu-west-1:123456789012:regional/webacl/a/b"},
            "webAclArn: must be the ARN of a web ACL for CloudFront: in us-east-1",
        ),
        ({"edge": True, "publicRepositories": ["*"]}, "it must name what is public and can't be '*'"),
        (
            {"edge": True, "repositories": ["team/*"], "publicRepositories": ["web/app"]},
            "publicRepositories has web/app, but repositories does not; add it",
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
    assert settings_of(values, Region.named("us-east-1")).edge
