"""Requests to a service's own routes: retried where that helps, and errors in words for the user.

Knows nothing of images; a download URL in an answer goes through here and nowhere else out.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from botocore.exceptions import BotoCoreError

from ecr_layers.errors import ClientError, ServiceError, UsageError, one_line
from ecr_layers.transfer.hosts import LOOPBACK
from ecr_layers.transfer.retries import RETRYABLE_STATUSES, Retries, retry_after

LARGEST_ANSWER = 8 * 1024 * 1024
"""How many bytes of an answer are read; a function URL answers 6 MB at most."""

_TIMEOUT = httpx.Timeout(30.0, connect=10.0)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service answered.

    Attributes:
        headers: The headers.
        content: The body.
    """

    headers: httpx.Headers
    content: bytes

    def json(self) -> dict[str, Any]:
        """Return the body, which is a JSON object.

        Raises:
            ServiceError: If it is not a JSON object.
        """
        try:
            document = json.loads(self.content)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise ServiceError("The answer is not of the form that this service has. Check the address.")
        return document


class Api:
    """The routes of one service. May be used from several threads.

    Args:
        url: The service's URL, without a slash at its end.
        auth: Proves who the caller is; None sends no proof.
        retries: How often a request is made again.
    """

    def __init__(self, url: str, auth: httpx.Auth | None, retries: Retries) -> None:
        self.url = httpx.URL(url)
        self._auth = auth
        self._retries = retries
        # A proxy that the environment names can't reach this machine's own addresses.
        self._client = httpx.Client(
            timeout=_TIMEOUT, follow_redirects=False, trust_env=self.url.host not in LOOPBACK, auth=None
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, path: str, query: Mapping[str, str] | None = None, accept: str = "application/json") -> Answer:
        """Get a route, again where that can help.

        Raises:
            ServiceError: If it is not answered with 200.
        """
        return self._call("GET", path, query, b"", {"Accept": accept})

    def post(self, path: str, body: Mapping[str, Any]) -> Answer:
        """Post a JSON document, again where that can help.

        Raises:
            ServiceError: If it is not answered with 200.
        """
        content = json.dumps(body).encode()
        return self._call("POST", path, None, content, {"Content-Type": "application/json"})

    def _call(
        self, method: str, path: str, query: Mapping[str, str] | None, content: bytes, headers: dict[str, str]
    ) -> Answer:
        attempt = 1
        while True:
            answer, error = self._try(method, path, query, content, headers)
            if error is None:
                return answer
            wait = self._retries.wait(attempt, retry_after(answer.headers)) if error.is_retryable else None
            if wait is None:
                raise error
            self._retries.sleep(wait)
            attempt += 1

    def _try(
        self, method: str, path: str, query: Mapping[str, str] | None, content: bytes, headers: dict[str, str]
    ) -> tuple[Answer, ServiceError | None]:
        """Make a request once; the error is None if it was answered with 200."""
        try:
            with self._client.stream(
                method, self.url.copy_with(path=path), params=query, content=content, headers=headers, auth=self._auth
            ) as response:
                answer = Answer(response.headers, _bounded(response))
                error = None if response.status_code == httpx.codes.OK else self._error(response.status_code, answer)
                return answer, error
        except httpx.RequestError as error:
            problem = "does not answer in time" if isinstance(error, httpx.TimeoutException) else "can't be reached"
            message = f"{self.url} {problem} ({type(error).__name__}). Check the address and the network."
            return Answer(httpx.Headers(), b""), ServiceError(message, is_retryable=True)
        except BotoCoreError as error:
            raise UsageError(f"The AWS credentials can't be used: {one_line(str(error))}") from None

    def _error(self, status: int, answer: Answer) -> ServiceError:
        problem = _problem(answer.content)
        if problem is None:
            return ServiceError(self._advice(status), status=status, is_retryable=status in RETRYABLE_STATUSES)
        message, code, is_retryable, request_id = problem
        named = f" (request id {one_line(request_id)})" if status >= httpx.codes.INTERNAL_SERVER_ERROR else ""
        return ServiceError(
            f"{message}{named if request_id else ''}", code=code, status=status, is_retryable=is_retryable
        )

    def _advice(self, status: int) -> str:
        """Return what an answer means that is not the service's own, but that of what stands in front of it."""
        host = self.url.netloc.decode()
        if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            if self._auth is None:
                return (
                    f"{host} lets in nobody without credentials ({status}). Run docker login {host}, give a pull token "
                    "with --token-file, or, for a function URL, leave --no-sign out."
                )
            return f"{host} refuses the credentials ({status}). Check the pull token, or who AWS_PROFILE is."
        if 300 <= status < 400:
            return f"{host} answers with a redirect to another address. Name that address."
        return f"{host} answered {status}, and not as this service does. Check the address, or try again later."


def _bounded(response: httpx.Response) -> bytes:
    """Read an answer.

    Raises:
        ClientError: If it is too large.
    """
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > LARGEST_ANSWER:
            raise ClientError("The answer is larger than this service's answers are. Check the address.")
    return bytes(body)


def _problem(content: bytes) -> tuple[str, str | None, bool, str] | None:
    """Return message, code, whether it is retryable, and request id of an error of the service's own, or else None.

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
    return one_line(message), code, document.get("retryable") is True, str(document.get("requestId", ""))
