"""Many requests at once: results in order, and no waiting for the others when one fails."""

import threading
import time

import pytest

from ecr_layers.transfer.parallel import in_parallel


def test_results_are_in_the_order_of_the_items() -> None:
    def slower_first(number: int) -> int:
        time.sleep((30 - number) / 3000)
        return number * 2

    assert in_parallel(slower_first, range(30)) == [number * 2 for number in range(30)]
    assert in_parallel(slower_first, []) == []


def test_the_first_failure_is_raised_while_others_still_run() -> None:
    release = threading.Event()

    def fail_or_wait(number: int) -> None:
        if number == 3:
            raise ValueError("the third")
        release.wait(20)

    with pytest.raises(ValueError, match="the third"):
        in_parallel(fail_or_wait, range(100))
    release.set()
