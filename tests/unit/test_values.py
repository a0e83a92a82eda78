"""What a value of a request may be, and what the answer says of a wrong one."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from layer_resolver.errors import ResolverError
from layer_resolver.handler import create_handler
from layer_resolver.models import INDEX_MEDIA_TYPES
from layer_resolver.settings import Settings
from tests.unit.fakes import (
    OCI_MANIFEST,
    Context,
    FakeEcr,
    Output,
    Send,
    digest,
    download_url,
    eventbridge_event,
    function_url_event,
    manifest,
)


@pytest.fixture
def function_settings() -> Settings:
    return Settings(image_pull=True)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        *(("repositoryName", name, None) for name in ("ab", "a" * 256, "a/b", "team__app", "a--b", "1.2-3/4_5")),
        ("repositoryName", "a", "must have at least 2 characters"),
        ("repositoryName", "a" * 257, "must have at most 256 characters"),
        *(
            ("repositoryName", name, "must ")
            for name in ("Team/app", "team//app", "/team", "team/", "team..app", "team___app", "-app", "ab\n", "ab,cd")
        ),
        ("registryId", "1" * 12, None),
        *(("registryId", each, "must be an AWS account id") for each in ("", "1" * 11, "1" * 13, "\u0661" * 12)),
        *(("layerDigest", each, None) for each in ("s-h_a+2.56:aF0", f"sha256:{'0' * 293}", f"sha512:{'aB' * 64}")),
        *(("layerDigest", each, "must be an algorithm") for each in ("", "sha256:", ":00", "sha256:xy", "sha256:00\n")),
        ("layerDigest", f"sha256:{'0' * 294}", "must have at most 300 characters"),
    ],
    ids=lambda value: f"{value[:20]} of {len(value)}" if isinstance(value, str) else str(value),
)
def test_a_value_is_admitted_if_ecr_admits_it(
    send: Send, ecr: FakeEcr, name: str, value: str, problem: str | None
) -> None:
    answer = send("GET", "/download-url", {"repositoryName": "team/app", "layerDigest": digest(), name: value})
    assert answer.status == (400 if problem else 200)
    assert problem is None or answer.json["detail"].startswith(f"{name} {problem}")
    assert bool(ecr.calls) == (problem is None)


def test_a_tag_has_up_to_128_characters(send: Send, ecr: FakeEcr) -> None:
    ecr.images = dict.fromkeys(("t" * 128, "t" * 129), (json.dumps(manifest()).encode(), OCI_MANIFEST))
    paths = [f"/v2/team/app/manifests/{tag}" for tag in ecr.images]
    assert [send("GET", path).status for path in paths] == [200, 404]
    queries = [{"repositoryName": "team/app", "imageTag": tag} for tag in ecr.images]
    assert [send("GET", "/images/download-urls", query).status for query in queries] == [200, 400]


SECRETS = (
    "hunter2!",
    "0123456789abcdef0123456789abcdef01234567",
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "\ud800-s3cr3t",
    download_url(digest()),
)


def ways_to_send(secret: str) -> dict[str, Any]:
    """Return events that have a secret where it doesn't belong, as a value or as a name."""
    request = {"repositoryName": "team/app", "layerDigests": [digest()]}
    layer = {"mediaType": "a/b", "digest": digest(), "size": 1}

    def post(document: object, path: str = "/download-urls") -> dict[str, Any]:
        return function_url_event("POST", path, body=json.dumps(document))

    def post_manifest(document: object, media_type: str = OCI_MANIFEST) -> dict[str, Any]:
        query = {"repositoryName": "ab"}
        return function_url_event("POST", "/download-urls", query, json.dumps(document), content_type=media_type)

    return {
        "query value": function_url_event("GET", "/download-url", {"repositoryName": secret, "layerDigest": secret}),
        "query name": function_url_event("GET", "/download-url", {secret: "x", "repositoryName": "ab"}),
        "image query": function_url_event("GET", "/images/download-urls", {"imageTag": secret, "platform": secret}),
        "body value": post(request | {"registryId": secret, "layerDigests": [secret, secret]}),
        "body of another type": post({"repositoryName": {secret: secret}, "layerDigests": secret}),
        "body name": post(request | {secret: secret}),
        "body that is no object": post([secret]),
        "body that is no JSON": function_url_event("POST", "/download-urls", body=f'{{"a": {secret}}}'),
        "manifest value": post_manifest(manifest(layers=[layer | {"digest": secret, "size": secret}])),
        "manifest name": post_manifest({secret: manifest()}),
        "manifest media type": post_manifest(manifest(mediaType=secret, schemaVersion=secret)),
        "index entry": post_manifest({"manifests": [{secret: secret, "digest": secret}]}, INDEX_MEDIA_TYPES[0]),
        "event value": eventbridge_event(request | {"layerDigests": [secret]}),
        "event name": eventbridge_event(request | {secret: secret}),
        "event envelope": eventbridge_event(request) | {"region": [secret], "time": secret},
        "event type": eventbridge_event(request, secret),
        "event manifest": eventbridge_event({"repositoryName": "ab", "imageManifest": json.dumps({secret: secret})}),
        "push": eventbridge_event({"image-digest": secret, "result": secret}, "ECR Image Action"),
        "direct value": request | {"registryId": secret},
        "direct name": request | {secret: secret},
        "header": function_url_event("GET", "/healthz") | {"headers": {secret: 5}},
        "context": function_url_event("GET", "/healthz") | {"requestContext": {"http": {"sourceIp": secret}}},
    }


@pytest.fixture
def refuse(ecr: FakeEcr, function_settings: Settings) -> Callable[[Any], str]:
    """Return a function that sends an event that is refused, and returns all that the caller is told."""
    handler = create_handler(ecr, function_settings)

    def refused(event: Any) -> str:
        try:
            answer = handler(event, Context())
        except ResolverError as error:
            return str(error)
        assert answer["statusCode"] == 400
        return str(answer["body"])

    return refused


@pytest.mark.parametrize("way", ways_to_send(""))
def test_neither_answer_nor_log_quotes_a_value_or_a_name_that_may_be_a_secret(
    refuse: Callable[[Any], str], output: Output, way: str
) -> None:
    for secret in SECRETS:
        written = refuse(ways_to_send(secret)[way]) + output.text()
        for form in (secret, json.dumps(secret)[1:-1], secret[-8:]):
            assert form not in written
