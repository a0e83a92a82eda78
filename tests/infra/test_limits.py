"""What AWS would refuse of a deployment is refused when the template is written."""

from typing import Any

import pytest

from infra.limits import LimitError, check_limits
from infra.regions import Region
from tests.infra.templates import synth

# As long as names of repositories commonly are.
REPOSITORIES = [f"team-{number:03}/service-with-a-usual-name" for number in range(150)]
REGISTRIES = [f"{number:012}" for number in range(400)]


def refused(**settings: Any) -> str:
    with pytest.raises(LimitError) as caught:
        check_limits(synth(**settings))
    assert str(caught.value).startswith("AWS would refuse this deployment:\n  ")
    return str(caught.value)


def test_the_policies_of_the_role_are_within_iams_limit() -> None:
    message = refused(repositories=REPOSITORIES)
    assert "IAM takes 10,240" in message
    assert "Name fewer repositories: prefixes such as team/* stand for many" in message


def test_the_pattern_of_pushes_is_within_eventbridges_limit() -> None:
    message = refused(repositories=REPOSITORIES[:60], imagePull=True)
    assert "The event pattern for images that are pushed has" in message
    assert "EventBridge takes 2,048" in message
    assert "IAM" not in message


def test_the_pattern_of_requests_is_within_eventbridges_limit() -> None:
    assert "Name fewer eventSources" in refused(eventSources=[f"com.example.source-{each}" for each in range(100)])


def test_the_environment_is_within_lambdas_limit() -> None:
    assert "Lambda takes 4,096" in refused(registries=REGISTRIES, repositories=["a/b"])


def test_the_resource_policy_is_within_lambdas_limit() -> None:
    message = refused(allowedPrincipals=REGISTRIES[:100])
    assert "Lambda takes 20,480" in message
    assert "an organisation id for all of its accounts" in message


def test_all_that_is_too_large_is_named_at_once() -> None:
    message = refused(repositories=REPOSITORIES, imagePull=True, listTags=True)
    assert "IAM takes" in message
    assert "EventBridge takes" in message


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"repositories": REPOSITORIES[:80]},
        {"repositories": REPOSITORIES[:80], "listTags": True},
        {"repositories": REPOSITORIES[:30], "imagePull": True, "listTags": True},
        {"allowedPrincipals": REGISTRIES[:20]},
        {"registries": REGISTRIES[:50]},
    ],
)
def test_what_is_within_the_limits_passes(settings: dict[str, Any]) -> None:
    check_limits(synth(**settings), Region.named("eu-west-1"))


def test_a_long_partition_counts() -> None:
    template = synth(repositories=REPOSITORIES[:106])
    check_limits(template, Region.named("us-east-1"))
    with pytest.raises(LimitError):
        check_limits(template, Region.named("us-gov-west-1"))


def test_more_actions_cost_next_to_nothing_since_all_are_in_one_statement() -> None:
    # Three statements would have all ARNs three times.
    check_limits(synth(repositories=[f"team-{each}/*" for each in range(100)], listTags=True))
