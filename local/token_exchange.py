"""The token exchange: its function behind a function URL that lets the edge in alone, and its secret."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from ecr_layers.errors import UsageError
from local.aws import CREDENTIALS, REGION
from local.edge import CALLER, CALLER_ARN, DISTRIBUTION_ARN
from local.execution_environment import Function
from local.function_url import create_function_url_app
from local.key_value_store import KeyValueStore
from local.lambda_service import LocalLambda
from local.secrets_manager import Secret, new_signing_keys
from local.server import running
from local.service import CODE
from local.sigv4 import RequestVerifier

HANDLER = "token_exchange.handler.lambda_handler"
_SIGNING = "_signing"


@dataclass(frozen=True, slots=True)
class TokenExchange:
    """A running token exchange, and the secret with its signing keys."""

    url: str
    secret: Secret

    def rotate_keys(self, store: KeyValueStore) -> None:
        """Put a new key into the edge's store and the secret, in place of all others."""
        keys = new_signing_keys()
        store.put(_SIGNING, json.dumps({"keys": keys, "notBefore": {}}))
        self.secret.value = json.dumps({"keys": keys})


@contextmanager
def local_token_exchange(
    trust_rules: str, write_log: Callable[[str], None], *, environment: Mapping[str, str] | None = None
) -> Iterator[TokenExchange]:
    """Run the token exchange while the context lasts.

    Args:
        trust_rules: The trust rules, JSON as in cdk.json.
        write_log: Gets each line that the function writes.
        environment: Further environment variables, such as `SSL_CERT_FILE` with the CA of a local issuer.

    Raises:
        UsageError: If the trust rules are invalid, so that the function doesn't start.
    """
    secret = Secret()
    with running(secret.app()) as secret_url:
        function = Function(
            handler=HANDLER,
            code=CODE,
            name="ecr-token-exchange",
            environment={
                **CREDENTIALS,
                "AWS_ENDPOINT_URL_SECRETS_MANAGER": secret_url,
                "TRUST_RULES": trust_rules,
                "SIGNING_KEY_SECRET": secret.arn,
                "EDGE_DISTRIBUTION_ARN": DISTRIBUTION_ARN,
                **(environment or {}),
            },
        )
        with LocalLambda(function, write_log) as service:
            started = service.invoke(b"{}")
            if started.is_error:
                raise UsageError(json.loads(started.payload)["errorMessage"])
            app = create_function_url_app(
                service.invoke, renames_headers=True, verifier=RequestVerifier(CALLER, REGION), caller_arn=CALLER_ARN
            )
            with running(app) as url:
                try:
                    yield TokenExchange(url, secret)
                finally:
                    # Before the server, so that no request under way waits for the function.
                    service.close()
