"""Turns layers into download URLs, by asking ECR.

Knows nothing of HTTP, events or Powertools. One instance serves a process; it is used by one invocation at a time.
"""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar, cast
from urllib.parse import parse_qs, urlsplit

import boto3
import botocore.session
from botocore.config import Config
from botocore.loaders import Loader
from cachetools import TLRUCache

from layer_resolver.errors import FOREIGN_LAYER, OutOfTimeError, ResolverError, error_kind
from layer_resolver.models import BlobDownloadUrl, DownloadUrl, DownloadUrlsResult, Failure, Layer, LayerBatch

Value = TypeVar("Value")

WORKERS = 16
"""How many calls to ECR are under way at once."""

CACHED_URLS = 2000
"""How many download URLs are kept for further requests; one is about 2 KB."""

# Reading and parsing the service models is most of what making a client costs, so clients share them.
_SERVICE_MODELS = Loader()


@dataclass(frozen=True, slots=True)
class Deadline:
    """The moment by which an invocation has to have its answer.

    Attributes:
        at: The moment in seconds of `time.monotonic`.
    """

    at: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """Return the deadline that is this many seconds away."""
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Return the seconds that are left, 0 if there are none."""
        return max(0.0, self.at - time.monotonic())


_deadline: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


class EcrClient(Protocol):
    """The part of boto3's ECR client that is used."""

    def get_download_url_for_layer(self, **parameters: str) -> Any:
        """Ask ECR; see https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetDownloadUrlForLayer.html."""

    def batch_get_image(self, **parameters: Any) -> Any:
        """Ask ECR; see https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_BatchGetImage.html."""

    def list_images(self, **parameters: Any) -> Any:
        """Ask ECR; see https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_ListImages.html."""


def create_ecr_client() -> EcrClient:
    """Return a boto3 ECR client whose calls end: with time-outs, few retries, and none after the deadline.

    Region, credentials and endpoint come from the environment, as boto3 reads it, anew for each client.

    Raises:
        botocore.exceptions.NoRegionError: If the environment names no region.
    """
    session = botocore.session.get_session()
    session.register_component("data_loader", _SERVICE_MODELS)
    client = boto3.Session(botocore_session=session).client(
        "ecr",
        config=Config(
            connect_timeout=2,
            read_timeout=4,
            # The standard mode waits a random, exponentially growing time between attempts.
            retries={"mode": "standard", "total_max_attempts": 3},
            max_pool_connections=WORKERS,
            user_agent_extra="ecr-layer-resolver",
        ),
    )
    client.meta.events.register("before-send.ecr", _refuse_when_out_of_time)
    return cast("EcrClient", client)


def call_within(deadline: Deadline, call: Callable[[], Value]) -> Value:
    """Return what a call to ECR gives, and stop waiting for it at the deadline.

    Raises:
        OutOfTimeError: If it has not answered by then; whatever else it raises comes through.
    """

    def run() -> Value:
        _deadline.set(deadline)
        return call()

    executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ecr")
    try:
        return executor.submit(run).result(deadline.remaining())
    except TimeoutError:
        raise OutOfTimeError from None
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _refuse_when_out_of_time(**_: object) -> None:
    """Keep a call that the invocation no longer waits for from being tried again.

    Without this its retries would run on in the next invocation, which thaws the process.
    """
    deadline = _deadline.get()
    if deadline is not None and not deadline.remaining():
        raise OutOfTimeError


class LayerUrlResolver:
    """Resolves layers of ECR repositories into pre-signed download URLs.

    A URL is used again while at least half of its lifetime is left, so that whoever gets it has time to use it.

    Args:
        client: The ECR client; called from several threads at once.
        record_call: Told the duration in seconds of each call to ECR, its retries included; called from threads.
        record_cache_hits: Told for how many layers ECR did not have to be asked.
        now: Tells the time, in seconds since the epoch.
    """

    def __init__(
        self,
        client: EcrClient,
        record_call: Callable[[float], None] = lambda _: None,
        record_cache_hits: Callable[[int], None] = lambda _: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._record_call = record_call
        self._record_cache_hits = record_cache_hits
        self._urls: TLRUCache[_CacheKey, str] = TLRUCache(CACHED_URLS, ttu=_reusable_until, timer=now)

    def resolve_one(self, batch: LayerBatch, deadline: Deadline) -> DownloadUrl:
        """Return the download URL of the only layer of `batch`.

        Raises:
            ResolverError: If there is none, with its row of the error table; the cause, where ECR or the network
                gave one, is its `__cause__`.
        """
        (layer,) = batch.layers
        outcome = self._outcomes(batch, [layer], deadline)[layer.digest]
        if isinstance(outcome, ResolverError):
            raise outcome
        return _download_url(layer, outcome)

    def resolve(self, batch: LayerBatch, deadline: Deadline) -> tuple[DownloadUrlsResult, list[ResolverError]]:
        """Resolve all layers of a batch at once, and return what there is at the deadline.

        Returns:
            The result, in the order of the batch, and the errors behind its failures.
        """
        in_registry = [layer for layer in batch.layers if not layer.is_foreign]
        outcomes = self._outcomes(batch, in_registry, deadline)
        for layer in batch.layers:
            if layer.is_foreign:
                outcomes[layer.digest] = ResolverError.about_layer(FOREIGN_LAYER, batch.repository_name, layer.digest)
        by_layer = [(layer, outcomes[layer.digest]) for layer in batch.layers]
        result = DownloadUrlsResult(
            download_urls=[_download_url(layer, url) for layer, url in by_layer if isinstance(url, str)],
            failures=[_failure(layer, error) for layer, error in by_layer if isinstance(error, ResolverError)],
        )
        return result, [error for error in outcomes.values() if isinstance(error, ResolverError)]

    def _outcomes(
        self, batch: LayerBatch, layers: Iterable[Layer], deadline: Deadline
    ) -> dict[str, str | ResolverError]:
        """Return the URL or the error of each digest, no later than at the deadline."""
        digests = [layer.digest for layer in layers]
        cached = {digest: url for digest in digests if (url := self._urls.get(_cache_key(batch, digest))) is not None}
        if cached:
            self._record_cache_hits(len(cached))
        asked = self._ask_for_all(batch, [digest for digest in digests if digest not in cached], deadline)
        for digest, outcome in asked.items():
            if isinstance(outcome, str):
                self._urls[_cache_key(batch, digest)] = outcome
        return cached | asked

    def _ask_for_all(
        self, batch: LayerBatch, digests: Iterable[str], deadline: Deadline
    ) -> dict[str, str | ResolverError]:
        executor = ThreadPoolExecutor(max_workers=WORKERS, thread_name_prefix="ecr")
        try:
            futures = {digest: executor.submit(self._ask_ecr, batch, digest, deadline) for digest in digests}
            wait(futures.values(), timeout=deadline.remaining())
            return {digest: _outcome(batch, digest, future) for digest, future in futures.items()}
        finally:
            executor.shutdown(wait=False, cancel_futures=True)

    def _ask_ecr(self, batch: LayerBatch, digest: str, deadline: Deadline) -> str:
        _deadline.set(deadline)
        parameters = {"repositoryName": batch.repository_name, "layerDigest": digest}
        if batch.registry_id is not None:
            parameters["registryId"] = batch.registry_id
        started = time.monotonic()
        try:
            url: str = self._client.get_download_url_for_layer(**parameters)["downloadUrl"]
        finally:
            self._record_call(time.monotonic() - started)
        return url


_CacheKey = tuple[str | None, str, str]


def _cache_key(batch: LayerBatch, digest: str) -> _CacheKey:
    return batch.registry_id, batch.repository_name, digest


def _reusable_until(_: _CacheKey, url: str, now: float) -> float:
    """Return the moment when half of a URL's lifetime is over, in seconds since the epoch; `now` if it has none."""
    validity = _validity(url)
    if validity is None:
        return now
    signed_at, expires_at = validity
    return (signed_at + (expires_at - signed_at) / 2).timestamp()


def _outcome(batch: LayerBatch, digest: str, future: Future[str]) -> str | ResolverError:
    cause = future.exception() if future.done() else OutOfTimeError()
    if cause is None:
        return future.result()
    error = ResolverError.about_layer(error_kind(cause), batch.repository_name, digest)
    error.__cause__ = cause
    return error


def _download_url(layer: Layer, url: str) -> DownloadUrl:
    expires_at = expiry(url)
    if layer.media_type is None or layer.size is None:
        return DownloadUrl(download_url=url, layer_digest=layer.digest, expires_at=expires_at)
    return BlobDownloadUrl(
        download_url=url,
        layer_digest=layer.digest,
        expires_at=expires_at,
        media_type=layer.media_type,
        size=layer.size,
    )


def _failure(layer: Layer, error: ResolverError) -> Failure:
    return Failure(
        layer_digest=layer.digest, code=error.kind.code, message=error.detail, retryable=error.kind.retryable
    )


def expiry(url: str) -> datetime | None:
    """Return when a pre-signed URL expires, or None if its query does not say."""
    validity = _validity(url)
    return None if validity is None else validity[1]


def _validity(url: str) -> tuple[datetime, datetime] | None:
    """Return when a pre-signed URL was signed and when it expires, or None if its query does not say.

    `X-Amz-Date` is the moment of signing, `X-Amz-Expires` the lifetime in seconds. Source:
    https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
    """
    try:
        query = parse_qs(urlsplit(url).query)
        signed_at = datetime.strptime(query["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        return signed_at, signed_at + timedelta(seconds=int(query["X-Amz-Expires"][0]))
    except (KeyError, ValueError, OverflowError):
        return None
