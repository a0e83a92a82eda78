"""What the local edge and the client take for granted of the stack is what the stack has."""

from typing import Any

from ecr_layers.ops.deployment import DOMAIN_OUTPUT, TOKEN_STORE_OUTPUT, Deployment
from local.edge import FORWARDED_HEADERS, FORWARDED_TO_CACHED_PATHS
from local.edge_cache import KEPT_PATHS, KEY_HEADERS
from local.edge_layers import PREFIX
from tests.infra.templates import only, resources, synth

SETTINGS: dict[str, Any] = {
    "edge": True,
    "edgeLayers": True,
    "edgeCacheSeconds": 60,
    "allowedOrigins": ["https://example.com"],
    "repositories": ["team/*", "shared/base"],
    "registries": ["210987654321"],
    "domainName": "registry.example.com",
    "certificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/11111111-2222-3333-4444-555555555555",
}


def test_the_local_edge_sends_on_what_the_origin_request_policies_name() -> None:
    policies = resources(synth(**SETTINGS), "AWS::CloudFront::OriginRequestPolicy").values()
    default, cached = (each["Properties"]["OriginRequestPolicyConfig"] for each in policies)
    for policy, forwarded, queries in (
        (default, FORWARDED_HEADERS, "all"),
        (cached, FORWARDED_TO_CACHED_PATHS, "none"),
    ):
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
    assert tuple(each["PathPattern"] for each in config["CacheBehaviors"]) == (f"{PREFIX}*", *KEPT_PATHS)


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
