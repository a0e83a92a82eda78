import pytest

from benchmarks.load_model import Function, Load, Outcome, exceeded, hit_rate, outcome


def test_popularity_follows_zipfs_law() -> None:
    shares = Load(1, layers=4, skew=1.0).popularity()
    assert sum(shares) == pytest.approx(1)
    assert shares[0] == pytest.approx(2 * shares[1]) == pytest.approx(4 * shares[3])
    assert Load(1, layers=4, skew=0).popularity() == [0.25] * 4


def test_one_layer_misses_once_for_each_time_that_its_url_is_renewed() -> None:
    # Ten requests a second for 100 seconds: one miss, then 1000 hits.
    assert hit_rate([1.0], rate=10, reuse_seconds=100, capacity=2000) == pytest.approx(1000 / 1001)


def test_a_cache_of_half_of_all_layers_hits_half_of_the_time_when_all_are_equally_popular() -> None:
    assert hit_rate([1 / 4000] * 4000, rate=100, reuse_seconds=1e9, capacity=2000) == pytest.approx(0.5, abs=0.001)


def test_calls_to_ecr_are_the_misses() -> None:
    assert outcome(Load(500), Function(cached_urls=0)).ecr_calls == pytest.approx(500)
    few, many = (outcome(Load(1000, layers=layers), Function()).ecr_calls for layers in (100, 10_000))
    assert few < many < 1000


@pytest.mark.parametrize(
    ("requests", "came_to", "quotas"),
    [
        (3000, Outcome(1000, 1.0, 3000), []),
        (3000, Outcome(1001, 1.0, 3000), ["Lambda concurrency: 1,001 of 1,000"]),
        (3000, Outcome(10, 0.0, 3001), ["ECR calls: 3,001 of 3,000"]),
        (3001, Outcome(10, 0.0, 10), ["ECR calls while caches are cold: 3,001 of 3,000"]),
    ],
)
def test_a_quota_is_exceeded_above_it(requests: float, came_to: Outcome, quotas: list[str]) -> None:
    assert exceeded(Load(requests), came_to) == quotas


def test_less_memory_makes_processor_time_longer_and_waiting_not() -> None:
    half = Function(memory_mb=1769 // 2 + 1)
    assert half.billed_ms(10) == 20
    assert half.billed_ms(0, 20) == 20
    assert Function(memory_mb=3538).billed_ms(10) == 10


def test_a_million_requests_cost_what_they_add_up_to() -> None:
    function = Function(hit_ms=2, miss_ms=4, ecr_ms=16, memory_mb=1769, log_bytes=1000)
    dollars = function.dollars(hits=0.5)
    assert dollars["requests"] == 0.20
    assert dollars["duration"] == pytest.approx(1e6 * (0.002 + 0.020) / 2 * 1769 / 1024 * 0.0000133334)
    assert dollars["logs"] == pytest.approx(0.50)
