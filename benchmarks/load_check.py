"""Compares the load model's hit rate with the function's, and writes the model's tables into docs/performance.md.

Processes of the function get streams of requests, as fast as they answer, for layers of Zipf's popularity. Either URLs
live for seconds, or there are more layers than a cache keeps. Run it with `make scaling`.
"""

import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from benchmarks import costs, events
from benchmarks.load_model import Function, Load, costs_table, hit_rate, loads_table, outcome
from benchmarks.packages import Subjects, build
from benchmarks.processes import Ecr, MeasurementError, Worker
from benchmarks.report import DOCUMENT, table, with_block
from infra.package import BuildError

ENVIRONMENTS = 2
TOLERANCE = 0.05
"""How far the measured hit rate may be from the model's."""

_SECONDS = 12.0
_CHUNK = 100

STREAMS = {
    "URLs that expire": Load(0, layers=1500, skew=0.8, reuse_seconds=4),
    "more layers than a cache keeps": Load(0, layers=8000, skew=0.8),
    "equally popular layers, twice what a cache keeps": Load(0, layers=4000, skew=0),
}


def main() -> int:
    """Compare, write the tables, and return 0 if the model is right."""
    rows = [["stream", "requests/s of one", "hit rate, model", "hit rate, function"]]
    is_right = True
    try:
        subjects = build()
        for name, load in STREAMS.items():
            rate, expected, measured = compare(subjects, load)
            rows.append([name, f"{rate:,.0f}", f"{expected:.1%}", f"{measured:.1%}"])
            is_right &= abs(measured - expected) <= TOLERANCE
    except (BuildError, MeasurementError) as error:
        print(error, file=sys.stderr)
        return 1
    write_tables(rows)
    costs.write()
    print(table(rows))
    return 0 if is_right else 1


def compare(subjects: Subjects, load: Load) -> tuple[float, float, float]:
    """Return an environment's requests a second, and the hit rates of the model and of the function."""
    popularity, digests = load.popularity(), events.new_digests(load.layers)
    with ExitStack() as stack:
        ecr = stack.enter_context(Ecr(lifetime_seconds=int(load.reuse_seconds * 2)))
        workers = [stack.enter_context(subjects.worker("ours", ecr)) for _ in range(ENVIRONMENTS)]
        run(workers, digests, popularity, seed="warm-up")
        calls, started = ecr.calls(), time.monotonic()
        requests = run(workers, digests, popularity, seed="measured")
        rate = requests / (time.monotonic() - started) / ENVIRONMENTS
        misses = ecr.calls() - calls
    # X-Amz-Date has whole seconds, so a URL is half a second old on average when it arrives.
    expected = hit_rate(popularity, rate, load.reuse_seconds - 0.5, Function().cached_urls)
    return rate, expected, 1 - misses / requests


def run(workers: list[Worker], digests: list[str], popularity: list[float], seed: str) -> int:
    """Let all workers answer requests for a while, and return how many; the seed decides which."""
    end = time.monotonic() + _SECONDS

    def work(number: int) -> int:
        choose, count = random.Random(f"{seed} {number}"), 0
        while time.monotonic() < end:
            chosen = choose.choices(digests, weights=popularity, k=_CHUNK)
            count += len(workers[number].invoke([events.download_url(digest) for digest in chosen]))
        return count

    with ThreadPoolExecutor(len(workers)) as pool:
        return sum(pool.map(work, range(len(workers))))


def write_tables(measured: list[list[str]]) -> None:
    """Write all tables into the document."""
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text(), {**model_tables(), "check": measured}))


def model_tables() -> dict[str, list[list[str]]]:
    """Return the tables that the model alone decides, by name."""
    function = Function()
    loads = [Load(requests, layers=layers) for requests in (10, 1_000, 10_000, 100_000) for layers in (200, 5_000)]
    return {
        "loads": loads_table(function, loads),
        "costs": costs_table(function, outcome(Load(1_000), function).hit_rate),
    }


def with_tables(text: str, tables: dict[str, list[list[str]]]) -> str:
    """Return a document with these tables between their markers.

    Raises:
        ValueError: If a marker is missing.
    """
    for name, rows in tables.items():
        begin = f"<!-- {name}: written by `make scaling` from here -->"
        text = with_block(text, begin, "<!-- to here -->", table(rows))
    return text


if __name__ == "__main__":
    sys.exit(main())
