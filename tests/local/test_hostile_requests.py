"""Whatever is sent to the local ECR, S3 and function URL is answered as AWS answers it, never by a traceback.

Starlette's client raises what an application lets through, so that each example checks for it.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.credentials import Credentials
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from local.aws import REGION
from local.ecr import LARGEST_REQUEST_BYTES, LocalEcr
from local.execution_environment import Result
from local.function_url import create_function_url_app
from local.oci_layout import OciLayout
from local.s3 import create_s3_app
from local.sigv4 import UrlSigner

REPOSITORY = "team/app"
ACTIONS = [
    "BatchGetImage",
    "DescribeRepositories",
    "GetDownloadUrlForLayer",
    "ListImageReferrers",
    "ListImages",
]
AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=AKIA/20261123/us-east-1/ecr/aws4_request, SignedHeaders=host"

texts = st.text(max_size=300) | st.sampled_from(
    ["9" * 5000, "..:abcd", "sha256:" + "a" * 300, "sha256:../../etc", "\0", "\ud800", "team/app", "latest", "0"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
members = st.sampled_from(
    [
        "filter", "imageIds", "layerDigest", "maxResults", "nextToken", "registryId", "repositoryName",
        "repositoryNames", "subjectId", "acceptedMediaTypes",
    ]
)  # fmt: skip
plausible = st.fixed_dictionaries(
    {"repositoryName": st.just(REPOSITORY) | texts},
    optional={
        "nextToken": texts,
        "maxResults": st.integers(-1, 2000),
        "layerDigest": texts,
        "imageIds": st.lists(st.dictionaries(st.sampled_from(["imageTag", "imageDigest"]), texts, max_size=2)),
        "subjectId": st.dictionaries(st.just("imageDigest"), texts, max_size=1),
        "filter": st.dictionaries(st.sampled_from(["tagStatus", "artifactTypes", "imageStatus"]), values, max_size=2),
    },
)
documents = plausible | st.dictionaries(members, values, max_size=5) | values
bodies = documents.map(lambda document: json.dumps(document).encode()) | st.binary(max_size=200)
header_values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=100)

generated = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def ecr(sample: OciLayout) -> Iterator[TestClient]:
    with TestClient(LocalEcr({REPOSITORY: sample}, lambda digest: f"http://localhost/{digest}").app()) as client:
        yield client


@pytest.fixture(scope="module")
def s3(sample: OciLayout) -> Iterator[TestClient]:
    signer = UrlSigner(Credentials("ASIALOCAL", "secret", "token"), REGION)
    with TestClient(create_s3_app(lambda key: sample.open_blob(key.replace("/", ":", 1)), signer)) as client:
        yield client


def call(ecr: TestClient, action: str, body: bytes) -> Any:
    headers = {"X-Amz-Target": f"AmazonEC2ContainerRegistry_V20150921.{action}", "Authorization": AUTHORIZATION}
    return ecr.post("/", headers=headers, content=body)


@generated
@given(action=st.sampled_from(ACTIONS), body=bodies)
def test_whatever_is_asked_of_ecr_has_an_answer_in_its_form(ecr: TestClient, action: str, body: bytes) -> None:
    response = call(ecr, action, body)
    assert response.status_code in {200, 400}
    assert response.headers["content-type"] == "application/x-amz-json-1.1"
    assert isinstance(response.json(), dict)
    assert (response.status_code == 400) == ("__type" in response.json())


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"repositoryName":' * 20_000,
        b'{"repositoryName": "team/app", "nextToken": "' + b"9" * 5000 + b'"}',
        b'{"repositoryName": "team/app", "maxResults": ' + b"9" * 5000 + b"}",
        b'{"repositoryName": "team/app", "maxResults": NaN}',
        b" " * (LARGEST_REQUEST_BYTES + 1),
        b"\xff\xfe",
        b"",
    ],
    ids=["deep", "deeper", "long token", "long number", "not a number", "large", "not UTF-8", "nothing"],
)
def test_a_body_that_is_made_to_break_ecr_is_refused(ecr: TestClient, action: str, body: bytes) -> None:
    response = call(ecr, action, body)
    assert response.status_code == 400
    assert len(response.content) < 4000


@generated
@given(body=bodies)
def test_whatever_is_put_as_faults_is_taken_or_refused_in_one_line(ecr: TestClient, body: bytes) -> None:
    response = ecr.put("/_faults", content=body)
    ecr.delete("/_faults")
    assert response.status_code in {204, 400}
    assert response.content.count(b"\n") <= 1


@generated
@given(
    path=texts.map(lambda text: text.encode(errors="replace")),
    query=st.dictionaries(
        st.sampled_from(
            [
                "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-Signature",
                "X-Amz-SignedHeaders", "X-Amz-Security-Token", "other",
            ]
        ),
        header_values | st.sampled_from(["AWS4-HMAC-SHA256", "9" * 5000, "20261123T000000Z", "host"]),
    ),
    requested=header_values | st.sampled_from(["bytes=0-", f"bytes={'9' * 5000}-", "bytes=-0"]),
)  # fmt: skip
def test_whatever_is_asked_of_s3_without_a_signature_is_refused(
    s3: TestClient, path: bytes, query: dict[str, str], requested: str
) -> None:
    target = "/bucket/" + "".join(f"%{byte:02x}" for byte in path)
    response = s3.get(target, params=query, headers={"Range": requested})
    assert 400 <= response.status_code < 500


@generated
@given(
    answer=values
    | st.fixed_dictionaries(
        {"statusCode": values},
        optional={"headers": values, "body": values, "cookies": values, "isBase64Encoded": values},
    )
)
def test_whatever_a_function_answers_the_function_url_answers_something(answer: Any) -> None:
    payload = json.dumps(answer).encode()
    client = TestClient(create_function_url_app(lambda *_: Result(payload)))
    assert 200 <= client.get("/").status_code < 600
