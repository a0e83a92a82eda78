"""The only module that calls ECR: boto3's client, and what each of its failures means.

Knows nothing of HTTP or events. One instance serves a process; one invocation uses it at a time.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any, Literal
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError  # noqa: A004

from layer_resolver import __version__, errors
from layer_resolver.calls import CONNECTION_SECONDS, THREADS, Calls, Moment, OutOfTimeError, check_time
from layer_resolver.errors import ResolverError, Subject
from layer_resolver.invocation import EcrCall, Invocation

ATTEMPTS = 3
"""How many times botocore tries a call, with its standard backoff and retry quota."""

CONNECT_SECONDS, READ_SECONDS = 2.0, 4.0
"""How long one attempt may take to connect, and to wait for the next bytes."""

Answer = dict[str, Any] | ResolverError
"""ECR's answer, or why there is none."""

_Method = Callable[..., dict[str, Any]]


def create_client(service: str, read_seconds: float = READ_SECONDS) -> Any:
    """Return boto3's client of a service; an attempt waits `read_seconds` for the next bytes of its answer.

    Raises:
        botocore.exceptions.NoRegionError: If the environment names no region.
    """
    client = boto3.client(
        service,  # type: ignore[call-overload]
        config=Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=read_seconds,
            max_pool_connections=THREADS,
            tcp_keepalive=True,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            user_agent_extra=f"ecr-layer-resolver/{__version__}",
        ),
    )
    _Attempts(client)
    return client


class Ecr:
    """Calls ECR with boto3's client.

    Every method records its calls in the invocation and raises, or returns, `ResolverError`: a row of the error table
    about its subject, with the exception as its cause. `OutOfTimeError` is the cause at the invocation's deadline.
    """

    def __init__(self, client: Any, calls: Calls) -> None:
        self._client = client
        self._calls = calls

    @property
    def partition(self) -> str:
        """The partition of AWS that the client's region is in, such as `aws`."""
        return str(self._client.meta.partition)

    @property
    def is_local(self) -> bool:
        """Whether the endpoint is on this machine, as in tests."""
        return urlsplit(self._client.meta.endpoint_url).hostname in {"localhost", "127.0.0.1", "::1"}

    def get_download_urls(self, layers: Sequence[Subject], invocation: Invocation) -> list[Answer]:
        """Return ECR's answer, or why there is none, for each layer.

        Source: https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetDownloadUrlForLayer.html
        """
        requests = [(layer, {"layerDigest": layer.name}) for layer in layers]
        return self._ask(self._client.get_download_url_for_layer, requests, invocation)

    def batch_get_image(self, subject: Subject, invocation: Invocation, **parameters: Any) -> dict[str, Any]:
        """Return images; see https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_BatchGetImage.html."""
        return self._ask_one(self._client.batch_get_image, subject, invocation, parameters)

    def list_images(self, subject: Subject, invocation: Invocation, **parameters: Any) -> dict[str, Any]:
        """Return a page of image ids; see https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_ListImages.html."""
        return self._ask_one(self._client.list_images, subject, invocation, parameters)

    def list_image_referrers(self, subject: Subject, invocation: Invocation, **parameters: Any) -> dict[str, Any]:
        """Return a page of referrers.

        Source: https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_ListImageReferrers.html
        """
        return self._ask_one(self._client.list_image_referrers, subject, invocation, parameters)

    def _ask_one(
        self, method: _Method, subject: Subject, invocation: Invocation, parameters: dict[str, Any]
    ) -> dict[str, Any]:
        invocation.repository = subject.repository
        (answer,) = self._ask(method, [(subject, parameters)], invocation)
        if isinstance(answer, ResolverError):
            raise answer
        return answer

    def _ask(
        self, method: _Method, requests: Sequence[tuple[Subject, dict[str, Any]]], invocation: Invocation
    ) -> list[Answer]:
        calls = [partial(_record, method, subject, invocation, parameters) for subject, parameters in requests]
        answers = self._calls.run_all(invocation.deadline, calls)
        return [
            ResolverError.about(subject, errors.TIMED_OUT, OutOfTimeError()) if answer is None else answer
            for (subject, _), answer in zip(requests, answers, strict=True)
        ]


_current: ContextVar[EcrCall | None] = ContextVar("current", default=None)


def _record(method: _Method, subject: Subject, invocation: Invocation, parameters: dict[str, Any]) -> Answer:
    """Call a method of the client in the current thread, and record the call."""
    call = EcrCall(method.__name__)
    invocation.ecr_calls.append(call)
    _current.set(call)
    started = time.monotonic()
    try:
        return method(**subject.repository.parameters(), **parameters)
    except Exception as cause:
        kind = errors.error_kind(cause)
        # While it reads an answer, botocore can raise anything.
        if kind is errors.INTERNAL_ERROR and call.is_answered and not isinstance(cause, ClientError):
            kind = errors.SERVER_ERROR
        call.outcome = kind.code
        return ResolverError.about(subject, kind, cause)
    finally:
        call.seconds = time.monotonic() - started
        _current.set(None)


class _Attempts:
    """Bounds a client's attempts, through botocore's events.

    No attempt starts once its invocation is over. After a connection failed, the next attempt opens a new one, because
    the other kept ones may be dead as well; none is kept for longer than `CONNECTION_SECONDS`.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._opened = Moment.now()
        self._of_thread = threading.local()
        name = client.meta.service_model.service_id.hyphenize()
        client.meta.events.register(f"before-send.{name}", self._before_send)
        client.meta.events.register(f"before-parse.{name}", self._before_parse)
        client.meta.events.register_first(f"needs-retry.{name}", self._needs_retry)

    def _before_send(self, **_: Any) -> None:
        check_time()
        opened = self._opened
        if Moment.now().since(opened) > CONNECTION_SECONDS:
            self._close_connections_of(opened)
        self._of_thread.opened = self._opened
        if call := _current.get():
            call.attempts += 1

    def _before_parse(self, **_: Any) -> None:
        if call := _current.get():
            call.is_answered = True

    def _needs_retry(
        self, *, response: tuple[Any, Any] | None, caught_exception: Exception | None, attempts: int, **_: Any
    ) -> Literal[False] | int | None:
        """Return the seconds until another attempt, False for none, None to leave it to botocore."""
        if caught_exception is not None and (
            isinstance(caught_exception, OutOfTimeError) or errors.is_certificate_refused(caught_exception)
        ):
            return False
        # http.client takes any 1xx but 100 for the answer, and leaves the real one in the connection.
        is_premature = response is not None and response[0].status_code < 200
        if is_premature or isinstance(caught_exception, ConnectionError | HTTPClientError):
            self._close_connections_of(self._of_thread.opened)
        return 0 if is_premature and attempts < ATTEMPTS else None

    def _close_connections_of(self, opened: Moment) -> None:
        """Close the kept connections, unless another thread has since `opened`."""
        with self._lock:
            if self._opened is opened:
                self._client.close()
                self._opened = Moment.now()
