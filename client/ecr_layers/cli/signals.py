"""Signals that stop a command: an exception first, so that it can tidy up, and the process's end within a second."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals."""

_SECONDS_TO_TIDY_UP = 0.8


class Stopped(BaseException):
    """A signal stops the command. Not an Exception, so that nothing on the way handles it.

    Attributes:
        status: The exit status, as a shell reports the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.status = 128 + number


@contextmanager
def stopping() -> Iterator[None]:
    """Raise `Stopped` in the main thread at the first signal; a second one, or too much time, ends the process."""
    timers: list[threading.Timer] = []

    def stop(number: int, _: FrameType | None) -> None:
        for each in SIGNALS:
            signal.signal(each, lambda again, _: os._exit(128 + again))
        timer = threading.Timer(_SECONDS_TO_TIDY_UP, os._exit, [128 + number])
        timer.daemon = True
        # Without memory for a thread, the exception has to do.
        with suppress(RuntimeError, MemoryError):
            timer.start()
            timers.append(timer)
        raise Stopped(number)

    # A shell makes background commands ignore SIGINT; nohup makes them ignore SIGHUP, and means it.
    wanted = [each for each in SIGNALS if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN]
    earlier = {each: signal.signal(each, stop) for each in wanted}
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()
        for number, handler in earlier.items():
            signal.signal(number, handler)
