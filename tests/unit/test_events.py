"""Events as Lambda sends them, in tests/unit/events.

Their form is that of AWS's documentation, and of the events that Powertools tests its models with:
https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads,
https://docs.aws.amazon.com/eventbridge/latest/ref/overiew-event-structure.html,
https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-eventbridge.html and
https://github.com/aws-powertools/powertools-lambda-python/tree/develop/tests/events.
"""

import json
from copy import deepcopy
from functools import reduce
from pathlib import Path

import pytest

from layer_resolver.errors import UNSUPPORTED_EVENT, ResolverError
from layer_resolver.handler import Handler, create_handler
from layer_resolver.settings import Settings
from tests.unit.fakes import OCI_MANIFEST, Context, FakeEcr, digest

EVENTS = {path.stem: json.loads(path.read_text()) for path in (Path(__file__).parent / "events").glob("*.json")}
ROLE = "arn:aws:sts::444455556666:assumed-role/ci/ci-4711"
CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(100), "size": 1470}

# Each event's status, and who its log line says sent it, from where.
HTTP = {
    "public": (200, "public", None, "198.51.100.24"),
    "iam": (200, "iam", ROLE, "198.51.100.24"),
    "edge": (307, "token", "ci", "2001:db8:1:2:3:4:5:6"),
}
LAYERS = {
    "eventbridge-custom": [digest()],
    "eventbridge-ecr-push": [digest(100)],
    "direct": [digest()],
}


@pytest.fixture
def handler(ecr: FakeEcr) -> Handler:
    content = json.dumps({"schemaVersion": 2, "config": CONFIG, "layers": []}).encode()
    ecr.images[EVENTS["eventbridge-ecr-push"]["detail"]["image-digest"]] = (content, OCI_MANIFEST)
    edge = "arn:aws:cloudfront::444455556666:distribution/E2QWRUHEXAMPLE"
    return create_handler(ecr, Settings(image_pull=True, list_tags=True, edge_distribution_arn=edge))


@pytest.mark.parametrize("name", HTTP)
def test_a_request_to_the_function_url_is_answered(
    handler: Handler, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    event = EVENTS[f"function-url-{name}"]
    status, *caller = HTTP[name]
    assert handler(event, Context())["statusCode"] == status
    log = json.loads(capsys.readouterr().out.splitlines()[0])
    assert [log["callerKind"], log.get("caller"), log["sourceIp"]] == caller
    assert log["correlation_id"] == event["requestContext"]["requestId"]


@pytest.mark.parametrize("name", LAYERS)
def test_an_event_is_resolved(handler: Handler, name: str) -> None:
    result = handler(EVENTS[name], Context())
    assert [each["layerDigest"] for each in result["downloadUrls"]] == LAYERS[name]
    assert result["requestId"] == EVENTS[name].get("id", Context().aws_request_id)


def test_a_schedule_without_a_request_is_raised_with_what_the_function_answers(handler: Handler) -> None:
    with pytest.raises(ResolverError, match="'ECR Layer Download URL Request'") as caught:
        handler(EVENTS["eventbridge-scheduler"], Context())
    assert caught.value.kind is UNSUPPORTED_EVENT


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("rawPath", None),
        ("headers.host", 5),
        ("queryStringParameters.layerDigest", None),
        ("body", {"repositoryName": "team/app"}),
        ("isBase64Encoded", "perhaps"),
        ("requestContext", None),
        ("requestContext.authorizer.iam.userArn", 5),
        ("requestContext.http.method", None),
        ("requestContext.http.sourceIp", {}),
    ],
)
def test_a_malformed_request_is_refused_and_says_where(handler: Handler, path: str, value: object) -> None:
    event = deepcopy(EVENTS["function-url-iam"])
    *parents, last = path.split(".")
    reduce(lambda place, name: place.setdefault(name, {}), parents, event)[last] = value
    answer = handler(event, Context())
    problem = json.loads(answer["body"])
    assert (answer["statusCode"], problem["code"]) == (400, "UnsupportedEvent")
    assert last in problem["detail"]
