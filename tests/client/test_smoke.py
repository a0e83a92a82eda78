"""The checks of a deployed service, made against the local one, which answers unsigned requests."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.credentials import Credentials
from rich.console import Console

from ecr_layers.cli import main
from ecr_layers.errors import UsageError
from ecr_layers.ops.http_auth import FunctionUrlAuth
from ecr_layers.ops.smoke import ABSENT_DIGEST, Layer, SmokeError, SmokeTest, find_layer
from ecr_layers.registry.signing import callers_credentials
from local.aws import LocalAws, local_aws
from local.oci_layout import OciLayout
from local.service import FunctionUrl, Service, local_service
from tests.client.operating import forget_credentials
from tests.layouts import OCI_LAYER, LayoutWriter
from tests.sample import REPOSITORY

AUTH = FunctionUrlAuth(Credentials("AKIAEXAMPLE", "secret", "session-token"), "eu-west-1")


@pytest.fixture(scope="module")
def service(sample: OciLayout) -> Iterator[Service]:
    with local_service({REPOSITORY: sample}, write_log=lambda _: None) as running:
        yield running


@pytest.fixture(scope="module")
def renaming_service(sample: OciLayout) -> Iterator[Service]:
    """Return a service whose function URL renames headers, as AWS's is reported to, and which has blobs alone."""
    renaming = FunctionUrl(renames_headers=True)
    with local_service({REPOSITORY: sample}, function_url=renaming, opted_into={}, write_log=lambda _: None) as running:
        yield running


@pytest.fixture
def layer(sample: OciLayout) -> Layer:
    return Layer(REPOSITORY, next(iter(sample.referenced_blobs)), "latest")


def passes(url: str, layer: Layer, transport: httpx.BaseTransport | None = None, *, is_public: bool = True) -> bool:
    """Tell whether a service passes the checks, whose results are printed."""
    with httpx.Client(transport=transport, trust_env=False) as client:
        return SmokeTest(url, layer, client, AUTH, is_public=is_public).run(Console(width=200))


def ecr_of(aws: LocalAws) -> Any:
    return boto3.client(
        "ecr", endpoint_url=aws.ecr_url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )


@pytest.fixture
def ecr(aws: LocalAws) -> Any:
    return ecr_of(aws)


def test_a_service_that_is_well_passes_every_check(
    service: Service, layer: Layer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert passes(service.url, layer)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "ok    health",
        "ok    an unsigned request",
        "ok    a layer",
        "ok    an error's form",
        "ok    HEAD",
        "ok    HEAD of a blob",
        "ok    HEAD of a manifest",
    ]


def test_which_clients_a_renamed_header_affects_is_said_and_fails_nothing(
    renaming_service: Service, layer: Layer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert passes(renaming_service.url, layer)
    *well, blob, manifest = capsys.readouterr().out.splitlines()
    assert all(line.startswith("ok ") for line in well)
    assert blob.startswith("warn  HEAD of a blob: Content-Length is 0, expected ")
    assert "docker-registry as a pull-through cache can't mirror blobs then" in blob
    assert manifest == "skip  HEAD of a manifest: imagePull isn't set, so registry clients get only blobs"


def test_without_an_image_the_manifest_is_skipped(
    service: Service, layer: Layer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert passes(service.url, replace(layer, image=None))
    assert capsys.readouterr().out.endswith("skip  HEAD of a manifest: no image is known\n")


MANIFEST = b"{}"
MANIFEST_DIGEST = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"


@pytest.mark.parametrize(
    ("headers", "line"),
    [
        ({"Content-Length": "2"}, "ok    HEAD of a manifest"),
        (
            {"Content-Length": "0"},
            "FAIL  HEAD of a manifest: Content-Length is 0, expected 2. containerd pulls nothing then.",
        ),
        (
            {},
            (
                "FAIL  HEAD of a manifest: Content-Length is None, expected 2. docker-registry as a pull-through cache "
                "finds no image then, and `oras resolve` fails."
            ),
        ),
        (
            {"x-amzn-remapped-content-length": "2"},
            (
                "warn  HEAD of a manifest: Content-Length is None, expected 2: the function URL renamed the right one "
                "to x-amzn-remapped-content-length. docker-registry as a pull-through cache finds no image then"
            ),
        ),
    ],
)
def test_which_clients_the_length_of_a_manifest_affects_is_said(
    layer: Layer, headers: dict[str, str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "HEAD":
            return httpx.Response(200, headers=headers)
        return httpx.Response(200, content=MANIFEST, headers={"Docker-Content-Digest": MANIFEST_DIGEST})

    passes("https://service.example.com/", layer, httpx.MockTransport(answer))
    assert capsys.readouterr().out.splitlines()[-1].startswith(line)


def test_a_service_that_is_open_by_mistake_fails(
    service: Service, layer: Layer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not passes(service.url, layer, is_public=False)
    assert "FAIL  an unsigned request: answered 200, expected 403" in capsys.readouterr().out


Answer = Callable[[httpx.Request], httpx.Response]


def refuse_connection(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (refuse_connection, "health: the request failed: ConnectError"),
        (lambda _: httpx.Response(500), "health: answered 500, expected 200"),
        (
            lambda _: httpx.Response(403, json={"detail": "Ask the operator."}),
            "a layer: answered 403, expected 200: Ask the operator.",
        ),
        (lambda _: httpx.Response(200, json={}), "a layer: the answer isn't the API's"),
        (lambda _: httpx.Response(200, text="<html>"), "a layer: the answer isn't the API's"),
        (
            lambda _: httpx.Response(200, json={"downloadUrl": "https://bucket.example.com/?X-Amz-Signature=0"}),
            "a layer: S3 answered the request for its first byte with 200",
        ),
        (lambda _: httpx.Response(404, json={}), "an error's form: its Content-Type is application/json, expected"),
        (
            lambda _: httpx.Response(404, json={"code": "Other"}, headers={"Content-Type": "application/problem+json"}),
            "an error's form: its code is Other, expected LayersNotFoundException",
        ),
        (
            lambda request: httpx.Response(200, content=b"ok" if request.method == "GET" else b""),
            "HEAD: Content-Length is None, expected 2",
        ),
        (lambda _: httpx.Response(503), "HEAD: answered 503, expected 200"),
        (lambda _: httpx.Response(404), "HEAD of a manifest: answered 404, expected 200"),
        (
            lambda _: httpx.Response(200, content=MANIFEST, headers={"Docker-Content-Digest": "sha256:00"}),
            f"HEAD of a manifest: the manifest has the digest {MANIFEST_DIGEST}, and another Docker-Content-Digest",
        ),
        (
            lambda _: httpx.Response(403, json={"detail": "[bold]Ask the operator.[/bold]"}),
            "health: answered 403, expected 200: [bold]Ask the operator.[/bold]",
        ),
        (
            lambda request: (
                httpx.Response(302)
                if request.method == "HEAD"
                else httpx.Response(200, json={"downloadUrl": "https://bucket.example.com/"})
            ),
            "HEAD of a blob: answered 302, expected 200",
        ),
        (
            lambda _: httpx.Response(
                200, json={"downloadUrl": "https://bucket.example.com/"}, headers={"Content-Range": "bytes 0-0/9"}
            ),
            "HEAD of a blob: Content-Length is 45, expected 9",
        ),
    ],
)
def test_what_is_wrong_is_said_and_no_secret_is(
    layer: Layer, answer: Answer, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not passes("https://service.example.com/", layer, httpx.MockTransport(answer))
    printed = capsys.readouterr().out
    assert complaint in printed
    assert "X-Amz" not in printed


@pytest.mark.parametrize("repository", [None, REPOSITORY])
def test_a_layer_to_resolve_is_found_in_ecr(ecr: Any, sample: OciLayout, repository: str | None) -> None:
    layer = find_layer(ecr, repository)
    assert (layer.repository, layer.image) == (REPOSITORY, sample.tags["latest"])
    assert layer.digest in sample.referenced_blobs


def test_a_foreign_layer_is_not_taken(tmp_path: Path) -> None:
    writer = LayoutWriter(tmp_path / "layout")
    foreign = {"mediaType": OCI_LAYER, "digest": ABSENT_DIGEST, "size": 1, "urls": ["https://example.com/layer"]}
    own = writer.blob(b"own")
    writer.name(writer.image("image", layers=[foreign, own]), "latest")
    writer.write()
    with local_aws({REPOSITORY: OciLayout(tmp_path / "layout")}) as aws:
        assert find_layer(ecr_of(aws)).digest == own["digest"]


def test_without_access_to_ecr_a_layer_has_to_be_named(ecr: Any) -> None:
    with pytest.raises(SmokeError, match="Can't find a layer in ECR"):
        find_layer(ecr, "team/missing")


def test_a_request_is_signed_for_lambda_with_the_session_token() -> None:
    sent: list[httpx.Request] = []

    def record(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200)

    with httpx.Client(transport=httpx.MockTransport(record), auth=AUTH) as client:
        client.post("https://abc.lambda-url.eu-west-1.on.aws/download-url", params={"a": "b c"}, json={"a": 1})
    (request,) = sent
    assert "/eu-west-1/lambda/aws4_request" in request.headers["Authorization"]
    assert request.headers["X-Amz-Security-Token"] == "session-token"
    assert request.read() == b'{"a":1}'


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ftp://example.com"], "isn't a valid service URL"),
        (["https://example.com/"], "--region"),
        (["https://abc.lambda-url.eu-west-1.on.aws/", "--digest", "sha256:00"], "needs --repository"),
        (["https://abc.lambda-url.eu-west-1.on.aws/", "--image", "latest"], "needs --digest"),
        (["https://abc.lambda-url.eu-west-1.on.aws/"], "There are no AWS credentials"),
    ],
)
def test_what_can_not_be_checked_is_refused_in_one_line(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forget_credentials(monkeypatch)
    assert main(["smoke", "--url", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_profile_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "missing")
    with pytest.raises(UsageError, match="The AWS credentials can't be used"):
        callers_credentials()
