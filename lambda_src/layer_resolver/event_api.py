"""EventBridge events and direct invocations: from an event to the result that Lambda's destinations pass on.

What is returned here goes to the on-success destination. What is raised is tried again by Lambda, twice if the
invocation was asynchronous, and then goes to the failure queue with the event as it came.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, cast

from aws_lambda_powertools.utilities.parser.models import EventBridgeModel

from layer_resolver.errors import RESULT_TOO_LARGE, UNSUPPORTED_EVENT, ResolverError, as_resolver_error
from layer_resolver.images import ImageReader
from layer_resolver.manifests import batch_of_manifest, index_refused
from layer_resolver.models import (
    INDEX_MEDIA_TYPES,
    DownloadUrlRequest,
    DownloadUrlsRequest,
    EventResult,
    ImageManifestRequest,
    ImagePush,
    LayerBatch,
    ManifestRepository,
    MediaType,
)
from layer_resolver.observability import Invocation
from layer_resolver.resolver import Deadline, LayerUrlResolver
from layer_resolver.settings import Settings
from layer_resolver.validation import parse_request

REQUEST_DETAIL_TYPE = "ECR Layer Download URL Request"
PUSH_DETAIL_TYPE = "ECR Image Action"

MAXIMUM_RECORD_BYTES = 256 * 1024
"""What EventBridge takes for one event; https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html."""

# Lambda's record of an invocation has, beside event and result, ids, ARNs and times of about 1 KB.
_RECORD_OVERHEAD_BYTES = 4 * 1024

_REQUEST_FIELDS = frozenset({"layerDigest", "layerDigests", "imageManifest"})


def is_eventbridge_event(event: object) -> bool:
    """Tell whether an event came through EventBridge, whatever its detail-type."""
    return isinstance(event, Mapping) and "detail-type" in event and "detail" in event


def _is_request(event: object) -> bool:
    return isinstance(event, Mapping) and not _REQUEST_FIELDS.isdisjoint(event)


class EventApi:
    """Answers events, one at a time, as Lambda gives them.

    Args:
        resolver: Gives the download URLs.
        images: Reads the manifests of images that were pushed.
        settings: What the operator has opted into.
    """

    def __init__(self, resolver: LayerUrlResolver, images: ImageReader, settings: Settings) -> None:
        self._resolver = resolver
        self._images = images
        self._batches: dict[str, Callable[[dict[str, Any], Deadline], LayerBatch]] = {
            REQUEST_DETAIL_TYPE: lambda detail, _: _batch_of_request(detail)
        }
        if settings.image_pull:
            self._batches[PUSH_DETAIL_TYPE] = self._batch_of_push

    def handle(self, event: Any, request_id: str, deadline: Deadline, invocation: Invocation) -> dict[str, Any]:
        """Resolve what an event asks for.

        Args:
            event: An event of EventBridge, or a request by itself.
            request_id: Lambda's id of the invocation; names the result of a request that came without an event.
            deadline: When the result has to be there.
            invocation: Takes down what was done.

        Returns:
            The result, as an `EventResult` on the wire.

        Raises:
            ResolverError: If nothing was resolved and the same event can succeed later; if the event is none that the
                function answers; or if the result is too large for its destination. Lambda writes the message where it
                puts the event, so it has no ARN, download URL or token, and it has no cause.
        """
        try:
            result = self._handle(event, request_id, deadline, invocation)
        except Exception as cause:
            error = as_resolver_error(cause)
            invocation.status, invocation.error, invocation.is_failed = error.kind.http_status, error, True
            raise ResolverError(error.kind, error.detail) from None
        invocation.status = 200
        return result

    def _handle(self, event: Any, request_id: str, deadline: Deadline, invocation: Invocation) -> dict[str, Any]:
        invocation.trigger, invocation.route = "unknown", "event"
        if is_eventbridge_event(event):
            invocation.trigger = "eventbridge"
            envelope = parse_request(event, EventBridgeModel)
            batch = self._batch_of_event(envelope, deadline)
            request_id = envelope.id
        elif _is_request(event):
            invocation.trigger = "direct"
            batch = _batch_of_request(event)
        else:
            raise ResolverError(UNSUPPORTED_EVENT)
        invocation.batch = batch
        result = self._resolve(batch, request_id, deadline, invocation)
        _check_size(event, result)
        return result

    def _batch_of_event(self, envelope: EventBridgeModel, deadline: Deadline) -> LayerBatch:
        read = self._batches.get(envelope.detail_type)
        if read is None:
            raise ResolverError(
                UNSUPPORTED_EVENT,
                f"The function answers events of detail-type {', '.join(map(repr, self._batches))} and no others. "
                "Correct the event, or the pattern of the rule that sent it.",
            )
        return read(cast("dict[str, Any]", envelope.detail), deadline)

    def _batch_of_push(self, detail: dict[str, Any], deadline: Deadline) -> LayerBatch:
        """Return the config and the layers of an image that was pushed; an index has none, its images have events."""
        push = parse_request(detail, ImagePush)
        repository = ManifestRepository(repository_name=push.repository_name)
        manifest = self._images.manifest(repository, push.image_digest, deadline)
        if manifest.media_type in INDEX_MEDIA_TYPES:
            return LayerBatch.of(None, push.repository_name, [])
        return batch_of_manifest(manifest.content.decode(), None, repository)

    def _resolve(
        self, batch: LayerBatch, request_id: str, deadline: Deadline, invocation: Invocation
    ) -> dict[str, Any]:
        resolved, errors = self._resolver.resolve(batch, deadline)
        invocation.resolved, invocation.failures = len(resolved.download_urls), errors
        retryable = next((error for error in errors if error.kind.retryable), None)
        if retryable is not None and not resolved.download_urls:
            raise retryable
        result = EventResult(request_id=request_id, download_urls=resolved.download_urls, failures=resolved.failures)
        return result.model_dump(mode="json")


def _batch_of_request(request: dict[str, Any]) -> LayerBatch:
    if "imageManifest" in request:
        return _batch_of_manifest_request(parse_request(request, ImageManifestRequest))
    if "layerDigest" in request:
        return parse_request(request, DownloadUrlRequest).batch()
    return parse_request(request, DownloadUrlsRequest).batch()


def _batch_of_manifest_request(request: ImageManifestRequest) -> LayerBatch:
    media_type = parse_request(request.image_manifest, MediaType).media_type
    if media_type in INDEX_MEDIA_TYPES:
        raise index_refused(request.image_manifest)
    return batch_of_manifest(request.image_manifest, None, request)


def _check_size(event: Any, result: dict[str, Any]) -> None:
    """Refuse a result that its destination would not take, because Lambda drops such results without a word."""
    if len(json.dumps(event)) + len(json.dumps(result)) + _RECORD_OVERHEAD_BYTES > MAXIMUM_RECORD_BYTES:
        raise ResolverError(RESULT_TOO_LARGE)
