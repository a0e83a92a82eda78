"""Whatever comes in is answered or refused, never by the function's own fault, and no secret in it is repeated."""

import base64
import json
from typing import Any
from urllib.parse import quote

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layer_resolver.errors import INVALID_PARAMETER, UNSUPPORTED_EVENT, ResolverError
from layer_resolver.handler import create_handler
from layer_resolver.models import INDEX_MEDIA_TYPES, MANIFEST_MEDIA_TYPES
from layer_resolver.settings import Settings
from tests.unit.fakes import Context, FakeEcr, Output, digest, eventbridge_event, function_url_event

MARKER = "K7MDENG"
SECRETS = ("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY==", "Bearer%20K7MDENG", "x-amz-signature%253Dk7mdeng",
           "<Signature>K7MDENG</Signature>", "K7MDENG\r\n", "https://K7MDENG@s3.us-east-1.amazonaws.com/")  # fmt: skip
FIELDS = ("registryId", "repositoryName", "layerDigest", "layerDigests", "imageTag", "imageManifest", "schemaVersion",
          "config", "layers", "mediaType", "digest", "size", "manifests", "platform", "n", "last")  # fmt: skip

handler = create_handler(FakeEcr(), Settings(image_pull=True, list_tags=True))

texts = st.text(max_size=20) | st.sampled_from([*SECRETS, digest(), "team/app", "9" * 5000, "\ud800"])
names = st.sampled_from(FIELDS) | texts
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(names, values, max_size=4),
    max_leaves=5,
)
requests = st.fixed_dictionaries({"repositoryName": st.just("team/app"), "layerDigests": st.lists(texts, max_size=3)})
bodies = st.none() | texts | (json_values | requests).map(json.dumps)
segments = st.sampled_from(["team/app", "blobs", "manifests", "tags", "list", "referrers", "uploads", digest()]) | texts
paths = st.sampled_from(["/download-url", "/download-urls", "/images/config", "/healthz"]) | st.lists(
    segments, max_size=5
).map(lambda parts: "/v2/" + "/".join(quote(part, safe="/:", errors="replace") for part in parts))
fuzzed = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])


@fuzzed
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "OPTIONS"]) | texts,
    path=paths,
    query=st.dictionaries(names, texts, max_size=3),
    body=bodies,
    content_type=st.sampled_from([None, *MANIFEST_MEDIA_TYPES, *INDEX_MEDIA_TYPES]) | texts,
    encoding=st.sampled_from(["plain", "base64", "broken"]),
    changes=st.dictionaries(st.sampled_from(["headers", "queryStringParameters", "requestContext"]), json_values),
)
def test_a_malformed_request_is_the_callers_error(
    output: Output,
    method: str,
    path: str,
    query: dict[str, str],
    body: str | None,
    content_type: str | None,
    encoding: str,
    changes: dict[str, Any],
) -> None:
    if body is not None and encoding == "base64":
        body = base64.b64encode(body.encode(errors="replace")).decode()
    is_base64 = encoding != "plain"
    event = function_url_event(method, path, query, body, content_type=content_type, is_base64_encoded=is_base64)
    answer = handler(event | changes, Context())
    assert answer["statusCode"] < 500
    document = json.loads(answer["body"] or "{}")
    if answer["statusCode"] >= 400:
        (code,) = {document["code"]} if "code" in document else {each["code"] for each in document["errors"]}
        assert code
        assert MARKER.lower() not in (str(answer) + output.text()).lower()


events = json_values | st.builds(
    lambda detail, changes: eventbridge_event(detail) | changes,
    requests | st.dictionaries(names, json_values, max_size=3),
    st.dictionaries(st.sampled_from(["version", "id", "source", "account", "time", "detail-type"]), json_values),
)


@fuzzed
@given(event=events)
def test_any_event_is_resolved_or_refused_with_what_is_wrong(output: Output, event: Any) -> None:
    told, kind = "", INVALID_PARAMETER
    try:
        handler(event, Context())
    except ResolverError as error:
        told, kind = str(error) + output.text(), error.kind
    assert kind in {INVALID_PARAMETER, UNSUPPORTED_EVENT}
    assert MARKER.lower() not in told.lower()
