"""Whatever comes in, the function answers, and with a status that the error table has."""

import base64
import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from layer_resolver.errors import ERROR_TABLE, INVALID_PARAMETER, UNSUPPORTED_EVENT, ResolverError
from layer_resolver.handler import create_handler
from layer_resolver.models import INDEX_MEDIA_TYPES, MANIFEST_MEDIA_TYPES
from layer_resolver.settings import Settings
from tests.unit.fakes import Context, FakeEcr, digest, eventbridge_event, function_url_event

STATUSES = {200, *(kind.http_status for kind in ERROR_TABLE.values())}
PATHS = ("/download-url", "/download-urls", "/openapi.json", "/healthz", "/")
FIELDS = ("registryId", "repositoryName", "layerDigest", "layerDigests", "schemaVersion", "config", "layers",
          "mediaType", "digest", "size", "urls", "manifests", "platform")  # fmt: skip

handler = create_handler(FakeEcr(), Settings())

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([digest(), "team/app", 2]),
    lambda values: (
        st.lists(values, max_size=4) | st.dictionaries(st.sampled_from(FIELDS) | st.text(), values, max_size=5)
    ),
    max_leaves=20,
)
bodies = st.one_of(
    st.none(),
    st.text(),
    json_values.map(json.dumps),
    st.fixed_dictionaries(
        {"schemaVersion": st.just(2), "config": json_values, "layers": st.lists(json_values, max_size=3)}
    ).map(json.dumps),
    st.fixed_dictionaries(
        {"repositoryName": st.just("team/app"), "layerDigests": st.lists(st.just(digest()) | st.text(), max_size=4)}
    ).map(json.dumps),
)
queries = st.dictionaries(st.sampled_from(FIELDS) | st.text(), st.sampled_from(["team/app", digest()]) | st.text())
methods = st.sampled_from(["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS"]) | st.text()
content_types = st.none() | st.sampled_from([*MANIFEST_MEDIA_TYPES, *INDEX_MEDIA_TYPES, "application/json"]) | st.text()


@settings(max_examples=40)
@given(
    method=methods,
    path=st.sampled_from(PATHS) | st.text().filter(lambda path: not path.startswith("/v2")),
    query=queries,
    body=bodies,
    content_type=content_types,
    encoding=st.sampled_from(["plain", "base64", "broken"]),
)
def test_a_malformed_request_is_the_callers_error_and_never_ours(
    method: str, path: str, query: dict[str, str], body: str | None, content_type: str | None, encoding: str
) -> None:
    if body is not None and encoding == "base64":
        body = base64.b64encode(body.encode(errors="surrogatepass")).decode()
    event = function_url_event(
        method, path, query, body, content_type=content_type, is_base64_encoded=encoding != "plain"
    )
    answer = handler(event, Context())
    assert answer["statusCode"] in STATUSES
    assert answer["statusCode"] < 500
    if answer["statusCode"] != 200:
        assert answer["headers"]["Content-Type"] == "application/problem+json"
        assert json.loads(answer["body"])["status"] == answer["statusCode"]


def outcome_of(event: Any) -> Any:
    """Return how many download URLs an event gets, or the row and the words of what it is refused with."""
    try:
        return len(handler(event, Context())["downloadUrls"])
    except ResolverError as error:
        return error.kind, error.detail


@settings(max_examples=40)
@given(event=json_values)
def test_an_event_of_any_kind_is_refused_unless_it_is_a_request(event: Any) -> None:
    fields = {"repositoryName", "layerDigest", "layerDigests"}
    is_request = isinstance(event, dict) and not event.keys().isdisjoint(fields)
    outcome = outcome_of(event)
    if is_request:
        # What is made up may be a request that is right.
        assert outcome == 1 or outcome[0] is INVALID_PARAMETER
    else:
        assert outcome[0] is UNSUPPORTED_EVENT
        assert outcome[1].startswith("The function answers")


@settings(max_examples=40)
@given(
    changes=st.dictionaries(
        st.sampled_from(["version", "id", "source", "account", "time", "resources", "detail-type", "detail"]),
        json_values,
    )
)
def test_an_event_of_eventbridge_with_broken_parts_is_resolved_or_refused(changes: dict[str, Any]) -> None:
    outcome = outcome_of(eventbridge_event({"repositoryName": "ab", "layerDigests": [digest()]}) | changes)
    assert outcome == 1 or outcome[0] in {INVALID_PARAMETER, UNSUPPORTED_EVENT}


@settings(max_examples=40)
@given(
    detail=st.dictionaries(
        st.sampled_from(["repositoryName", "layerDigests", "layerDigest", "imageManifest"]), json_values
    )
)
@example({"repositoryName": "team/app", "layerDigest": digest()})
@example({"repositoryName": "team/app", "layerDigest": "latest"})
def test_an_event_with_any_detail_is_resolved_or_refused_with_what_is_wrong(detail: dict[str, Any]) -> None:
    outcome = outcome_of(eventbridge_event(detail))
    assert outcome == 1 or outcome[0] is INVALID_PARAMETER


@settings(max_examples=40)
@given(
    changes=st.dictionaries(
        st.sampled_from(["rawPath", "headers", "queryStringParameters", "body", "isBase64Encoded", "requestContext"]),
        json_values,
        min_size=1,
    )
)
def test_a_function_url_event_with_broken_parts_is_answered(changes: dict[str, Any]) -> None:
    answer = handler(function_url_event("GET", "/healthz") | changes, Context())
    assert answer["statusCode"] in {200, 400, 404}
