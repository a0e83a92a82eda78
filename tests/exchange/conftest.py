"""The exchange function with an OIDC issuer and a local Secrets Manager."""

import base64
import gc
import io
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from local.aws import CREDENTIALS
from local.secrets_manager import Secret, new_signing_keys
from local.server import running
from tests.oidc_issuer import Issuer, Key, new_key, running_issuer
from tests.unit.fakes import Context

HOST = "registry.example.com"
DISTRIBUTION = "arn:aws:cloudfront::123456789012:distribution/E2C44L7OVKRQ6N"
CALLER = "arn:aws:sts::856369053181:assumed-role/OriginAccessControlRole/EdgeSession"
RULE: dict[str, Any] = {
    "claims": {"repository_owner_id": "1234", "repository_id": ["5678", "5679"]},
    "repositories": ["team/*"],
    "minutes": 10,
}

with pytest.MonkeyPatch.context() as patch:
    # The module makes Lambda's handler when it is imported.
    for name, value in {
        **CREDENTIALS,
        "TRUST_RULES": json.dumps({"ci": {**RULE, "issuer": "https://issuer.example.com"}}),
        "SIGNING_KEY_SECRET": Secret.arn,
        "EDGE_DISTRIBUTION_ARN": DISTRIBUTION,
    }.items():
        patch.setenv(name, value)
    from token_exchange import handler as handler_module
    from token_exchange.short_tokens import create_client


@dataclass
class Exchange:
    """The function, and all that it has written.

    Attributes:
        issuer: The trusted issuer.
        secret: The secret with the signing keys.
        handle: The handler.
    """

    issuer: Issuer
    secret: Secret
    handle: Callable[[Any, Any], dict[str, Any]]
    output: io.StringIO = field(default_factory=io.StringIO)

    def ask(self, token: str, query: str = "", **changed: Any) -> tuple[int, dict[str, Any]]:
        """Return the status and the body of the answer to an OIDC token through the edge."""
        answer = self.handle(event(token, query, **changed), Context())
        assert answer["headers"]["Cache-Control"] == "no-store"
        return answer["statusCode"], json.loads(answer["body"])

    def refusal(self, token: str, query: str = "", **changed: Any) -> tuple[int, str]:
        """Return the status and the reason of a refusal, which must not quote the token."""
        status, body = self.ask(token, query, **changed)
        self.assert_silent(json.dumps(body), token)
        self.assert_silent(self.output.getvalue(), token)
        (error,) = body["errors"]
        return status, error["detail"]["code"]

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.output.getvalue().splitlines()]

    def assert_silent(self, text: str, token: str) -> None:
        """Check that a text has nothing of a token's parts, nor of the signing key."""
        for part in [*token.split("."), json.loads(self.secret.value)["keys"][0]["key"]]:
            assert len(part) < 12 or part not in text


def event(token: str, query: str = "", method: str = "GET", **headers: str | None) -> dict[str, Any]:
    basic = base64.b64encode(f"oidc:{token}".encode()).decode()
    every = {
        "x-ecr-layers-authorization": f"Basic {basic}",
        "x-ecr-layers-host": HOST,
        "x-amz-source-arn": DISTRIBUTION,
        "cloudfront-viewer-address": "203.0.113.7:4711",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return {
        "version": "2.0",
        "rawPath": "/token",
        "rawQueryString": query,
        "headers": {name: value for name, value in every.items() if value is not None},
        "requestContext": {"http": {"method": method}, "authorizer": {"iam": {"userArn": CALLER}}},
    }


@pytest.fixture(scope="session")
def key() -> Key:
    """Return the issuer's key, which takes long to make."""
    return new_key("first")


@pytest.fixture(scope="session")
def secret_url() -> Iterator[tuple[Secret, str]]:
    secret = Secret()
    with running(secret.app()) as url:
        yield secret, url


@pytest.fixture(scope="session")
def frozen_objects() -> Iterator[None]:
    """Leave the objects of all that is imported out of garbage collections, which would look at each of them."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def issuer(tmp_path: Path, key: Key, frozen_objects: None) -> Iterator[Issuer]:
    """Run a new issuer for each test, because verifiers of one issuer share its keys."""
    with running_issuer(tmp_path, key) as issuer:
        yield issuer
    # A verifier has no method that closes its connections.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture
def exchange(issuer: Issuer, secret_url: tuple[Secret, str], monkeypatch: pytest.MonkeyPatch) -> Exchange:
    secret, url = secret_url
    secret.value, secret.is_readable = json.dumps({"keys": new_signing_keys()}), True
    for name, value in {
        **CREDENTIALS,
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": url,
        # OpenSSL reads it: https://docs.openssl.org/master/man3/SSL_CTX_load_verify_locations/
        "SSL_CERT_FILE": str(issuer.ca_file),
    }.items():
        monkeypatch.setenv(name, value)
    environment = {
        "TRUST_RULES": json.dumps({"ci": {**RULE, "issuer": issuer.url}}),
        "SIGNING_KEY_SECRET": secret.arn,
        "EDGE_DISTRIBUTION_ARN": DISTRIBUTION,
    }
    output = io.StringIO()
    monkeypatch.setattr(handler_module.logger.registered_handler, "stream", output)
    return Exchange(issuer, secret, handler_module.create_handler(environment, create_client()), output)
