"""Does one thing with many items at once, and does not wait for the others when one fails or a signal comes."""

import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_THREADS = 8


def in_parallel(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Return what a function makes of each item, in the order of the items.

    The threads are those of the process's kind that it does not wait for at its end: a request that is under way when
    something else fails, or when Ctrl-C is pressed, holds nothing up.

    Raises:
        Exception: What the function raised first, for whichever item.
    """
    left = list(enumerate(items))
    results: dict[int, Result] = {}
    errors: list[BaseException] = []
    changed = threading.Condition()
    count = len(left)

    def work() -> None:
        while True:
            with changed:
                if not left or errors:
                    return
                place, item = left.pop(0)
            try:
                result = function(item)
            except BaseException as error:
                # It goes on in the thread that waits.
                with changed:
                    errors.append(error)
                    changed.notify_all()
                return
            with changed:
                results[place] = result
                changed.notify_all()

    for number in range(min(_THREADS, count)):
        threading.Thread(target=work, name=f"parallel-{number}", daemon=True).start()
    with changed:
        changed.wait_for(lambda: errors or len(results) == count)
    if errors:
        raise errors[0]
    return [results[place] for place in range(count)]
