"""A model of the service under load: which calls reach ECR, which quota binds first, and what a million requests cost.

`make costs` runs it. On 2026-11-28 its hit rates were within 1 % of those of two processes of the function. Quotas are
AWS's defaults in us-east-1 in November 2026.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks import prices

# Processor time comes with memory. https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
ONE_PROCESSOR_MB = 1769
# However short the requests are. https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html
REQUESTS_OF_AN_ENVIRONMENT = 10
# Environments of an account. https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
CONCURRENCY = 1000
# GetDownloadUrlForLayer calls a second. https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html
ECR_CALLS = 3000


@dataclass(frozen=True, slots=True)
class Function:
    """What the function takes with a whole processor; `make bench` measures it.

    Attributes:
        hit_ms: Processor time of a cache hit, with the runtime client's part.
        miss_ms: Processor time of a miss, likewise.
        ecr_ms: How long ECR takes.
        cached_urls: How many URLs an environment keeps.
        log_bytes: What a request logs: 1.5 KB of the function, metrics included, and about 1 KB of Lambda.
        memory_mb: The setting memorySize.
    """

    hit_ms: float = 1.0
    miss_ms: float = 2.0
    ecr_ms: float = 20.0
    cached_urls: int = 2000
    log_bytes: int = 2500
    memory_mb: int = 512

    def billed_ms(self, processor_ms: float, waiting_ms: float = 0.0) -> int:
        """Return the billed milliseconds: memory below one processor's stretches work, not waiting."""
        return math.ceil(processor_ms * max(1.0, ONE_PROCESSOR_MB / self.memory_mb) + waiting_ms)

    def mean_ms(self, hits: float) -> float:
        """Return the mean billed milliseconds of a request at a hit rate."""
        return hits * self.billed_ms(self.hit_ms) + (1 - hits) * self.billed_ms(self.miss_ms, self.ecr_ms)

    def dollars(self, hits: float) -> dict[str, float]:
        """Return what a million requests cost at a hit rate, by what is paid for."""
        gigabyte_seconds = 1000 * self.mean_ms(hits) * self.memory_mb / 1024
        logs = self.log_bytes / 1000 * prices.LOG_GIGABYTE
        duration = gigabyte_seconds * prices.LAMBDA_GIGABYTE_SECOND
        return {"requests": prices.LAMBDA_MILLION_REQUESTS, "duration": duration, "logs": logs}


@dataclass(frozen=True, slots=True)
class Load:
    """A load of requests.

    Attributes:
        requests: Requests a second, each for one layer.
        layers: How many distinct layers they ask for.
        skew: Exponent of Zipf's law for their popularity: 0 for equal, about 1 for images in common use.
        reuse_seconds: How long a URL is reused: half of its lifetime of an hour.
    """

    requests: float
    layers: int = 1000
    skew: float = 1.0
    reuse_seconds: float = 1800

    def popularity(self) -> list[float]:
        """Return each layer's share of the requests."""
        weights = [rank**-self.skew for rank in range(1, self.layers + 1)]
        total = sum(weights)
        return [weight / total for weight in weights]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Environments, hit rate, and calls to ECR a second once the caches are warm."""

    environments: int
    hit_rate: float
    ecr_calls: float


def hit_rate(popularity: Sequence[float], rate: float, reuse_seconds: float, capacity: int) -> float:
    """Return the share of requests that one environment's cache answers.

    A layer that is asked for n times in a URL's life has n hits for each miss. A full cache also ends that life: at the
    first gap longer than the time in which it fills (Che, Tung and Wang, "Hierarchical Web Caching Systems", 2002).
    """

    def hits(share: float, filling_seconds: float) -> float:
        """Return the probability of a hit, which is also the share of time in which the layer is cached."""
        asked = rate * share
        per_miss = min(asked * reuse_seconds, math.expm1(min(asked * filling_seconds, 700.0)))
        return per_miss / (1 + per_miss)

    def cached(filling_seconds: float) -> float:
        return sum(hits(share, filling_seconds) for share in popularity)

    if cached(reuse_seconds) <= capacity:
        return sum(share * hits(share, math.inf) for share in popularity)
    low, high = 0.0, reuse_seconds
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if cached(middle) < capacity else (low, middle)
    return sum(share * hits(share, low) for share in popularity)


def outcome(load: Load, function: Function) -> Outcome:
    """Return what a load comes to."""
    hits, environments, popularity = 0.0, 0, load.popularity()
    # Durations depend on the hit rate, and the hit rate on how many environments share the requests.
    for _ in range(20):
        under_way = load.requests * function.mean_ms(hits) / 1000
        peak = under_way + 3 * math.sqrt(under_way)
        before, environments = environments, math.ceil(max(1, peak, load.requests / REQUESTS_OF_AN_ENVIRONMENT))
        if environments == before:
            break
        hits = hit_rate(popularity, load.requests / environments, load.reuse_seconds, function.cached_urls)
    return Outcome(environments, hits, load.requests * (1 - hits))


def exceeded(load: Load, came_to: Outcome) -> list[str]:
    """Return the quotas that a load exceeds; with cold caches every request is a call to ECR."""
    needs = (
        ("Lambda concurrency", came_to.environments, CONCURRENCY),
        ("ECR calls", came_to.ecr_calls, ECR_CALLS),
        ("ECR calls while caches are cold", load.requests, ECR_CALLS),
    )
    return [f"{name}: {need:,.0f} of {quota:,}" for name, need, quota in needs if need > quota]


def loads_table(function: Function, loads: Sequence[Load]) -> list[list[str]]:
    """Return what each load comes to."""
    rows = [["requests/s", "layers", "environments", "hit rate", "ECR calls/s", "exceeds by default"]]
    for load in loads:
        came_to = outcome(load, function)
        numbers = [f"{load.requests:,}", f"{load.layers:,}", f"{came_to.environments:,}", f"{came_to.hit_rate:.1%}"]
        rows.append([*numbers, f"{came_to.ecr_calls:,.1f}", "; ".join(exceeded(load, came_to)) or "nothing"])
    return rows


def costs_table(function: Function, hits: float) -> list[list[str]]:
    """Return what a million requests cost at a hit rate and without a cache, for each memory size."""
    rows = [["memorySize", "hit", "miss", "requests", "logs", "duration", "total", "total without the cache"]]
    for memory in (128, 256, 512, 1024, ONE_PROCESSOR_MB, 3008):
        sized = replace(function, memory_mb=memory)
        cost, without = sized.dollars(hits), sum(sized.dollars(0).values())
        times = [f"{sized.billed_ms(sized.hit_ms)} ms", f"{sized.billed_ms(sized.miss_ms, sized.ecr_ms)} ms"]
        parts = (f"${cost[name]:.3f}" for name in ("requests", "logs", "duration"))
        rows.append([f"{memory} MB", *times, *parts, f"${sum(cost.values()):.2f}", f"${without:.2f}"])
    return rows
