"""Who a request is from, and that nobody can pass for somebody else unnoticed."""

from typing import Any

import pytest

from layer_resolver.handler import create_handler
from layer_resolver.settings import Settings
from tests.unit.fakes import Context, FakeEcr, Output, digest, download_url, function_url_event

EDGE = "arn:aws:cloudfront::123456789012:distribution/E2C44L7OVKRQ6N"
EVERY_EDGE = "arn:aws:cloudfront::123456789012:distribution/*"
USER = "arn:aws:iam::123456789012:user/builder"
CLOUDFRONT = "arn:aws:sts::856369053181:assumed-role/OriginAccessControlRole/"
SESSION = f"{CLOUDFRONT}OriginAccessSession"
TOKEN_HEADER, ADDRESS_HEADER = "x-ecr-layers-token", "cloudfront-viewer-address"
DISTRIBUTION_HEADER = "x-amz-source-arn"
HOST_HEADER = "x-ecr-layers-host"
AT_THE_EDGE = {TOKEN_HEADER: "ci", ADDRESS_HEADER: "198.51.100.9:46532", DISTRIBUTION_HEADER: EDGE}


def event_of(arn: object, headers: dict[str, str]) -> dict[str, Any]:
    """Return a request that was signed by `arn`, unless that is None."""
    event = function_url_event("GET", "/healthz", headers=headers)
    if arn is not None:
        event["requestContext"]["authorizer"] = {"iam": {"userArn": arn, "accountId": "123456789012"}}
    return event


def caller_in_log(
    output: Output, arn: object, headers: dict[str, str], edge: str | None = EDGE
) -> tuple[Any, Any, Any]:
    """Return the kind of caller, the caller and the address that the log line of a request has."""
    handler = create_handler(FakeEcr(), Settings(edge_distribution_arn=edge))
    assert handler(event_of(arn, headers), Context())["statusCode"] == 200
    log = output.log()
    return log["callerKind"], log.get("caller"), log.get("sourceIp")


@pytest.mark.parametrize(
    ("session", "edge"),
    [("OriginAccessSession", EDGE), ("EdgeCredentialsProxy+EdgeHostAuthenticationClient-NRT12-P2", EVERY_EDGE)],
)
def test_a_token_counts_if_cloudfront_signed_for_the_operators_distribution(
    output: Output, session: str, edge: str
) -> None:
    assert caller_in_log(output, CLOUDFRONT + session, AT_THE_EDGE, edge) == ("token", "ci", "198.51.100.9")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("2406:2d40:728d:fa10::c4a:42838", "2406:2d40:728d:fa10::c4a"),
        ("[2001:db8::7]:46532", "2001:db8::7"),
        (f"{'f' * 45}:1", "f" * 45),
        (f"{'f' * 46}:1", None),
        ("f:1", None),
        ("nonsense\n:1", None),
        ("", None),
    ],
)
def test_the_clients_address_is_the_one_that_cloudfront_saw_without_its_port(
    output: Output, address: str, expected: str | None
) -> None:
    headers = AT_THE_EDGE | {ADDRESS_HEADER: address}
    assert caller_in_log(output, SESSION, headers) == ("token", "ci", expected)


@pytest.mark.parametrize("token", ["", "ci\n", "-ci", "x" * 129, "arn:aws:iam::123456789012:root"])
def test_a_malformed_name_of_a_token_is_not_logged(output: Output, token: str) -> None:
    headers = AT_THE_EDGE | {TOKEN_HEADER: token}
    assert caller_in_log(output, SESSION, headers) == ("public", None, "198.51.100.9")


@pytest.mark.parametrize(
    "arn",
    [
        USER,
        # A role of that name in an account of one's own.
        "arn:aws:sts::123456789012:assumed-role/OriginAccessControlRole/OriginAccessSession",
        # Another role, and a user, in AWS's account.
        "arn:aws:sts::856369053181:assumed-role/OriginAccessControlRole2/OriginAccessSession",
        "arn:aws:iam::856369053181:user/OriginAccessControlRole/OriginAccessSession",
        # The account of that number in another partition.
        "arn:aws-cn:sts::856369053181:assumed-role/OriginAccessControlRole/OriginAccessSession",
        f"arn:aws:iam::123456789012:user/{CLOUDFRONT}x",
        USER.ljust(304, "b"),
    ],
)
def test_an_iam_caller_who_sends_the_edges_headers_is_still_who_it_is(output: Output, arn: str) -> None:
    headers = {name.title(): value for name, value in AT_THE_EDGE.items()}
    assert caller_in_log(output, arn, headers) == ("iam", arn, "203.0.113.7")


@pytest.mark.parametrize(
    ("edge", "distribution"),
    [
        (None, EDGE),
        (EDGE, f"{EDGE}X"),
        (EDGE, ""),
        (EVERY_EDGE, "arn:aws:cloudfront::210987654321:distribution/E2C44L7OVKRQ6N"),
        (EVERY_EDGE, "arn:aws:cloudfront::123456789012:distributions/E2C44L7OVKRQ6N"),
        (EVERY_EDGE, ""),
    ],
)
def test_a_distribution_of_somebody_else_vouches_for_nobody(
    output: Output, edge: str | None, distribution: str
) -> None:
    headers = AT_THE_EDGE | {DISTRIBUTION_HEADER: distribution}
    assert caller_in_log(output, SESSION, headers, edge) == ("iam", SESSION, "203.0.113.7")


@pytest.mark.parametrize("arn", [None, "a\nb", "", f"{CLOUDFRONT}\n", USER.ljust(305, "b")])
def test_a_request_that_nobody_signed_or_with_too_long_an_arn_has_no_token(output: Output, arn: str | None) -> None:
    assert caller_in_log(output, arn, AT_THE_EDGE) == ("public", None, "203.0.113.7")


def test_a_malformed_address_is_not_logged(output: Output) -> None:
    event = event_of(None, {})
    event["requestContext"]["http"]["sourceIp"] = "not an address"
    create_handler(FakeEcr(), Settings())(event, Context())
    assert "sourceIp" not in output.log()


@pytest.mark.parametrize("context", [{}, {"http": {"method": "GET"}, "authorizer": {"iam": {"userArn": 5}}}])
def test_a_malformed_request_is_nobodys(output: Output, context: dict[str, Any]) -> None:
    create_handler(FakeEcr(), Settings())({"rawPath": "/", "requestContext": context}, Context())
    log = output.log()
    assert (log["callerKind"], log["error"]["code"]) == ("public", "UnsupportedEvent")
    assert not {"caller", "sourceIp"} & log.keys()


BUCKET = "https://prod-us-east-1-starport-layer-bucket.s3.us-east-1.amazonaws.com"


class TestLayersThroughTheEdge:
    """With `edgeLayers`, a caller through the edge gets URLs by way of the host that it asked."""

    def location(self, headers: dict[str, str], arn: str = SESSION, origin: str | None = BUCKET) -> str:
        event = event_of(arn, headers)
        event["rawPath"] = f"/v2/team/app/blobs/{digest()}"
        settings = Settings(edge_distribution_arn=EDGE, edge_layers_origin=origin)
        return str(create_handler(FakeEcr(), settings)(event, Context())["headers"]["Location"])

    @pytest.mark.parametrize("host", ["registry.example.com", "127.0.0.1:9000"])
    def test_path_and_query_stay_as_they_were_signed(self, host: str) -> None:
        headers = AT_THE_EDGE | {HOST_HEADER: host}
        assert self.location(headers) == f"https://{host}/layers{download_url(digest()).removeprefix(BUCKET)}"

    @pytest.mark.parametrize(
        ("host", "arn", "origin"),
        [
            ("registry.example.com", USER, BUCKET),
            ("registry.example.com", SESSION, None),
            ("", SESSION, BUCKET),
            ("evil.example.com/", SESSION, BUCKET),
            ("user@evil.example.com", SESSION, BUCKET),
            ("a\r\nb", SESSION, BUCKET),
        ],
    )
    def test_others_and_all_without_the_setting_get_the_urls_of_s3(
        self, host: str, arn: str, origin: str | None
    ) -> None:
        assert self.location(AT_THE_EDGE | {HOST_HEADER: host}, arn, origin) == download_url(digest())

    def test_a_url_of_another_host_stays_and_is_logged(self, output: Output) -> None:
        headers = AT_THE_EDGE | {HOST_HEADER: "registry.example.com"}
        assert self.location(headers, origin=f"{BUCKET}.cn") == download_url(digest())
        assert output.log()["layersBypassEdge"] is True


class TestDirectInvocation:
    """Whoever may call `lambda:InvokeFunction` can send any event, but can't foresee the invocation's id."""

    @pytest.mark.parametrize("is_lambdas", [False, True])
    def test_only_a_request_that_has_the_invocations_id_is_logged_as_verified(
        self, output: Output, is_lambdas: bool
    ) -> None:
        event = event_of(SESSION, AT_THE_EDGE | {TOKEN_HEADER: "victim-token"})
        if is_lambdas:
            event["requestContext"]["requestId"] = Context().aws_request_id
        create_handler(FakeEcr(), Settings(edge_distribution_arn=EDGE))(event, Context())
        log = output.log()
        assert (log["callerKind"], log["caller"], log["callerVerified"]) == ("token", "victim-token", is_lambdas)

    def test_a_request_by_itself_is_a_direct_one_of_nobody_known(self, output: Output) -> None:
        create_handler(FakeEcr(), Settings())({"repositoryName": "team/app", "layerDigest": digest()}, Context())
        log = output.log()
        assert (log["trigger"], log["callerKind"]) == ("direct", "direct")
        assert not {"caller", "sourceIp", "callerVerified"} & log.keys()
