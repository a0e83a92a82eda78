"""Turns layers into download URLs: those that it still knows, and the others by asking ECR.

Knows nothing of HTTP, events or Powertools. One instance serves a process; it is used by one invocation at a time.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, NamedTuple, TypeVar

from cachetools import TLRUCache

from layer_resolver.download_urls import Hosts, PresignedUrl, UrlRefusedError
from layer_resolver.ecr import CONNECTIONS, Ecr
from layer_resolver.errors import (
    BLOB_UNREADABLE,
    FOREIGN_LAYER,
    SERVER_ERROR,
    TIMED_OUT,
    OutOfTimeError,
    ResolverError,
    Subject,
    UnreadableAnswerError,
    as_resolver_error,
)
from layer_resolver.invocation import Invocation
from layer_resolver.models import DownloadUrl, Layer, LayerBatch

Value = TypeVar("Value")

CACHED_URLS = 2000
"""How many download URLs are kept for further requests; one is about 2 KB."""


class Resolution(NamedTuple):
    """The result of a batch: each layer is in one of the two lists, in the order of the request.

    Attributes:
        batch: What was asked for.
        resolved: The download URLs.
        failures: Why the other layers have none.
        hits: How many layers ECR did not have to be asked for.
    """

    batch: LayerBatch
    resolved: list[DownloadUrl]
    failures: list[ResolverError]
    hits: int

    @property
    def fault(self) -> ResolverError | None:
        """The service's own fault that kept every layer from being resolved, None if there was another reason."""
        if self.resolved or not all(error.kind.is_fault for error in self.failures):
            return None
        return self.failures[0] if self.failures else None

    def wire(self, request_id: str) -> dict[str, Any]:
        """Return it as it is answered; with failures, under which id the log has the request."""
        answer: dict[str, Any] = {
            "downloadUrls": [download_url.wire() for download_url in self.resolved],
            "failures": [_failure(error) for error in self.failures],
        }
        return {**answer, "requestId": request_id} if self.failures else answer


_Outcome = PresignedUrl | ResolverError


class LayerUrlResolver:
    """Resolves layers of ECR repositories into pre-signed download URLs.

    A URL is used again while at least half of its lifetime is left, so that whoever gets it has time to use it.

    Args:
        ecr: The door to ECR.
        hosts: Where download URLs may lead.
        now: Tells the time, in seconds since the epoch.
        uptime: Tells the time of a clock that is never set back, in seconds.
    """

    def __init__(
        self,
        ecr: Ecr,
        hosts: Hosts,
        now: Callable[[], float] = time.time,
        uptime: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ecr = ecr
        self._hosts = hosts
        self._now = now
        self._urls: TLRUCache[_CacheKey, PresignedUrl] = TLRUCache(CACHED_URLS, ttu=_kept_until, timer=uptime)
        # Kept for the life of the process. Each call ends at its deadline, so no thread stays away for longer.
        self._threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="ecr")

    def resolve_one(self, batch: LayerBatch, invocation: Invocation) -> DownloadUrl:
        """Return the download URL of the only layer of `batch`.

        Raises:
            ResolverError: If the layer has no download URL; its row of the error table says why.
        """
        (layer,) = batch.layers
        known = self._known(batch, layer)
        # No thread is needed on the way of a single layer: every wait of the call ends at the deadline by itself.
        outcomes = {layer.digest: known or self._ask(batch, layer, invocation)}
        if known is None:
            self._keep(batch, outcomes)
        resolution = _resolution(batch, outcomes, hits=int(known is not None))
        invocation.record(resolution)
        if resolution.failures:
            raise resolution.failures[0]
        return resolution.resolved[0]

    def resolve(self, batch: LayerBatch, invocation: Invocation) -> Resolution:
        """Resolve all layers of a batch at once, and return what there is at the deadline."""
        outcomes: dict[str, _Outcome] = {}
        for layer in batch.layers:
            known = self._known(batch, layer)
            if known is not None:
                outcomes[layer.digest] = known
        hits = len(outcomes)
        unknown = [layer for layer in batch.layers if layer.digest not in outcomes]
        asked = self._ask_for_all(batch, [layer for layer in unknown if not layer.is_foreign], invocation)
        self._keep(batch, asked)
        outcomes |= asked
        for layer in unknown:
            if layer.is_foreign:
                outcomes[layer.digest] = ResolverError.about(_subject(batch, layer), FOREIGN_LAYER)
        resolution = _resolution(batch, outcomes, hits)
        invocation.record(resolution)
        return resolution

    def use_url(self, batch: LayerBatch, invocation: Invocation, use: Callable[[str], Value]) -> Value:
        """Return the result of using the download URL of the only layer of `batch`.

        If S3 refuses a URL, it is not used again, and ECR is asked for another one.

        Raises:
            ResolverError: If there is no URL, or S3 refuses the second one as well; whatever else `use` raises.
        """
        try:
            return use(self.resolve_one(batch, invocation).url)
        except UrlRefusedError:
            (layer,) = batch.layers
            self._urls.pop(_cache_key(batch, layer.digest), None)
        try:
            return use(self.resolve_one(batch, invocation).url)
        except UrlRefusedError as error:
            raise ResolverError.about(_subject(batch, layer), BLOB_UNREADABLE) from error

    def _known(self, batch: LayerBatch, layer: Layer) -> PresignedUrl | None:
        known = self._urls.get(_cache_key(batch, layer.digest))
        # Two clocks: one can be set back, the other stands still while Lambda freezes the environment.
        return known if known is not None and self._now() < known.reusable_until else None

    def _keep(self, batch: LayerBatch, outcomes: dict[str, _Outcome]) -> None:
        for digest, outcome in outcomes.items():
            if isinstance(outcome, PresignedUrl):
                self._urls[_cache_key(batch, digest)] = outcome

    def _ask_for_all(self, batch: LayerBatch, layers: list[Layer], invocation: Invocation) -> dict[str, _Outcome]:
        """Ask ECR for several layers at once; what has not arrived by the deadline has timed out."""
        outcomes: dict[str, _Outcome] = {}
        # The threads share the iterator: taking the next item of a list's is atomic.
        remaining = iter(layers)

        def work() -> None:
            for layer in remaining:
                outcomes[layer.digest] = self._ask(batch, layer, invocation)

        futures = [self._threads.submit(work) for _ in range(min(len(layers), CONNECTIONS))]
        wait(futures, timeout=invocation.deadline.remaining())
        for future in futures:
            future.cancel()
        # A thread that is late must not change what is answered.
        in_time = dict(outcomes)
        for layer in layers:
            if layer.digest not in in_time:
                in_time[layer.digest] = ResolverError.about(_subject(batch, layer), TIMED_OUT, OutOfTimeError())
        return in_time

    def _ask(self, batch: LayerBatch, layer: Layer, invocation: Invocation) -> _Outcome:
        subject = _subject(batch, layer)
        try:
            answer = self._ecr.call("get_download_url_for_layer", subject, invocation, layerDigest=layer.digest)
            url = answer.get("downloadUrl")
            if not isinstance(url, str) or not self._hosts.admit(url):
                return ResolverError.about(
                    subject, SERVER_ERROR, UnreadableAnswerError("downloadUrl is not a URL of S3")
                )
            if str(answer.get("layerDigest", layer.digest)).lower() != layer.digest.lower():
                return ResolverError.about(subject, SERVER_ERROR, UnreadableAnswerError("layerDigest is another one"))
            return PresignedUrl.of(url, self._now())
        except Exception as error:
            return as_resolver_error(error)


_CacheKey = tuple[str | None, str, str]


def _cache_key(batch: LayerBatch, digest: str) -> _CacheKey:
    return batch.repository.registry_id, batch.repository.repository_name, digest


def _kept_until(_: _CacheKey, url: PresignedUrl, uptime: float) -> float:
    return uptime + url.reusable_seconds


def _subject(batch: LayerBatch, layer: Layer) -> Subject:
    return Subject(batch.repository, "layer", layer.digest)


def _failure(error: ResolverError) -> dict[str, Any]:
    return {
        "layerDigest": error.subject.name if error.subject is not None else None,
        "code": error.kind.code,
        "message": error.detail,
        "retryable": error.kind.retryable,
    }


def _resolution(batch: LayerBatch, outcomes: dict[str, _Outcome], hits: int) -> Resolution:
    resolution = Resolution(batch, [], [], hits)
    for layer in batch.layers:
        outcome = outcomes[layer.digest]
        if isinstance(outcome, ResolverError):
            resolution.failures.append(outcome)
        else:
            resolution.resolved.append(DownloadUrl(layer, outcome.url, outcome.expires_at))
    return resolution
