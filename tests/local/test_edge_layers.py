"""The edge serves layers from its own host, and is no open proxy to the bucket."""

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest

from ecr_layers.ops.pull_tokens import PullToken
from local.edge import CALLER, CALLER_ARN, DISTRIBUTION_ARN, EdgeConfiguration, RunningEdge, local_edge
from local.oci_layout import OciLayout
from local.service import EVERYTHING, FunctionUrl, Service, local_service
from local.sigv4 import UrlSigner
from tests.local import rclone
from tests.local.rclone import rclone_s3

PASSWORD = "0123456789abcdef"


@pytest.fixture(scope="module")
def service(sample: OciLayout) -> Iterator[Service]:
    with local_service(
        {"team/app": sample},
        function_url=FunctionUrl(caller=CALLER, caller_arn=CALLER_ARN, renames_headers=True, edge_serves_layers=True),
        opted_into={**EVERYTHING, "EDGE_DISTRIBUTION_ARN": DISTRIBUTION_ARN},
        write_log=lambda _: None,
    ) as service:
        yield service


@pytest.fixture(scope="module")
def edge(service: Service) -> Iterator[RunningEdge]:
    configuration = EdgeConfiguration(layers_origin=service.aws.s3_url, cache_seconds=60)
    with local_edge(service.url, configuration) as edge:
        now = datetime.now(UTC)
        edge.store.put("ci", PullToken("ci", ("team/*",), now + timedelta(days=1), now).value(PASSWORD))
        yield edge


@pytest.fixture
def client(edge: RunningEdge) -> Iterator[httpx.Client]:
    """Return a client that logs in, and that sends its login to every path of the edge."""
    with httpx.Client(base_url=edge.url, auth=("ci", PASSWORD), timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture
def url(client: httpx.Client, sample: OciLayout) -> str:
    digest = next(iter(sample.referenced_blobs))
    return client.get(f"/v2/team/app/blobs/{digest}").headers["location"]


def changed(url: str, **parameters: str | None) -> str:
    """Return a URL with other parameters; those without a value are left out."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query)) | {name.replace("_", "-"): value for name, value in parameters.items()}
    return parts._replace(query=urlencode({name: value for name, value in query.items() if value is not None})).geturl()


def test_urls_lead_to_the_host_that_was_asked_and_there_are_the_layers_bytes(
    client: httpx.Client, edge: RunningEdge, url: str, sample: OciLayout
) -> None:
    digest = next(iter(sample.referenced_blobs))
    query = {"repositoryName": "team/app", "layerDigest": digest}
    for each in (url, client.get("/download-url", params=query).json()["downloadUrl"]):
        assert each.startswith(f"{edge.url}/layers/")
        content = client.get(each).raise_for_status().content
        assert f"sha256:{hashlib.sha256(content).hexdigest()}" == digest


def test_each_host_is_redirected_to_itself_even_from_the_cache(edge: RunningEdge, sample: OciLayout) -> None:
    path = f"/v2/team/app/blobs/{next(iter(sample.referenced_blobs))}"
    for host in ("registry.example.com", "d111111abcdef8.cloudfront.net", "registry.example.com"):
        answer = httpx.get(
            f"{edge.url}{path}", headers={"Host": host}, auth=("ci", PASSWORD), timeout=30, trust_env=False
        )
        assert answer.headers["location"].startswith(f"http://{host}/layers/")


def test_ranges_and_conditions_are_answered_as_s3_answers_them(client: httpx.Client, url: str) -> None:
    whole = client.get(url)
    part = client.get(url, headers={"Range": "bytes=1-3"})
    assert (part.status_code, part.content) == (206, whole.content[1:4])
    assert part.headers["content-range"] == f"bytes 1-3/{len(whole.content)}"
    assert client.get(url, headers={"Range": f"bytes={len(whole.content)}-"}).status_code == 416


@pytest.mark.parametrize(
    "parameters",
    [
        {"X_Amz_Signature": None},
        {"X_Amz_Signature": "g" * 64},
        {"X_Amz_Credential": None},
        {"X_Amz_Date": "now"},
        {"X_Amz_Expires": "1h"},
        {"X_Amz_SignedHeaders": "host;range"},
    ],
)
def test_what_is_no_pre_signed_url_is_refused_at_the_edge(
    client: httpx.Client, url: str, parameters: dict[str, str | None]
) -> None:
    answer = client.get(changed(url, **parameters))
    assert (answer.status_code, answer.headers["x-cache"]) == (403, "FunctionGeneratedResponse from cloudfront")
    assert "This is not the pre-signed URL of a layer" in answer.text


def test_a_url_that_has_expired_or_two_signatures_is_refused_at_the_edge(client: httpx.Client, url: str) -> None:
    past = (datetime.now(UTC) - timedelta(hours=2)).strftime("%Y%m%dT%H%M%SZ")
    answer = client.get(changed(url, X_Amz_Date=past))
    assert (answer.status_code, answer.headers["x-cache"]) == (403, "FunctionGeneratedResponse from cloudfront")
    assert "<Message>Request has expired</Message>" in answer.text
    twice = client.get(f"{url}&X-Amz-Signature={'0' * 64}")
    assert twice.headers["x-cache"] == "FunctionGeneratedResponse from cloudfront"


def test_s3_refuses_what_was_changed(client: httpx.Client, url: str) -> None:
    parts = urlsplit(url)
    other = re.sub(r"[0-9a-f]{64}$", "0" * 64, parts.path)
    signature = dict(parse_qsl(parts.query))["X-Amz-Signature"]
    flipped = signature[:-1] + ("0" if signature[-1] != "0" else "1")
    for wrong in (
        parts._replace(path=other).geturl(),
        changed(url, X_Amz_Signature=flipped),
        changed(url, X_Amz_Expires="3601"),
        f"{url}&response-content-type=text/html",
    ):
        answer = client.get(wrong)
        assert (answer.status_code, answer.headers["x-cache"]) == (403, "Error from cloudfront"), answer.text
        assert "SignatureDoesNotMatch" in answer.text


def test_a_url_is_for_get_and_the_bucket_cant_be_browsed(client: httpx.Client, url: str) -> None:
    assert client.head(url).status_code == 403
    assert client.post(url).status_code == 405
    assert [client.get(path).status_code for path in ("/layers/", "/layers/a", "/layers//a")] == [403] * 3


def test_a_forged_host_header_of_the_edge_is_overwritten(
    client: httpx.Client, edge: RunningEdge, sample: OciLayout
) -> None:
    answer = client.get(
        f"/v2/team/app/blobs/{list(sample.referenced_blobs)[1]}", headers={"X-Ecr-Layers-Host": "evil.example.com"}
    )
    assert answer.headers["location"].startswith(f"{edge.url}/layers/")


def test_another_s3_takes_and_refuses_the_same_urls(tmp_path: Path) -> None:
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "object").write_bytes(b"layer")
    with rclone_s3(tmp_path) as origin, local_edge(origin, EdgeConfiguration(layers_origin=origin)) as edge:
        signed = UrlSigner(rclone.CREDENTIALS, "us-east-1").sign(f"{origin}/bucket/object")
        url = signed.replace(origin, f"{edge.url}/layers")
        # The login of a client that sends it to every path of the host.
        answer = httpx.get(url, auth=("ci", PASSWORD), trust_env=False)
        assert (answer.status_code, answer.content) == (200, b"layer")
        for wrong in (url.replace("Expires=3600", "Expires=3601"), url.replace("object", "other"), f"{url}&a=b"):
            assert httpx.get(wrong, trust_env=False).status_code == 403
    with rclone_s3(tmp_path) as other, local_edge(other, EdgeConfiguration(layers_origin=other)) as edge:
        # Signed for another host than the one that it arrives at.
        assert httpx.get(signed.replace(origin, f"{edge.url}/layers"), trust_env=False).status_code == 403
