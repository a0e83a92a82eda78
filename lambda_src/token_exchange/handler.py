"""Lambda's entry point: `GET /token` behind the edge, an OIDC token in, a short token out."""

import json
import logging
import os
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from token_exchange.errors import INTERNAL_ERROR, METHOD_NOT_ALLOWED, ErrorKind, ExchangeError
from token_exchange.identities import subject_ids, subject_name
from token_exchange.oidc import OidcVerifier
from token_exchange.requests import Request, read_request
from token_exchange.rules import TrustRule, grant, parse_rules
from token_exchange.short_tokens import SigningKeys, create_client, sign

SERVICE = "ecr-token-exchange"
NAMESPACE = "EcrLayerResolver"

Handler = Callable[[Any, LambdaContext], dict[str, Any]]
Record = dict[str, Any]

logger = Logger(service=SERVICE)
metrics = Metrics(namespace=NAMESPACE, service=SERVICE)
# At lower levels these log URLs and headers.
for _library in ("boto3", "botocore", "urllib3"):
    logging.getLogger(_library).setLevel(logging.ERROR)


class TokenExchange:
    """Exchanges tokens.

    Args:
        rules: The trust rules.
        verifier: Verifies tokens of their issuers.
        keys: Has the key to sign with.
    """

    def __init__(self, rules: tuple[TrustRule, ...], verifier: OidcVerifier, keys: SigningKeys) -> None:
        self._rules, self._verifier, self._keys = rules, verifier, keys

    def exchange(self, request: Request, record: Record) -> dict[str, Any]:
        """Return the body of the answer, and add what is known to the log's record.

        Raises:
            ExchangeError: If there is no token for the request.
        """
        record["sourceIp"] = request.source_ip
        oidc_token = request.oidc_token()
        record["issuer"] = issuer = self._verifier.issuer_of(oidc_token)
        claims = self._verifier.verify(oidc_token, issuer, request.host)
        subject = subject_name(claims)
        record |= {"caller": subject, "callerIds": subject_ids(claims)}
        granted = grant(self._rules, claims, request.repositories())
        record["callerRule"] = granted.rule.name
        now = datetime.fromtimestamp(int(time.time()), UTC)
        token = sign(self._keys.current(), granted, subject, int(now.timestamp()))
        record |= {"callerTokenId": token.id, "repositories": granted.repositories}
        return {
            "token": token.text,
            "access_token": token.text,
            "expires_in": granted.rule.seconds,
            "issued_at": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }


def create_handler(environment: Mapping[str, str], secrets_client: Any) -> Handler:
    """Return the function's handler.

    Args:
        environment: The function's environment variables.
        secrets_client: boto3's client of Secrets Manager.

    Raises:
        KeyError: If a variable is missing.
        RulesError: If TRUST_RULES is invalid.
    """
    rules = parse_rules(environment["TRUST_RULES"])
    keys = SigningKeys(environment["SIGNING_KEY_SECRET"], secrets_client)
    exchange = TokenExchange(rules, OidcVerifier(rule.issuer for rule in rules), keys)
    distribution, stack = environment["EDGE_DISTRIBUTION_ARN"], environment.get("STACK_NAME", "local")

    @logger.inject_lambda_context
    @metrics.log_metrics
    def handle(event: Any, context: LambdaContext) -> dict[str, Any]:
        record: Record = {}
        try:
            request = read_request(event, distribution)
            record["host"] = request.host
            answer = _answer(200, exchange.exchange(request, record))
        except ExchangeError as error:
            answer = _refusal(error.kind, record, context.aws_request_id)
            record["cause"] = _cause(error.__cause__)
        # Its text, in Lambda's own log, could quote a token.
        except Exception as error:
            answer = _refusal(INTERNAL_ERROR, record, context.aws_request_id)
            record["cause"] = _cause(error)
        _publish(answer["statusCode"], record, stack)
        return answer

    handler: Handler = handle
    return handler


def _refusal(kind: ErrorKind, record: Record, request_id: str) -> dict[str, Any]:
    record["reason"] = kind.reason
    detail = {"code": kind.reason, "retryable": kind.retry_seconds is not None, "requestId": request_id}
    message = kind.message.replace("{host}", record.get("host", ""))
    headers = {"Retry-After": str(kind.retry_seconds)} if kind.retry_seconds else {}
    if kind is METHOD_NOT_ALLOWED:
        headers["Allow"] = "GET"
    return _answer(kind.status, {"errors": [{"code": kind.code, "message": message, "detail": detail}]}, headers)


def _answer(status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    fixed = {"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return {"statusCode": status, "headers": {**fixed, **(headers or {})}, "body": json.dumps(body)}


def _publish(status: int, record: Record, stack: str) -> None:
    """Write the log line and count the request; a failure is the operator's business, a refusal isn't."""
    outcome = "answered" if status < 400 else "refused" if status < 500 else "failed"
    log = logger.error if outcome == "failed" else logger.info
    log(f"GET /token answered {status}", extra={"status": status, "outcome": outcome, **record})
    for name, value in {"stack": stack, "outcome": outcome}.items():
        metrics.add_dimension(name, value)
    metrics.add_metric("TokenRequests", MetricUnit.Count, 1)


def _cause(error: BaseException | None) -> dict[str, Any] | None:
    """Return an exception without its text, and where it was raised; Powertools leaves out None."""
    if error is None:
        return None
    frames = traceback.extract_tb(error.__traceback__)[-5:]
    return {
        "type": type(error).__name__,
        "because": type(error.__context__).__name__,
        "trace": [f"{PurePath(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames],
    }


lambda_handler = create_handler(os.environ, create_client())
