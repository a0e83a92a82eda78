"""CloudFront in front, deployed to an AWS emulator: turned on, off, on again, and removed."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ecr_layers.cli import main
from ecr_layers.ops.token_store import TokenStore
from tests.e2e.emulator import Emulator, running_emulator, use_emulator

RULES = {"ci": {"issuer": "https://gitlab.com", "claims": {"project_id": "1"}, "repositories": ["team/*"]}}
EDGE = {
    "edge": "true",
    "edgeCacheSeconds": "600",
    "edgeLayers": "true",
    "publicRepositories": "team/public/*",
    "trustRules": json.dumps(RULES),
}
SETTINGS = {"repositories": "team/*", "imagePull": "true"}

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


PRINCIPALS = ("cloudfront.amazonaws.com", "events.amazonaws.com")


def deployed(emulator: Emulator, **settings: str) -> Step:
    _, outputs = emulator.deploy(**settings)
    policy = emulator.client("lambda").get_policy(FunctionName=outputs["AliasArn"], Qualifier="live")["Policy"]
    return Step(outputs, names_in(emulator), {name for name in PRINCIPALS if name in policy})


def names_in(emulator: Emulator) -> dict[str, set[str]]:
    client = emulator.client("cloudfront")
    found = {}
    for operation, (key, name) in LISTS.items():
        names = {name(each) for each in getattr(client, operation)()[key].get("Items", [])}
        found[operation] = {each for each in names if not each.startswith("Managed-")}
    return found


@pytest.fixture
def emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    # Nothing is asked of ECR.
    with running_emulator(tmp_path, LOCAL_ECR_URL="http://localhost:1") as emulator:
        use_emulator(emulator, monkeypatch)
        emulator.bootstrap()
        yield emulator


def test_the_edge_is_turned_on_off_and_on_again_and_keeps_its_tokens(emulator: Emulator) -> None:
    on = deployed(emulator, **SETTINGS, **EDGE)
    assert_all_is_there(on)
    # One token within what the stack serves, and one without.
    assert main(["token", "create", "ci", "--repositories", "team/*"]) == 0
    assert main(["token", "create", "other", "--repositories", "other/app"]) == 2

    off = deployed(emulator, **SETTINGS)
    assert_only_tokens_are_left(off.names)
    assert off.policy == {"events.amazonaws.com"}
    assert off.outputs["FunctionUrl"] == on.outputs["FunctionUrl"]
    assert "TokenStoreArn" not in off.outputs

    store = on.outputs["TokenStoreArn"]
    back = deployed(emulator, **SETTINGS, **EDGE, tokenStoreArn=store)
    assert back.outputs["TokenStoreArn"] == store
    assert [token.name for token in TokenStore.open(store).tokens()] == ["ci"]

    emulator.destroy()
    assert_only_tokens_are_left(names_in(emulator))


def assert_all_is_there(on: Step) -> None:
    assert on.names["list_distributions"] == {on.outputs["DistributionId"]}
    name = "EcrLayerResolver-us-east-1"
    assert on.names["list_functions"] == {name, f"{name}-layers", f"{name}-response", f"{name}-token"}
    # With edgeCacheSeconds, cached paths have an origin request policy of their own.
    assert on.names["list_origin_request_policies"] == {name, f"{name}-cached", f"{name}-token"}
    assert on.names["list_cache_policies"] == {name, f"{name}-layers"}
    assert on.names["list_key_value_stores"] == on.names["list_origin_access_controls"] == {name}
    assert on.policy == set(PRINCIPALS)
    assert on.outputs["RegistryDomain"].endswith(".cloudfront.net")


def assert_only_tokens_are_left(names: dict[str, set[str]]) -> None:
    assert {operation for operation, found in names.items() if found} == {"list_key_value_stores"}
