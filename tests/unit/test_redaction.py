import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layer_resolver.redaction import redact

QUERY = "X-Amz-Date=20261123T100000Z&X-Amz-Credential=ASIA%2Fs3&X-Amz-Security-Token=to/ken==&X-Amz-Signature=abcdef"
URL = f"https://bucket.s3.us-east-1.amazonaws.com/key?{QUERY}"
SECRETS = ("X-Amz-Signature", "X-Amz-Security-Token", "X-Amz-Credential", "abcdef", "to/ken", "ASIA")


@pytest.mark.parametrize(
    "text",
    [
        URL,
        f"Could not connect to the endpoint URL: '{URL}'",
        f'GET "{URL}" failed',
        f"first {URL} second {URL}",
        URL.replace("https", "HTTPS"),
        json.dumps({"url": URL, "nested": json.dumps({"url": URL})}),
        repr({"url": URL}),
        "https%3A%2F%2Fbucket.s3.amazonaws.com%2Fkey%3FX-Amz-Signature%3Dabcdef%26X-Amz-Credential%3DASIA",
        QUERY,
        QUERY.replace("=", "%3D").replace("&", "%26"),
        QUERY.lower(),
        json.dumps({"X-Amz-Signature": "abcdef", "X-Amz-Security-Token": "to/ken=="}),
        repr({"X-Amz-Credential": "ASIA"}),
        "X-Amz-Signature: abcdef",
    ],
)
def test_no_part_of_a_signature_is_left(text: str) -> None:
    redacted = redact(text)
    for secret in SECRETS:
        assert secret.lower() not in redacted.lower()


def test_the_address_before_the_query_is_kept() -> None:
    assert redact(f"see {URL} now") == "see https://bucket.s3.us-east-1.amazonaws.com/key?REDACTED now"


def test_a_cloudfront_signature_is_redacted_with_the_rest_of_the_query() -> None:
    assert redact("https://d1.cloudfront.net/key?Expires=1&Signature=abc&Key-Pair-Id=K") == (
        "https://d1.cloudfront.net/key?REDACTED"
    )


def test_redacted_json_is_json_still() -> None:
    assert json.loads(redact(json.dumps({"message": f"asked {URL}", "status": 500}))) == {
        "message": "asked https://bucket.s3.us-east-1.amazonaws.com/key?REDACTED",
        "status": 500,
    }


@pytest.mark.parametrize("text", ["", "team/app sha256:00", "why? because", "https://example.com/a b?c=d"])
def test_text_without_secrets_is_unchanged(text: str) -> None:
    assert redact(text) == text


@given(st.text(), st.text())
def test_a_url_is_redacted_whatever_stands_around_it(before: str, after: str) -> None:
    redacted = redact(f"{before} {URL} {after}")
    assert QUERY not in redacted
    assert "abcdef" not in redacted.replace(before, "").replace(after, "")


@given(st.text())
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    assert redact(redact(text)) == redact(text)
