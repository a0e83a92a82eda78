"""Who gets a short token for an OIDC token, and who doesn't."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc.jwk import ECKey

from tests.exchange.conftest import HOST, Exchange
from tests.oidc_issuer import KEYS_PATH, Issuer, Key, new_key, running_issuer
from token_exchange.errors import ExchangeError
from token_exchange.oidc import OidcVerifier


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encoded_bytes(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def encoded(document: Any) -> str:
    return encoded_bytes(json.dumps(document).encode())


def unsigned(header: dict[str, Any], claims: dict[str, Any]) -> str:
    return f"{encoded(header)}.{encoded(claims)}."


def test_a_trusted_job_gets_a_short_token_signed_with_the_first_key(exchange: Exchange) -> None:
    before = int(time.time())
    status, body = exchange.ask(exchange.issuer.token(HOST), "service=x&scope=repository:team/app:pull,push")
    assert (status, body["expires_in"], body["access_token"]) == (200, 600, body["token"])
    payload, signature = body["token"].split(".")
    claims = json.loads(decoded(payload))
    key = json.loads(exchange.secret.value)["keys"][0]
    assert decoded(signature) == hmac.digest(decoded(key["key"]), payload.encode(), hashlib.sha256)
    assert before <= claims["iat"] <= time.time()
    assert claims["exp"] == claims["iat"] + 600
    assert {name: claims[name] for name in ("kid", "rule", "sub", "repositories")} == {
        "kid": key["id"],
        "rule": "ci",
        "sub": "oidc:repo:team/app:ref:refs/heads/main",
        "repositories": ["team/app"],
    }


def test_without_a_scope_the_token_is_for_all_that_the_rule_is_for_and_the_log_says_whom_but_no_token(
    exchange: Exchange,
) -> None:
    # A list with the host alone is an audience too.
    token = exchange.issuer.token([HOST])
    _, body = exchange.ask(token)
    assert json.loads(decoded(body["token"].partition(".")[0]))["repositories"] == ["team/*"]
    line = next(each for each in exchange.log() if each.get("outcome") == "answered")
    assert (line["callerRule"], line["caller"], line["sourceIp"]) == (
        "ci",
        "oidc:repo:team/app:ref:refs/heads/main",
        "203.0.113.7",
    )
    assert line["callerIds"]["repository_id"] == "5678"
    exchange.assert_silent(exchange.output.getvalue(), token)
    exchange.assert_silent(exchange.output.getvalue(), body["token"])


@pytest.mark.parametrize(
    "claims",
    [
        {"repository_owner_id": "4321"},
        # A fork's pull request.
        {"repository": "fork/app", "repository_id": "777", "repository_owner_id": "888"},
        {"repository_owner_id": 1234},
        {"repository_owner_id": ["1234"]},
        {"repository_id": {"5678": True}},
        {"repository_id": None},
        {"repository_owner_id": "12345"},
        {"repository_owner_id": "1234 "},
    ],
    ids=str,
)
def test_claims_that_the_rule_does_not_have_get_nothing(exchange: Exchange, claims: dict[str, Any]) -> None:
    assert exchange.refusal(exchange.issuer.token(HOST, **claims)) == (403, "NoMatchingRule")


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"aud": "other.example.com"}, "InvalidClaims"),
        ({"aud": f"https://{HOST}"}, "InvalidClaims"),
        ({"aud": [HOST, "other.example.com"]}, "InvalidClaims"),
        ({"aud": {HOST: 1}}, "InvalidClaims"),
        ({"aud": None}, "InvalidClaims"),
        ({"exp": int(time.time()) - 3600}, "TokenExpired"),
        ({"exp": None}, "InvalidClaims"),
        ({"nbf": int(time.time()) + 3600}, "InvalidClaims"),
        ({"iat": int(time.time()) + 3600}, "InvalidClaims"),
        ({"iat": None}, "InvalidClaims"),
        ({"sub": None}, "InvalidClaims"),
        ({"sub": 7}, "InvalidClaims"),
        ({"iss": "https://issuer.example.org"}, "UntrustedIssuer"),
        ({"iss": ["https://127.0.0.1"]}, "UntrustedIssuer"),
        ({"iss": 7}, "UntrustedIssuer"),
    ],
)
def test_a_token_that_is_not_valid_here_and_now_gets_nothing(
    exchange: Exchange, claims: dict[str, Any], reason: str
) -> None:
    assert exchange.refusal(exchange.issuer.token(HOST, **claims)) == (401, reason)


def test_no_untrusted_issuer_is_ever_asked_for_keys(
    exchange: Exchange, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with running_issuer(tmp_path_factory.mktemp("other"), new_key("first")) as other:
        assert exchange.refusal(other.token(HOST))[1] == "UntrustedIssuer"
        assert not other.requests


def test_a_token_of_the_right_issuer_signed_by_another_gets_nothing(exchange: Exchange) -> None:
    forged = exchange.issuer.token(HOST, key=new_key("first"))
    assert exchange.refusal(forged) == (401, "UnverifiedToken")


class TestAlgorithms:
    def claims(self, issuer: Issuer) -> dict[str, Any]:
        claims: dict[str, Any] = json.loads(decoded(issuer.token(HOST).split(".")[1]))
        return claims

    @pytest.mark.parametrize("name", ["none", "nOnE"])
    def test_an_unsigned_token_gets_nothing(self, exchange: Exchange, name: str) -> None:
        token = unsigned({"alg": name, "kid": "first"}, self.claims(exchange.issuer))
        assert exchange.refusal(token)[0] == 401
        assert exchange.refusal(f"{token}AAAA")[0] == 401

    def test_the_public_key_is_no_secret_of_an_hmac(self, exchange: Exchange) -> None:
        issuer = exchange.issuer
        public = issuer.keys[0]
        for secret in (public.as_pem(private=False), public.as_der(private=False)):
            signing_input = f"{encoded({'alg': 'HS256', 'kid': 'first'})}.{encoded(self.claims(issuer))}"
            signature = hmac.digest(secret, signing_input.encode(), hashlib.sha256)
            assert exchange.refusal(f"{signing_input}.{encoded_bytes(signature)}")[0] == 401

    def test_an_algorithm_that_does_not_fit_the_key_gets_nothing(self, exchange: Exchange) -> None:
        key = ECKey.generate_key("P-256", {"kid": "first"})
        assert exchange.refusal(exchange.issuer.token(HOST, key=key, header={"alg": "ES256"}))[0] == 401

    @pytest.mark.parametrize("algorithm", ["RS384", "PS256"])
    def test_others_of_the_same_kind_are_accepted(self, exchange: Exchange, algorithm: str) -> None:
        assert exchange.ask(exchange.issuer.token(HOST, header={"alg": algorithm}))[0] == 200


@pytest.mark.parametrize(
    "header",
    [
        {"kid": "../../first"},
        {"kid": "https://127.0.0.1/keys"},
        {"kid": "first\x00"},
        {"kid": 7},
        {"crit": ["x"], "x": 1},
    ],
    ids=str,
)
def test_an_odd_header_gets_nothing(exchange: Exchange, header: dict[str, Any]) -> None:
    issuer = exchange.issuer
    assert exchange.refusal(signed(issuer, issuer.keys[0], header))[0] == 401
    assert set(issuer.requests) <= {"/.well-known/openid-configuration", KEYS_PATH}
    assert exchange.ask(signed(issuer, issuer.keys[0], {}))[0] == 200


def test_keys_that_a_header_brings_or_names_are_ignored(
    exchange: Exchange, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stranger = new_key("first")
    with running_issuer(tmp_path_factory.mktemp("other"), stranger) as other:
        for header in (
            {"jku": f"{other.url}{KEYS_PATH}"},
            {"x5u": f"{other.url}{KEYS_PATH}"},
            {"jwk": stranger.as_dict(private=False)},
        ):
            signed_by_stranger = signed(exchange.issuer, stranger, header)
            assert exchange.refusal(signed_by_stranger)[0] == 401
        assert not other.requests


def signed(issuer: Issuer, key: Key, header: dict[str, Any]) -> str:
    """Return a token with any header, which joserfc would refuse to write."""
    first = encoded({"alg": "RS256", "kid": "first", **header})
    signing_input = f"{first}.{issuer.token(HOST).split('.')[1]}"
    private = load_pem_private_key(key.as_pem(private=True), None)
    assert isinstance(private, RSAPrivateKey)
    return f"{signing_input}.{encoded_bytes(private.sign(signing_input.encode(), PKCS1v15(), SHA256()))}"


def test_a_token_too_long_or_nested_too_deep_gets_nothing_and_its_issuer_is_not_asked(exchange: Exchange) -> None:
    assert exchange.refusal(exchange.issuer.token(HOST, more="x" * 100_000)) == (401, "TokenTooLong")
    assert not exchange.issuer.requests
    deep = base64.urlsafe_b64encode(b"[" * 5000).rstrip(b"=").decode()
    assert exchange.refusal(f"{encoded({'alg': 'RS256'})}.{deep}.AAAA") == (401, "MalformedToken")


@pytest.mark.parametrize("fault", ["hangs", "redirects", "huge", "fails", "nonsense"])
def test_an_issuer_that_gives_no_keys_is_said_to_be_unavailable(exchange: Exchange, fault: str) -> None:
    exchange.issuer.fault = fault
    assert exchange.refusal(exchange.issuer.token(HOST)) == (503, "IssuerUnavailable")
    assert "/elsewhere" not in exchange.issuer.requests


def test_a_new_key_of_the_issuer_is_asked_for_and_made_up_ones_not_each_time(exchange: Exchange) -> None:
    issuer = exchange.issuer
    assert exchange.ask(issuer.token(HOST))[0] == 200
    assert exchange.ask(issuer.token(HOST))[0] == 200
    assert issuer.requests.count(KEYS_PATH) == 1
    for number in range(10):
        assert exchange.refusal(issuer.token(HOST, header={"kid": f"made-up-{number}"}))[0] == 401
    # The keys were read a moment ago.
    assert issuer.requests.count(KEYS_PATH) == 1


def test_a_rotated_key_counts_as_soon_as_keys_are_asked_for_again(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer = exchange.issuer
    verifier = OidcVerifier([issuer.url], unknown_key_seconds=0.0)
    old = issuer.token(HOST)
    assert verifier.verify(old, issuer.url, HOST)["iss"] == issuer.url
    issuer.keys = [new_key("second")]
    new = issuer.token(HOST)
    assert verifier.verify(new, issuer.url, HOST)["iss"] == issuer.url
    with pytest.raises(ExchangeError):
        verifier.verify(old, issuer.url, HOST)


class TestSigningKeys:
    def test_without_a_key_the_operator_is_told_what_to_do(self, exchange: Exchange) -> None:
        exchange.secret.value = '{"keys": []}'
        status, body = exchange.ask(exchange.issuer.token(HOST))
        assert status == 503
        assert "ecr-layers token rotate-keys" in body["errors"][0]["message"]

    @pytest.mark.parametrize("value", ["{", "null", '{"keys": {}}', '{"keys": [{"id": "x", "key": "short"}]}', None])
    def test_a_key_that_can_not_be_read_gives_no_token(self, exchange: Exchange, value: str | None) -> None:
        exchange.secret.is_readable = value is not None
        exchange.secret.value = value or ""
        status, body = exchange.ask(exchange.issuer.token(HOST))
        assert (status, body["errors"][0]["detail"]["code"]) == (503, "SigningKeyUnavailable")


class TestTheRequest:
    @pytest.mark.parametrize(
        "headers",
        [
            {"x_ecr_layers_host": None},
            {"x_ecr_layers_host": "evil.example.com/x"},
            {"x_amz_source_arn": None},
            {"x_amz_source_arn": "arn:aws:cloudfront::999999999999:distribution/EOTHER"},
        ],
    )
    def test_what_did_not_come_through_the_edge_gets_nothing(self, exchange: Exchange, headers: dict[str, Any]) -> None:
        assert exchange.refusal(exchange.issuer.token(HOST), **headers) == (403, "NotThroughEdge")

    @pytest.mark.parametrize("authorization", [None, "", "Basic", "Basic !", "Bearer x.y.z", "Basic b2lkYzp4"])
    def test_without_an_oidc_token_there_is_none(self, exchange: Exchange, authorization: str | None) -> None:
        token = exchange.issuer.token(HOST)
        assert exchange.refusal(token, x_ecr_layers_authorization=authorization) == (401, "MissingToken")

    def test_only_get_is_served(self, exchange: Exchange) -> None:
        assert exchange.refusal(exchange.issuer.token(HOST), method="POST") == (405, "MethodNotAllowed")

    @pytest.mark.parametrize(
        ("scopes", "status", "reason"),
        [
            ("scope=repository:other/app:pull", 403, "NotCovered"),
            ("scope=repository:team/app:push", 403, "NotCovered"),
            ("scope=repository:210987654321/team/app:pull", 403, "NotCovered"),
            ("scope=repository:team/../other:pull", 403, "NotCovered"),
            ("scope=registry:catalog:*", 403, "NotCovered"),
            ("&".join(["scope=repository:team/app:pull"] * 101), 400, "InvalidQuery"),
            ("scope=" + "+".join(f"repository:team/{'x' * 90}{n}:pull" for n in range(40)), 400, "TooManyRepositories"),
        ],
    )  # fmt: skip
    def test_scopes_are_within_the_rule(self, exchange: Exchange, scopes: str, status: int, reason: str) -> None:
        assert exchange.refusal(exchange.issuer.token(HOST), scopes) == (status, reason)
