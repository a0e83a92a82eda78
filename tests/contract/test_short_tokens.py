"""Short tokens: what the edge issues at /token, and what they give access to."""

import hashlib
import hmac
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import pytest

from ecr_layers.ops.signing_keys import REVOKED, Signing, SigningKey
from infra import contract
from infra.edge import configuration
from infra.edge_functions import edge_function
from local.viewer_function import ViewerFunction
from tests.contract.edge import REGISTRY, SETTINGS, basic, cloudfront_event, token
from tests.contract.edge_model import HOST, decoded, encoded
from tests.infra.templates import settings_of

KEY, OLD_KEY = b"k" * 32, b"o" * 32
RULE = {"issuer": "https://gitlab.com", "claims": {"project_id": "1"}, "repositories": ["team/*"]}
CONFIGURATION = configuration(settings_of(SETTINGS | {"trustRules": {"ci": RULE}}), "EcrLayerResolver")
PULL_TOKEN = "correct horse battery staple"

Store = Mapping[str, str | None] | None


def signing(*keys: tuple[bytes, float | None], **not_before: int) -> str:
    """Return the entry that the client writes for keys, the first of which signs, and for what was revoked."""
    listed = [
        SigningKey(f"{number:08x}", encoded(key), None if not_after is None else int(not_after))
        for number, (key, not_after) in enumerate(keys)
    ]
    return Signing(tuple(listed), not_before).value()


STORE: dict[str, str | None] = {
    "team": token("team/*"),
    "paused": token("team/*", paused=True),
    "_signing": signing((KEY, None)),
}


def short(key: bytes = KEY, **changed: Any) -> str:
    """Return a short token of the rule `ci` for `team/*`."""
    now = int(time.time())
    claims = {"kid": "00000000", "iat": now, "exp": now + 600, "id": "0123456789abcdef", "rule": "ci"}
    claims |= {"sub": "gitlab:team/app#7", "repositories": ["team/*"], **changed}
    payload = encoded(json.dumps({name: each for name, each in claims.items() if each is not None}).encode())
    return f"{payload}.{encoded(hmac.new(key, payload.encode(), hashlib.sha256).digest())}"


def claims_of(short_token: str) -> dict[str, Any]:
    payload = short_token.partition(".")[0]
    found: dict[str, Any] = json.loads(decoded(payload))
    return found


@pytest.fixture(scope="module")
def registry() -> Iterator[ViewerFunction]:
    with ViewerFunction(edge_function("viewer_request", CONFIGURATION)) as function:
        yield function


@pytest.fixture(scope="module")
def tokens() -> Iterator[ViewerFunction]:
    with ViewerFunction(edge_function("token_request", CONFIGURATION)) as function:
        yield function


def ask(
    function: ViewerFunction, target: str, authorization: str = "", store: Store = STORE, method: str = "GET"
) -> dict[str, Any]:
    headers = {"host": [HOST]} | ({"authorization": [authorization]} if authorization else {})
    return function.call(cloudfront_event(method, target, headers), store)


def status(function: ViewerFunction, target: str, authorization: str, store: Store = STORE) -> int:
    return int(ask(function, target, authorization, store).get("statusCode", 200))


MANIFEST = "/v2/team/app/manifests/latest"


class TestTheRegistry:
    @pytest.mark.parametrize("scheme", ["Bearer {}", "basic"])
    def test_a_short_token_gives_access_to_its_repositories_as_bearer_or_as_a_password(
        self, registry: ViewerFunction, scheme: str
    ) -> None:
        authorization = basic("anyone", short()) if scheme == "basic" else scheme.format(short())
        let_in = ask(registry, MANIFEST, authorization)["headers"]
        assert let_in[contract.TOKEN_HEADER] == {"value": "gitlab:team/app#7"}
        assert let_in[contract.RULE_HEADER] == {"value": "ci"}
        assert let_in[contract.TOKEN_ID_HEADER] == {"value": "0123456789abcdef"}
        assert status(registry, "/v2/", authorization) == 200
        assert status(registry, "/v2/other/app/manifests/latest", authorization) == (403 if scheme == "basic" else 401)

    def test_a_client_can_not_forge_the_callers_headers(self, registry: ViewerFunction) -> None:
        forged = {contract.TOKEN_HEADER: ["x"], contract.RULE_HEADER: ["x"], contract.TOKEN_ID_HEADER: ["x"]}
        event = cloudfront_event("GET", "/v2/public/app/manifests/latest", forged | {"host": [HOST]})
        assert forged.keys().isdisjoint(registry.call(event, STORE)["headers"])

    @pytest.mark.parametrize(
        "forged",
        [
            short()[:-1],
            short()[1:],
            short().replace(".", ""),
            short() + "A",
            short() + ".AAAA",
            f"{encoded(json.dumps(claims_of(short()) | {'repositories': ['*']}).encode())}.{short().partition('.')[2]}",
            f"{short().partition('.')[0]}.{'A' * 43}",
            f"{encoded(b'{}')}.{encoded(hmac.new(b'', encoded(b'{}').encode(), hashlib.sha256).digest())}",
            short(OLD_KEY),
            short(exp=int(time.time()) - 1),
            short(exp=None),
            short(exp="later"),
        ],
        ids=["cut", "begun later", "joined", "extended", "third part", "wider scope", "other signature", "empty key",
             "unknown key", "expired", "no end", "end that is no number"],
    )  # fmt: skip
    def test_a_forged_or_expired_token_is_refused(self, registry: ViewerFunction, forged: str) -> None:
        for authorization in (f"Bearer {forged}", basic("ci", forged)):
            assert status(registry, MANIFEST, authorization) == 401

    @pytest.mark.parametrize(("seconds", "expected"), [(60, 200), (-1, 401)])
    def test_an_old_key_counts_until_its_end(self, registry: ViewerFunction, seconds: int, expected: int) -> None:
        store = STORE | {"_signing": signing((KEY, None), (OLD_KEY, time.time() + seconds))}
        assert status(registry, MANIFEST, f"Bearer {short(OLD_KEY)}", store) == expected

    @pytest.mark.parametrize("entry", ["{", "[]", '{"keys": {}}', '{"keys": [null, {"key": 1}]}', "null"])
    def test_without_a_readable_key_every_short_token_is_refused(self, registry: ViewerFunction, entry: str) -> None:
        assert status(registry, MANIFEST, f"Bearer {short()}", {"_signing": entry}) == 401
        assert status(registry, MANIFEST, f"Bearer {short()}", {}) == 401
        assert status(registry, MANIFEST, f"Bearer {short()}", None) == 503

    def test_a_revoked_rule_ends_all_its_tokens_and_a_resumed_one_those_from_before(
        self, registry: ViewerFunction
    ) -> None:
        now = int(time.time())
        revoked = STORE | {"_signing": signing((KEY, None), ci=REVOKED)}
        resumed = STORE | {"_signing": signing((KEY, None), ci=now - 10)}
        other = STORE | {"_signing": signing((KEY, None), other=REVOKED)}
        assert status(registry, MANIFEST, f"Bearer {short()}", revoked) == 401
        assert status(registry, MANIFEST, f"Bearer {short(iat=now - 10)}", resumed) == 401
        assert status(registry, MANIFEST, f"Bearer {short(iat=now)}", resumed) == 200
        assert status(registry, MANIFEST, f"Bearer {short()}", other) == 200

    def test_the_challenge_names_the_token_service_and_the_repository(self, registry: ViewerFunction) -> None:
        refused = ask(registry, f"/v2/{REGISTRY}/team/app/manifests/latest")
        assert refused["headers"]["www-authenticate"]["value"] == (
            f'Bearer realm="https://{HOST}/token",service="{HOST}",scope="repository:{REGISTRY}/team/app:pull"'
        )
        assert ask(registry, "/v2/")["headers"]["www-authenticate"]["value"].endswith(f'service="{HOST}"')
        assert ask(registry, "/healthz")["headers"]["www-authenticate"]["value"].startswith("Basic ")

    def test_the_catalog_has_what_the_credentials_are_for_if_the_settings_name_repositories(self) -> None:
        named = settings_of(
            SETTINGS | {"repositories": ["team/app", "web/app", "public/app"], "publicRepositories": []}
        )
        with ViewerFunction(edge_function("viewer_request", configuration(named, "x"))) as function:
            listed = ask(function, "/v2/_catalog", basic("team"))
            assert json.loads(listed["body"]["data"]) == {"repositories": ["team/app"]}
            assert status(function, "/v2/_catalog", "") == 401


class TestTheTokenService:
    def issued(
        self, tokens: ViewerFunction, authorization: str, *scopes: str, store: Store = STORE
    ) -> tuple[int, dict[str, Any]]:
        query = "&".join(f"scope={quote(each, safe='')}" for each in scopes)
        answer = ask(tokens, f"/token?service={HOST}&{query}", authorization, store)
        return answer["statusCode"], json.loads(answer["body"]["data"])

    def test_a_pull_token_gets_a_short_token_for_the_repositories_that_were_asked_for(
        self, tokens: ViewerFunction, registry: ViewerFunction
    ) -> None:
        code, answer = self.issued(tokens, basic("team"), "repository:team/app:pull repository:other/app:pull,push")
        assert (code, answer["expires_in"], answer["access_token"]) == (200, 900, answer["token"])
        assert claims_of(answer["token"])["repositories"] == ["team/app"]
        bearer = f"Bearer {answer['token']}"
        assert ask(registry, MANIFEST, bearer)["headers"][contract.TOKEN_HEADER] == {"value": "team"}
        assert status(registry, "/v2/team/other/manifests/latest", bearer) == 401
        assert PULL_TOKEN not in json.dumps(claims_of(answer["token"]))

    def test_without_a_scope_it_is_for_all_that_the_pull_token_is_for(self, tokens: ViewerFunction) -> None:
        _, answer = self.issued(tokens, basic("team"))
        assert claims_of(answer["token"])["repositories"] == ["team/*"]

    @pytest.mark.parametrize(
        "changed",
        [{}, {"team": token("team/*", paused=True)}, {"team": token("team/*", password="other")},
         {"team": token("web/*")}, {"team": token("team/*", not_after="2020-01-01")}],
        ids=["revoked", "paused", "password replaced", "scope changed", "expired"],
    )  # fmt: skip
    def test_it_ends_with_the_pull_token(
        self, tokens: ViewerFunction, registry: ViewerFunction, changed: dict[str, str]
    ) -> None:
        _, answer = self.issued(tokens, basic("team"), "repository:team/app:pull")
        store = {"_signing": STORE["_signing"]} | changed
        assert status(registry, MANIFEST, f"Bearer {answer['token']}", store) == 401

    def test_a_short_token_gets_one_for_fewer_repositories_that_lives_no_longer(self, tokens: ViewerFunction) -> None:
        before = short(exp=int(time.time()) + 100)
        code, answer = self.issued(tokens, basic("ci", before), "repository:team/app:pull")
        after = claims_of(answer["token"])
        assert code == 200
        assert 0 < answer["expires_in"] <= 100
        assert after == claims_of(before) | {"repositories": ["team/app"]}

    def test_an_anonymous_client_gets_a_token_for_public_repositories_only(
        self, tokens: ViewerFunction, registry: ViewerFunction
    ) -> None:
        code, answer = self.issued(tokens, "", "repository:public/app:pull")
        assert (code, claims_of(answer["token"])["repositories"]) == (200, ["public/app"])
        assert status(registry, MANIFEST, f"Bearer {answer['token']}") == 401
        assert self.issued(tokens, "", "repository:team/app:pull")[0] == 401

    @pytest.mark.parametrize(
        ("authorization", "scope", "expected"),
        [
            (basic("team", "guess"), "repository:team/app:pull", 401),
            (basic("paused"), "repository:team/app:pull", 401),
            (basic("team"), "repository:other/app:pull", 403),
            (basic("team"), "repository:Team:pull", 403),
            (basic("team"), "repository:%ff:pull", 403),
            (basic("team"), " ".join(f"repository:team/{'x' * 200}{number}:pull" for number in range(20)), 400),
            ("Bearer guess", "", 401),
        ],
    )
    def test_a_refusal_has_the_registrys_error_body(
        self, tokens: ViewerFunction, authorization: str, scope: str, expected: int
    ) -> None:
        code, answer = self.issued(tokens, authorization, scope)
        assert code == expected
        (error,) = answer["errors"]
        assert set(error) == {"code", "message", "detail"}

    def test_without_keys_the_operator_is_told_what_to_do(self, tokens: ViewerFunction) -> None:
        code, answer = self.issued(tokens, basic("team"), store={"team": STORE["team"]})
        assert code == 503
        assert "ecr-layers token rotate-keys" in answer["errors"][0]["message"]

    def test_an_oidc_token_goes_on_to_the_exchange_and_nothing_of_the_clients_own_headers(
        self, tokens: ViewerFunction
    ) -> None:
        authorization = basic("oidc", "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.c2ln")
        headers = {name: ["forged"] for name in (contract.AUTHORIZATION_HEADER, contract.HOST_HEADER)}
        event = cloudfront_event("GET", "/token?scope=a", headers | {"host": [HOST], "authorization": [authorization]})
        passed = tokens.call(event, STORE)
        assert passed["headers"] == {
            "host": {"value": HOST},
            contract.AUTHORIZATION_HEADER: {"value": authorization},
            contract.HOST_HEADER: {"value": HOST},
        }
        assert passed["querystring"] == {"scope": {"value": "a"}}

    def test_only_get_is_served_so_that_clients_that_try_post_first_use_it(self, tokens: ViewerFunction) -> None:
        refused = ask(tokens, "/token", basic("team"), method="POST")
        assert (refused["statusCode"], refused["headers"]["allow"]) == (405, {"value": "GET"})
