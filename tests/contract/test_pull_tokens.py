"""What the client writes into the token store is what the function at the edge reads there."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecr_layers.errors import UsageError
from ecr_layers.ops.pull_tokens import PullToken, check_name, new_password
from ecr_layers.ops.token_scope import check_scope
from infra.edge_functions import edge_function
from local.viewer_function import ViewerFunction
from tests.contract.edge import REGISTRY, basic, cloudfront_event

NOW = datetime.now(UTC)
PASSWORD = new_password()


@pytest.fixture(scope="module")
def function() -> Iterator[ViewerFunction]:
    configuration = {"realm": "r", "publicRepositories": [], "allowedOrigins": []}
    with ViewerFunction(edge_function("viewer_request", configuration)) as function:
        yield function


def decide(function: ViewerFunction, token: PullToken, path: str, password: str = PASSWORD) -> int:
    """Return the status that the edge answers, 200 if the request goes on."""
    return decide_entry(function, token.name, token.value(PASSWORD), path, password)


def decide_entry(function: ViewerFunction, name: str, value: str, path: str, password: str) -> int:
    """Return the status that the edge answers for an entry of the store, 200 if the request goes on."""
    event = cloudfront_event("GET", path, {"authorization": [basic(name, password)]})
    return int(function.call(event, {name: value}).get("statusCode", 200))


def token(name: str = "ci", *scope: str, seconds: int = 60) -> PullToken:
    return PullToken(name, scope or ("*",), NOW + timedelta(seconds=seconds), NOW)


def test_a_new_token_is_let_in_with_its_password_until_it_expires(function: ViewerFunction) -> None:
    assert decide(function, token(seconds=3600), "/v2/") == 200
    assert decide(function, token(seconds=3600), "/v2/", new_password()) == 401
    assert decide(function, token(seconds=-1), "/v2/") == 401


_NAMES = st.text(st.sampled_from("aZ0._-:/ é\n"), min_size=1, max_size=4) | st.integers(62, 66).map("a".__mul__)


@given(name=_NAMES)
def test_the_client_takes_the_names_that_the_edge_takes(function: ViewerFunction, name: str) -> None:
    try:
        check_name(name)
    except UsageError:
        is_taken = False
    else:
        is_taken = True
    assert (decide(function, token(name, seconds=3600), "/v2/") == 200) == is_taken


_REPOSITORIES = st.builds(
    "{}{}".format, st.sampled_from(["aa", "ab", "ba", "bb"]), st.sampled_from(["", "/a", "/b", "/a/a", "/a/b", "/b/a"])
)
_SCOPES = _REPOSITORIES | _REPOSITORIES.map("{}/*".format) | _REPOSITORIES.map("{}*".format) | st.just("*")
_ACCOUNTS = st.sampled_from(["", f"{REGISTRY}/"])


@given(
    served=st.lists(_SCOPES, min_size=1, max_size=2),
    scope=st.builds("{}{}".format, _ACCOUNTS, _SCOPES),
    repository=st.builds("{}{}".format, _ACCOUNTS, _REPOSITORIES),
)
def test_a_scope_that_the_client_takes_lets_in_to_nothing_that_the_deployment_does_not_serve(
    function: ViewerFunction, served: list[str], scope: str, repository: str
) -> None:
    try:
        check_scope([scope], served, [REGISTRY])
    except UsageError:
        return
    status = decide(function, token("ci", scope, seconds=3600), f"/v2/{repository}/tags/list")
    assert status in {200, 403}
    name = repository.removeprefix(f"{REGISTRY}/")
    if status == 200:
        assert repository.startswith(REGISTRY) == scope.startswith(REGISTRY)
        assert any(name.startswith(each[:-1]) if each.endswith("*") else name == each for each in served)


OLD_PASSWORD = new_password()
_JUNK = st.sampled_from([None, True, False, 0, 1, 2999, "", "x", [], {}, [None], ["x"], {"a": 1}])
_ZONES = st.sampled_from(["Z", "+00:00", "-12:30", "+23:59", ""])
_TIMES = st.builds(
    "{}{}{}".format,
    st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 28)).map(lambda moment: moment.isoformat(timespec="seconds")),  # noqa: DTZ001
    st.sampled_from(["", ".5", ".123456789"]),
    _ZONES,
)
_DATES = st.one_of(
    _TIMES,
    st.datetimes(NOW.replace(tzinfo=None) - timedelta(days=3)).map(lambda moment: moment.date().isoformat()),
    st.sampled_from(["2999", "2999-01", "2999-1-1", "2999/01/01", " 2999-01-01", "2999-01-01T24:00:00Z", "soon"]),
    st.sampled_from(["2999-01-01", "2020-01-01", ["2999-01-01"]]),
    _JUNK,
)


def _hashes(password: str) -> st.SearchStrategy[Any]:
    digest = sha256(password.encode()).hexdigest()
    return st.sampled_from([digest, digest, [digest], digest[:16], digest.upper()]) | _JUNK


_ENTRIES = st.fixed_dictionaries(
    {"sha256": _hashes(PASSWORD), "notAfter": _DATES, "repositories": st.lists(_SCOPES) | _JUNK},
    optional={
        "notBefore": _DATES,
        "paused": _JUNK,
        "created": _DATES,
        "note": _JUNK,
        "previous": _JUNK | st.fixed_dictionaries({}, optional={"sha256": _hashes(OLD_PASSWORD), "notAfter": _DATES}),
    },
)
_VALUES = _ENTRIES.map(json.dumps) | _JUNK.map(json.dumps) | st.sampled_from(["", "{", "NaN", '{"notAfter": NaN}'])


@settings(max_examples=250)
@given(value=_VALUES)
def test_the_list_says_of_an_entry_what_the_edge_does_with_it(function: ViewerFunction, value: str) -> None:
    found, now = PullToken.read("ci", value), datetime.now(UTC)
    is_valid = found.state(now) == "valid"
    statuses = [decide_entry(function, "ci", value, "/v2/", each) for each in (PASSWORD, OLD_PASSWORD)]
    assert statuses == [
        200 if is_valid and found.has_password else 401,
        200 if is_valid and found.has_old_password(now) else 401,
    ]


_VALID = {"sha256": sha256(PASSWORD.encode()).hexdigest(), "notAfter": "2999-01-01"}


@given(value=_ENTRIES.map(lambda entry: json.dumps({**entry, **_VALID})), repository=_REPOSITORIES)
def test_the_scope_in_the_list_is_what_the_edge_lets_in_to(
    function: ViewerFunction, value: str, repository: str
) -> None:
    found = PullToken.read("ci", value)
    if found.state(datetime.now(UTC)) != "valid":
        return
    is_covered = any(
        repository.startswith(each[:-1]) if each.endswith("*") else repository == each for each in found.repositories
    )
    status = decide_entry(function, "ci", value, f"/v2/{repository}/tags/list", PASSWORD)
    assert status == (200 if is_covered else 403)
