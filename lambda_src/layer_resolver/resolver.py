"""Turns layers into download URLs: from the cache while half of a URL's lifetime remains, else by asking ECR.

Knows nothing of HTTP or events. One instance serves a process; one invocation uses it at a time.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from cachetools import LRUCache

from layer_resolver import errors
from layer_resolver.calls import Moment
from layer_resolver.download_urls import Hosts, PresignedUrl, UrlRefusedError
from layer_resolver.ecr import Answer, Ecr
from layer_resolver.errors import ResolverError, Subject
from layer_resolver.invocation import Invocation
from layer_resolver.models import DownloadUrl, DownloadUrlsResult, Failure, Layer, LayerBatch

Value = TypeVar("Value")

CACHED_URLS = 2000
"""How many download URLs are kept; one is about 2 KB."""

LEAST_BYTES_OF_A_LAYER = 1000
"""The size of one layer in an answer, at least: ECR's URLs have a session token of about 1 KB."""

_Outcome = PresignedUrl | ResolverError


class Resolution(NamedTuple):
    """The result of a batch: each layer is in one of the two lists, in the order of the request.

    A batch never fails as a whole, whatever its layers' failures are.
    """

    resolved: list[DownloadUrl]
    failures: list[ResolverError]

    def only(self) -> DownloadUrl:
        """Return the download URL of a batch's only layer.

        Raises:
            ResolverError: If the layer has none.
        """
        if self.failures:
            raise self.failures[0]
        return self.resolved[0]

    def wire(self, request_id: str) -> dict[str, Any]:
        """Return it as it is answered; with failures, the id says where the operator's log has the request."""
        failures = [
            Failure(
                layer_digest=str(error.subject.name if error.subject else None),
                code=error.kind.code,
                message=error.detail,
                retryable=error.kind.retryable,
            )
            for error in self.failures
        ]
        named = {"request_id": request_id} if failures else {}
        return DownloadUrlsResult(download_urls=self.resolved, failures=failures, **named).wire()


class LayerUrlResolver:
    """Resolves layers of ECR repositories into pre-signed download URLs that lead to `hosts`."""

    def __init__(self, ecr: Ecr, hosts: Hosts, now: Callable[[], Moment] = Moment.now) -> None:
        self._ecr = ecr
        self._hosts = hosts
        self._now = now
        self._urls: LRUCache[Subject, tuple[PresignedUrl, Moment]] = LRUCache(CACHED_URLS)

    def resolve(self, batch: LayerBatch, invocation: Invocation) -> Resolution:
        """Return what there is at the deadline for all layers of a batch, for the caller."""
        outcomes = self._outcomes(batch, invocation)
        pairs = [(layer, outcomes[layer.digest]) for layer in batch.layers]
        resolved = [_download_url(layer, outcome) for layer, outcome in pairs if isinstance(outcome, PresignedUrl)]
        failures = [outcome for _, outcome in pairs if isinstance(outcome, ResolverError)]
        invocation.resolved, invocation.failures = [each.layer_digest for each in resolved], failures
        return Resolution(resolved, failures)

    def use_url(self, batch: LayerBatch, invocation: Invocation, use: Callable[[str], Value]) -> Value:
        """Return the result of using the download URL of the only layer of `batch`; the caller doesn't get the URL.

        If S3 refuses a URL, it is dropped, and ECR is asked for another one.

        Raises:
            ResolverError: If there is no URL, or S3 refuses the second one too; whatever else `use` raises.
        """
        (layer,) = batch.layers
        for _ in range(2):
            outcome = self._outcomes(batch, invocation)[layer.digest]
            if isinstance(outcome, ResolverError):
                raise outcome
            try:
                return use(outcome.url)
            except UrlRefusedError as error:
                refused = error
                self._urls.pop(_subject(batch, layer), None)
        raise ResolverError.about(_subject(batch, layer), errors.BLOB_UNREADABLE) from refused

    def _outcomes(self, batch: LayerBatch, invocation: Invocation) -> dict[str, _Outcome]:
        invocation.record_batch(batch)
        now = self._now()
        outcomes: dict[str, _Outcome] = {}
        for layer in batch.layers:
            known = self._urls.get(_subject(batch, layer))
            if known is not None and now.since(known[1]) < known[0].reusable_seconds:
                outcomes[layer.digest] = known[0]
        invocation.cache_hits = len(outcomes)
        unknown = [layer for layer in batch.layers if layer.digest not in outcomes]
        answers = self._ecr.get_download_urls([_subject(batch, layer) for layer in unknown], invocation)
        now = self._now()
        for layer, answer in zip(unknown, answers, strict=True):
            outcome = outcomes[layer.digest] = self._outcome(_subject(batch, layer), layer, answer)
            if isinstance(outcome, PresignedUrl):
                self._urls[_subject(batch, layer)] = outcome, now
        return outcomes

    def _outcome(self, subject: Subject, layer: Layer, answer: Answer) -> _Outcome:
        if isinstance(answer, ResolverError):
            is_absent = answer.kind in {errors.LAYERS_NOT_FOUND, errors.LAYER_INACCESSIBLE}
            return ResolverError.about(subject, errors.FOREIGN_LAYER) if layer.is_foreign and is_absent else answer
        url = answer.get("downloadUrl")
        if not isinstance(url, str) or not self._hosts.admit(url):
            return _unreadable(subject, "downloadUrl is not a URL of S3")
        if str(answer.get("layerDigest", layer.digest)).lower() != layer.digest.lower():
            return _unreadable(subject, "layerDigest is another one")
        return PresignedUrl.of(url, self._now().wall)


def _unreadable(subject: Subject, problem: str) -> ResolverError:
    return ResolverError.about(subject, errors.SERVER_ERROR, errors.UnreadableAnswerError(problem))


def _subject(batch: LayerBatch, layer: Layer) -> Subject:
    return Subject(batch.repository, "layer", layer.digest)


def _download_url(layer: Layer, url: PresignedUrl) -> DownloadUrl:
    described: dict[str, Any] = {}
    if layer.media_type is not None:
        described = {"media_type": layer.media_type, "size": layer.size}
    return DownloadUrl(download_url=url.url, layer_digest=layer.digest, expires_at=url.expires_at, **described)
