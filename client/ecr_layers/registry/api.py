"""Requests to a service's own routes, with retries. Errors say what to do."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from ecr_layers.errors import ClientError, ServiceError, one_line
from ecr_layers.registry.bearer import BearerToken, token_path
from ecr_layers.registry.signing import Authorize, PullToken
from ecr_layers.transfer.retries import RETRYABLE_STATUSES, Attempts, Retries, retry_after
from ecr_layers.transfer.transport import FINAL_AT_FIRST, Answer, Problem, Transport, TransportError

LARGEST_ANSWER = 8 * 1024 * 1024
"""Largest answer that is read, in bytes; a function URL's are at most 6 MB."""

# AWS refuses signatures whose time is further off.
_LARGEST_SKEW = timedelta(minutes=5)
_READ_AT_ONCE = 256 * 1024
_REMEDIES = {
    Problem.UNKNOWN_HOST: "Check the spelling.",
    Problem.REFUSED: "Check the address, and whether the service runs.",
    Problem.CERTIFICATE: "Check the address, or set SSL_CERT_FILE to the authority's certificate.",
    Problem.TLS: "Check the address: is it https?",
    Problem.PROXY: "Check the proxy in the environment variables.",
}


@dataclass(frozen=True, slots=True)
class Document:
    """The body of an answer.

    Attributes:
        headers: The headers.
        content: The body.
    """

    headers: Mapping[str, str]
    content: bytes

    def json(self) -> dict[str, Any]:
        """Return the JSON object in the body.

        Raises:
            ServiceError: If it isn't one.
        """
        try:
            document = json.loads(self.content)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise unexpected_answer()
        return document


class Api:
    """The routes of one service. May be used from several threads.

    Args:
        url: The service's URL, without a slash at its end.
        authorize: Proves who the caller is; None sends no credentials.
        transport: The connections.
        retries: How long to go on trying.
    """

    def __init__(self, url: str, authorize: Authorize | None, transport: Transport, retries: Retries) -> None:
        self.url = url
        self._authorize = authorize
        self._transport = transport
        self._retries = retries
        self._has_answered = False
        self._bearer: BearerToken | None = None

    def get(self, path: str, query: Mapping[str, str] | None = None, accept: str = "application/json") -> Document:
        """Get a route, with retries.

        Raises:
            ServiceError: If it doesn't answer 200.
        """
        target = f"{self.url}{path}{f'?{urlencode(query)}' if query else ''}"
        return self._call("GET", target, b"", {"Accept": accept})

    def post(self, path: str, body: Mapping[str, Any]) -> Document:
        """Post a JSON document, with retries.

        Raises:
            ServiceError: If it doesn't answer 200.
        """
        return self._call("POST", f"{self.url}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _call(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> Document:
        attempts = Attempts(self._retries)
        while True:
            try:
                return self._try(method, url, body, headers)
            except ServiceError as error:
                if not error.is_retryable or not attempts.wait(str(error), error.retry_after):
                    raise

    def _try(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> Document:
        """Send a request; again with a token, if the service wants one."""
        status, document = self._send(method, url, body, {**headers, **self._credentials(method, url, body)})
        if status == HTTPStatus.UNAUTHORIZED:
            token = self._log_in(document.headers.get("WWW-Authenticate", ""))
            if token is not None:
                status, document = self._send(method, url, body, {**headers, **token.headers()})
        if status != HTTPStatus.OK:
            raise self._error(status, document)
        return document

    def _send(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, Document]:
        try:
            with self._transport.request(method, url, headers, body or None) as answer:
                self._has_answered = True
                self._transport.clock.learn(answer.headers)
                return answer.status, Document(answer.headers, _content(answer))
        except TransportError as error:
            raise self._unreachable(error.problem) from None

    def _credentials(self, method: str, url: str, body: bytes) -> Mapping[str, str]:
        if self._bearer is not None and self._bearer.is_fresh:
            return self._bearer.headers()
        return self._authorize(method, url, body) if self._authorize else {}

    def _log_in(self, challenge: str) -> BearerToken | None:
        """Get the token that a challenge asks for; None if it asks for none, or there are no credentials.

        Raises:
            ServiceError: If the service refuses the credentials.
        """
        if not isinstance(self._authorize, PullToken):
            return None
        path = token_path(self.url, challenge)
        if path is None:
            return None
        url = f"{self.url}{path}"
        status, document = self._send("GET", url, b"", self._authorize("GET", url, b""))
        if status != HTTPStatus.OK:
            raise self._error(status, document)
        self._bearer = BearerToken.read(document.json())
        return self._bearer

    def _unreachable(self, problem: Problem) -> ServiceError:
        is_final = problem in FINAL_AT_FIRST and not self._has_answered
        remedy = _REMEDIES.get(problem, "Check the network.")
        return ServiceError(
            f"{self.url} can't be reached: {problem.value}. {remedy}",
            code="unreachable",
            is_retryable=not is_final,
            problem=problem.name.lower(),
        )

    def _error(self, status: int, document: Document) -> ServiceError:
        problem = _problem(document.content)
        wait = retry_after(document.headers)
        if problem is None:
            message, code = self._advice(status)
            return ServiceError(
                message, code=code, status=status, is_retryable=status in RETRYABLE_STATUSES, retry_after=wait
            )
        message, code, is_retryable, request_id = problem
        named = f" (request id {one_line(request_id)})" if request_id and status >= 500 else ""
        return ServiceError(
            f"{message}{named}",
            code=code,
            status=status,
            is_retryable=status in RETRYABLE_STATUSES if is_retryable is None else is_retryable,
            retry_after=wait,
            request_id=one_line(request_id),
        )

    def _advice(self, status: int) -> tuple[str, str]:
        """Return message and code for an answer that isn't the service's own, but of something in front of it."""
        host = self.url.partition("://")[2]
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            return self._refused(host, status)
        if 300 <= status < 400:
            return f"{host} redirects to another address. Use that address.", "redirected"
        return (
            f"{host} returned an unexpected HTTP {status}. Check the address, or try again later.",
            "unexpected-answer",
        )

    def _refused(self, host: str, status: int) -> tuple[str, str]:
        if self._authorize is None:
            return f"{host} requires credentials (HTTP {status}).", "credentials-required"
        skew = abs(self._transport.clock.skew)
        if skew > _LARGEST_SKEW:
            minutes = int(skew.total_seconds() // 60)
            return (
                f"{host} refused the request, and this machine's clock is {minutes} minutes off. Set it.",
                "clock-skew",
            )
        return (
            f"{host} refused the credentials (HTTP {status}). Check the pull token, or the AWS identity.",
            "credentials-refused",
        )


def unexpected_answer() -> ServiceError:
    """Return the error for an answer of another form than the service's."""
    return ServiceError("Unexpected answer: this isn't the service's API. Check the address.")


def _content(answer: Answer) -> bytes:
    content = bytearray()
    while chunk := answer.read(_READ_AT_ONCE):
        content += chunk
        if len(content) > LARGEST_ANSWER:
            raise ClientError(
                f"The answer is over {LARGEST_ANSWER} bytes: this isn't the service's API. Check the address.",
                code="unexpected-answer",
            )
    return bytes(content)


def _problem(content: bytes) -> tuple[str, str, bool | None, str] | None:
    """Return message, code, whether it is retryable, and request id of the service's own error; None for any other.

    It may not say whether it is retryable.

    It is a problem details object (RFC 9457), or under `/v2` the OCI Distribution Specification's, whose `detail` has
    the same members.
    """
    try:
        document = json.loads(content)
        if "errors" in document:
            entry = document["errors"][0]
            detail = entry["detail"] if isinstance(entry.get("detail"), dict) else {}
            document = {"code": entry["code"], **detail, "detail": entry.get("message") or entry["code"]}
        message, code = str(document["detail"]), str(document["code"])
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        return None
    is_retryable = document.get("retryable")
    return (
        one_line(message),
        code,
        is_retryable if isinstance(is_retryable, bool) else None,
        str(document.get("requestId") or ""),
    )
