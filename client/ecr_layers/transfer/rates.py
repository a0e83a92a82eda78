"""A limit of the download rate."""

import threading
import time
from collections.abc import Callable

PIECE = 16 * 1024
"""How many bytes are read at once under a limit, so that no connection waits long for the next."""


class RateLimit:
    """A rate that all connections of a client share.

    Args:
        rate: Bytes a second.
        clock: Returns the time in seconds.
        sleep: Waits for a number of seconds.
    """

    def __init__(
        self,
        rate: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free = clock()

    def wait(self, count: int) -> None:
        """Wait until so many bytes may be read."""
        with self._lock:
            now = self._clock()
            # Time in which nothing was read isn't made up for.
            self._free = max(self._free, now) + count / self._rate
            wait = self._free - now
        self._sleep(wait)
