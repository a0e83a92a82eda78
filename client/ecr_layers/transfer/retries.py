"""When to try again, and for how long."""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

# A generator of its own: a library must not use up the random numbers of a program that has seeded them.
_JITTER = random.SystemRandom()

RETRYABLE_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses that can change, for answers that don't say whether they can."""


@dataclass(frozen=True, slots=True)
class Retries:
    """How long to go on trying without any progress.

    Attributes:
        seconds: The time budget, counted from the first failure since something succeeded.
        shortest_wait: Longest wait before the second attempt, in seconds. It doubles each time; a random part is left
            out, so that many clients don't come back at once.
        longest_wait: Longest wait before any attempt, in seconds, unless the server asks for more.
        sleep: Waits for a number of seconds.
        clock: Returns the time in seconds.
        on_wait: Gets the reason and the number of seconds of each wait, in the thread that waits.
    """

    seconds: float = 120.0
    shortest_wait: float = 0.5
    longest_wait: float = 30.0
    sleep: Callable[[float], object] = time.sleep
    clock: Callable[[], float] = time.monotonic
    on_wait: Callable[[str, float], object] | None = None


class Attempts:
    """Counts the failures since the last success, and waits between them.

    Args:
        retries: How long to go on.
        sleep: Waits for a number of seconds; by default as `retries` says.

    Attributes:
        failed: The number of failures since the last success.
    """

    def __init__(self, retries: Retries, sleep: Callable[[float], object] | None = None) -> None:
        self._retries = retries
        self._sleep = sleep or retries.sleep
        self._first_failure = 0.0
        self.failed = 0

    def succeeded(self) -> None:
        """Forget the failures."""
        self.failed = 0

    def wait(self, reason: str, retry_after: float | None = None, *, at_once: bool = False) -> bool:
        """Count a failure, and wait until it is time for the next attempt.

        Args:
            reason: Why the attempt failed, for `on_wait`.
            retry_after: Seconds that the server asks to wait; None if it doesn't say.
            at_once: Whether the next attempt needs no wait.

        Returns:
            False, without waiting, if the time budget is used up.
        """
        now = self._retries.clock()
        if not self.failed:
            self._first_failure = now
        self.failed += 1
        left = self._retries.seconds - (now - self._first_failure)
        if left <= 0 or (retry_after or 0.0) > left:
            return False
        if at_once:
            return True
        most = min(self._retries.longest_wait, self._retries.shortest_wait * float(2 ** min(self.failed - 1, 30)))
        wait = min(left, max(most * _JITTER.uniform(0.5, 1), retry_after or 0.0))
        if self._retries.on_wait is not None:
            self._retries.on_wait(reason, wait)
        self._sleep(wait)
        return True


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a Retry-After header; None without one. Nobody sends dates here."""
    value = headers.get("Retry-After", "").strip()
    return float(value) if value.isdecimal() and len(value) < 6 else None
