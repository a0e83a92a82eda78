"""The measurements, each of which compares the function with the least that does the same.

What is compared is measured in turn, in one run, so that what else the machine does hits all alike. Ratios are taken
round by round; their median and range are what counts.
"""

import socket
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from benchmarks import events
from benchmarks.packages import Subjects, zipped_bytes
from benchmarks.processes import Ecr, Function, MeasurementError, Taken, Worker
from benchmarks.stand_in import HANGING

COLD_ROUNDS = 25
WARM_ROUNDS = 25
CALLS = 100
"""How many calls a round of the warm measurements has."""
BATCH_ROUNDS = 7
LAYERS = 100
ECR_LATENCY_MS = 20.0
MEMORY_CALLS = 1000
FILLING_CALLS = 5000
LEVEL_CALLS = 10_000
KEPT = 32
"""Connections and threads that a function's pools may keep."""

# Half a second is kept for the answer, so that a call that hangs is given up after a fifth of a second.
_HANGING_REMAINING_MS = 700
# Time for abandoned reads to end: they have a time-out of a few seconds.
_SETTLING_SECONDS = 6.0


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        name: What was measured.
        unit: Unit of the values.
        baseline: What it is compared with; None if with nothing.
        ours: The function's value.
        ratios: Of ours to the baseline's, or the other way round, round by round.
        target: What is to be reached, in words.
        is_met: Whether it is.
        others: Further values, by their names.
    """

    name: str
    unit: str
    ours: float
    target: str
    is_met: bool
    baseline: float | None = None
    ratios: list[float] = field(default_factory=list)
    others: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return it for a result's file, with what is needed of the ratios."""
        row = asdict(self)
        row["ratios"] = [round(ratio, 4) for ratio in sorted(self.ratios)]
        return row


def stand_in_milliseconds() -> float:
    """Return how long one call of the stand-in takes, without any library: the least that any function waits for it."""
    (digest,) = events.new_digests(1)
    body = f'{{"repositoryName": "{events.REPOSITORY}", "layerDigest": "{digest}"}}'.encode()
    request = b"POST / HTTP/1.1\r\nHost: ecr\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    seconds = []
    with Ecr() as ecr, socket.create_connection(("127.0.0.1", ecr.port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(2000):
            started = time.perf_counter()
            connection.sendall(request)
            connection.recv(65536)
            seconds.append(time.perf_counter() - started)
    return statistics.median(seconds) * 1000


def cold(subjects: Subjects) -> list[Row]:
    """Measure new processes: the module's load, the first answer, and both hooks of SnapStart.

    By the processor's time: each is measured once in a process, so that one interruption would be all that is seen.
    """
    load: dict[str, list[Taken]] = {}
    first: dict[str, list[Taken]] = {}
    functions = {"ours": subjects.ours, "bare": subjects.bare, "tutorial": subjects.tutorial}
    with Ecr() as ecr:
        for turn in range(COLD_ROUNDS):
            for name, function in _rotated(functions.items(), turn):
                with Worker(subjects.interpreter, function, ecr) as worker:
                    load.setdefault(name, []).append(worker.loaded)
                    first.setdefault(name, []).append(_one_new_layer(worker))
            with Worker(subjects.interpreter, subjects.ours, ecr) as worker:
                first.setdefault("restored", []).append(worker.restore() + _one_new_layer(worker))
    restored = {"ours": first.pop("restored"), "bare": first["bare"]}
    return [
        _compared_cold("Load of the handler's module, new process", load, "at most bare's", 1.0),
        _compared_cold("First answer after it", first, "at most 1.2 times bare's", 1.2),
        _restored("After a SnapStart restore: hook and first answer", restored),
    ]


def _compared_cold(name: str, taken: dict[str, list[Taken]], target: str, limit: float) -> Row:
    cpu_seconds = {function: [each.cpu_seconds for each in values] for function, values in taken.items()}
    row = _compared(f"{name} (processor time)", cpu_seconds, target, limit)
    by_the_clock = {
        f"{function} by the clock": _milliseconds([each.seconds for each in values])
        for function, values in taken.items()
    }
    return replace(row, others=row.others | by_the_clock)


def _restored(name: str, taken: dict[str, list[Taken]]) -> Row:
    row = _compared_cold(name, taken, "at most 8 ms", 1.0)
    return replace(row, is_met=row.ours <= 8)


def warm(subjects: Subjects) -> list[Row]:
    """Measure running processes: one layer from ECR, one from the cache, and many from the cache."""
    functions = {"ours": subjects.ours, "bare": subjects.bare, "tutorial": subjects.tutorial}
    asked: dict[str, list[list[float]]] = {name: [] for name in functions}
    cached, redirected, many = [], [], []
    (known,) = events.new_digests(1)
    batch = events.download_urls(events.new_digests(LAYERS))
    with ExitStack() as stack:
        ecr = stack.enter_context(Ecr())
        workers = {name: stack.enter_context(_worker(subjects, each, ecr)) for name, each in functions.items()}
        ours = workers["ours"]
        _warm_up(workers.values())
        ours.invoke([batch])
        for turn in range(WARM_ROUNDS):
            for name, worker in _rotated(workers.items(), turn):
                asked[name].append(worker.invoke(_new_layers(CALLS))["seconds"])
            ours.invoke([events.download_url(known)])
            cached.append(ours.invoke([events.download_url(known)] * CALLS)["seconds"])
            redirected.append(ours.invoke([events.blob(known)] * CALLS, status=307)["seconds"])
            many.append(ours.invoke([batch] * 10)["seconds"])
    p50 = {name: [statistics.median(each) for each in blocks] for name, blocks in asked.items()}
    p99 = {name: list(_p99_of_groups(blocks)) for name, blocks in asked.items()}
    tenth, fourteenth = 1 / 10, 1 / 14
    return [
        _compared("One layer, asked of ECR, p50", p50, "at most 1.15 times bare's", 1.15),
        _compared("One layer, asked of ECR, p99", p99, "at most bare's", 1.0),
        _against_a_call("One layer from the cache, GET /download-url", cached, p50["bare"], "a tenth", tenth),
        _against_a_call("One blob's 307 from the cache", redirected, p50["bare"], "a fourteenth", fourteenth),
        _many_cached(many, p50["bare"]),
    ]


def batches(subjects: Subjects) -> list[Row]:
    """Measure 100 layers at once against a loop, with an ECR that takes its time."""
    seconds: dict[str, list[float]] = {"ours": [], "bare": []}
    cpu: dict[str, list[float]] = {"ours": [], "bare": []}
    with Ecr() as prompt, Ecr(ECR_LATENCY_MS) as slow, ExitStack() as stack:
        ours, loop = (stack.enter_context(_worker(subjects, each, slow)) for each in (subjects.ours, subjects.loop))
        bare = stack.enter_context(_worker(subjects, subjects.bare, prompt))
        _warm_up([bare])
        for worker in (ours, loop):
            worker.invoke([events.download_urls(events.new_digests(LAYERS))])
        for turn in range(BATCH_ROUNDS):
            for name, worker in _rotated([("ours", ours), ("bare", loop)], turn):
                result = worker.invoke([events.download_urls(events.new_digests(LAYERS))])
                seconds[name] += result["seconds"]
                if name == "ours":
                    cpu[name].append(result["cpu_seconds"] / LAYERS)
            cpu["bare"].append(bare.invoke(_new_layers(CALLS))["cpu_seconds"] / CALLS)
    times = _ratios(seconds["bare"], seconds["ours"])
    return [
        Row(
            f"{LAYERS} layers, ECR takes {ECR_LATENCY_MS:.0f} ms, against a loop",
            "ms",
            _milliseconds(seconds["ours"]),
            "15 times as fast as the loop",
            statistics.median(times) >= 15,
            baseline=_milliseconds(seconds["bare"]),
            ratios=times,
        ),
        _compared("Processor time for each layer of a batch", cpu, "at most that of bare's call", 1.0),
    ]


def sizes(subjects: Subjects) -> list[Row]:
    """Measure the package, and the memory after many calls."""
    size = zipped_bytes(subjects.package) / 1e6
    with Ecr() as ecr:
        memory = {
            name: _memory_after(subjects, function, ecr)
            for name, function in {
                "ours": subjects.ours,
                "bare": subjects.bare,
                "tutorial": subjects.tutorial,
            }.items()
        }
    return [
        Row(
            "Package, zipped" + (", with bytecode" if subjects.is_compiled else ""),
            "MB",
            size,
            "at most 6 MB",
            size <= 6,
        ),
        Row(
            f"Resident memory after {MEMORY_CALLS:,} calls",
            "MB",
            memory["ours"],
            "at most 52 MB",
            memory["ours"] <= 52,
            baseline=memory["bare"],
            ratios=[memory["ours"] / memory["bare"]],
            others={"tutorial": memory["tutorial"]},
        ),
    ]


def levels(subjects: Subjects) -> list[Row]:
    """Measure whether memory, threads and file descriptors stay level, hanging calls included."""
    with Ecr() as ecr, _worker(subjects, subjects.bare, ecr) as bare, _worker(subjects, subjects.ours, ecr) as ours:
        # Caches, pools and the allocator fill up first.
        _mixed_calls(ours, FILLING_CALLS)
        _hanging_calls(ours)
        bare.invoke(_new_layers(FILLING_CALLS))
        first, first_of_bare = _settled(ours), _settled(bare)
        slowest = 0.0
        for _ in range(0, LEVEL_CALLS, 500):
            _mixed_calls(ours, 497)
            _hanging_calls(ours)
            slowest = max(slowest, *ours.invoke(_new_layers(1))["seconds"])
            bare.invoke(_new_layers(500))
        last, last_of_bare = _settled(ours), _settled(bare)
    growth = {name: last[name] - first[name] for name in first}
    growth_of_bare = {name: last_of_bare[name] - first_of_bare[name] for name in first_of_bare}
    return [
        Row(
            f"Growth of resident memory over {LEVEL_CALLS:,} calls, some of which hang",
            "MB",
            growth["memory"] / 1e6,
            "at most 1 MB above bare's",
            growth["memory"] <= growth_of_bare["memory"] + 1e6,
            baseline=growth_of_bare["memory"] / 1e6,
        ),
        _bounded("Growth of threads over them", growth["threads"], growth_of_bare["threads"]),
        _bounded(
            "Growth of file descriptors over them", growth["file_descriptors"], growth_of_bare["file_descriptors"]
        ),
        Row("Slowest answer after a call that hung", "ms", slowest * 1000, "at most 100 ms", slowest <= 0.1),
    ]


def _bounded(name: str, growth: float, growth_of_bare: float) -> Row:
    """Return a row of what is kept: it may differ by what pools keep, and a leak would be 17 for each hanging batch."""
    return Row(name, "", growth, f"at most {KEPT}, as pools keep", growth <= KEPT, baseline=growth_of_bare)


def _settled(worker: Worker) -> dict[str, int]:
    time.sleep(_SETTLING_SECONDS)
    return worker.state()


def _mixed_calls(worker: Worker, count: int) -> None:
    """Make calls of all kinds: of ten, six new layers, three known ones, one redirect; and one batch."""
    new = events.new_digests(count * 6 // 10)
    worker.invoke([events.download_url(digest) for digest in new])
    worker.invoke([events.download_url(digest) for digest in new[-(count * 3 // 10) :]])
    worker.invoke([events.blob(new[-1])] * (count - len(new) - count * 3 // 10 - 1), status=307)
    worker.invoke([events.download_urls(events.new_digests(LAYERS))])


def _hanging_calls(worker: Worker) -> None:
    """Ask for one layer that ECR never answers for, and for a batch of such layers with one that it does."""
    hanging = [f"{HANGING}{digest[len(HANGING) :]}" for digest in events.new_digests(17)]
    worker.invoke([events.download_url(hanging.pop())], status=504, remaining_ms=_HANGING_REMAINING_MS)
    batch = events.download_urls([*events.new_digests(1), *hanging])
    answer = worker.invoke([batch], remaining_ms=_HANGING_REMAINING_MS)["answer"]
    if answer["body"].count('"downloadUrl":') != 1:
        raise MeasurementError(f"A batch with one layer that ECR answers for has none: {answer['body'][:500]}")


def _memory_after(subjects: Subjects, function: Function, ecr: Ecr) -> float:
    with _worker(subjects, function, ecr) as worker:
        worker.invoke(_new_layers(MEMORY_CALLS))
        return worker.state()["memory"] / 1e6


def _worker(subjects: Subjects, function: Function, ecr: Ecr) -> Worker:
    return Worker(subjects.interpreter, function, ecr)


def _warm_up(workers: Iterable[Worker]) -> None:
    for worker in workers:
        worker.invoke(_new_layers(2 * CALLS))


def _new_layers(count: int) -> list[dict[str, Any]]:
    return [events.download_url(digest) for digest in events.new_digests(count)]


def _one_new_layer(worker: Worker) -> Taken:
    result = worker.invoke(_new_layers(1))
    return Taken(result["seconds"][0], result["cpu_seconds"])


def _rotated(items: Iterable[tuple[str, Any]], turn: int) -> Iterator[tuple[str, Any]]:
    """Return items beginning with another one each turn, so that none profits from its place."""
    listed = list(items)
    start = turn % len(listed)
    return iter(listed[start:] + listed[:start])


def _compared(name: str, seconds: dict[str, list[float]], target: str, limit: float) -> Row:
    ratios = _ratios(seconds["ours"], seconds["bare"])
    return Row(
        name,
        "ms",
        _milliseconds(seconds["ours"]),
        target,
        statistics.median(ratios) <= limit,
        baseline=_milliseconds(seconds["bare"]),
        ratios=ratios,
        others={other: _milliseconds(values) for other, values in seconds.items() if other not in {"ours", "bare"}},
    )


def _against_a_call(name: str, blocks: list[list[float]], calls: list[float], target: str, limit: float) -> Row:
    medians = [statistics.median(block) for block in blocks]
    return _compared(name, {"ours": medians, "bare": calls}, f"{target} of bare's call", limit)


def _many_cached(blocks: list[list[float]], calls: list[float]) -> Row:
    medians = [statistics.median(block) for block in blocks]
    ours = _milliseconds(medians)
    return Row(
        f"{LAYERS} layers from the cache",
        "ms",
        ours,
        "at most 1 ms",
        ours <= 1,
        baseline=_milliseconds(calls),
        ratios=_ratios(medians, calls),
    )


def _p99_of_groups(blocks: list[list[float]]) -> Iterator[float]:
    """Return the 99th percentile of each five blocks: one block has too few calls for it."""
    for start in range(0, len(blocks), 5):
        yield statistics.quantiles([value for block in blocks[start : start + 5] for value in block], n=100)[98]


def _ratios(ours: list[float], theirs: list[float]) -> list[float]:
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def _milliseconds(seconds: list[float]) -> float:
    return statistics.median(seconds) * 1000


GROUPS: tuple[Callable[[Subjects], list[Row]], ...] = (cold, warm, batches, sizes, levels)
"""All measurements, in the table's order."""
