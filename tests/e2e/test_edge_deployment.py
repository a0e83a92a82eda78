"""CloudFront in front, deployed to an AWS emulator: turned on, off, on again, and removed."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from ecr_layers.cli import main
from ecr_layers.ops.token_store import TokenStore
from tests.e2e.emulator import Emulator, running_emulator
from tests.loopback import resolve_localhost_names

RULES = {"ci": {"issuer": "https://gitlab.com", "claims": {"project_id": "1"}, "repositories": ["team/*"]}}
EDGE = {
    "edge": "true",
    "edgeCacheSeconds": "600",
    "edgeLayers": "true",
    "publicRepositories": "team/public/*",
    "trustRules": json.dumps(RULES),
}
SETTINGS = {"repositories": "team/*", "imagePull": "true"}

# One within what the stack serves, and one without.
TOKENS = [("ci", "team/*"), ("other", "other/app")]

# What is AWS's own begins with "Managed-".
LISTS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "list_distributions": ("DistributionList", lambda each: each["Id"]),
    "list_functions": ("FunctionList", lambda each: each["Name"]),
    "list_key_value_stores": ("KeyValueStoreList", lambda each: each["Name"]),
    "list_origin_access_controls": ("OriginAccessControlList", lambda each: each["Name"]),
    "list_cache_policies": ("CachePolicyList", lambda each: each["CachePolicy"]["CachePolicyConfig"]["Name"]),
    "list_origin_request_policies": (
        "OriginRequestPolicyList",
        lambda each: each["OriginRequestPolicy"]["OriginRequestPolicyConfig"]["Name"],
    ),
}


@dataclass(frozen=True)
class Step:
    """A deployment, and what there was after it.

    Attributes:
        outputs: The stack's outputs.
        names: The names of what CloudFront had, by the operation that lists them.
        policy: The principals that the alias's policy named.
    """

    outputs: dict[str, str]
    names: dict[str, set[str]]
    policy: set[str]


@dataclass(frozen=True)
class Lifecycle:
    """The steps in their order, the results of creating tokens, and the tokens in the end."""

    on: Step
    off: Step
    back: Step
    left: dict[str, set[str]]
    created: list[int]
    tokens: list[str]


@pytest.fixture(scope="module")
def lifecycle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lifecycle]:
    # Nothing is asked of ECR.
    work = tmp_path_factory.mktemp("emulator")
    with pytest.MonkeyPatch.context() as patch, running_emulator(work, LOCAL_ECR_URL="http://localhost:1") as emulator:
        resolve_localhost_names(patch)
        emulator.bootstrap()
        on = deployed(emulator, **SETTINGS, **EDGE)
        for name, value in emulator.environment.items():
            if name.startswith("AWS_"):
                patch.setenv(name, value)
        created = [main(["token", "create", name, "--repositories", scope]) for name, scope in TOKENS]
        store = on.outputs["TokenStoreArn"]
        off = deployed(emulator, **SETTINGS)
        back = deployed(emulator, **SETTINGS, **EDGE, tokenStoreArn=store)
        tokens = names_of_tokens(store)
        emulator.destroy()
        yield Lifecycle(on, off, back, names_in(emulator), created, tokens)


def names_of_tokens(store: str) -> list[str]:
    return [token.name for token in TokenStore.open(store).tokens()]


def deployed(emulator: Emulator, **settings: str) -> Step:
    _, outputs = emulator.deploy(**settings)
    policy = emulator.client("lambda").get_policy(FunctionName=outputs["AliasArn"], Qualifier="live")["Policy"]
    return Step(outputs, names_in(emulator), {name for name in PRINCIPALS if name in policy})


PRINCIPALS = ("cloudfront.amazonaws.com", "events.amazonaws.com")


def names_in(emulator: Emulator) -> dict[str, set[str]]:
    client = emulator.client("cloudfront")
    found = {}
    for operation, (key, name) in LISTS.items():
        names = {name(each) for each in getattr(client, operation)()[key].get("Items", [])}
        found[operation] = {each for each in names if not each.startswith("Managed-")}
    return found


def test_turned_on_it_is_all_there_and_lets_cloudfront_in(lifecycle: Lifecycle) -> None:
    on = lifecycle.on
    assert on.names["list_distributions"] == {on.outputs["DistributionId"]}
    name = "EcrLayerResolver-us-east-1"
    assert on.names["list_functions"] == {name, f"{name}-layers", f"{name}-response", f"{name}-token"}
    # With edgeCacheSeconds, cached paths have an origin request policy of their own.
    assert on.names["list_origin_request_policies"] == {name, f"{name}-cached", f"{name}-token"}
    assert on.names["list_cache_policies"] == {name, f"{name}-layers"}
    named = {"list_distributions", "list_functions", "list_cache_policies", "list_origin_request_policies"}
    assert [on.names[each] for each in on.names if each not in named] == [{name}] * 2
    assert on.policy == set(PRINCIPALS)
    assert on.outputs["RegistryDomain"].endswith(".cloudfront.net")


def test_tokens_are_created_in_the_stacks_store_for_what_it_serves(lifecycle: Lifecycle) -> None:
    assert lifecycle.created == [0, 2]


def test_turned_off_only_the_tokens_are_left_and_the_service_stays_where_it_was(lifecycle: Lifecycle) -> None:
    assert_only_tokens_are_left(lifecycle.off.names)
    assert lifecycle.off.policy == {"events.amazonaws.com"}
    assert lifecycle.off.outputs["FunctionUrl"] == lifecycle.on.outputs["FunctionUrl"]
    assert "TokenStoreArn" not in lifecycle.off.outputs


def test_turned_on_again_it_takes_the_tokens_that_were_there(lifecycle: Lifecycle) -> None:
    assert lifecycle.back.outputs["TokenStoreArn"] == lifecycle.on.outputs["TokenStoreArn"]
    assert lifecycle.tokens == ["ci"]


def test_removed_only_the_tokens_are_left(lifecycle: Lifecycle) -> None:
    assert_only_tokens_are_left(lifecycle.left)


def assert_only_tokens_are_left(names: dict[str, set[str]]) -> None:
    assert {operation for operation, found in names.items() if found} == {"list_key_value_stores"}
