"""What the client writes into the token store is what the function at the edge reads there."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecr_layers.errors import UsageError
from ecr_layers.ops.pull_tokens import PullToken, check_name, new_password
from ecr_layers.ops.token_scope import check_scope
from infra.edge_functions import edge_function
from local.viewer_function import ViewerFunction

REGISTRY = "210987654321"
NOW = datetime.now(UTC)
PASSWORD = new_password()


@pytest.fixture(scope="module")
def function() -> Iterator[ViewerFunction]:
    configuration = {"realm": "r", "publicRepositories": [], "allowedOrigins": []}
    with ViewerFunction(edge_function("viewer_request", configuration)) as function:
        yield function


def decide(function: ViewerFunction, token: PullToken, path: str, password: str = PASSWORD) -> int:
    """Return the status that the edge answers, 200 if the request goes on."""
    credentials = base64.b64encode(f"{token.name}:{password}".encode()).decode()
    event: dict[str, Any] = {
        "context": {"requestId": "1"},
        "request": {
            "method": "GET",
            "uri": path,
            "querystring": {},
            "headers": {"authorization": {"value": f"Basic {credentials}"}},
            "cookies": {},
        },
    }
    return int(function.call(event, {token.name: token.value(PASSWORD)}).get("statusCode", 200))


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


_REPOSITORIES = st.from_regex(r"[ab]{2}(/[ab]){0,2}", fullmatch=True)
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
