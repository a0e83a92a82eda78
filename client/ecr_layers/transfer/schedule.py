"""Which range is worth another connection. All times are in seconds."""

import statistics
from collections.abc import Collection, Sequence

from ecr_layers.transfer.blobs import Attempt, Range

# A range this many times slower than the others is requested again; at most so many attempts run at once.
_FAR_SLOWER, _MOST_ATTEMPTS = 4, 3
# A range that takes less time isn't worth another connection.
_WORTH_HALVING = 0.25


def slow_range(running: Sequence[Attempt], speeds: Collection[float], patience: float, now: float) -> Range | None:
    """Return a range that is far slower than the others; None if there is none.

    Args:
        running: The attempts that are running.
        speeds: The speeds of attempts that have ended, in bytes a second.
        patience: How long an attempt runs before it can be found slow.
        now: The time.
    """
    slow = [attempt for attempt in running if _is_slow(attempt, running, speeds, patience, now)]
    for attempt in slow:
        attempts = attempt.range.attempts
        if len(attempts) < _MOST_ATTEMPTS and all(each in slow for each in attempts) and not attempt.range.is_done:
            return attempt.range
    return None


def shorten(slow: Range, smallest: int) -> None:
    """Let others request all but the start of the rest of a slow range, which has `smallest` bytes."""
    cut = slow.next + max(1, smallest // slow.file.block_size)
    if cut < slow.end:
        slow.blob.waiting.insert(0, (cut, slow.end))
        slow.end = cut


def half_of_the_longest(running: Sequence[Attempt], smallest: int, now: float) -> Range | None:
    """Cut off the second half of the range that will take longest; None if that ends soon, or has under `smallest`."""
    ranges = {attempt.range for attempt in running if attempt.range.blob.stream is None and attempt.read}
    if not ranges:
        return None
    times = {each: each.left / max(1.0, *(attempt.speed(now) for attempt in each.attempts)) for each in ranges}
    longest = max(times, key=times.__getitem__)
    half = (longest.end - longest.next) // 2
    if times[longest] < _WORTH_HALVING or half * longest.file.block_size < smallest:
        return None
    end, longest.end = longest.end, longest.end - half
    return Range(longest.blob, longest.file, longest.end, end, longest.round)


def _is_slow(
    attempt: Attempt, running: Sequence[Attempt], speeds: Collection[float], patience: float, now: float
) -> bool:
    if attempt.is_waiting or attempt.range.blob.stream is not None or now - attempt.started < patience:
        return False
    others = [*(each.speed(now) for each in running if each is not attempt and each.read), *speeds]
    return bool(others) and attempt.speed(now) * _FAR_SLOWER < statistics.median(others)
