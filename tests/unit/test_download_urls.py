from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layer_resolver.download_urls import Hosts, PresignedUrl

NOW = 1_795_428_000.0


@pytest.mark.parametrize(
    ("partition", "url"),
    [
        ("aws", "https://prod-us-east-1-starport-layer-bucket.s3.us-east-1.amazonaws.com/a?X-Amz-Signature=0"),
        ("aws", "https://prod-us-east-1-starport-layer-bucket.s3.amazonaws.com/a"),
        ("aws", "https://bucket.s3.dualstack.eu-central-1.amazonaws.com/a"),
        ("aws", "https://bucket.s3-fips.us-east-1.amazonaws.com:443/a"),
        ("aws", "https://d5l0dvt14r5h8.cloudfront.net/a"),
        ("aws", "https://bucket.vpce-0a1b-x.s3.us-east-1.vpce.amazonaws.com/a"),
        ("aws", "https://my.bucket.vpce-0a1b-x-us-east-1a.s3.us-east-1.vpce.amazonaws.com/a"),
        ("aws-cn", "https://bucket.s3.cn-north-1.amazonaws.com.cn/a"),
        ("aws-eusc", "https://bucket.s3.eusc-de-east-1.amazonaws.eu/a"),
        ("aws-iso", "https://bucket.s3.us-iso-east-1.c2s.ic.gov/a"),
        ("aws-cn", "https://d5l0dvt14r5h8.cloudfront.cn/a"),
        ("a-new-partition", "https://bucket.s3.us-east-1.amazonaws.com/a"),
    ],
)
def test_a_url_of_s3_or_cloudfront_is_admitted(partition: str, url: str) -> None:
    assert Hosts(partition).admit(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "//bucket.s3.us-east-1.amazonaws.com/a",
        "http://bucket.s3.us-east-1.amazonaws.com/a",
        "https://evil.example.com/bucket.s3.us-east-1.amazonaws.com",
        "https://s3.us-east-1.amazonaws.com.example.com/a",
        "https://bucket.evils3.us-east-1.amazonaws.com/a",
        "https://s3.evilamazonaws.com/a",
        "https://cloudfront.net/a",
        "https://evil.s3.us-east-1.vpce.amazonaws.com/a",
        "https://ec2-203-0-113-7.compute-1.amazonaws.com/a",
        "https://bucket.s3.cn-north-1.amazonaws.com.cn/a",
        "https://evil.example.com\\.s3.us-east-1.amazonaws.com/a",
        "https://evil.example.com#.s3.us-east-1.amazonaws.com/a",
        "https://user@bucket.s3.us-east-1.amazonaws.com/a",
        "https://bucket.s3.us-east-1.amazonaws.com:port/a",
        "https://bucket.s3.us-east-1.amazonaws.com/a\r\nSet-Cookie: a=b",
        "https://bucket.s3.us-east-1.amazonaws.com/\ud800",
        " https://bucket.s3.us-east-1.amazonaws.com/a",
        "http://127.0.0.1/a",
    ],
)
def test_anything_else_is_not(url: str) -> None:
    assert not Hosts().admit(url)


@pytest.mark.parametrize(("length", "is_admitted"), [(253, True), (254, False)])
def test_a_host_is_as_long_as_names_can_be(length: int, is_admitted: bool) -> None:
    host = ".s3.us-east-1.amazonaws.com"
    assert Hosts().admit(f"https://{'b' * (length - len(host))}{host}/a") == is_admitted


@pytest.mark.parametrize(("length", "is_admitted"), [(16 * 1024, True), (16 * 1024 + 1, False)])
def test_a_url_has_16_kb_at_most(length: int, is_admitted: bool) -> None:
    address = "https://bucket.s3.us-east-1.amazonaws.com/"
    assert Hosts().admit(address + "a" * (length - len(address))) == is_admitted


@pytest.mark.parametrize(
    ("hosts", "admitted", "refused"),
    [
        (Hosts("aws-iso"), "https://b.s3.us-iso-east-1.c2s.ic.gov/a", "https://d5l0dvt14r5h8.cloudfront.net/a"),
        (
            Hosts(others=frozenset({"cache.example.com"})),
            "https://cache.example.com/a",
            "http://cache.example.com/a https://evil.cache.example.com/a",
        ),
        (
            Hosts(is_local=True),
            "http://localhost:9000/a http://127.0.0.1:9000/a http://[::1]:9000/a",
            "http://10.0.0.1/a http://example.com/a",
        ),
    ],
    ids=["without CloudFront", "the operator's", "local"],
)
def test_partition_operator_and_a_local_ecr_decide_which_hosts_are_admitted(
    hosts: Hosts, admitted: str, refused: str
) -> None:
    assert all(map(hosts.admit, admitted.split()))
    assert not any(map(hosts.admit, refused.split()))


@settings(max_examples=50)
@given(st.text())
def test_no_text_makes_it_raise(text: str) -> None:
    assert Hosts().admit(f"https://{text}.amazonaws.com/") in {True, False}
    assert PresignedUrl.of(f"https://b.s3.amazonaws.com/?X-Amz-Date={text}&X-Amz-Expires={text}", NOW).url


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("X-Amz-Date=20260101T000000Z&X-Amz-Expires=3600", "2026-01-01T01:00:00Z"),
        ("X-Amz-Expires=1&X-Amz-Date=20241231T235959Z", "2025-01-01T00:00:00Z"),
        ("X-Amz-Date=20260101T000000Z", None),
        ("X-Amz-Expires=3600", None),
        ("X-Amz-Date=yesterday&X-Amz-Expires=3600", None),
        ("X-Amz-Date=20260199T000000Z&X-Amz-Expires=3600", None),
        ("X-Amz-Date=20260101T000000Z&X-Amz-Expires=soon", None),
        ("X-Amz-Date=20260101T000000Z&X-Amz-Expires=99999999999999", None),
        ("X-Amz-Date=99991231T000000Z&X-Amz-Expires=999999999", None),
        ("Not-X-Amz-Date=20260101T000000Z&X-Amz-Expires=3600", None),
        ("", None),
    ],
)
def test_the_expiry_is_read_from_the_url(query: str, expected: str | None) -> None:
    address = f"https://bucket.s3.amazonaws.com/key?{query}"
    url = PresignedUrl.of(address, NOW)
    assert (url.url, url.expires_at) == (address, expected)
    if expected is None:
        # What does not say how long it lives is not used again.
        assert url.reusable_seconds == 0


@pytest.mark.parametrize(
    ("lifetime", "age", "seconds"),
    [
        (600, 0, 300.0),
        (600, 200, 100.0),
        (600, 300, 0.0),
        (600, 900, 0.0),
        (3600, 0, 1800.0),
        (600, -7200, 300.0),
        (315_360_000, 0, 1800.0),
    ],
)
def test_a_url_is_used_again_for_half_of_its_life_and_half_an_hour_at_most(
    lifetime: int, age: int, seconds: float
) -> None:
    signed_at = datetime.fromtimestamp(NOW - age, UTC).strftime("%Y%m%dT%H%M%SZ")
    url = PresignedUrl.of(f"https://b.s3.amazonaws.com/?X-Amz-Date={signed_at}&X-Amz-Expires={lifetime}", NOW)
    assert url.reusable_seconds == seconds
