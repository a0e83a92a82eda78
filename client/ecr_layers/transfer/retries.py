"""When a request is made again, and after how long."""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

# Not the process's generator: what a program draws from that, after seeding it, is not for a library to change.
_JITTER = random.SystemRandom()

RETRYABLE_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses that can be another one next time, where the answer does not say whether they can."""


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a request is made again.

    Attributes:
        attempts: How often it is made, the first time included.
        longest_wait: How long to wait before the next attempt at most, in seconds. A service that says to come back
            later than that is not asked again.
        shortest_wait: How long to wait before the second attempt, in seconds; the time doubles each time, and a random
            part of it is left out, so that many clients don't come back at once.
        sleep: Waits for a number of seconds.
    """

    attempts: int = 5
    longest_wait: float = 30.0
    shortest_wait: float = 0.5
    sleep: Callable[[float], None] = time.sleep

    def wait(self, attempt: int, retry_after: float | None = None) -> float | None:
        """Return how long to wait after a failed attempt, in seconds, None if there is to be no other.

        Args:
            attempt: How many attempts there have been.
            retry_after: How long the other side says to wait, None if it does not say.
        """
        if attempt >= self.attempts or (retry_after or 0.0) > self.longest_wait:
            return None
        wait = min(self.longest_wait, self.shortest_wait * float(2 ** (attempt - 1))) * _JITTER.uniform(0.5, 1)
        return max(wait, retry_after or 0.0)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a Retry-After header, None if there is none; a date, which nobody sends here, is none."""
    value = headers.get("Retry-After", "").strip()
    return float(value) if value.isdecimal() and len(value) < 6 else None
