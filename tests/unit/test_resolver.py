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
from layer_resolver.resolver import LayerUrlResolver, Resolution
from tests.unit.fakes import FakeEcr, digest, download_url, ecr_error


def batch_of(*digests: str, registry_id: str | None = None, repository_name: str = "team/app") -> LayerBatch:
    return LayerBatch.of_digests(Repository(repository_name, registry_id), digests)


def within(seconds: float = 5.0) -> Invocation:
    """Return an invocation that has so many seconds left."""
    return Invocation(Deadline.after(seconds))


SIGNED_AT = datetime(2026, 11, 23, 10, 0, tzinfo=UTC).timestamp()
"""When the fake ECR's URLs are signed, in seconds of the epoch."""

SHORT = 1.0
"""Seconds of an invocation that some calls outlast, and in which a busy machine answers the others."""


def resolved(resolution: Resolution) -> list[str]:
    return [url.layer_digest for url in resolution.resolved]


def failed(resolution: Resolution) -> dict[str | None, str]:
    """Return the code of each failed layer by its digest."""
    return {each.subject.name if each.subject else None: each.kind.code for each in resolution.failures}


@pytest.fixture
def resolver(ecr: FakeEcr) -> LayerUrlResolver:
    return LayerUrlResolver(Ecr(ecr, Calls()), Hosts())


def test_a_layer_that_ecr_does_not_have_raises_the_row_of_the_table_and_is_asked_for_again(
    resolver: LayerUrlResolver, ecr: FakeEcr
) -> None:
    ecr.answer = ecr_error("LayersNotFoundException")
    with pytest.raises(ResolverError) as caught:
        resolver.resolve(batch_of(digest()), within()).only()
    assert caught.value.kind is LAYERS_NOT_FOUND
    assert caught.value.__cause__ is ecr.answer
    ecr.answer = 0.0
    assert resolver.resolve(batch_of(digest()), within()).only().download_url == download_url(digest())


def test_results_and_failures_keep_the_order_of_the_request_and_what_is_given_twice_is_answered_once(
    resolver: LayerUrlResolver, ecr: FakeEcr
) -> None:
    digests = [digest(number) for number in (5, 3, 9, 1, 7, 2)]
    # The first ones are answered last.
    ecr.answers = {digests[0]: 0.05, digests[1]: 0.02}
    ecr.answers |= {failing: ecr_error("LayersNotFoundException") for failing in (digests[2], digests[5])}
    invocation = within()
    resolution = resolver.resolve(batch_of(*digests, digests[0]), invocation)
    assert resolved(resolution) == [digests[index] for index in (0, 1, 3, 4)]
    assert list(failed(resolution)) == [digests[2], digests[5]]
    assert (len(invocation.resolved), len(invocation.failures), len(ecr.calls)) == (4, 2, 6)


def test_a_batch_is_asked_in_parallel_with_a_bound(resolver: LayerUrlResolver, ecr: FakeEcr) -> None:
    # No call is answered before as many as may be are under way.
    ecr.answer = threading.Barrier(THREADS, timeout=30).wait
    resolution = resolver.resolve(batch_of(*map(digest, range(5 * THREADS))), within(30))
    assert len(resolution.resolved) == 5 * THREADS
    assert ecr.most_under_way == THREADS


def test_a_layer_is_foreign_only_if_ecr_does_not_have_it(resolver: LayerUrlResolver, ecr: FakeEcr) -> None:
    errors = ("LayersNotFoundException", "LayerInaccessibleException", "AccessDeniedException")
    ecr.answers = {digest(number): ecr_error(code) for number, code in enumerate(errors, 2)}
    repository, layers = Repository("team/app"), {}
    for number in range(1, 6):
        urls = ["https://example.com/"] if number > 1 else None
        members = {"mediaType": "a/b", "digest": digest(number), "size": 0, "urls": urls}
        layers[Subject(repository, "layer", digest(number))] = Descriptor.model_validate(members)
    resolution = resolver.resolve(LayerBatch(repository, layers), within())
    assert resolved(resolution) == [digest(1), digest(5)]
    assert failed(resolution) == {
        digest(2): "ForeignLayer",
        digest(3): "ForeignLayer",
        digest(4): "AccessDeniedException",
    }


def test_at_the_deadline_what_is_resolved_comes_back_the_rest_has_timed_out_and_is_recorded_with_its_own_invocation(
    resolver: LayerUrlResolver, ecr: FakeEcr
) -> None:
    released = threading.Event()
    ecr.answers = {digest(2): released.wait}
    started = time.monotonic()
    late, next_one = within(SHORT), within()
    resolution = resolver.resolve(batch_of(digest(1), digest(2)), late)
    waited = time.monotonic() - started
    released.set()
    assert waited >= SHORT
    assert resolved(resolution) == [digest(1)]
    assert failed(resolution) == {digest(2): TIMED_OUT.code}
    resolver.resolve(batch_of(digest(3), digest(4)), next_one)
    assert (len(late.ecr_calls), len(next_one.ecr_calls)) == (2, 2)


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


@pytest.mark.parametrize("seconds", [-3, 0.04])
def test_without_time_left_ecr_is_not_asked(resolver: LayerUrlResolver, ecr: FakeEcr, seconds: float) -> None:
    assert failed(resolver.resolve(batch_of(digest()), within(seconds))) == {digest(): TIMED_OUT.code}
    assert not ecr.calls


class TestCache:
    """The fake ECR's URLs are signed at 10:00 and expire at 11:00."""

    clock = 0.0
    uptime = 0.0

    @pytest.fixture
    def resolver(self, ecr: FakeEcr) -> LayerUrlResolver:
        self.clock = SIGNED_AT
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
        assert resolver.resolve(batch_of(digest()), within()).only() == first
        self.pass_time(15 * 60 - 1)
        assert (self.hits(resolver, digest()), len(ecr.calls)) == (1, 1)
        self.pass_time(1)
        assert (self.hits(resolver, digest()), len(ecr.calls)) == (0, 2)

    def test_a_clock_that_is_set_back_does_not_make_a_url_live_longer(self, resolver: LayerUrlResolver) -> None:
        resolver.resolve(batch_of(digest()), within()).only()
        self.uptime += 30 * 60
        self.clock -= 24 * 60 * 60
        assert self.hits(resolver, digest()) == 0

    def test_a_batch_asks_ecr_for_what_is_not_cached(self, resolver: LayerUrlResolver, ecr: FakeEcr) -> None:
        resolver.resolve(batch_of(digest(1), digest(3)), within())
        ecr.calls.clear()
        invocation = within()
        resolution = resolver.resolve(batch_of(digest(1), digest(2), digest(3)), invocation)
        assert resolved(resolution) == [digest(1), digest(2), digest(3)]
        assert [call["layerDigest"] for call in ecr.calls] == [digest(2)]
        assert invocation.cache_hits == 2

    def test_a_url_is_of_one_registry_repository_and_layer(self, resolver: LayerUrlResolver, ecr: FakeEcr) -> None:
        for other in (
            batch_of(digest()),
            batch_of(digest(), registry_id="210987654321"),
            batch_of(digest(), repository_name="team/web"),
            batch_of(digest(2)),
        ):
            resolver.resolve(other, within()).only()
        assert [call.get("registryId") for call in ecr.calls] == [None, "210987654321", None, None]

    def test_no_more_urls_are_kept_than_the_bound(self, ecr: FakeEcr, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("layer_resolver.resolver.CACHED_URLS", 3)
        resolver = LayerUrlResolver(Ecr(ecr, Calls()), Hosts(), now=lambda: Moment(SIGNED_AT, 0.0))
        resolver.resolve(batch_of(*map(digest, range(4))), within())
        assert [self.hits(resolver, digest(number)) for number in (3, 2, 1, 0)] == [1, 1, 1, 0]
