"""What the client writes under `_signing` is what the function at the edge checks short tokens with."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator

import pytest

from ecr_layers.ops.signing_keys import ENTRY, REVOKED, Signing, SigningKey
from infra.edge_functions import edge_function
from local.viewer_function import ViewerFunction
from tests.contract.edge import cloudfront_event

KEY, OTHER = SigningKey.new(), SigningKey.new()


@pytest.fixture(scope="module")
def function() -> Iterator[ViewerFunction]:
    configuration = {
        "realm": "r",
        "publicRepositories": [],
        "allowedOrigins": [],
        "catalog": [],
        "tokenScheme": "https",
    }
    with ViewerFunction(edge_function("viewer_request", configuration)) as function:
        yield function


def short_token(key: SigningKey, issued: int) -> str:
    claims = {"kid": key.id, "iat": issued, "exp": issued + 600, "rule": "ci", "repositories": ["*"]}
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    signature = hmac.new(base64.urlsafe_b64decode(f"{key.key}="), payload.encode(), hashlib.sha256).digest()
    return f"{payload}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def status(function: ViewerFunction, signing: Signing, token: str) -> int:
    event = cloudfront_event("GET", "/v2/", {"host": ["r"], "authorization": [f"Bearer {token}"]})
    return int(function.call(event, {ENTRY: signing.value()}).get("statusCode", 200))


def test_tokens_of_a_rotated_key_stay_valid_and_of_a_revoked_one_do_not(function: ViewerFunction) -> None:
    now = int(time.time())
    token = short_token(KEY, now)
    assert status(function, Signing((KEY,)), token) == 200
    rotated = Signing((KEY,)).rotated([KEY], OTHER, now)
    assert [status(function, rotated, short_token(key, now)) for key in (KEY, OTHER)] == [200, 200]
    assert status(function, Signing((OTHER,)), token) == 401


def test_a_revoked_rule_has_no_valid_token_and_a_resumed_one_only_new_ones(function: ViewerFunction) -> None:
    now = int(time.time())
    assert status(function, Signing((KEY,), {"ci": REVOKED}), short_token(KEY, now)) == 401
    assert status(function, Signing((KEY,), {"other": REVOKED}), short_token(KEY, now)) == 200
    resumed = Signing((KEY,), {"ci": now - 10})
    assert [status(function, resumed, short_token(KEY, now - ago)) for ago in (5, 10, 15)] == [200, 401, 401]
