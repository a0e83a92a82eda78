"""The measurements behind docs/performance.md.

Functions take turns, round by round, so that other load on the machine hits all alike. A ratio is taken within a round;
the median of all rounds counts.
"""

import statistics
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from typing import Any

from benchmarks import events
from benchmarks.packages import Subjects
from benchmarks.processes import Ecr

ECR_LATENCY_MS = 20.0
"""A fast answer of the real ECR."""

LAYERS = 100
COLD_ROUNDS = 25
WARM_ROUNDS = 100
CALLS = 10
"""How many calls that ask ECR each warm round has: few, so that a second of other load hits all alike."""
BATCH_ROUNDS = 7
MEMORY_ROUNDS = 3


Rounds = dict[str, list[float]]
"""Each function's values, one for each round."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        name: What was measured.
        unit: Unit of the values.
        values: The median of each function, by its name.
        target: The target in words.
        is_met: Whether it is reached.
        ratios: The compared functions' ratio in each round.
    """

    name: str
    unit: str
    values: dict[str, float]
    target: str
    is_met: bool
    ratios: list[float]


def cold(subjects: Subjects) -> list[Row]:
    """Measure new processes: load, first answer, and a SnapStart restore.

    In processor time: a process yields one value of each, which an interruption would spoil.
    """
    load, first = _rounds(), _rounds()
    restored: list[float] = []
    with Ecr() as ecr:
        for turn in range(COLD_ROUNDS):
            for name in _rotated(load, turn):
                with subjects.worker(name, ecr) as worker:
                    load[name].append(worker.load_ms)
                    first[name].append(worker.first_answer_ms(*_new_layers(1)))
            with subjects.worker("ours", ecr) as worker:
                restored.append(worker.restore_ms() + worker.first_answer_ms(*_new_layers(1)))
    return [
        _relative("Load, processor time", load, "tutorial", 1.0),
        _relative("First answer after it, processor time", first, "tutorial", 1.0),
        _absolute("SnapStart: hook and first answer, processor time", first | {"ours": restored}, "tutorial", 10),
    ]


def warm(subjects: Subjects) -> list[Row]:
    """Measure running processes: one layer asked of ECR, and answers from the cache."""
    blocks: dict[str, list[list[float]]] = {name: [] for name in _rounds()}
    cached, redirected, many = [], [], []
    (known,) = events.new_digests(1)
    batch = events.download_urls(events.new_digests(LAYERS))
    with ExitStack() as stack:
        ecr = stack.enter_context(Ecr(ECR_LATENCY_MS))
        workers = {name: stack.enter_context(subjects.worker(name, ecr)) for name in blocks}
        ours = workers["ours"]
        for worker in workers.values():
            worker.invoke(_new_layers(5 * CALLS))
        ours.invoke([batch], urls=LAYERS)
        ours.invoke([events.download_url(known)])
        for turn in range(WARM_ROUNDS):
            for name in _rotated(workers, turn):
                blocks[name].append(workers[name].invoke(_new_layers(CALLS)))
            ours.invoke([events.download_url(known)])
            cached.append(statistics.median(ours.invoke([events.download_url(known)] * 100)))
            redirected.append(statistics.median(ours.invoke([events.blob(known)] * 100, status=307, urls=0)))
            many.append(statistics.median(ours.invoke([batch] * 10, urls=LAYERS)))
    p50 = {name: [statistics.median(block) for block in each] for name, each in blocks.items()}
    p99 = {name: _p99_of_twenty(each) for name, each in blocks.items()}
    return [
        _relative("One layer, ECR at 20 ms, p50", p50, "bare", 1.05),
        _relative("One layer, ECR at 20 ms, p99", p99, "bare", 1.05),
        _absolute("One layer from the cache", p50 | {"ours": cached}, "bare", 0.5),
        _absolute("One blob's 307 from the cache", p50 | {"ours": redirected}, "bare", 0.5),
        _absolute("100 layers from the cache", {"ours": many, "bare": p50["bare"]}, "bare", 2),
    ]


def batches(subjects: Subjects) -> list[Row]:
    """Measure 100 layers at once against a loop."""
    rounds: Rounds = {"ours": [], "bare": []}
    with Ecr(ECR_LATENCY_MS) as ecr, subjects.worker("ours", ecr) as ours, subjects.worker("bare", ecr) as bare:
        for turn in range(-1, BATCH_ROUNDS):
            milliseconds = {
                "ours": ours.invoke([events.download_urls(events.new_digests(LAYERS))], urls=LAYERS),
                "bare": [sum(bare.invoke(_new_layers(LAYERS)))],
            }
            # The first round warms up.
            for name, values in milliseconds.items() if turn >= 0 else ():
                rounds[name] += values
    times = [loop / ours for ours, loop in zip(rounds["ours"], rounds["bare"], strict=True)]
    name, target = "100 layers, ECR at 20 ms; bare in a loop", "12 times as fast as the loop"
    return [Row(name, "ms", _medians(rounds), target, statistics.median(times) >= 12, times)]


def memory(subjects: Subjects) -> list[Row]:
    """Measure resident memory after 1,000 calls for distinct layers."""
    rounds = _rounds()
    with Ecr() as ecr:
        for turn in range(MEMORY_ROUNDS):
            for name in _rotated(rounds, turn):
                with subjects.worker(name, ecr) as worker:
                    worker.invoke(_new_layers(1000))
                    rounds[name].append(worker.memory() / 1e6)
    return [_relative("Resident memory after 1,000 calls", rounds, "tutorial", 1.0, unit="MB")]


def _new_layers(count: int) -> list[dict[str, Any]]:
    return [events.download_url(digest) for digest in events.new_digests(count)]


def _rounds() -> Rounds:
    return {"bare": [], "tutorial": [], "ours": []}


def _rotated(names: Iterable[str], turn: int) -> list[str]:
    """Return the names from another one on each turn, so that none profits from its place."""
    listed = list(names)
    start = turn % len(listed)
    return listed[start:] + listed[:start]


def _relative(name: str, rounds: Rounds, other: str, limit: float, unit: str = "ms") -> Row:
    """Return a row whose target is a multiple of another function's value."""
    ratios = _ratios(rounds, other)
    target = f"{limit:g} times {other}'s" if limit != 1 else f"at most {other}'s"
    return Row(name, unit, _medians(rounds), target, statistics.median(ratios) <= limit, ratios)


def _absolute(name: str, rounds: Rounds, other: str, most_ms: float) -> Row:
    """Return a row whose target is a time, with the ratio to another function's."""
    values = _medians(rounds)
    return Row(name, "ms", values, f"at most {most_ms:g} ms", values["ours"] <= most_ms, _ratios(rounds, other))


def _medians(rounds: Rounds) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in rounds.items()}


def _ratios(rounds: Rounds, other: str) -> list[float]:
    return [ours / theirs for ours, theirs in zip(rounds["ours"], rounds[other], strict=True)]


def _p99_of_twenty(blocks: list[list[float]]) -> list[float]:
    """Return the 99th percentile of every twenty blocks; one alone has too few calls."""
    groups = (chain.from_iterable(blocks[start : start + 20]) for start in range(0, len(blocks), 20))
    return [statistics.quantiles(group, n=100)[98] for group in groups]


GROUPS: tuple[Callable[[Subjects], list[Row]], ...] = (cold, warm, batches, memory)
"""All measurements, in the table's order."""
