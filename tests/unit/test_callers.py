"""Who a request is from, and that nobody can pass for somebody else."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layer_resolver.callers import caller_of
from layer_resolver.handler import create_handler
from layer_resolver.settings import Settings
from tests.unit.fakes import Context, FakeEcr, function_url_event

EDGE = "arn:aws:cloudfront::123456789012:distribution/E2C44L7OVKRQ6N"
EVERY_EDGE = "arn:aws:cloudfront::123456789012:distribution/*"
USER = "arn:aws:iam::123456789012:user/builder"
CLOUDFRONT = "arn:aws:sts::856369053181:assumed-role/OriginAccessControlRole/"
TOKEN_HEADER, ADDRESS_HEADER = "x-ecr-layers-token", "cloudfront-viewer-address"
DISTRIBUTION_HEADER = "x-amz-source-arn"
AT_THE_EDGE = {TOKEN_HEADER: "ci", ADDRESS_HEADER: "198.51.100.9:46532", DISTRIBUTION_HEADER: EDGE}


def logged(
    capsys: pytest.CaptureFixture[str], arn: object, headers: dict[str, str], edge: str | None = EDGE
) -> tuple[Any, Any, Any]:
    """Return the kind of caller, the caller and the address that the log line of a request has."""
    event = function_url_event("GET", "/healthz", headers=headers)
    if arn is not None:
        event["requestContext"]["authorizer"] = {"iam": {"userArn": arn, "accountId": "123456789012"}}
    handler = create_handler(FakeEcr, Settings(edge_distribution_arn=edge))
    capsys.readouterr()
    assert handler(event, Context())["statusCode"] == 200
    (log,) = [line for line in map(json.loads, capsys.readouterr().out.splitlines()) if "_aws" not in line]
    return log["callerKind"], log.get("caller"), log.get("sourceIp")


@pytest.mark.parametrize(
    "session", ["OriginAccessSession", "EdgeCredentialsProxy+EdgeHostAuthenticationClient-NRT12-P2"]
)
@pytest.mark.parametrize("edge", [EDGE, EVERY_EDGE])
def test_a_token_is_believed_if_cloudfront_has_signed_for_the_operators_distribution(
    capsys: pytest.CaptureFixture[str], session: str, edge: str
) -> None:
    assert logged(capsys, CLOUDFRONT + session, AT_THE_EDGE, edge) == ("token", "ci", "198.51.100.9")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("203.0.113.7:1", "203.0.113.7"),
        ("2406:2d40:728d:fa10::c4a:42838", "2406:2d40:728d:fa10::c4a"),
        ("[2001:db8::7]:46532", "2001:db8::7"),
        (f"{'f' * 45}:1", "f" * 45),
        (f"{'f' * 46}:1", None),
        ("f:1", None),
        ("203.0.113.7", None),
        ("nonsense\n:1", None),
        ("", None),
    ],
)
def test_the_clients_address_is_that_which_cloudfront_saw_without_its_port(
    capsys: pytest.CaptureFixture[str], address: str, expected: str | None
) -> None:
    headers = AT_THE_EDGE | {ADDRESS_HEADER: address}
    assert logged(capsys, f"{CLOUDFRONT}OriginAccessSession", headers) == ("token", "ci", expected)


@pytest.mark.parametrize("token", ["a", "0._@+-Z", "x" * 128])
def test_the_name_of_a_token_is_logged(capsys: pytest.CaptureFixture[str], token: str) -> None:
    headers = AT_THE_EDGE | {TOKEN_HEADER: token}
    assert logged(capsys, f"{CLOUDFRONT}OriginAccessSession", headers) == ("token", token, "198.51.100.9")


@pytest.mark.parametrize(("length", "kind"), [(304, "iam"), (305, "public")])
def test_an_arn_has_300_characters_behind_its_first_part(
    capsys: pytest.CaptureFixture[str], length: int, kind: str
) -> None:
    assert logged(capsys, USER + "b" * (length - len(USER)), {})[0] == kind


@pytest.mark.parametrize("token", ["", " ", "a b", 'ci"', "ci\n", "-ci", "x" * 129, "arn:aws:iam::123456789012:root"])
def test_what_is_no_name_of_a_token_is_none(capsys: pytest.CaptureFixture[str], token: str) -> None:
    headers = AT_THE_EDGE | {TOKEN_HEADER: token}
    kind, name, address = logged(capsys, f"{CLOUDFRONT}OriginAccessSession", headers)
    assert (kind, name, address) == ("public", None, "198.51.100.9")


@pytest.mark.parametrize(
    "arn",
    [
        USER,
        "arn:aws:sts::123456789012:assumed-role/builds/job-7",
        # A role of that name in an account of one's own.
        "arn:aws:sts::123456789012:assumed-role/OriginAccessControlRole/OriginAccessSession",
        "arn:aws:sts::210987654321:assumed-role/OriginAccessControlRole/OriginAccessSession",
        # Another role in that account.
        "arn:aws:sts::856369053181:assumed-role/OriginAccessControlRole2/OriginAccessSession",
        "arn:aws:iam::856369053181:user/OriginAccessControlRole/OriginAccessSession",
        # Another partition's account of that number.
        "arn:aws-cn:sts::856369053181:assumed-role/OriginAccessControlRole/OriginAccessSession",
        f"arn:aws:iam::123456789012:user/{CLOUDFRONT}x",
    ],
)
def test_an_iam_caller_who_sends_the_edges_headers_is_still_who_it_is(
    capsys: pytest.CaptureFixture[str], arn: str
) -> None:
    assert logged(capsys, arn, AT_THE_EDGE) == ("iam", arn, "203.0.113.7")
    assert logged(capsys, arn, {name.title(): value for name, value in AT_THE_EDGE.items()})[0] == "iam"


@pytest.mark.parametrize(
    ("edge", "distribution"),
    [
        (None, EDGE),
        (EDGE, f"{EDGE}X"),
        (EDGE, "arn:aws:cloudfront::210987654321:distribution/E2C44L7OVKRQ6N"),
        (EDGE, ""),
        (EVERY_EDGE, "arn:aws:cloudfront::210987654321:distribution/E2C44L7OVKRQ6N"),
        (EVERY_EDGE, "arn:aws:cloudfront::123456789012:distributions/E2C44L7OVKRQ6N"),
        (EVERY_EDGE, ""),
    ],
)
def test_a_distribution_that_is_not_the_operators_vouches_for_nobody(
    capsys: pytest.CaptureFixture[str], edge: str | None, distribution: str
) -> None:
    cloudfront = f"{CLOUDFRONT}OriginAccessSession"
    headers = AT_THE_EDGE | {DISTRIBUTION_HEADER: distribution}
    assert logged(capsys, cloudfront, headers, edge) == ("iam", cloudfront, "203.0.113.7")


ARNS = st.one_of(
    st.text(max_size=200),
    st.from_regex(
        r"arn:aws[a-z-]{0,7}:(sts|iam)::[0-9]{12}:(assumed-role|role|user)/OriginAccessControlRole[A-Za-z/]{0,30}",
        fullmatch=True,
    ),
    st.text(max_size=20).map(lambda text: text + CLOUDFRONT),
)


@given(
    arn=ARNS,
    headers=st.fixed_dictionaries({name: st.sampled_from([value, "x"]) for name, value in AT_THE_EDGE.items()}),
    edge=st.sampled_from([None, EDGE, EVERY_EDGE]),
)
def test_whoever_is_not_cloudfront_is_never_taken_for_a_token(
    arn: str, headers: dict[str, str], edge: str | None
) -> None:
    context = {"authorizer": {"iam": {"userArn": arn}}, "http": {"sourceIp": "203.0.113.7"}}
    caller = caller_of(context, lambda name: headers.get(name, ""), edge)
    if not arn.startswith(CLOUDFRONT):
        assert (caller.kind, caller.source_ip) in {("iam", "203.0.113.7"), ("public", "203.0.113.7")}
        assert caller.name in {arn, None}


@pytest.mark.parametrize("edge", [None, EDGE])
def test_a_request_that_nobody_signed_has_no_token(capsys: pytest.CaptureFixture[str], edge: str | None) -> None:
    for arn in (None, 5, "a\nb", "", f"{CLOUDFRONT}\n"):
        assert logged(capsys, arn, AT_THE_EDGE, edge) == ("public", None, "203.0.113.7")


def test_a_request_that_can_not_be_read_is_nobodys(capsys: pytest.CaptureFixture[str]) -> None:
    handler = create_handler(FakeEcr, Settings(edge_distribution_arn=EDGE))
    capsys.readouterr()
    handler({"rawPath": "/", "requestContext": {}}, Context())
    (log,) = [line for line in map(json.loads, capsys.readouterr().out.splitlines()) if "_aws" not in line]
    assert (log["callerKind"], log["error"]["code"]) == ("public", "UnsupportedEvent")
    assert "caller" not in log
