"""Pull tokens: their scope, their form in the store, and what the command refuses without asking AWS."""

import json
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from ecr_layers.errors import UsageError
from ecr_layers.ops.pull_tokens import PullToken, check_name, new_password
from ecr_layers.ops.token_scope import check_scope
from tests.client.commanding import Command, command

__all__ = ["command"]

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
SERVED = ["team/*", "shared/base"]
REGISTRY = "210987654321"


def test_a_scope_within_the_deployments_repositories_is_taken() -> None:
    check_scope(["team/app", "team/*", "team/a*", "shared/base", f"{REGISTRY}/team/*"], SERVED, [REGISTRY])
    check_scope(["*", f"{REGISTRY}/*"], ["*"], [REGISTRY])


@pytest.mark.parametrize(
    ("scope", "message"),
    [
        ("*", "exceeds the deployment's repositories, shared/base, team/*."),
        ("team*", "exceeds"),
        ("teams/app", "exceeds"),
        ("shared/base/*", "exceeds"),
        (f"{REGISTRY}/*", "exceeds"),
        (f"{REGISTRY}/{REGISTRY}/team/app", "exceeds"),
        ("111111111111/team/app", "doesn't serve the registry 111111111111"),
        (f"{REGISTRY}/team/App", "isn't a scope"),
        ("team/", "isn't a scope"),
        ("team//app", "isn't a scope"),
        ("team/*/app", "isn't a scope"),
        ("team/app\n", "isn't a scope"),
        ("team%2Fapp", "isn't a scope"),
        ("**", "isn't a scope"),
        ("", "isn't a scope"),
        ("team/" + "a" * 252, "isn't a scope"),
    ],
)
def test_a_scope_that_is_malformed_or_outside_is_refused_in_one_line(scope: str, message: str) -> None:
    with pytest.raises(UsageError) as refusal:
        check_scope(["team/app", scope], SERVED, [REGISTRY])
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_scope_that_is_taken_gives_nothing_that_the_deployment_does_not_serve() -> None:
    names = ["aa", "ab", "aa/a", "aa/b", "aa/a/a"]
    scopes = ["*", *names, *(f"{name}*" for name in names), *(f"{name}/*" for name in names)]

    def covers(scope: str, name: str) -> bool:
        return name.startswith(scope[:-1]) if scope.endswith("*") else name == scope

    for served, scope in product(scopes, scopes):
        try:
            check_scope([scope], [served], [])
        except UsageError:
            continue
        assert all(covers(served, name) for name in [*names, "ba", "aab"] if covers(scope, name))


def test_a_name_goes_into_a_header_a_log_and_a_log_in() -> None:
    for name in ("a", "CI-2026_11.x", "a" * 64):
        check_name(name)
    for name in ("", "a:b", "-a", "a-", "a" * 65, "ü", "a\n", "a/b", "a\r\nx: y"):
        with pytest.raises(UsageError, match="isn't a valid token name"):
            check_name(name)


def test_a_token_is_read_from_the_store_as_it_was_written() -> None:
    token = PullToken("ci", ("team/*",), NOW + timedelta(days=1), NOW)
    value = token.value(new_password())
    assert PullToken.read("ci", value) == token
    assert (token.state(NOW), token.state(NOW + timedelta(days=1))) == ("valid", "expired")


@pytest.mark.parametrize(
    "value",
    ["", "{", "[" * 100_000, "[]", "null", '{"repositories": 1}', '{"notAfter": NaN}', '{"notAfter": "2999-02-30"}'],
)
def test_an_entry_that_is_no_token_is_listed_by_its_name(value: str) -> None:
    token = PullToken.read("ci", value)
    assert (token.name, token.repositories, token.not_after, token.state(NOW)) == ("ci", (), None, "broken")


@pytest.mark.parametrize(
    ("not_after", "moment", "state"),
    [
        ("2999-01-01", datetime(2999, 1, 1, tzinfo=UTC), "valid"),
        ("2999-01-01T01:00:00.000+01:00", datetime(2999, 1, 1, tzinfo=UTC), "valid"),
        ("0001-01-01T00:00:00+01:00", datetime(1, 1, 1, tzinfo=UTC), "expired"),
    ],
)
def test_every_date_that_the_edge_accepts_is_listed(not_after: str, moment: datetime, state: str) -> None:
    token = PullToken.read("ci", json.dumps({"sha256": "0" * 64, "repositories": ["team/*"], "notAfter": not_after}))
    assert (token.repositories, token.created) == (("team/*",), None)
    assert (token.not_after, token.state(NOW)) == (moment, state)


def test_an_entry_of_the_store_has_neither_password_nor_more_than_the_store_takes() -> None:
    password = new_password()
    value = PullToken("ci", ("team/app",), NOW, NOW).value(password)
    assert password not in value
    assert json.loads(value)["notAfter"] == "2026-11-25T12:00:00Z"
    with pytest.raises(UsageError, match="Use prefixes"):
        PullToken("ci", tuple(f"team/{number:0>60}" for number in range(20)), NOW, NOW).value(password)


CREATE = ("create", "ci", "--repositories", "team/app")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("create", "c:i", "--repositories", "team/app"), "isn't a valid token name"),
        ((*CREATE, "--not-after", "soon"), "'soon' isn't a date"),
        ((*CREATE, "--not-after", "2020-01-31"), "2020-01-31 is in the past."),
        ((*CREATE, "--days", "4000"), "1<=x<=3650"),
        ((*CREATE, "--not-before", "2998-01-01"), "would expire before 2998-01-01"),
        ((*CREATE, "--note", "a\nb"), "control characters"),
        ((*CREATE, "--note", "\u202eevil"), "control characters"),
        (("create", "ci", "--repositories", ","), "has no scope"),
        (("rotate", "ci", "--keep-old", "long"), "isn't a duration, such as 90s, 2m, 1h or 7d."),
        (("rotate", "ci", "--days", "1", "--not-after", "2999-01-01"), "Use only one of --days and --not-after."),
        (("usage", 'x" or 1=1'), "isn't a valid token name"),
        (("usage", "--csv", "--json"), "Use only one of --csv and --json."),
        (("list", "--store", "arn:aws:s3:::bucket"), "isn't the ARN of a CloudFront KeyValueStore"),
    ],
)
def test_what_can_be_refused_without_aws_is(command: Command, arguments: tuple[str, ...], message: str) -> None:
    result = command("token", *arguments)
    assert (result.status, result.output, result.error.count("\n")) == (2, "", 1)
    assert message in result.error
