"""All HTTP of the client: connections, proxies, TLS, time-outs and the server's clock. Built on urllib3.

No error and no log message here has more of a URL than its host.
"""

import importlib.util
import logging
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

import urllib3
from urllib3 import exceptions

from ecr_layers.errors import MissingPackageError
from ecr_layers.transfer.proxies import Proxy, proxy_for

_TIMEOUT = urllib3.Timeout(connect=10.0, read=20.0)
# A connection slower than this is given up for a new one. It is far below what 32 connections share on a slow line.
SLOWEST_BYTES_A_SECOND, SECONDS_TO_JUDGE_SPEED = 1024, 20.0


class Problem(StrEnum):
    """Why a request got no answer."""

    TIMEOUT = "it didn't answer in time"
    TOO_SLOW = f"the connection was slower than {SLOWEST_BYTES_A_SECOND} bytes a second"
    UNKNOWN_HOST = "the host name can't be resolved"
    REFUSED = "the connection was refused"
    CERTIFICATE = "the TLS certificate isn't trusted"
    TLS = "the TLS handshake failed"
    PROXY = "the proxy can't be used"
    BROKEN = "the connection broke"


FINAL_AT_FIRST = frozenset({Problem.UNKNOWN_HOST, Problem.REFUSED, Problem.CERTIFICATE, Problem.TLS, Problem.PROXY})
"""Problems that are more likely a wrong address than a network that is away, if the host has never answered."""


class TransportError(Exception):
    """A request got no answer, or its answer broke off.

    Attributes:
        problem: What happened.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.value)
        self.problem = problem


class Clock:
    """This machine's clock, corrected by what servers say in their Date headers."""

    def __init__(self) -> None:
        self.skew = timedelta()

    def now(self) -> datetime:
        """Return the corrected time."""
        return datetime.now(UTC) + self.skew

    def learn(self, headers: Mapping[str, str]) -> None:
        """Correct the clock by an answer that has just come; a cached one says its age in seconds."""
        try:
            date = parsedate_to_datetime(headers.get("Date", ""))
            age = timedelta(seconds=int(headers.get("Age", "0")))
            self.skew = date.astimezone(UTC) + age - datetime.now(UTC)
        except (ValueError, TypeError, OverflowError):
            return


class Answer:
    """An answer, whose body is yet to be read.

    Attributes:
        status: The HTTP status.
        headers: The headers; their names can be in any case.
    """

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response
        self._seconds, self._bytes = 0.0, 0
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    def read(self, count: int) -> bytes:
        """Return the next bytes: as many as requested, or fewer at the end.

        Raises:
            TransportError: If the connection breaks, stalls or is too slow.
        """
        chunk = self._read_some(count)
        if not chunk or len(chunk) == count:
            return chunk
        chunks, left = [chunk], count - len(chunk)
        while left and (chunk := self._read_some(left)):
            chunks.append(chunk)
            left -= len(chunk)
        return b"".join(chunks)

    def stop(self) -> None:
        """End a `read` in another thread at once, with an error or with fewer bytes."""
        # It may have ended already, with its connection back in the pool.
        try:
            self._response.shutdown()
        except (RuntimeError, ValueError, OSError):
            return

    def close(self) -> None:
        """Free the connection. It can be used again if the answer was read to its end."""
        self._response.close()
        self._response.release_conn()

    def _read_some(self, count: int) -> bytes:
        started = time.monotonic()
        with _errors():
            chunk = self._response.read1(count, decode_content=False)
        self._seconds += time.monotonic() - started
        self._bytes += len(chunk)
        if self._seconds >= SECONDS_TO_JUDGE_SPEED:
            if self._bytes < SLOWEST_BYTES_A_SECOND * self._seconds:
                raise TransportError(Problem.TOO_SLOW)
            self._seconds, self._bytes = 0.0, 0
        return chunk


class Transport:
    """Connections to the service and to S3. May be used from several threads.

    Args:
        connections: How many connections to a host are kept open.
        environment: The environment variables, which may name proxies.
        user_agent: The User-Agent header.

    Attributes:
        clock: The time, as the service has it.
    """

    def __init__(
        self, connections: int = 32, environment: Mapping[str, str] | None = None, user_agent: str = "ecr-layers"
    ) -> None:
        self.clock = Clock()
        self._environment = os.environ if environment is None else environment
        self._connections = connections
        self._user_agent = user_agent
        self._tls: ssl.SSLContext | None = None
        self._pools: dict[Proxy | None, urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections that aren't in use."""
        for pool in self._pools.values():
            pool.clear()

    @contextmanager
    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        *,
        on_new_connection: bool = False,
    ) -> Iterator[Answer]:
        """Send a request. Redirects aren't followed.

        Args:
            method: The method.
            url: The URL.
            headers: The headers.
            body: The body; None for none.
            on_new_connection: Whether to open a new connection.

        Raises:
            TransportError: If it isn't answered.
            UsageError: If the environment names an invalid proxy, or one that needs another package.
        """
        proxy = proxy_for(url, self._environment)
        pool = self._new_pool(url, proxy) if on_new_connection else self._pool(url, proxy)
        with _errors():
            response = pool.request(
                method,
                url,
                body=body,
                headers={"User-Agent": self._user_agent, **(headers or {})},
                preload_content=False,
                decode_content=False,
                redirect=False,
                retries=False,
                timeout=_TIMEOUT,
            )
        answer = Answer(response)
        try:
            yield answer
        finally:
            answer.close()
            if on_new_connection:
                pool.clear()

    def _pool(self, url: str, proxy: Proxy | None) -> urllib3.PoolManager:
        with self._lock:
            if proxy not in self._pools or (self._tls is None and url.startswith("https:")):
                self._pools[proxy] = self._new_pool(url, proxy)
            return self._pools[proxy]

    def _new_pool(self, url: str, proxy: Proxy | None) -> urllib3.PoolManager:
        is_tls = url.startswith("https:") or (proxy is not None and proxy.url.startswith("https:"))
        if self._tls is None and is_tls:
            self._tls = ssl.create_default_context()
        options: dict[str, Any] = {"maxsize": self._connections, "ssl_context": self._tls}
        if proxy is None:
            return urllib3.PoolManager(**options)
        if proxy.is_socks:
            return _socks_pool(proxy, options)
        headers = {"Proxy-Authorization": proxy.authorization} if proxy.authorization else None
        return urllib3.ProxyManager(proxy.url, proxy_headers=headers, proxy_ssl_context=self._tls, **options)


def _socks_pool(proxy: Proxy, options: dict[str, Any]) -> urllib3.PoolManager:
    if importlib.util.find_spec("socks") is None:
        raise MissingPackageError("A SOCKS proxy needs", "socks")
    from urllib3.contrib.socks import SOCKSProxyManager  # noqa: PLC0415 (an optional package)

    return SOCKSProxyManager(proxy.url, **options)


@contextmanager
def _errors() -> Iterator[None]:
    """Replace urllib3's errors, which quote URLs."""
    try:
        yield
    except (exceptions.HTTPError, OSError, ValueError) as error:
        raise TransportError(_problem(error)) from None


def _problem(error: Exception) -> Problem:
    causes = list(_causes(error))
    if any(isinstance(each, ssl.SSLCertVerificationError) for each in causes):
        return Problem.CERTIFICATE
    for kinds, problem in _PROBLEMS:
        if any(isinstance(each, kinds) for each in causes):
            return problem
    return Problem.BROKEN


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what caused it; urllib3 also keeps causes as arguments."""
    for _ in range(10):
        if error is None:
            return
        yield error
        inner = [each for each in error.args if isinstance(each, BaseException)]
        error = inner[0] if inner else error.__cause__ or error.__context__


_PROBLEMS: tuple[tuple[tuple[type[BaseException], ...], Problem], ...] = (
    ((exceptions.ProxyError,), Problem.PROXY),
    ((exceptions.NameResolutionError, socket.gaierror), Problem.UNKNOWN_HOST),
    ((ConnectionRefusedError,), Problem.REFUSED),
    ((exceptions.SSLError, ssl.SSLError), Problem.TLS),
    ((exceptions.TimeoutError, TimeoutError), Problem.TIMEOUT),
)


class _WithoutQueries(logging.Filter):
    """Removes the queries of URLs, which are secrets, from what urllib3 logs at the level DEBUG."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(_QUERY.sub("?…", each) if isinstance(each, str) else each for each in record.args)
        return True


_QUERY = re.compile(r"\?\S*")
logging.getLogger("urllib3.connectionpool").addFilter(_WithoutQueries())
