"""Requests, answers, waits and caches have the bounds that docs/reliability.md names."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from layer_resolver import (
    blobs,
    calls,
    download_urls,
    ecr,
    errors,
    function_url,
    http_api,
    models,
    observability,
    pull_events,
    resolver,
)
from layer_resolver.models import INDEX_MEDIA_TYPES
from layer_resolver.settings import Settings
from tests.unit.fakes import OCI_MANIFEST, Answer, FakeEcr, Output, Send, digest

RELIABILITY = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text()
KB, MB = 1024, 1024 * 1024


@pytest.fixture
def function_settings() -> Settings:
    return Settings(image_pull=True)


def post(send: Send, body: str, content_type: str | None, **more: Any) -> Answer:
    query = {"repositoryName": "team/app"} if content_type else None
    return send("POST", "/download-urls", query, body=body, content_type=content_type, **more)


@pytest.mark.parametrize(
    ("words", "actual", "documented"),
    [
        ("connects within 2 s, waits 4 s", (ecr.CONNECT_SECONDS, ecr.READ_SECONDS), (2, 4)),
        ("3 s for S3", (blobs.CONNECT_SECONDS, blobs.READ_SECONDS), (2, 3)),
        ("at most 3 attempts", (ecr.ATTEMPTS, blobs.ATTEMPTS), (3, 3)),
        ("with less than 50 ms left", calls.LEAST_SECONDS, 0.05),
        ("Calls share 32 threads", calls.THREADS, 32),
        ("kept for 60 s at most", calls.CONNECTION_SECONDS, 60),
        ("waits 0.5 s for its pull event", pull_events.PUT_SECONDS, 0.5),
        ("An answer has less than 6 MB", function_url.LARGEST_ANSWER_BYTES, 6 * MB - 64 * KB),
        ("16 KB of digests", observability.LOGGED_DIGEST_BYTES, 16 * KB),
        ("A request has at most 1 MB", function_url.LARGEST_BODY_BYTES, MB),
        ("a manifest 4 MB", http_api.LARGEST_MANIFEST, 4 * MB),
        ("a document 100,000 JSON values", models.MOST_JSON_VALUES, 100_000),
        ("a path 8 KB", function_url.LONGEST_PATH, 8 * KB),
        ("image configs to 4 MB", blobs.LARGEST_CONFIG, 4 * MB),
        ("8 MB of configs", blobs.CACHED_CONFIG_BYTES, 8 * MB),
        ("2,000 URLs", resolver.CACHED_URLS, 2000),
        ("HTTPS, has at most 16 KB", download_urls.LONGEST_URL, 16 * KB),
        ("at most 30 minutes", download_urls.LONGEST_REUSE_SECONDS, 1800),
        ("500 layers", models.MAXIMUM_LAYERS, 500),
        ("ten entries of any list", errors.LISTED_ENTRIES, 10),
    ],
)
def test_a_bound_is_as_the_document_says(words: str, actual: object, documented: object) -> None:
    assert words in RELIABILITY
    assert actual == documented


@pytest.mark.parametrize("is_base64_encoded", [False, True])
@pytest.mark.parametrize(("content_type", "longest"), [(None, MB), (OCI_MANIFEST, 4 * MB)])
def test_a_body_is_refused_when_it_is_too_large_and_not_before(
    send: Send, content_type: str | None, longest: int, is_base64_encoded: bool
) -> None:
    for size, status in ((longest, 400), (longest + 1, 413)):
        body = " " * (size - 2) + "{}"
        if is_base64_encoded:
            body = base64.b64encode(body.encode()).decode()
        answer = post(send, body, content_type, is_base64_encoded=is_base64_encoded)
        assert answer.status == status


@pytest.mark.parametrize("content_type", [None, OCI_MANIFEST])
@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("[" * 50_000, ""),
        ('{"a":' * 50_000, ""),
        (f'{{"a": {"9" * 10_000}}}', ""),
        ('{"a": "\\ud800"}', ""),
        ('{"a": NaN}', ""),
        ("\ufeff{}", ""),
        (f'{{"manifests":[{"{}," * 80_000}{{}}]}}', "The document has more than 100000 values."),
        (f'{{"a":{{"b":[{"0," * 120_000}0]}}}}', "The document has more than 100000 values."),
        (f'{{"urls":"{"," * 100_001}"}}', "The document has more than 100000 values."),
        ('{"a":' * 100_001, "The document has more than 100000 values."),
        ("[" * 100_001, "The document has more than 100000 values."),
    ],
    ids=lambda value: value[:12],
)
def test_what_no_json_document_should_have_is_the_callers_fault(
    send: Send, content_type: str | None, body: str, problem: str
) -> None:
    answer = post(send, body, content_type)
    assert answer.status == 400
    assert problem in answer.json["detail"]


def test_of_very_many_mistakes_none_is_described(send: Send) -> None:
    answer = post(send, f'{{"manifests":[{"{}," * 400}{{}}]}}', INDEX_MEDIA_TYPES[0])
    assert (answer.status, answer.json["detail"]) == (400, "The document is wrong in 1203 places.")


def test_a_field_that_is_there_twice_is_refused(send: Send, ecr: FakeEcr) -> None:
    body = f'{{"repositoryName": "team/app", "layerDigest": "{digest(1)}", "layerDigest": "{digest(2)}"}}'
    answer = send("POST", "/download-url", body=body)
    assert (answer.status, answer.json["detail"]) == (400, "The request has a field twice. Send each once.")
    assert not ecr.calls


@pytest.mark.parametrize("body", ["ü", "YQ==\n", "YQ=", "\ud800", "\x00", base64.b64encode(b"\xff").decode()])
def test_base64_that_is_none_is_the_callers_fault(send: Send, body: str) -> None:
    assert send("POST", "/download-url", body=body, is_base64_encoded=True).status == 400


@pytest.mark.parametrize(("length", "code"), [(8 * KB, "InvalidParameterException"), (8 * KB + 1, "RouteNotFound")])
def test_a_path_of_8_kb_is_the_longest_that_is_read(send: Send, length: int, code: str) -> None:
    before, after = "/v2/", "/tags/list"
    answer = send("GET", f"{before}{'a' * (length - len(before) - len(after))}{after}")
    assert answer.json["errors"][0]["detail"]["code"] == code


def index_with(*entries: dict[str, Any]) -> str:
    described = [{"mediaType": OCI_MANIFEST, "digest": digest(), "size": 1, **entry} for entry in entries]
    return json.dumps({"schemaVersion": 2, "manifests": described})


@pytest.mark.parametrize(
    "entry",
    [
        {"platform": {"os": "linux", "architecture": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY=="}},
        {"platform": {"os": "Bearer K7MDENG", "architecture": "arm64"}},
        {"platform": {"os": "linux", "architecture": "arm64", "variant": "X-Amz-Signature=K7MDENG"}},
        {"mediaType": "K7MDENG"},
        {"mediaType": "https://b.s3.amazonaws.com/?X-Amz-Signature=K7MDENG"},
    ],
    ids=str,
)
def test_an_error_quotes_nothing_of_an_index_that_is_not_of_its_form(
    send: Send, ecr: FakeEcr, output: Output, entry: dict[str, Any]
) -> None:
    posted = post(send, index_with(entry), INDEX_MEDIA_TYPES[0])
    ecr.images = {"multi": (index_with(entry).encode(), INDEX_MEDIA_TYPES[0])}
    query = {"repositoryName": "team/app", "imageTag": "multi", "platform": "linux/386"}
    stored = send("GET", "/images/config", query)
    assert (posted.status, stored.status >= 400) == (400, True)
    assert "K7MDENG" not in posted.text + stored.text + output.text()


@pytest.mark.parametrize(
    "entry",
    [
        {"platform": {"os": "x" * 5000, "architecture": "arm64"}},
        {"platform": {"os": "linux", "architecture": "\n\r" * 100}},
        {"mediaType": "m" * 5000},
    ],
    ids=["os", "architecture", "media type"],
)
def test_an_error_quotes_little_of_an_index(send: Send, entry: dict[str, Any]) -> None:
    answer = post(send, index_with(*[entry] * 300), INDEX_MEDIA_TYPES[0])
    assert answer.status == 400
    assert len(answer.text) <= 16 * KB
    assert len(answer.json["manifests"]) == 10
    assert "and 290 more" in answer.json["detail"]


def test_an_answer_of_just_what_lambda_takes_is_given(send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    length = len(json.dumps(send("GET", "/openapi.json").text))
    for most, status in ((length, 200), (length - 1, 413)):
        monkeypatch.setattr("layer_resolver.function_url.LARGEST_ANSWER_BYTES", most)
        assert send("GET", "/openapi.json").status == status


def test_what_takes_six_characters_on_the_way_counts_as_six(send: Send, ecr: FakeEcr) -> None:
    for count, status in ((1_000_000, 200), (1_100_000, 413)):
        content = json.dumps({"schemaVersion": 2, "annotations": {"a": "ü" * count}}, ensure_ascii=False).encode()
        ecr.images = {"1.0": (content, OCI_MANIFEST)}
        assert send("GET", "/v2/team/app/manifests/1.0").status == status
