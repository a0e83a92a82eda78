"""The local S3 refuses what S3 refuses."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from botocore.credentials import Credentials

from local.oci_layout import OciLayout, files_in
from local.s3 import create_s3_app
from local.server import running
from local.sigv4 import SignatureError, UrlSigner
from tests.local import rclone
from tests.local.rclone import rclone_s3

CREDENTIALS = Credentials("ASIATEST", "secret", "token")
CONTENT = bytes(range(256)) * 8


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "object").write_bytes(CONTENT)
    (tmp_path / "empty").write_bytes(b"")
    app = create_s3_app(files_in(tmp_path), UrlSigner(CREDENTIALS, "us-east-1"))
    with running(app, host="localhost") as url:
        yield f"{url}/bucket"


@pytest.fixture
def url(bucket: str) -> str:
    return UrlSigner(CREDENTIALS, "us-east-1").sign(f"{bucket}/object")


def code(response: httpx.Response) -> str:
    return response.text.partition("<Code>")[2].partition("</Code>")[0]


def test_a_pre_signed_url_gives_the_object(url: str) -> None:
    response = httpx.get(url)
    assert response.status_code == 200
    assert response.content == CONTENT
    assert response.headers["accept-ranges"] == "bytes"


def test_head_on_a_url_that_was_signed_for_get_is_refused(url: str) -> None:
    response = httpx.head(url)
    assert (response.status_code, response.content) == (403, b"")


def test_a_second_authentication_is_refused(url: str) -> None:
    response = httpx.get(url, headers={"Authorization": "Bearer x"})
    assert (response.status_code, code(response)) == (400, "InvalidArgument")


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (lambda url: url.partition("?")[0], "AccessDenied"),
        (lambda url: url.replace("Expires=3600", "Expires=soon"), "AccessDenied"),
        (lambda url: url.replace("X-Amz-Date=", "X-Amz-Date=1"), "AccessDenied"),
        (lambda url: f"{url[:-1]}{'1' if url[-1] == '0' else '0'}", "SignatureDoesNotMatch"),
        (lambda url: f"{url}&response-content-type=text/html", "SignatureDoesNotMatch"),
        (lambda url: url.replace("/object?", "/empty?"), "SignatureDoesNotMatch"),
        (lambda url: url.replace("Expires=3600", "Expires=3601"), "SignatureDoesNotMatch"),
        (lambda url: url.replace("us-east-1", "eu-west-1"), "SignatureDoesNotMatch"),
        (lambda url: url.replace("ASIATEST", "ASIAOTHER"), "SignatureDoesNotMatch"),
        (lambda url: url.replace("Token=token", "Token=other"), "SignatureDoesNotMatch"),
    ],
)
def test_a_url_that_was_changed_is_refused(url: str, change: Callable[[str], str], refusal: str) -> None:
    response = httpx.get(change(url))
    assert (response.status_code, code(response)) == (403, refusal)


def test_a_url_works_for_an_hour() -> None:
    signer, now, headers = UrlSigner(CREDENTIALS, "us-east-1"), datetime.now(UTC), {"host": "localhost"}
    url = signer.sign("http://localhost/bucket/object")
    signer.verify("GET", url, headers, now + timedelta(minutes=59))
    with pytest.raises(SignatureError, match="expired"):
        signer.verify("GET", url, headers, now + timedelta(minutes=61))


def test_a_missing_object_is_not_found(bucket: str) -> None:
    response = httpx.get(UrlSigner(CREDENTIALS, "us-east-1").sign(f"{bucket}/missing"))
    assert (response.status_code, code(response)) == (404, "NoSuchKey")


@pytest.mark.parametrize(
    ("requested", "start", "end"),
    [("bytes=0-0", 0, 1), ("bytes=2000-", 2000, 2048), ("bytes=2047-9999", 2047, 2048), ("bytes=-9999", 0, 2048)],
)
def test_a_range_gives_its_part(url: str, requested: str, start: int, end: int) -> None:
    response = httpx.get(url, headers={"Range": requested})
    assert response.status_code == 206
    assert response.headers["content-range"] == f"bytes {start}-{end - 1}/{len(CONTENT)}"
    assert response.content == CONTENT[start:end]


@pytest.mark.parametrize("requested", ["bytes=0-1,4-5", "bytes=5-2", "lines=1-2"])
def test_what_is_no_single_range_gives_the_whole(url: str, requested: str) -> None:
    response = httpx.get(url, headers={"Range": requested})
    assert (response.status_code, response.content) == (200, CONTENT)


@pytest.mark.parametrize("requested", ["bytes=2048-", "bytes=-0"])
def test_a_range_behind_the_end_is_not_satisfiable(url: str, requested: str) -> None:
    response = httpx.get(url, headers={"Range": requested})
    assert (response.status_code, code(response)) == (416, "InvalidRange")
    assert response.headers["content-range"] == f"bytes */{len(CONTENT)}"


def test_rclones_s3_takes_and_refuses_the_same_urls(tmp_path: Path, sample: OciLayout, sample_directory: Path) -> None:
    """Cross-check: another implementation of S3's signatures agrees with ours."""
    digest = next(iter(sample.referenced_blobs))
    (tmp_path / "bucket").mkdir()
    shutil.copy(sample_directory / "blobs" / digest.replace(":", "/"), tmp_path / "bucket" / "object")
    with rclone_s3(tmp_path) as server:
        url = UrlSigner(rclone.CREDENTIALS, "us-east-1").sign(f"{server}/bucket/object")
        response = httpx.get(url)
        assert f"sha256:{hashlib.sha256(response.content).hexdigest()}" == digest
        assert httpx.get(url.replace("Expires=3600", "Expires=3601")).status_code == 403
        assert httpx.head(url).status_code == 403
