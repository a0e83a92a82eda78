"""Whatever spelling a secret has, redaction takes it out of foreign text."""

import base64
import html
import json
import time
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layer_resolver.redaction import LONGEST_TEXT, redact

SIGNATURE = "5f0c2a1b9d3e4f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8"
TOKEN = "IQoJb3JpZ2luX2VjEJr//////////wEaCXVzLWVhc3QtMSJHMEUCIQ=="
ACCESS_KEY = "ASIAIOSFODNN7EXAMPLE"
QUERY = (
    f"X-Amz-Date=20261123T100000Z&X-Amz-Credential={ACCESS_KEY}%2F20261123%2Fus-east-1%2Fs3%2Faws4_request"
    f"&X-Amz-Security-Token={quote(TOKEN, safe='')}&X-Amz-Signature={SIGNATURE}"
)
URL = f"https://bucket.s3.us-east-1.amazonaws.com/key?{QUERY}"
SECRETS = (SIGNATURE, SIGNATURE[:20], TOKEN, TOKEN[:16], quote(TOKEN, safe=""), ACCESS_KEY)


def escaped_json(text: str) -> str:
    return "".join(f"\\u{ord(each):04x}" if each in "=&/:?" else each for each in text)


ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "upper case": str.upper,
    "lower case": str.lower,
    "JSON": json.dumps,
    "JSON in JSON": lambda text: json.dumps({"inner": json.dumps({"url": text})}),
    "JSON with escapes": escaped_json,
    "Python": repr,
    "percent": lambda text: quote(text, safe=""),
    "percent twice": lambda text: quote(quote(text, safe=""), safe=""),
    "percent three times": lambda text: quote(quote(quote(text, safe=""), safe=""), safe=""),
    "HTML": html.escape,
    "HTML numbers": lambda text: "".join(f"&#{ord(each)};" if not each.isalnum() else each for each in text),
    "HTML in hexadecimal": lambda text: "".join(f"&#x{ord(each):x};" for each in text),
    "hexadecimal": lambda text: "".join(f"\\x{ord(each):02x}" for each in text),
    "hexadecimal signs": lambda text: "".join(f"\\x{ord(each):02x}" if each in "=&/:?" else each for each in text),
    "percent of each": lambda text: "".join(f"%{ord(each):02x}" for each in text),
    "percent and u": lambda text: text.replace("=", "%u003d").replace("&", "%u0026"),
    "quoted-printable": lambda text: text.replace("=", "=3D"),
    "bytes": lambda text: repr(text.encode()),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "UTF-16": "\0".join,
    "zero-width spaces": lambda text: text.replace("=", "\u200b=\u200b").replace("-", "-\u200b"),
    "HTML in percent": lambda text: quote(html.escape(text), safe=""),
}
TEXTS = {
    "URL": URL,
    "query": QUERY,
    "URL in a sentence": f"Could not connect to the endpoint URL: '{URL}' after 3 tries",
    "CloudFront": f"https://d1.cloudfront.net/key?Expires=1&Signature={SIGNATURE}&Key-Pair-Id={ACCESS_KEY}",
    "spaces": f"X-Amz-Signature = {SIGNATURE} X-Amz-Security-Token : {TOKEN}",
    "XML": f"<Signature>{SIGNATURE}</Signature><SessionToken>{TOKEN}</SessionToken>",
    "header": f"Authorization: AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20261123/us, Signature={SIGNATURE}",
    "bearer": f"authorization: Bearer {TOKEN}",
    "basic": f"sent Basic {TOKEN}",
    "alone": f"{SIGNATURE} {TOKEN} {ACCESS_KEY}",
    "fragment": f"https://example.com/key#{SIGNATURE}",
    "path": f"https://example.com/{SIGNATURE}/{TOKEN}",
    "user": f"https://user:{TOKEN}@example.com/",
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("text", TEXTS)
def test_no_secret_is_left_in_any_spelling(text: str, encoding: str) -> None:
    encoded = ENCODINGS[encoding](TEXTS[text])
    redacted = redact(encoded).lower()
    for secret in SECRETS:
        assert ENCODINGS[encoding](secret).strip("\"'").lower() not in redacted
        assert secret.lower() not in redacted


@pytest.mark.parametrize(
    "text",
    [
        "X-Amz-Signature=short",
        '{"X-Amz-Security-Token": "short"}',
        "x-amz-credential%253Dshort",
        "X-Amz-Signature\\u003dshort",
        "token%3Dshort",
        "token%253Dshort",
        "bearer%25252520short",
        "token\\u003dshort",
        "token&#61;short",
        "basic%20short",
        "basic%2520short",
        "password=short",
        "aws_secret_access_key = short",
        "<x-amz-signature>short<",
        "token: short",
        "Authorization: Basic short",
        "x-amz-server-side-encryption-customer-key: short",
        "x-api-key: short",
        "aws_session_token:\n  short",
        "{b'X-Amz-Security-Token': b'short'}",
        '<a signature="short"/>',
        "Bearer short",
    ],
)
def test_what_is_called_a_secret_is_one_however_short(text: str) -> None:
    assert "short" not in redact(text)


@pytest.mark.parametrize("invisible", ["\0", "\u00ad", "\u200b", "\u200c", "\u200d", "\u2060", "\ufeff"])
def test_characters_that_show_as_nothing_hide_no_secret(invisible: str) -> None:
    assert "short" not in redact(f"pass{invisible}word=short")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "why? because",
        "An error occurred (ThrottlingException) when calling the GetDownloadUrlForLayer operation: Rate exceeded",
        f"There is no layer sha256:{'0a' * 32} in repository team/app-with-a-long-name/service",
        f"There is no layer sha512:{'0a' * 64} in repository team/app",
        'Could not connect to the endpoint URL: "https://api.ecr.us-east-1.amazonaws.com/"',
        "not authorized to perform ecr:BatchGetImage on arn:aws:ecr:us-east-1:123456789012:repository/team/app",
        "request 9e5d8b70-0000-4000-8000-000000000000",
    ],
)
def test_what_helps_is_kept(text: str) -> None:
    assert redact(text) == text


def test_the_address_before_the_query_is_kept() -> None:
    assert redact(f"see {URL} now") == "see https://bucket.s3.us-east-1.amazonaws.com/key?REDACTED now"


def test_a_long_text_is_cut() -> None:
    assert len(redact("a word " * 10_000)) <= LONGEST_TEXT


def test_what_stands_behind_the_longest_text_is_not_even_decoded() -> None:
    assert redact("%61 " * 1024 + "later") == "a " * 1024


@given(st.text(), st.text(), st.sampled_from(sorted(ENCODINGS)))
def test_a_url_is_redacted_whatever_stands_around_it(before: str, after: str, encoding: str) -> None:
    redacted = redact(ENCODINGS[encoding](f"{before} {URL} {after}"))
    assert SIGNATURE not in redacted.lower()
    assert ACCESS_KEY.lower() not in redacted.lower()


@given(
    st.lists(
        st.sampled_from(
            [
                "http://",
                "a",
                "%25",
                "&amp;",
                "signature",
                "=",
                " ",
                ".",
                "-",
                "/",
                "x-amz-",
                "\\u003d",
                "basic ",
                "authorization ",
                "<",
                "'",
            ]
        ),
        max_size=40,
    )
)
def test_a_text_that_repeats_itself_takes_no_longer_than_its_length(parts: list[str]) -> None:
    text = ("".join(parts) or "a") * LONGEST_TEXT
    started = time.process_time()
    redact(text)
    # A pattern that goes back and forth takes minutes for 4 KB; a linear one milliseconds.
    assert time.process_time() - started < 1
