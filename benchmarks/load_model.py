"""A model of the service under load: what reaches ECR, which quota is met first, and what a million requests cost.

Run it with `make scaling`; `load_check.py` compares its hit rate with the real function's. Quotas and prices are those
of us-east-1 on 24 November 2026, from the pages that are named here; they are arguments, for those who have others.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

ONE_PROCESSOR_MB = 1769
"""The memory that comes with one processor; https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html"""

REQUESTS_OF_AN_ENVIRONMENT = 10
"""Synchronous requests a second for each unit of concurrency, however short they are.

Source: https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html
"""

SECONDS_OF_A_MONTH = 30 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Quotas:
    """What AWS allows by default; each can be raised on request.

    Attributes:
        ecr_calls: GetDownloadUrlForLayer calls a second, of an account in a region (quota L-A60A366D);
            https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html
        concurrency: Execution environments of an account in a region;
            https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
        new_environments: How many a function may get in ten seconds; this one can't be raised.
            https://docs.aws.amazon.com/lambda/latest/dg/scaling-behavior.html
    """

    ecr_calls: float = 3000
    concurrency: float = 1000
    new_environments: float = 1000


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars in us-east-1.

    Attributes:
        million_requests: Of Lambda.
        gigabyte_second: Of Lambda on arm64, first tier; https://aws.amazon.com/lambda/pricing/
        snapshot_gigabyte_second: For keeping a SnapStart snapshot, by the function's memory.
        restored_gigabyte: For each restore, by the function's memory.
        log_gigabyte: For ingestion by CloudWatch Logs; https://aws.amazon.com/cloudwatch/pricing/
    """

    million_requests: float = 0.20
    gigabyte_second: float = 0.0000133334
    snapshot_gigabyte_second: float = 0.0000015046
    restored_gigabyte: float = 0.0001397998
    log_gigabyte: float = 0.50


@dataclass(frozen=True, slots=True)
class Function:
    """What the function takes, as `make bench` measures it with a whole processor.

    Attributes:
        hit_ms: Processor time of a request whose URL is cached, the runtime client's part included.
        miss_ms: Processor time of a request that asks ECR, likewise.
        ecr_ms: How long ECR takes.
        init_ms: Processor time of a new environment's start without SnapStart.
        cached_urls: How many URLs an environment keeps.
        log_bytes: What a request writes to the log, metrics included, with what CloudWatch adds to each line.
        memory_mb: The setting memorySize.
    """

    hit_ms: float = 1.0
    miss_ms: float = 2.0
    ecr_ms: float = 20.0
    init_ms: float = 300.0
    cached_urls: int = 2000
    log_bytes: int = 1500
    memory_mb: int = 512

    def billed_ms(self, processor_ms: float, waiting_ms: float = 0.0) -> int:
        """Return how many milliseconds are billed: below one processor's memory, its share makes work longer."""
        return math.ceil(processor_ms * max(1.0, ONE_PROCESSOR_MB / self.memory_mb) + waiting_ms)


@dataclass(frozen=True, slots=True)
class Load:
    """Who asks for what.

    Attributes:
        requests: Requests a second, for one layer each.
        layers: How many distinct layers are asked for.
        skew: Exponent of Zipf's law for their popularity: 0 for all alike, about 1 for images in common use.
        reuse_seconds: How long a URL is given out again: half of its lifetime of an hour.
        environment_seconds: How long an environment lives; AWS does not say, hours are usual.
    """

    requests: float
    layers: int = 1000
    skew: float = 1.0
    reuse_seconds: float = 1800
    environment_seconds: float = 7200

    def popularity(self) -> list[float]:
        """Return the share of each layer in all requests."""
        weights = [rank**-self.skew for rank in range(1, self.layers + 1)]
        total = sum(weights)
        return [weight / total for weight in weights]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a load comes to.

    Attributes:
        environments: How many environments there are.
        hit_rate: Share of the requests whose URL was cached.
        ecr_calls: Calls to ECR a second, when the caches are warm.
        cold_ecr_calls: The same in the first seconds of environments that all start at once.
        seconds_to_scale: How long Lambda takes to start so many environments.
        dollars: What a million requests cost, by what is paid for.
    """

    environments: int
    hit_rate: float
    ecr_calls: float
    cold_ecr_calls: float
    seconds_to_scale: float
    dollars: dict[str, float] = field(default_factory=dict)

    def exceeded(self, quotas: Quotas) -> list[str]:
        """Return the quotas that the load exceeds."""
        needs = {
            "Lambda concurrency": (self.environments, quotas.concurrency),
            "ECR calls": (self.ecr_calls, quotas.ecr_calls),
            "ECR calls while caches are cold": (self.cold_ecr_calls, quotas.ecr_calls),
        }
        return [f"{name}: {need:,.0f} of {quota:,.0f}" for name, (need, quota) in needs.items() if need > quota]


def hit_rate(popularity: Sequence[float], rate: float, reuse_seconds: float, capacity: int) -> float:
    """Return the share of requests that one environment's cache answers.

    A URL is kept for a fixed time after it was asked for, or until it is the least recently used of a full cache. In
    the first case a layer that is asked for `rate * share` times a second has `rate * share * reuse_seconds` hits for
    each miss. In the second its hits go on as long as no gap is longer than the cache's characteristic time (Che,
    Tung and Wang, "Hierarchical Web Caching Systems", 2002), which is the time in which the cache fills.

    Args:
        popularity: The share of each layer.
        rate: Requests a second that the environment gets.
        reuse_seconds: How long a URL is reused.
        capacity: How many the cache keeps.
    """

    def hits(share: float, characteristic: float) -> float:
        """Return the probability of a hit, which is also the share of time that the layer is cached."""
        asked = rate * share
        until_evicted = math.expm1(min(asked * characteristic, 700.0))
        per_miss = min(asked * reuse_seconds, until_evicted)
        return per_miss / (1 + per_miss)

    def cached(characteristic: float) -> float:
        return sum(hits(share, characteristic) for share in popularity)

    low, high = 0.0, reuse_seconds
    if cached(high) <= capacity:
        return sum(share * hits(share, math.inf) for share in popularity)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if cached(middle) < capacity else (low, middle)
    return sum(share * hits(share, low) for share in popularity)


def outcome(
    load: Load, function: Function, prices: Prices, *, has_cache: bool = True, has_snap_start: bool = True
) -> Outcome:
    """Return what a load comes to."""
    hits = 0.0
    environments = 1
    # How long requests take depends on the hit rate, and that on how many environments they are spread over.
    for _ in range(20):
        miss = function.billed_ms(function.miss_ms, function.ecr_ms)
        seconds = (hits * function.billed_ms(function.hit_ms) + (1 - hits) * miss) / 1000
        environments = _environments(load.requests, seconds)
        if has_cache:
            reuse = min(load.reuse_seconds, load.environment_seconds)
            hits = hit_rate(load.popularity(), load.requests / environments, reuse, function.cached_urls)
    return Outcome(
        environments=environments,
        hit_rate=hits,
        ecr_calls=load.requests * (1 - hits),
        cold_ecr_calls=load.requests,
        seconds_to_scale=environments / Quotas().new_environments * 10,
        dollars=_dollars(load, function, prices, hits, environments, has_snap_start=has_snap_start),
    )


def _environments(requests: float, seconds: float) -> int:
    """Return how many environments there are: for what is under way at once, in peaks too, or for Lambda's own rate."""
    under_way = requests * seconds
    return max(1, math.ceil(under_way + 3 * math.sqrt(under_way)), math.ceil(requests / REQUESTS_OF_AN_ENVIRONMENT))


def _dollars(
    load: Load, function: Function, prices: Prices, hits: float, environments: int, *, has_snap_start: bool
) -> dict[str, float]:
    gigabytes = function.memory_mb / 1024
    miss = function.billed_ms(function.miss_ms, function.ecr_ms)
    seconds = (hits * function.billed_ms(function.hit_ms) + (1 - hits) * miss) / 1000
    million = 1_000_000
    starts = environments / load.environment_seconds / load.requests * million
    dollars = {
        "requests": prices.million_requests,
        "duration": million * seconds * gigabytes * prices.gigabyte_second,
        "logs": million * function.log_bytes / 1e9 * prices.log_gigabyte,
    }
    if has_snap_start:
        snapshot = gigabytes * prices.snapshot_gigabyte_second * million / load.requests
        return dollars | {"starts": starts * gigabytes * prices.restored_gigabyte, "snapshot": snapshot}
    # Since August 2025 the start is billed too, and Lambda gives it a whole processor.
    # https://aws.amazon.com/blogs/compute/aws-lambda-standardizes-billing-for-init-phase/
    return dollars | {"starts": starts * function.init_ms / 1000 * gigabytes * prices.gigabyte_second}


def loads_table(function: Function, loads: Sequence[Load], quotas: Quotas, prices: Prices) -> list[list[str]]:
    """Return, for each load, what it comes to with and without the cache."""
    rows = [["requests/s", "layers", "cache", "environments", "hit rate", "ECR calls/s", "exceeds by default"]]
    for load in loads:
        for has_cache in (True, False):
            came_to = outcome(load, function, prices, has_cache=has_cache)
            rows.append(
                [
                    f"{load.requests:,.0f}",
                    f"{load.layers:,}",
                    "yes" if has_cache else "no",
                    f"{came_to.environments:,}",
                    f"{came_to.hit_rate:.1%}",
                    f"{came_to.ecr_calls:,.1f}",
                    "; ".join(came_to.exceeded(quotas)) or "nothing",
                ]
            )
    return rows


def costs_table(function: Function, loads: Sequence[Load], prices: Prices) -> list[list[str]]:
    """Return, for each load, what a million requests cost in all four ways."""
    rows = [["requests/s", "cache", "SnapStart", "requests", "duration", "logs", "starts", "snapshot", "a million"]]
    for load in loads:
        for has_cache in (True, False):
            for has_snap_start in (True, False):
                parts = outcome(load, function, prices, has_cache=has_cache, has_snap_start=has_snap_start).dollars
                names = ("requests", "duration", "logs", "starts", "snapshot")
                rows.append(
                    [
                        f"{load.requests:g}",
                        "yes" if has_cache else "no",
                        "yes" if has_snap_start else "no",
                        *(f"${parts.get(name, 0.0):.3f}" for name in names),
                        f"${sum(parts.values()):.2f}",
                    ]
                )
    return rows


def memory_table(function: Function, load: Load, prices: Prices) -> list[list[str]]:
    """Return what each memory size makes of a request and of a million."""
    rows = [["memorySize", "hit", "miss", "duration of a million", "a million"]]
    for memory in (128, 256, 512, 1024, ONE_PROCESSOR_MB, 3008):
        sized = replace(function, memory_mb=memory)
        parts = outcome(load, sized, prices).dollars
        rows.append(
            [
                f"{memory} MB",
                f"{sized.billed_ms(sized.hit_ms)} ms",
                f"{sized.billed_ms(sized.miss_ms, sized.ecr_ms)} ms",
                f"${parts['duration']:.3f}",
                f"${sum(parts.values()):.2f}",
            ]
        )
    return rows
