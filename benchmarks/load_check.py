"""Compares the load model's hit rate with the real function's, and writes the model's tables into docs/scaling.md.

Several processes of the function get streams of requests as busy environments do: as fast as they answer, for layers
of Zipf's popularity. Time is short here, so URLs live for seconds; or there are more layers than a cache keeps. Run it
with `make scaling`.
"""

import random
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import events
from benchmarks.load_model import (
    Function,
    Load,
    Prices,
    Quotas,
    costs_table,
    hit_rate,
    loads_table,
    memory_table,
)
from benchmarks.packages import Subjects, build
from benchmarks.processes import Ecr, MeasurementError, Worker
from infra.asset import BuildError

DOCUMENT = Path(__file__).parent.parent / "docs" / "scaling.md"
ENVIRONMENTS = 2
TOLERANCE = 0.05
"""How far the measured hit rate may be from the model's."""

_CHUNK = 100


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream of requests to try.

    Attributes:
        name: What it shows.
        load: The layers and how long their URLs are reused.
        warm_seconds: How long it runs before it is measured.
        measured_seconds: How long it is measured.
    """

    name: str
    load: Load
    warm_seconds: float
    measured_seconds: float


STREAMS = (
    Stream("URLs that expire", Load(0, layers=1500, skew=0.8, reuse_seconds=4), 4, 16),
    Stream("more layers than a cache keeps", Load(0, layers=8000, skew=0.8, reuse_seconds=1800), 12, 12),
    Stream("layers that are all alike, twice what is kept", Load(0, layers=4000, skew=0, reuse_seconds=1800), 12, 12),
)


def main() -> int:
    """Compare, write the tables, and return 0 if the model is right."""
    try:
        subjects = build()
        measured = [compared(subjects, stream) for stream in STREAMS]
    except (BuildError, MeasurementError) as error:
        print(error, file=sys.stderr)
        return 1
    write_tables(
        [["stream", "requests/s of one", "hit rate, model", "hit rate, function"], *(row for row, _ in measured)]
    )
    for row, difference in measured:
        print(f"{row[0]}: {row[2]} by the model, {row[3]} by the function, {difference:+.1%}")
    return 0 if all(abs(difference) <= TOLERANCE for _, difference in measured) else 1


def compared(subjects: Subjects, stream: Stream) -> tuple[list[str], float]:
    """Return a stream's row, and by how much the measured hit rate is above the model's."""
    popularity = stream.load.popularity()
    digests = events.new_digests(stream.load.layers)
    # X-Amz-Date has whole seconds, so a URL was signed half a second ago on average when it arrives.
    reuse = stream.load.reuse_seconds - 0.5
    with ExitStack() as stack:
        ecr = stack.enter_context(Ecr(lifetime_seconds=int(stream.load.reuse_seconds * 2)))
        workers = [stack.enter_context(Worker(subjects.interpreter, subjects.ours, ecr)) for _ in range(ENVIRONMENTS)]
        run(workers, digests, popularity, stream.warm_seconds, seed="before")
        before, started = ecr.calls(), time.monotonic()
        requests = run(workers, digests, popularity, stream.measured_seconds, seed="measured")
        seconds = time.monotonic() - started
        misses = ecr.calls() - before
    rate = requests / seconds / ENVIRONMENTS
    expected = hit_rate(popularity, rate, reuse, Function().cached_urls)
    measured = 1 - misses / requests
    return [stream.name, f"{rate:,.0f}", f"{expected:.1%}", f"{measured:.1%}"], measured - expected


def run(workers: list[Worker], digests: list[str], popularity: list[float], seconds: float, seed: str) -> int:
    """Let all workers answer requests for so long, and return how many they answered; another seed asks for others."""
    end = time.monotonic() + seconds
    counts: list[int] = []

    def work(worker: Worker, choose: random.Random) -> None:
        count = 0
        while time.monotonic() < end:
            chosen = choose.choices(digests, weights=popularity, k=_CHUNK)
            count += len(worker.invoke([events.download_url(digest) for digest in chosen])["seconds"])
        counts.append(count)

    threads = [
        threading.Thread(target=work, args=(worker, random.Random(f"{seed} {number}")))
        for number, worker in enumerate(workers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(counts) != len(workers):
        raise MeasurementError("A function has failed while it was under load.")
    return sum(counts)


def write_tables(measured: list[list[str]]) -> None:
    """Write all tables into the document."""
    function, prices = Function(), Prices()
    loads = [Load(requests, layers=layers) for requests in (10, 1_000, 10_000, 100_000) for layers in (200, 5_000)]
    tables = {
        "loads": loads_table(function, loads, Quotas(), prices),
        "costs": costs_table(function, [Load(0.1), Load(10), Load(1_000)], prices),
        "memory": memory_table(function, Load(1_000), prices),
        "check": measured,
    }
    text = DOCUMENT.read_text()
    for name, rows in tables.items():
        begin, end = f"<!-- {name}: written by `make scaling` from here -->", "<!-- to here -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}\n\n{as_markdown(rows)}\n\n{end}{after}"
    DOCUMENT.write_text(text)


def as_markdown(rows: list[list[str]]) -> str:
    """Return a table whose first row is its head."""
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])


if __name__ == "__main__":
    sys.exit(main())
