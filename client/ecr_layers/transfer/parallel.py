"""Applies a function to many items at once, without waiting for the others after a failure or a signal."""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_THREADS = 8
_SECONDS_BETWEEN_TICKS = 0.1


def in_parallel(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    threads: int = _THREADS,
    on_tick: Callable[[], None] | None = None,
) -> list[Result]:
    """Return the function's result for each item, in the order of the items.

    The threads are daemons: the process doesn't wait for them when something else fails, or after Ctrl-C.

    Args:
        function: The function.
        items: The items.
        threads: How many items are worked on at once.
        on_tick: Called about ten times a second, in this thread.

    Raises:
        Exception: The first that the function raised.
    """
    work = _Work(function, items)
    for number in range(min(threads, work.count)):
        threading.Thread(target=work.run, name=f"parallel-{number}", daemon=True).start()
    while not work.is_over():
        work.wait(_SECONDS_BETWEEN_TICKS)
        if on_tick is not None:
            on_tick()
    if work.errors:
        raise work.errors[0]
    return [work.results[place] for place in range(work.count)]


class _Work(Generic[Item, Result]):
    """Items to work on, and their results."""

    def __init__(self, function: Callable[[Item], Result], items: Iterable[Item]) -> None:
        self._function = function
        self._left = deque(enumerate(items))
        self._changed = threading.Condition()
        self.count = len(self._left)
        self.results: dict[int, Result] = {}
        self.errors: list[BaseException] = []

    def is_over(self) -> bool:
        return bool(self.errors) or len(self.results) == self.count

    def wait(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(self.is_over, seconds)

    def run(self) -> None:
        """Work on items until none is left."""
        while self._left and not self.errors:
            try:
                place, item = self._left.popleft()
            except IndexError:
                # Another thread has taken the last one.
                return
            self._work_on(place, item)

    def _work_on(self, place: int, item: Item) -> None:
        try:
            self.results[place] = self._function(item)
        except BaseException as error:
            # It is raised in the thread that waits.
            self.errors.append(error)
        with self._changed:
            self._changed.notify_all()
