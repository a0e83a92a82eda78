"""Layers to download URLs: batches, deadlines, and the cache."""

import threading
import time
from datetime import UTC, datetime

import pytest

from layer_resolver.calls import THREADS, Calls, Deadline, Moment
from layer_resolver.download_urls import Hosts
from layer_resolver.ecr import Ecr
from layer_resolver.errors import LAYERS_NOT_FOUND, TIMED_OUT, Repository, ResolverError, Subject
from layer_resolver.invocation import Invocation
from layer_resolver.models import Descriptor, LayerBatch
from layer_resolver.resolver import CACHED_URLS, LayerUrlResolver
from tests.unit.fakes import FakeEcr, digest, download_url, ecr_error


def batch_of(*digests: str, registry_id: str | None = None) -> LayerBatch:
    repository = Repository(repository_name="team/app", registry_id=registry_id)
    return LayerBatch.of_digests(repository, digests)


def described(*descriptors: Descriptor) -> LayerBatch:
    """Return the batch of layers that a manifest describes."""
    repository = Repository("team/app")
    return LayerBatch(repository, {Subject(repository, "layer", each.digest): each for each in descriptors})


def within(seconds: float = 5.0) -> Invocation:
    """Return an invocation that has so many seconds left."""
    return Invocation(Deadline.after(seconds))


SHORT = 1.0
"""Seconds of an invocation that some calls outlast, and in which a busy machine answers the others."""


def about(error: ResolverError) -> str | None:
    """Return the digest that an error is about."""
    assert error.subject is not None
    return error.subject.name


@pytest.fixture
def resolver(ecr: FakeEcr) -> LayerUrlResolver:
    return LayerUrlResolver(Ecr(ecr, Calls()), Hosts())


def test_ecr_is_asked_for_the_registry_only_if_one_is_named(resolver: LayerUrlResolver, ecr: FakeEcr) -> None:
    resolver.resolve(batch_of(digest()), within()).only()
    resolver.resolve(batch_of(digest(), registry_id="210987654321"), within()).only()
    assert [call.get("registryId") for call in ecr.calls] == [None, "210987654321"]


def test_a_layer_that_ecr_does_not_have_raises_the_row_of_the_table(resolver: LayerUrlResolver, ecr: FakeEcr) -> None:
    ecr.answer = ecr_error("LayersNotFoundException")
    with pytest.raises(ResolverError) as caught:
        resolver.resolve(batch_of(digest()), within()).only()
    assert caught.value.kind is LAYERS_NOT_FOUND
    assert caught.value.__cause__ is ecr.answer


def test_results_and_failures_keep_the_order_of_the_request(resolver: LayerUrlResolver, ecr: FakeEcr) -> None:
    digests = [digest(number) for number in (5, 3, 9, 1, 7, 2)]
    # The first ones are answered last.
    ecr.answers = {digests[0]: 0.05, digests[1]: 0.02}
    ecr.answers |= {failing: ecr_error("LayersNotFoundException") for failing in (digests[2], digests[5])}
    invocation = within()
    resolution = resolver.resolve(batch_of(*digests), invocation)
    assert [url.layer_digest for url in resolution.resolved] == [digests[index] for index in (0, 1, 3, 4)]
    assert [about(error) for error in resolution.failures] == [digests[2], digests[5]]
    assert (len(invocation.resolved), len(invocation.failures)) == (4, 2)


def test_a_digest_that_is_given_twice_is_asked_and_answered_once(resolver: LayerUrlResolver, ecr: FakeEcr) -> None:
    resolution = resolver.resolve(batch_of(digest(2), digest(1), digest(2)), within())
    assert [url.layer_digest for url in resolution.resolved] == [digest(2), digest(1)]
    assert len(ecr.calls) == 2


def test_a_batch_is_asked_in_parallel_with_a_bound(resolver: LayerUrlResolver, ecr: FakeEcr) -> None:
    # No call is answered before as many as may be are under way.
    ecr.answer = threading.Barrier(THREADS, timeout=30).wait
    resolution = resolver.resolve(batch_of(*map(digest, range(5 * THREADS))), within(30))
    assert len(resolution.resolved) == 5 * THREADS
    assert ecr.most_under_way == THREADS


def test_a_layer_is_foreign_only_if_ecr_does_not_have_it(resolver: LayerUrlResolver, ecr: FakeEcr) -> None:
    ecr.answers = {digest(2): ecr_error("LayersNotFoundException"), digest(4): ecr_error("AccessDeniedException")}
    urls = ["https://example.com/"]
    layers = [
        Descriptor.model_validate(
            {"mediaType": "a/b", "digest": digest(number), "size": 0, "urls": urls if number > 1 else None}
        )
        for number in range(1, 5)
    ]
    resolution = resolver.resolve(described(*layers), within())
    assert [url.layer_digest for url in resolution.resolved] == [digest(1), digest(3)]
    assert {about(each): each.kind.code for each in resolution.failures} == {
        digest(2): "ForeignLayer",
        digest(4): "AccessDeniedException",
    }


def test_at_the_deadline_what_is_resolved_comes_back_and_the_rest_has_timed_out(
    resolver: LayerUrlResolver, ecr: FakeEcr
) -> None:
    released = threading.Event()
    ecr.answers = {digest(2): released.wait}
    started = time.monotonic()
    resolution = resolver.resolve(batch_of(digest(1), digest(2)), within(SHORT))
    waited = time.monotonic() - started
    released.set()
    assert waited >= SHORT
    assert [url.layer_digest for url in resolution.resolved] == [digest(1)]
    assert [(about(each), each.kind) for each in resolution.failures] == [(digest(2), TIMED_OUT)]


def test_when_calls_hang_in_every_thread_those_that_have_not_begun_never_do_and_the_next_batch_has_new_threads(
    resolver: LayerUrlResolver, ecr: FakeEcr
) -> None:
    released = threading.Event()
    ecr.answer = released.wait
    hung = resolver.resolve(batch_of(*map(digest, range(3 * THREADS))), within(SHORT))
    ecr.answer = 0.0
    following = batch_of(*map(digest, range(1000, 1000 + THREADS)))
    assert len(resolver.resolve(following, within()).resolved) == THREADS
    released.set()
    assert {each.kind for each in hung.failures} == {TIMED_OUT}
    assert len([call for call in ecr.calls if call["layerDigest"] < digest(1000)]) == THREADS


def test_a_call_that_ends_late_is_recorded_with_its_own_invocation(resolver: LayerUrlResolver, ecr: FakeEcr) -> None:
    released = threading.Event()
    ecr.answers = {digest(1): released.wait}
    late, next_one = within(SHORT), within()
    resolution = resolver.resolve(batch_of(digest(1), digest(2)), late)
    released.set()
    resolver.resolve(batch_of(digest(3), digest(4)), next_one)
    assert [about(each) for each in resolution.failures] == [digest(1)]
    assert (len(late.ecr_calls), len(next_one.ecr_calls)) == (2, 2)


def test_without_time_left_ecr_is_not_asked(resolver: LayerUrlResolver, ecr: FakeEcr) -> None:
    with pytest.raises(ResolverError) as caught:
        resolver.resolve(batch_of(digest()), within(-3)).only()
    assert caught.value.kind is TIMED_OUT
    assert [error.kind for error in resolver.resolve(batch_of(digest()), within(0.04)).failures] == [TIMED_OUT]
    assert not ecr.calls


class TestCache:
    """The fake ECR's URLs are signed at 10:00 and expire at 11:00."""

    clock = 0.0
    uptime = 0.0

    @pytest.fixture
    def resolver(self, ecr: FakeEcr) -> LayerUrlResolver:
        self.clock = datetime(2026, 11, 23, 10, 0, tzinfo=UTC).timestamp()
        return LayerUrlResolver(Ecr(ecr, Calls()), Hosts(), now=lambda: Moment(self.clock, self.uptime))

    def pass_time(self, seconds: float) -> None:
        self.clock += seconds
        self.uptime += seconds

    def hits(self, resolver: LayerUrlResolver, *digests: str) -> int:
        invocation = within()
        resolver.resolve(batch_of(*digests), invocation)
        return invocation.cache_hits

    def test_a_url_is_used_again_while_half_of_its_lifetime_is_left(
        self, resolver: LayerUrlResolver, ecr: FakeEcr
    ) -> None:
        first = resolver.resolve(batch_of(digest()), within()).only()
        self.pass_time(15 * 60)
        invocation = within()
        assert resolver.resolve(batch_of(digest()), invocation).only() == first
        assert (len(ecr.calls), invocation.cache_hits) == (1, 1)
        self.pass_time(15 * 60 - 1)
        assert self.hits(resolver, digest()) == 1
        self.pass_time(1)
        assert self.hits(resolver, digest()) == 0
        assert len(ecr.calls) == 2

    def test_a_clock_that_is_set_back_does_not_make_a_url_live_longer(self, resolver: LayerUrlResolver) -> None:
        resolver.resolve(batch_of(digest()), within()).only()
        self.uptime += 30 * 60
        self.clock -= 24 * 60 * 60
        assert self.hits(resolver, digest()) == 0

    @pytest.mark.parametrize(
        "query",
        ["X-Amz-Date=20261123T230000Z&X-Amz-Expires=3600", "X-Amz-Date=20261123T100000Z&X-Amz-Expires=315360000"],
    )
    def test_no_url_is_used_again_for_more_than_half_an_hour_whatever_it_says(
        self, resolver: LayerUrlResolver, monkeypatch: pytest.MonkeyPatch, query: str
    ) -> None:
        url = f"https://bucket.s3.us-east-1.amazonaws.com/key?{query}"
        monkeypatch.setattr("tests.unit.fakes.download_url", lambda _: url)
        resolver.resolve(batch_of(digest()), within()).only()
        self.pass_time(30 * 60 - 1)
        assert self.hits(resolver, digest()) == 1
        self.pass_time(1)
        assert self.hits(resolver, digest()) == 0

    def test_a_batch_asks_ecr_for_what_is_not_cached(self, resolver: LayerUrlResolver, ecr: FakeEcr) -> None:
        resolver.resolve(batch_of(digest(1), digest(3)), within())
        ecr.calls.clear()
        invocation = within()
        resolution = resolver.resolve(batch_of(digest(1), digest(2), digest(3)), invocation)
        assert [url.layer_digest for url in resolution.resolved] == [digest(1), digest(2), digest(3)]
        assert [call["layerDigest"] for call in ecr.calls] == [digest(2)]
        assert invocation.cache_hits == 2

    @pytest.mark.parametrize(
        "other",
        [
            LayerBatch.of_digests(Repository(repository_name="team/app", registry_id="210987654321"), [digest()]),
            LayerBatch.of_digests(Repository(repository_name="team/web"), [digest()]),
            LayerBatch.of_digests(Repository(repository_name="team/app"), [digest(2)]),
        ],
    )
    def test_a_url_is_of_one_registry_repository_and_layer(
        self, resolver: LayerUrlResolver, ecr: FakeEcr, other: LayerBatch
    ) -> None:
        resolver.resolve(batch_of(digest()), within()).only()
        resolver.resolve(other, within()).only()
        assert len(ecr.calls) == 2

    def test_a_failure_is_not_kept(self, resolver: LayerUrlResolver, ecr: FakeEcr) -> None:
        ecr.answer = ecr_error("LayersNotFoundException")
        with pytest.raises(ResolverError):
            resolver.resolve(batch_of(digest()), within()).only()
        ecr.answer = 0.0
        assert resolver.resolve(batch_of(digest()), within()).only().download_url == download_url(digest())

    def test_no_more_urls_are_kept_than_the_bound(self, resolver: LayerUrlResolver, ecr: FakeEcr) -> None:
        resolver.resolve(batch_of(*map(digest, range(CACHED_URLS + 1))), within(30))
        assert self.hits(resolver, digest(CACHED_URLS)) == 1
        assert self.hits(resolver, digest(0)) == 0
