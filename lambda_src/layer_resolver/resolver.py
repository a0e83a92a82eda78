"""Turns layers into download URLs: from the cache while at least half of a URL's lifetime remains, else from ECR.

Knows nothing of HTTP or events. One instance serves a process; one invocation uses it at a time.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from cachetools import LRUCache

from layer_resolver import errors
from layer_resolver.calls import Deadline, Moment
from layer_resolver.download_urls import Hosts, PresignedUrl, UrlRefusedError, through_edge
from layer_resolver.ecr import Answer, Ecr
from layer_resolver.errors import ResolverError, Subject
from layer_resolver.invocation import Invocation
from layer_resolver.models import Descriptor, DownloadUrl, DownloadUrlsResult, Failure, LayerBatch

Value = TypeVar("Value")

CACHED_URLS = 2000
"""How many download URLs are kept; one is about 2 KB."""

LEAST_BYTES_OF_AN_ENTRY = 1000
"""The least that one layer's entry adds to an answer: ECR's URLs have a session token of about 1 KB."""

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
        """Return the JSON body; with failures, it has the request's id in the operator's log."""
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
    """Resolves layers of ECR repositories into pre-signed download URLs that lead to `hosts`.

    Callers through the edge get URLs under its host, if it serves the layers of `edge_layers_origin`.
    """

    def __init__(
        self, ecr: Ecr, hosts: Hosts, edge_layers_origin: str | None = None, now: Callable[[], Moment] = Moment.now
    ) -> None:
        self._ecr = ecr
        self._hosts = hosts
        self._edge_layers_origin = edge_layers_origin
        self._now = now
        self._urls: LRUCache[Subject, tuple[PresignedUrl, Moment]] = LRUCache(CACHED_URLS)

    def resolve(self, batch: LayerBatch, invocation: Invocation) -> Resolution:
        """Resolve a batch's layers for the caller; those without an answer at the deadline fail."""
        outcomes = self._outcomes(batch, invocation)
        resolved = [
            _download_url(layer, batch.layers[layer], outcome, self._given_url(outcome, invocation))
            for layer, outcome in outcomes.items()
            if isinstance(outcome, PresignedUrl)
        ]
        failures = [outcome for outcome in outcomes.values() if isinstance(outcome, ResolverError)]
        invocation.resolved, invocation.failures = [each.layer_digest for each in resolved], failures
        return Resolution(resolved, failures)

    def _given_url(self, url: PresignedUrl, invocation: Invocation) -> str:
        """Return the URL that the caller gets."""
        host, origin = invocation.caller.edge_host, self._edge_layers_origin
        if host is None or origin is None:
            return url.url
        by_edge = through_edge(url.url, origin, host)
        invocation.layers_bypass_edge |= by_edge is None
        return by_edge or url.url

    def use_url(self, layer: Subject, invocation: Invocation, use: Callable[[Subject, str, Deadline], Value]) -> Value:
        """Return the result of using a layer's download URL until the deadline; the caller doesn't get the URL.

        If S3 refuses a URL, it is dropped, and ECR is asked for another one.

        Raises:
            ResolverError: If there is no URL, S3 refuses the second one too, or `use` raises it.
        """
        batch = LayerBatch.of_digests(layer.repository, [str(layer.name)])
        for _ in range(2):
            outcome = self._outcomes(batch, invocation)[layer]
            if isinstance(outcome, ResolverError):
                raise outcome
            try:
                return use(layer, outcome.url, invocation.deadline)
            except UrlRefusedError as error:
                refused = error
                self._urls.pop(layer, None)
        raise ResolverError.about(layer, errors.BLOB_UNREADABLE) from refused

    def _outcomes(self, batch: LayerBatch, invocation: Invocation) -> dict[Subject, _Outcome]:
        invocation.repository, invocation.layer_digests = batch.repository, [str(each.name) for each in batch.layers]
        outcomes: dict[Subject, _Outcome] = {layer: url for layer in batch.layers if (url := self._reusable(layer))}
        invocation.cache_hits = len(outcomes)
        unknown = [layer for layer in batch.layers if layer not in outcomes]
        answers = self._ecr.get_download_urls(unknown, invocation)
        for layer, answer in zip(unknown, answers, strict=True):
            outcomes[layer] = self._outcome(layer, batch.layers[layer], answer)
        return {layer: outcomes[layer] for layer in batch.layers}

    def _reusable(self, layer: Subject) -> PresignedUrl | None:
        if layer not in self._urls:
            return None
        url, since = self._urls[layer]
        return url if self._now().since(since) < url.reusable_seconds else None

    def _outcome(self, layer: Subject, descriptor: Descriptor | None, answer: Answer) -> _Outcome:
        if isinstance(answer, ResolverError):
            is_absent = answer.kind in {errors.LAYERS_NOT_FOUND, errors.LAYER_INACCESSIBLE}
            is_foreign = descriptor is not None and bool(descriptor.urls)
            return ResolverError.about(layer, errors.FOREIGN_LAYER) if is_foreign and is_absent else answer
        url, digest = answer.get("downloadUrl"), str(layer.name)
        if not isinstance(url, str) or not self._hosts.admit(url):
            return errors.unreadable_answer(layer, "downloadUrl is not a URL of S3")
        if str(answer.get("layerDigest", digest)).lower() != digest.lower():
            return errors.unreadable_answer(layer, "layerDigest is another one")
        now = self._now()
        self._urls[layer] = PresignedUrl.of(url, now.wall), now
        return self._urls[layer][0]


def _download_url(layer: Subject, descriptor: Descriptor | None, url: PresignedUrl, given: str) -> DownloadUrl:
    described = {} if descriptor is None else descriptor.model_dump(include={"media_type", "size"})
    return DownloadUrl(download_url=given, layer_digest=str(layer.name), expires_at=url.expires_at, **described)
