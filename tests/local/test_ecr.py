"""The local ECR as boto3, unchanged, sees it."""

import hashlib
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local.aws import LocalAws
from local.faults import Fault
from local.oci_layout import OciLayout
from tests.sample import REPOSITORY

MISSING = f"sha256:{'0' * 64}"


@pytest.fixture
def ecr(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in aws.environment().items():
        monkeypatch.setenv(name, value)
    config = Config(retries={"total_max_attempts": 1}, parameter_validation=False)
    return boto3.session.Session().client("ecr", config=config)


def error_of(ecr: Any, **parameters: Any) -> str:
    with pytest.raises(ClientError) as caught:
        ecr.get_download_url_for_layer(**parameters)
    return caught.value.response["Error"]["Code"]


def test_each_blob_of_an_image_resolves_and_downloads(ecr: Any, sample: OciLayout) -> None:
    for digest, size in sample.referenced_blobs.items():
        answer = ecr.get_download_url_for_layer(repositoryName=REPOSITORY, layerDigest=digest)
        assert answer["layerDigest"] == digest
        content = httpx.get(answer["downloadUrl"]).content
        file = sample.open_blob(digest)
        assert file is not None
        with file:
            assert content == file.read()
        assert len(content) == size


def test_neither_a_manifest_nor_a_blob_that_no_image_references_is_a_layer(
    ecr: Any, sample: OciLayout, sample_directory: Path
) -> None:
    name = hashlib.sha256(b"left over").hexdigest()
    (sample_directory / "blobs" / "sha256" / name).write_bytes(b"left over")
    assert error_of(ecr, repositoryName=REPOSITORY, layerDigest=f"sha256:{name}") == "LayerInaccessibleException"
    manifest = sample.tags["latest"]
    assert error_of(ecr, repositoryName=REPOSITORY, layerDigest=manifest) == "LayersNotFoundException"


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"layerDigest": MISSING}, "LayersNotFoundException"),
        ({"layerDigest": MISSING, "repositoryName": "other"}, "RepositoryNotFoundException"),
        ({"layerDigest": MISSING, "registryId": "210987654321"}, "RepositoryNotFoundException"),
        ({"layerDigest": "sha256"}, "InvalidParameterException"),
        ({"layerDigest": MISSING, "repositoryName": "UPPER"}, "InvalidParameterException"),
        ({"layerDigest": MISSING, "repositoryName": "a" * 257}, "InvalidParameterException"),
        ({}, "InvalidParameterException"),
    ],
)
def test_what_ecr_would_refuse_is_refused(ecr: Any, parameters: dict[str, str], code: str) -> None:
    assert error_of(ecr, **({"repositoryName": REPOSITORY} | parameters)) == code


def test_a_fault_of_one_layer_leaves_the_others_alone(ecr: Any, aws: LocalAws, sample: OciLayout) -> None:
    first, second, *_ = sample.referenced_blobs
    aws.ecr.faults.put(Fault(error="ServerException", layer_digest=second))
    assert ecr.get_download_url_for_layer(repositoryName=REPOSITORY, layerDigest=first)
    assert error_of(ecr, repositoryName=REPOSITORY, layerDigest=second) == "ServerException"


def test_faults_and_calls_are_reached_over_http(ecr: Any, aws: LocalAws) -> None:
    assert httpx.put(f"{aws.ecr_url}/_faults", json=[{"body": "<html>", "status": 502}]).status_code == 204
    assert error_of(ecr, repositoryName=REPOSITORY, layerDigest=MISSING) == "502"
    assert httpx.put(f"{aws.ecr_url}/_faults", json=[{"errror": "x"}]).status_code == 400
    assert httpx.delete(f"{aws.ecr_url}/_faults").status_code == 204
    calls = httpx.delete(f"{aws.ecr_url}/_calls").json()
    assert calls == [
        {
            "action": "GetDownloadUrlForLayer",
            "parameters": {"repositoryName": REPOSITORY, "layerDigest": MISSING},
        }
    ]
    assert httpx.get(f"{aws.ecr_url}/_calls").json() == []


def test_images_are_found_by_tag_and_by_digest(ecr: Any, sample: OciLayout) -> None:
    digest = sample.tags["latest"]
    answer = ecr.batch_get_image(
        repositoryName=REPOSITORY,
        imageIds=[
            {"imageTag": "latest"},
            {"imageDigest": digest},
            {"imageTag": "none"},
            {"imageTag": "latest", "imageDigest": MISSING},
            {},
        ],
    )
    assert [image["imageId"] for image in answer["images"]] == [
        {"imageTag": "latest", "imageDigest": digest},
        {"imageDigest": digest},
    ]
    for image in answer["images"]:
        assert image["imageManifest"].encode() == sample.manifests[digest].content
        assert image["imageManifestMediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert [failure["failureCode"] for failure in answer["failures"]] == [
        "ImageNotFound",
        "ImageTagDoesNotMatchDigest",
        "MissingDigestAndTag",
    ]


def test_images_and_repositories_are_listed_page_by_page(ecr: Any, sample: OciLayout) -> None:
    pages = ecr.get_paginator("list_images").paginate(repositoryName="team/app", PaginationConfig={"PageSize": 1})
    listed = [image for page in pages for image in page["imageIds"]]
    assert {image["imageDigest"] for image in listed} == sample.manifests.keys()
    tagged = ecr.list_images(repositoryName="team/app", filter={"tagStatus": "TAGGED"})["imageIds"]
    assert {image["imageTag"]: image["imageDigest"] for image in tagged} == sample.tags
    (repository,) = ecr.describe_repositories()["repositories"]
    assert repository["repositoryName"] == "team/app"


@pytest.mark.parametrize(
    ("action", "parameters", "code"),
    [
        ("list_images", {"repositoryName": "team/missing"}, "RepositoryNotFoundException"),
        ("list_images", {"repositoryName": "team/app", "nextToken": "x"}, "InvalidParameterException"),
    ],
)
def test_what_can_not_be_listed_is_refused(ecr: Any, action: str, parameters: dict[str, Any], code: str) -> None:
    with pytest.raises(ClientError) as caught:
        getattr(ecr, action)(**parameters)
    assert caught.value.response["Error"]["Code"] == code
