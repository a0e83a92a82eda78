"""What the local edge and the client take for granted of the stack is what the stack has."""

import json
from typing import Any

import pytest

from ecr_layers.ops.deployment import DOMAIN_OUTPUT, TOKEN_STORE_OUTPUT, Deployment
from infra.edge import configuration
from local.edge import (
    FORWARDED_HEADERS,
    FORWARDED_TO_CACHED_PATHS,
    FORWARDED_TO_TOKEN,
    TOKEN_PATH,
    EdgeConfiguration,
)
from local.edge_cache import KEPT_PATHS, KEY_HEADERS
from local.edge_layers import PREFIX
from tests.infra.templates import only, resources, settings_of, synth

SETTINGS: dict[str, Any] = {
    "edge": True,
    "edgeLayers": True,
    "edgeCacheSeconds": 60,
    "allowedOrigins": ["https://example.com"],
    "repositories": ["team/*", "shared/base"],
    "registries": ["210987654321"],
    "domainName": "registry.example.com",
    "certificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/11111111-2222-3333-4444-555555555555",
    "trustRules": {
        "ci": {"issuer": "https://gitlab.com", "claims": {"project_id": "1"}, "repositories": ["shared/base"]}
    },
}


def test_the_local_edge_sends_on_what_the_origin_request_policies_name() -> None:
    policies = resources(synth(**SETTINGS), "AWS::CloudFront::OriginRequestPolicy").values()
    by_name = {str(each["Properties"]["OriginRequestPolicyConfig"]["Name"]): each for each in policies}
    assert len(by_name) == 3
    for name, each in by_name.items():
        policy = each["Properties"]["OriginRequestPolicyConfig"]
        forwarded, queries = FORWARDED_HEADERS, "all"
        if "-cached" in name:
            forwarded, queries = FORWARDED_TO_CACHED_PATHS, "none"
        if "-token" in name:
            forwarded = FORWARDED_TO_TOKEN
        # CloudFront sets the address itself.
        headers = {name.lower() for name in policy["HeadersConfig"]["Headers"]}
        assert headers == forwarded | {"cloudfront-viewer-address"}
        assert policy["QueryStringsConfig"]["QueryStringBehavior"] == queries
        assert policy["CookiesConfig"]["CookieBehavior"] == "none"


def test_the_local_edge_keeps_what_the_cache_policy_and_its_behaviours_name() -> None:
    template = synth(**SETTINGS)
    policies = resources(template, "AWS::CloudFront::CachePolicy").values()
    layers, policy = (each["Properties"]["CachePolicyConfig"] for each in policies)
    assert layers["ParametersInCacheKeyAndForwardedToOrigin"]["QueryStringsConfig"]["QueryStringBehavior"] == "all"
    key = policy["ParametersInCacheKeyAndForwardedToOrigin"]
    assert {name.lower() for name in key["HeadersConfig"]["Headers"]} == KEY_HEADERS
    assert key["QueryStringsConfig"]["QueryStringBehavior"] == key["CookiesConfig"]["CookieBehavior"] == "none"
    config = only(template, "AWS::CloudFront::Distribution")["Properties"]["DistributionConfig"]
    assert tuple(each["PathPattern"] for each in config["CacheBehaviors"]) == (
        f"{PREFIX}*",
        TOKEN_PATH,
        *KEPT_PATHS,
    )


@pytest.mark.parametrize("trust_rules", [SETTINGS["trustRules"], {}])
def test_the_local_edges_functions_read_what_the_stacks_do(trust_rules: dict[str, Any]) -> None:
    origin = "http://127.0.0.1:1" if trust_rules else None
    local = EdgeConfiguration(
        realm="registry.example.com",
        allowed_origins=("https://example.com",),
        exchange_origin=origin,
        catalog=("shared/base",),
    ).of_function()
    repositories = {"repositories": ["shared/base"]}
    deployed = configuration(settings_of(SETTINGS | repositories | {"trustRules": trust_rules}), "registry.example.com")
    local["tokenScheme"] = local["tokenScheme"].replace("http", "https")
    assert json.loads(json.dumps(local)) == json.loads(json.dumps(deployed))


def test_the_client_finds_the_token_store_the_domain_and_the_repositories_in_the_stack() -> None:
    template = synth(**SETTINGS)
    (store,) = resources(template, "AWS::CloudFront::KeyValueStore")
    assert template["Outputs"][TOKEN_STORE_OUTPUT]["Value"] == {"Fn::GetAtt": [store, "Arn"]}
    assert template["Outputs"][DOMAIN_OUTPUT]["Value"] == "registry.example.com"
    deployment = Deployment("Stack", {}, template["Metadata"])
    assert (deployment.repositories, deployment.registries) == (("team/*", "shared/base"), ("210987654321",))
    assert deployment.host == "registry.example.com"


def test_a_stack_without_an_edge_has_no_token_store() -> None:
    assert TOKEN_STORE_OUTPUT not in synth()["Outputs"]
