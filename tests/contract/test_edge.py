"""The edge and the function read the same in a request, and the edge lets nothing through that is not allowed."""

import json
import posixpath
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.edge import configuration
from infra.edge_functions import edge_function
from layer_resolver.http_api import HttpApi
from layer_resolver.registry_api import RegistryApi
from layer_resolver.settings import Settings
from local.viewer_function import ViewerFunction
from tests.contract.edge import (
    REGISTRY,
    SETTINGS,
    STORE,
    WHO,
    Row,
    basic,
    cloudfront_event,
    functions_reading,
    rows,
    token,
)
from tests.contract.edge_model import differences
from tests.infra.templates import settings_of
from tests.unit.fakes import digest

TABLE = list(rows())


@pytest.fixture(scope="module")
def edge() -> Iterator[ViewerFunction]:
    text = edge_function("viewer_request", configuration(settings_of(SETTINGS), "EcrLayerResolver"))
    with ViewerFunction(text) as function:
        yield function


def decided(edge: ViewerFunction, row: Row) -> dict[str, Any]:
    headers, store = WHO[row.who]
    return edge.call(cloudfront_event(row.method, row.target, headers), store)


def test_the_table_is_large_and_has_every_decision() -> None:
    assert len(TABLE) >= 150
    assert len({(row.who, row.method, row.target) for row in TABLE}) == len(TABLE)
    assert {row.status for row in TABLE} == {None, 204, 400, 401, 403, 404, 405, 503}
    assert {row.who for row in TABLE} == set(WHO)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.who} {row.method} {row.target}"[:90])
def test_each_request_of_the_table_is_decided_as_it_says(edge: ViewerFunction, row: Row) -> None:
    returned = decided(edge, row)
    assert returned.get("statusCode") == row.status
    if row.status is not None:
        return
    path, _, query = row.target.partition("?")
    path = re.sub("%3A", ":", path, flags=re.IGNORECASE)
    target = f"{path}?{query}" if query else path
    sent = cloudfront_event(row.method, target, {})["request"]
    assert {name: returned[name] for name in ("method", "uri", "querystring")} == {
        name: sent[name] for name in ("method", "uri", "querystring")
    }
    expected = {"x-ecr-layers-method": {"value": row.method}}
    if row.token is not None:
        expected["x-ecr-layers-token"] = {"value": row.token}
    if row.who == "page":
        expected |= {"origin": {"value": "https://app.example.com"}, "access-control-request-method": {"value": "GET"}}
    assert returned["headers"] == expected
    status, asked = functions_reading(row.method, row.target)
    if row.answer is None:
        assert asked == {row.repository}
    else:
        assert (status, asked) == (row.answer, set())


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 503])
@pytest.mark.parametrize("is_registry", [True, False], ids=["v2", "json"])
def test_an_answer_of_the_edge_has_the_form_of_the_functions_own(
    edge: ViewerFunction, status: int, is_registry: bool
) -> None:
    row = next(row for row in TABLE if row.status == status and row.target.startswith("/v2") == is_registry)
    returned = decided(edge, row)
    headers = {name: each["value"] for name, each in returned["headers"].items()}
    body = json.loads(returned["body"]["data"])
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers.get("www-authenticate") == ('Basic realm="EcrLayerResolver"' if status == 401 else None)
    assert headers.get("allow") == ("GET, HEAD" if status == 405 else None)
    assert headers.get("retry-after") == ("2" if status == 503 else None)
    if is_registry:
        assert headers["docker-distribution-api-version"] == "registry/2.0"
        assert headers["content-type"] == "application/json"
        (error,) = body["errors"]
        assert set(error) == {"code", "message", "detail"}
        assert error["detail"]["requestId"] == "EXAMPLE=="
        assert error["detail"]["retryable"] is (status == 503)
    else:
        assert headers["content-type"] == "application/problem+json"
        assert set(body) == {"type", "title", "status", "detail", "code", "retryable", "requestId"}
        assert (body["status"], body["retryable"]) == (status, status == 503)


def test_nothing_of_a_token_is_in_what_goes_on_or_is_answered(edge: ViewerFunction) -> None:
    password = "hunter2-and-some-more"
    store = STORE | {"team": token("team/*", password=password)}
    for given_password in (password, f"{password}x"):
        headers = {"authorization": [basic("team", given_password)]}
        for target in ("/v2/team/app/manifests/latest", "/v2/other/app/manifests/latest", "/v2/%2F", "/healthz"):
            returned = json.dumps(edge.call(cloudfront_event("GET", target, headers), store))
            assert password not in returned
            assert headers["authorization"][0] not in returned
            assert json.loads(store["team"])["sha256"] not in returned


# Routes are known before there is anything to ask.
NOTHING: Any = None
APIS = (HttpApi(NOTHING, NOTHING, NOTHING), RegistryApi(NOTHING, NOTHING, NOTHING, Settings()))
ROUTES = [route.template for api in APIS for route in api.routes if "GET" in route.handlers]


@pytest.mark.parametrize("template", ROUTES)
def test_every_route_of_the_function_that_only_reads_is_known_at_the_edge(edge: ViewerFunction, template: str) -> None:
    path = template.replace("<name>", "team/app").replace("<reference>", "latest").replace("<digest>", digest())
    target = path if path.startswith("/v2") else f"{path}?repositoryName=team/app"
    event = cloudfront_event("GET", target, {"authorization": [basic("team")]})
    # It would tell of repositories that a token is not for.
    expected = 404 if template == "/v2/_catalog" else None
    assert edge.call(event, STORE).get("statusCode") == expected


def test_a_browser_reads_what_the_edge_answers_a_page_that_may(edge: ViewerFunction) -> None:
    headers = {"origin": ["https://app.example.com"]}
    refused = edge.call(cloudfront_event("GET", "/v2/team/app/manifests/latest", headers), STORE)
    assert refused["headers"]["access-control-allow-origin"] == {"value": "https://app.example.com"}
    asked = headers | {"access-control-request-method": ["GET"]}
    answered = edge.call(cloudfront_event("OPTIONS", "/v2/team/app/manifests/latest", asked), STORE)
    assert "authorization" in answered["headers"]["access-control-allow-headers"]["value"]
    assert answered["headers"]["access-control-allow-methods"] == {"value": "GET, HEAD"}


# Names that are one, then what some part of one might be.
GOOD_PARTS = st.sampled_from(
    ["team", "app", "v2", "blobs", "manifests", "tags", "list", "a__b", "a-b", "latest", "ab1"]
)
REGISTRIES = st.sampled_from(["", "", f"{REGISTRY}/", "109876543210/"])
GOOD_NAMES = st.builds("{}{}".format, REGISTRIES, st.lists(GOOD_PARTS, min_size=1, max_size=3).map("/".join))
PARTS = st.one_of(
    GOOD_PARTS,
    st.sampled_from(
        [
            REGISTRY, "109876543210", "", ".", "..", "%2e%2e", "%2F", "team%2Fapp", "team%2fapp", "a___b", "Team",
            "a.b", "%74eam", "sha256:00", "_catalog", "download-url", "é", "%", "\\", "a;b", "a?b", "a+b",
            "a,b", "uploads",
        ]
    ),
)  # fmt: skip
NAMES = st.one_of(GOOD_NAMES, st.lists(PARTS, max_size=4).map("/".join))
REFERENCES = st.one_of(st.sampled_from([f"blobs/{digest()}", "manifests/latest", "tags/list"]), NAMES)
PARAMETERS = st.one_of(
    st.sampled_from(["repositoryName", "repositoryName", "RepositoryName", "%72epositoryName"]).flatmap(
        lambda name: NAMES.map(lambda value: f"{name}={value}")
    ),
    NAMES.map(lambda value: f"repositoryName={value.replace('/', '%2F')}"),
    st.sampled_from([f"registryId={REGISTRY}", "registryId=109876543210", "registryId=", "imageTag=latest", "x=y"]),
)
QUERIES = st.lists(PARAMETERS, max_size=3).map("&".join)
TARGETS = st.one_of(
    st.builds("/v2/{}/{}".format, NAMES, REFERENCES),
    st.builds("/v2/{}/{}?{}".format, NAMES, REFERENCES, QUERIES),
    st.builds(f"/download-url?layerDigest={digest()}&{{}}".format, QUERIES),
    st.builds(f"/download-url?{{}}&layerDigest={digest()}".format, QUERIES),
    st.builds("/images/config?imageTag=latest&{}".format, QUERIES),
    NAMES.map("/{}".format),
)


@settings(max_examples=500)
@given(
    method=st.sampled_from(["GET", "HEAD"]),
    target=TARGETS,
    registries=st.sampled_from([(), (REGISTRY,), ("109876543210",), (REGISTRY, "109876543210")]),
)
def test_edge_and_function_never_read_different_repositories_in_a_request_that_goes_on(
    edge: ViewerFunction, method: str, target: str, registries: tuple[str, ...]
) -> None:
    """Whatever `registries` the function has: while a deployment is under way, they may not be the edge's yet."""

    def status(*scope: str) -> int | None:
        event = cloudfront_event(method, target, {"authorization": [basic("any")]})
        found: int | None = edge.call(event, {"any": token(*scope)}).get("statusCode")
        return found

    everything = ("*", f"{REGISTRY}/*", "109876543210/*")
    if status(*everything) is not None:
        return
    _, asked = functions_reading(method, target, registries)
    if not asked:
        return
    ((registry, name),) = asked
    of_that_name = name if registry is None else f"{registry}/{name}"
    if registry is None and re.match("[0-9]{12}/", name) and not target.startswith("/v2/"):
        # A query's repositoryName has no registry in front, so a scope with one doesn't mean it.
        of_that_name = "*"
    # The token for just this repository lets it through, and one for all that begins otherwise does not.
    assert status(of_that_name) is None
    if not name.startswith(("public/", "team/open", "open/app")):
        assert status("zz/*", f"{name}x", f"{name}/x", "000000000000/*") == 403


def normalized(path: str) -> str:
    """Return a path without dot segments, empty parts and escapes that are not needed (RFC 3986, section 6.2.2)."""
    unescaped = re.sub(
        r"%([0-9A-Fa-f]{2})",
        lambda match: (
            letter if re.fullmatch(r"[\w.~-]", letter := chr(int(match[1], 16)), re.ASCII) else match[0].upper()
        ),
        path,
    )
    return posixpath.normpath(re.sub("/+", "/", unescaped)) + ("/" if unescaped.endswith("/") else "")


@settings(max_examples=300)
@given(path=st.one_of(st.builds("/v2/{}/{}".format, NAMES, REFERENCES), NAMES.map("/{}".format)))
def test_it_makes_no_difference_whether_cloudfront_shows_the_path_that_it_sends_or_a_normalized_one(
    edge: ViewerFunction, path: str
) -> None:
    """CloudFront matches behaviours by the normalized path, and sends the raw one. What a function gets is not said."""
    event = cloudfront_event("GET", normalized(path), {"authorization": [basic("any")]})
    everything = token("*", f"{REGISTRY}/*", "109876543210/*")
    if edge.call(event, {"any": everything}).get("statusCode") is None:
        _, asked = functions_reading("GET", path)
        assert asked <= functions_reading("GET", normalized(path))[1]


def test_the_edge_decides_like_an_independent_model_of_its_rules() -> None:
    """`make soak` compares 300,000 requests."""
    assert differences(1_000, seed=1) == []
