import threading
import time
from datetime import UTC, datetime

import pytest

from layer_resolver.errors import LAYERS_NOT_FOUND, TIMED_OUT, ResolverError
from layer_resolver.models import BlobDownloadUrl, Layer, LayerBatch
from layer_resolver.resolver import CACHED_URLS, WORKERS, Deadline, LayerUrlResolver, expiry
from tests.unit.fakes import FakeEcr, digest, download_url, ecr_error


def batch_of(*layers: Layer | str, registry_id: str | None = None) -> LayerBatch:
    return LayerBatch.of(
        registry_id, "team/app", [Layer(digest=layer) if isinstance(layer, str) else layer for layer in layers]
    )


@pytest.fixture
def resolver(ecr: FakeEcr) -> LayerUrlResolver:
    return LayerUrlResolver(ecr)


def test_a_layer_resolves_to_the_url_that_ecr_gives(resolver: LayerUrlResolver) -> None:
    resolved = resolver.resolve_one(batch_of(digest()), Deadline.after(5))
    assert resolved.download_url == download_url(digest())
    assert resolved.layer_digest == digest()
    assert resolved.expires_at is not None
    assert resolved.expires_at.isoformat() == "2026-11-23T11:00:00+00:00"


def test_ecr_is_asked_for_the_registry_only_if_one_is_named(resolver: LayerUrlResolver, ecr: FakeEcr) -> None:
    resolver.resolve_one(batch_of(digest()), Deadline.after(5))
    resolver.resolve_one(batch_of(digest(), registry_id="210987654321"), Deadline.after(5))
    assert [call.get("registryId") for call in ecr.calls] == [None, "210987654321"]


def test_a_layer_that_ecr_does_not_have_raises_the_row_of_the_table(resolver: LayerUrlResolver, ecr: FakeEcr) -> None:
    ecr.answer = ecr_error("LayersNotFoundException")
    with pytest.raises(ResolverError) as caught:
        resolver.resolve_one(batch_of(digest()), Deadline.after(5))
    assert caught.value.kind is LAYERS_NOT_FOUND
    assert caught.value.__cause__ is ecr.answer


def test_results_and_failures_keep_the_order_of_the_request(resolver: LayerUrlResolver, ecr: FakeEcr) -> None:
    digests = [digest(number) for number in (5, 3, 9, 1, 7, 2)]
    # The first ones are answered last.
    ecr.answers = {digests[0]: 0.05, digests[1]: 0.02}
    ecr.answers |= {failing: ecr_error("LayersNotFoundException") for failing in (digests[2], digests[5])}
    result, errors = resolver.resolve(batch_of(*digests), Deadline.after(5))
    assert [url.layer_digest for url in result.download_urls] == [digests[index] for index in (0, 1, 3, 4)]
    assert [failure.layer_digest for failure in result.failures] == [digests[2], digests[5]]
    assert [error.layer_digest for error in errors] == [digests[2], digests[5]]


def test_a_digest_that_is_given_twice_is_asked_and_answered_once(resolver: LayerUrlResolver, ecr: FakeEcr) -> None:
    result, _ = resolver.resolve(batch_of(digest(2), digest(1), digest(2)), Deadline.after(5))
    assert [url.layer_digest for url in result.download_urls] == [digest(2), digest(1)]
    assert len(ecr.calls) == 2


def test_a_batch_is_asked_in_parallel_with_a_bound(resolver: LayerUrlResolver, ecr: FakeEcr) -> None:
    # No call is answered before as many as may be are under way.
    ecr.answer = threading.Barrier(WORKERS, timeout=30).wait
    result, _ = resolver.resolve(batch_of(*map(digest, range(5 * WORKERS))), Deadline.after(30))
    assert len(result.download_urls) == 5 * WORKERS
    assert ecr.most_under_way == WORKERS


def test_a_foreign_layer_is_a_failure_and_no_call(resolver: LayerUrlResolver, ecr: FakeEcr) -> None:
    foreign = Layer(digest=digest(2), is_foreign=True)
    result, _ = resolver.resolve(batch_of(digest(1), foreign, digest(3)), Deadline.after(5))
    (failure,) = result.failures
    assert (failure.layer_digest, failure.code, failure.retryable) == (digest(2), "ForeignLayer", False)
    assert sorted(call["layerDigest"] for call in ecr.calls) == [digest(1), digest(3)]


def test_media_type_and_size_come_back_with_the_url(resolver: LayerUrlResolver) -> None:
    layer = Layer(digest=digest(), media_type="application/vnd.example", size=0)
    result, _ = resolver.resolve(batch_of(layer), Deadline.after(5))
    (url,) = result.download_urls
    assert isinstance(url, BlobDownloadUrl)
    assert (url.media_type, url.size) == ("application/vnd.example", 0)


def test_at_the_deadline_what_is_resolved_comes_back_and_the_rest_has_timed_out(
    resolver: LayerUrlResolver, ecr: FakeEcr
) -> None:
    released = threading.Event()
    ecr.answers = {digest(2): released.wait}
    started = time.monotonic()
    result, _ = resolver.resolve(batch_of(digest(1), digest(2)), Deadline.after(1))
    waited = time.monotonic() - started
    released.set()
    assert waited >= 1
    assert [url.layer_digest for url in result.download_urls] == [digest(1)]
    (failure,) = result.failures
    assert (failure.layer_digest, failure.code, failure.retryable) == (digest(2), TIMED_OUT.code, True)


def test_calls_that_have_not_begun_at_the_deadline_never_do(resolver: LayerUrlResolver, ecr: FakeEcr) -> None:
    released = threading.Event()
    ecr.answer = released.wait
    resolver.resolve(batch_of(*map(digest, range(3 * WORKERS))), Deadline.after(0.5))
    released.set()
    for thread in threading.enumerate():
        if thread.name.startswith("ecr"):
            thread.join()
    assert len(ecr.calls) <= WORKERS


def test_without_time_left_a_layer_times_out_at_once(resolver: LayerUrlResolver, ecr: FakeEcr) -> None:
    released = threading.Event()
    ecr.answer = released.wait
    with pytest.raises(ResolverError) as caught:
        resolver.resolve_one(batch_of(digest()), Deadline.after(-3))
    released.set()
    assert caught.value.kind is TIMED_OUT


def test_the_duration_of_each_call_is_recorded_failed_ones_too(ecr: FakeEcr) -> None:
    seconds: list[float] = []
    ecr.answers = {digest(1): 0.05, digest(2): ecr_error("ServerException")}
    LayerUrlResolver(ecr, seconds.append).resolve(batch_of(digest(1), digest(2)), Deadline.after(5))
    assert len(seconds) == 2
    assert max(seconds) >= 0.05


class TestCache:
    """The fake ECR's URLs are signed at 10:00 and expire at 11:00."""

    clock = 0.0

    @pytest.fixture
    def hits(self) -> list[int]:
        return []

    @pytest.fixture
    def resolver(self, ecr: FakeEcr, hits: list[int]) -> LayerUrlResolver:
        self.clock = datetime(2026, 11, 23, 10, 0, tzinfo=UTC).timestamp()
        return LayerUrlResolver(ecr, record_cache_hits=hits.append, now=lambda: self.clock)

    def test_a_url_is_used_again_while_half_of_its_lifetime_is_left(
        self, resolver: LayerUrlResolver, ecr: FakeEcr, hits: list[int]
    ) -> None:
        first = resolver.resolve_one(batch_of(digest()), Deadline.after(5))
        self.clock += 30 * 60 - 1
        assert resolver.resolve_one(batch_of(digest()), Deadline.after(5)) == first
        assert (len(ecr.calls), hits) == (1, [1])
        self.clock += 1
        resolver.resolve_one(batch_of(digest()), Deadline.after(5))
        assert (len(ecr.calls), hits) == (2, [1])

    def test_a_batch_asks_ecr_for_what_is_not_cached(
        self, resolver: LayerUrlResolver, ecr: FakeEcr, hits: list[int]
    ) -> None:
        resolver.resolve(batch_of(digest(1), digest(3)), Deadline.after(5))
        ecr.calls.clear()
        result, _ = resolver.resolve(batch_of(digest(1), digest(2), digest(3)), Deadline.after(5))
        assert [url.layer_digest for url in result.download_urls] == [digest(1), digest(2), digest(3)]
        assert [call["layerDigest"] for call in ecr.calls] == [digest(2)]
        assert hits == [2]

    @pytest.mark.parametrize(
        "other",
        [
            LayerBatch.of("210987654321", "team/app", [Layer(digest=digest())]),
            LayerBatch.of(None, "team/web", [Layer(digest=digest())]),
            LayerBatch.of(None, "team/app", [Layer(digest=digest(2))]),
        ],
    )
    def test_a_url_is_for_its_registry_repository_and_layer_alone(
        self, resolver: LayerUrlResolver, ecr: FakeEcr, other: LayerBatch
    ) -> None:
        resolver.resolve_one(batch_of(digest()), Deadline.after(5))
        resolver.resolve_one(other, Deadline.after(5))
        assert len(ecr.calls) == 2

    def test_a_failure_is_not_kept(self, resolver: LayerUrlResolver, ecr: FakeEcr) -> None:
        ecr.answer = ecr_error("ServerException")
        with pytest.raises(ResolverError):
            resolver.resolve_one(batch_of(digest()), Deadline.after(5))
        ecr.answer = 0.0
        assert resolver.resolve_one(batch_of(digest()), Deadline.after(5)).download_url == download_url(digest())

    def test_a_url_without_a_lifetime_is_not_kept(
        self, resolver: LayerUrlResolver, ecr: FakeEcr, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tests.unit.fakes.download_url", lambda layer_digest: f"https://example.com/{layer_digest}")
        for _ in range(2):
            assert resolver.resolve_one(batch_of(digest()), Deadline.after(5)).expires_at is None
        assert len(ecr.calls) == 2

    def test_no_more_urls_are_kept_than_the_bound(self, resolver: LayerUrlResolver, ecr: FakeEcr) -> None:
        for number in range(CACHED_URLS + 1):
            resolver.resolve_one(batch_of(digest(number)), Deadline.after(5))
        ecr.calls.clear()
        resolver.resolve_one(batch_of(digest(CACHED_URLS)), Deadline.after(5))
        assert len(ecr.calls) == 0
        resolver.resolve_one(batch_of(digest(0)), Deadline.after(5))
        assert len(ecr.calls) == 1


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("X-Amz-Date=20260101T000000Z&X-Amz-Expires=3600", "2026-01-01T01:00:00+00:00"),
        ("X-Amz-Expires=1&X-Amz-Date=20241231T235959Z", "2025-01-01T00:00:00+00:00"),
        ("X-Amz-Date=20260101T000000Z", None),
        ("X-Amz-Expires=3600", None),
        ("X-Amz-Date=yesterday&X-Amz-Expires=3600", None),
        ("X-Amz-Date=20260101T000000Z&X-Amz-Expires=soon", None),
        ("X-Amz-Date=20260101T000000Z&X-Amz-Expires=99999999999999", None),
        ("", None),
    ],
)
def test_the_expiry_is_read_from_the_url(query: str, expected: str | None) -> None:
    expires_at = expiry(f"https://bucket.s3.amazonaws.com/key?{query}")
    assert (expires_at.isoformat() if expires_at else None) == expected
