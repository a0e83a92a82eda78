"""Runs every call to AWS on one pool of threads, and waits for it no longer than until the deadline.

A library's time-out bounds a single wait on a socket, so a peer that drips can outlast any of them. Here the invocation
stops waiting at its deadline; the thread follows when the library's time-outs end its call.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar

Value = TypeVar("Value")

THREADS = 32
"""How many calls run at once."""

CONNECTION_SECONDS = 60.0
"""How long connections are kept; a NAT gateway silently drops idle ones after 350 seconds. Source:
https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-troubleshooting.html"""

LEAST_SECONDS = 0.05
"""How much time must remain for an attempt to start, in seconds."""


class OutOfTimeError(Exception):
    """The invocation's time is up."""


class Moment(NamedTuple):
    """A moment on two clocks: one can be set back, the other stands still while Lambda freezes the environment.

    `wall` is in seconds since the epoch, `uptime` in those of `time.monotonic`.
    """

    wall: float
    uptime: float

    @classmethod
    def now(cls) -> "Moment":
        """Return the current moment."""
        return cls(time.time(), time.monotonic())

    def since(self, earlier: "Moment") -> float:
        """Return the seconds since an earlier moment, on the clock that went further."""
        return max(self.wall - earlier.wall, self.uptime - earlier.uptime)


class Deadline(NamedTuple):
    """The moment by which something has to be done, in seconds of `time.monotonic`."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """Return the deadline this many seconds from now."""
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Return the seconds left, 0 if there are none."""
        return max(0.0, self.at - time.monotonic())

    def within(self, seconds: float) -> "Deadline":
        """Return this deadline, or the one `seconds` from now if that is sooner."""
        return Deadline(min(self.at, time.monotonic() + seconds))


_NEVER = Deadline(float("inf"))
_deadline: ContextVar[Deadline] = ContextVar("deadline", default=_NEVER)


def check_time() -> None:
    """Refuse to start an attempt of the current call if its invocation is over.

    Raises:
        OutOfTimeError: If less than `LEAST_SECONDS` remain.
    """
    if _deadline.get().remaining() < LEAST_SECONDS:
        raise OutOfTimeError


class Calls:
    """The pool; lives as long as the process."""

    def __init__(self) -> None:
        self._threads = _new_threads()
        self._abandoned: list[Future[Any]] = []

    def run(self, deadline: Deadline, call: Callable[[], Value], wait_seconds: float = float("inf")) -> Value:
        """Return a call's result, or raise what it raises.

        The call may start attempts until the deadline. If `wait_seconds` end before, it goes on in the background.

        Raises:
            OutOfTimeError: If there is no result in time.
        """
        (future,) = self._wait_for(deadline, [call], deadline.within(wait_seconds))
        if _is_late(future):
            raise OutOfTimeError
        return future.result()

    def run_all(self, deadline: Deadline, calls: Sequence[Callable[[], Value]]) -> list[Value | None]:
        """Return the results of calls that raise nothing; None for each that has none at the deadline."""
        futures = self._wait_for(deadline, calls, deadline)
        return [None if _is_late(future) else future.result() for future in futures]

    def _wait_for(
        self, deadline: Deadline, calls: Sequence[Callable[[], Value]], until: Deadline
    ) -> list[Future[Value]]:
        threads = self._free_threads()
        futures = [threads.submit(_run, deadline, call) for call in calls]
        wait(futures, timeout=until.remaining())
        for future in futures:
            if not future.cancel() and not future.done():
                self._abandoned.append(future)
        return futures

    def _free_threads(self) -> ThreadPoolExecutor:
        """Return the pool, or a new one if calls of past invocations hold every thread."""
        self._abandoned = [future for future in self._abandoned if not future.done()]
        if len(self._abandoned) >= THREADS:
            self._threads.shutdown(wait=False)
            self._threads, self._abandoned = _new_threads(), []
        return self._threads


def _is_late(future: Future[Any]) -> bool:
    return not future.done() or future.cancelled() or isinstance(future.exception(), OutOfTimeError)


def _new_threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="aws")


def _run(deadline: Deadline, call: Callable[[], Value]) -> Value:
    _deadline.set(deadline)
    check_time()
    return call()
