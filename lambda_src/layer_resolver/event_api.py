"""EventBridge events and direct invocations: from an event to the result that Lambda's destinations pass on.

Lambda passes what is returned to the on-success destination. An event that raises is retried, twice if the invocation
was asynchronous, and then goes to the dead-letter queue as it came.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Generic, TypeVar

from aws_lambda_powertools.utilities.parser import ValidationError, parse
from aws_lambda_powertools.utilities.parser.models import EventBridgeModel
from pydantic import BaseModel, Field

from layer_resolver import errors
from layer_resolver.callers import Caller
from layer_resolver.errors import Repository, ResolverError, Subject
from layer_resolver.function_url import LARGEST_ANSWER_BYTES
from layer_resolver.images import ImageReader, index_refused
from layer_resolver.invocation import Invocation
from layer_resolver.models import (
    INDEX_MEDIA_TYPES,
    Digest,
    DownloadUrlRequest,
    DownloadUrlsRequest,
    ImageManifest,
    ImageManifestRequest,
    LayerBatch,
    MediaType,
    PostedManifest,
    RepositoryName,
    described,
    is_registry_id,
    parse_document,
    parse_request,
    parse_stored,
)
from layer_resolver.resolver import LEAST_BYTES_OF_A_LAYER, LayerUrlResolver, Resolution

REQUEST_DETAIL_TYPE = "ECR Layer Download URL Request"
PUSH_DETAIL_TYPE = "ECR Image Action"

# Lambda's record of an invocation has, beside event and result, ids, ARNs and times of about 1 KB.
_RECORD_OVERHEAD_BYTES = 4 * 1024
# The usual size of one layer in a result.
_BYTES_OF_A_LAYER = 2048

_REQUESTS: dict[str, type[ImageManifestRequest | DownloadUrlRequest | DownloadUrlsRequest]] = {
    "imageManifest": ImageManifestRequest,
    "layerDigest": DownloadUrlRequest,
    "layerDigests": DownloadUrlsRequest,
}

Detail = TypeVar("Detail")


class Event(EventBridgeModel, Generic[Detail]):
    """An event of EventBridge whose detail is of a known type."""

    detail: Detail  # type: ignore[assignment]


class Push(BaseModel):
    """The detail of an `ECR Image Action`.

    Source: https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-eventbridge.html
    """

    action_type: Annotated[str, Field(alias="action-type")]
    result: str
    repository_name: Annotated[RepositoryName, Field(alias="repository-name")]
    image_digest: Annotated[Digest, Field(alias="image-digest")]


class EventApi:
    """Answers events, one at a time, as Lambda passes them on.

    Args:
        resolver: Resolves layers.
        images: Reads manifests; events about pushed images are answered only if it is enabled.
        maximum_result_kilobytes: How large the record of an event and its result may be.
    """

    def __init__(self, resolver: LayerUrlResolver, images: ImageReader, maximum_result_kilobytes: int) -> None:
        self._resolver = resolver
        self._images = images
        self._most_bytes = maximum_result_kilobytes * 1024

    def answer(self, event: Any, invocation: Invocation) -> dict[str, Any]:
        """Return the result of an EventBridge event or a request by itself: its id, download URLs and failures.

        Raises:
            ResolverError: If nothing was resolved and the same event can succeed later, or a bug kept it from that; if
                the function answers no such event; or if the result is too large for its destination. Lambda writes
                the message where it puts the event, so it has no ARN, download URL or token, and it has no cause.
        """
        invocation.route = "event"
        try:
            result = self._result(event, invocation)
        except Exception as cause:
            error = errors.as_resolver_error(cause)
            invocation.status, invocation.error = error.kind.http_status, error
            invocation.resolved = ()
            raise ResolverError(error.kind, error.detail) from None
        invocation.status = 200
        return result

    def _result(self, event: Any, invocation: Invocation) -> dict[str, Any]:
        if not isinstance(event, Mapping):
            raise ResolverError(errors.UNSUPPORTED_EVENT)
        if "detail-type" in event:
            account = event.get("account")
            name = account if isinstance(account, str) and is_registry_id(account) else None
            invocation.trigger, invocation.caller = "eventbridge", Caller("event", name)
            return self._result_of_event(event, invocation)
        if _REQUESTS.keys().isdisjoint(event) and "repositoryName" not in event:
            raise ResolverError(errors.UNSUPPORTED_EVENT)
        invocation.trigger, invocation.caller = "direct", Caller("direct")
        result = self._resolve(_batch_of(parse_request(event, _kind_of(event))), invocation)
        # Its caller waits for it, as one over HTTP does.
        if len(json.dumps(result)) > LARGEST_ANSWER_BYTES:
            raise ResolverError(errors.RESULT_TOO_LARGE)
        return result

    def _result_of_event(self, event: Mapping[str, Any], invocation: Invocation) -> dict[str, Any]:
        detail_type, event_id, detail = event["detail-type"], event.get("id"), event.get("detail")
        invocation.identify(event_id if isinstance(event_id, str) else "")
        if detail_type == REQUEST_DETAIL_TYPE:
            if not isinstance(detail, Mapping):
                raise ResolverError(
                    errors.INVALID_PARAMETER, "detail must be a JSON object with the fields of a request."
                )
            batch = _batch_of(_parsed(event, _kind_of(detail)).detail)
        elif detail_type == PUSH_DETAIL_TYPE and self._images.is_enabled:
            batch = self._batch_of_push(_parsed(event, Push).detail, invocation)
        else:
            raise self._unsupported()
        size = _size_of(event) + _RECORD_OVERHEAD_BYTES
        if size + len(batch.layers) * LEAST_BYTES_OF_A_LAYER > self._most_bytes:
            raise self._too_large(size, detail_type)
        result = self._resolve(batch, invocation)
        if size + len(json.dumps(result)) > self._most_bytes:
            # Lambda silently drops a result that its destination refuses.
            raise self._too_large(size, detail_type)
        return result

    def _unsupported(self) -> ResolverError:
        known = [REQUEST_DETAIL_TYPE, *([PUSH_DETAIL_TYPE] if self._images.is_enabled else [])]
        return ResolverError(
            errors.UNSUPPORTED_EVENT,
            f"The function answers only events of detail-type {', '.join(map(repr, known))}. "
            "Correct the event, or the pattern of the rule that sent it.",
        )

    def _too_large(self, size: int, detail_type: str) -> ResolverError:
        layers = max(1, (self._most_bytes - size) // _BYTES_OF_A_LAYER)
        if detail_type == PUSH_DETAIL_TYPE:
            advice = "GET /images/download-urls"
        else:
            advice = f"Ask for at most {layers} layers with one event, or POST them to /download-urls"
        return ResolverError(
            errors.RESULT_TOO_LARGE,
            f"The result is larger than {self._most_bytes // 1024} KB, so it would be lost. {advice} of the function "
            "URL.",
        )

    def _batch_of_push(self, push: Push, invocation: Invocation) -> LayerBatch:
        """Return the config and the layers of a pushed image; an index has none, only its images do."""
        if (push.action_type, push.result) != ("PUSH", "SUCCESS"):
            raise ResolverError(
                errors.UNSUPPORTED_EVENT, "Of ECR's events, the function answers only those of pushed images."
            )
        repository, digest = Repository(push.repository_name), push.image_digest
        invocation.record_image(repository, digest)
        manifest = self._images.manifest(repository, digest, invocation)
        if manifest.is_index:
            return LayerBatch(repository, ())
        subject = Subject(repository, "image", digest)
        image = parse_stored(manifest.content, ImageManifest, subject, "manifest")
        return LayerBatch.of_manifest(repository, image)

    def _resolve(self, batch: LayerBatch, invocation: Invocation) -> dict[str, Any]:
        resolution = self._resolver.resolve(batch, invocation)
        failure = _worth_another_try(resolution)
        if failure is not None:
            raise failure
        self._images.explain_missing(batch.repository, resolution.failures, invocation)
        return {**resolution.wire(invocation.request_id), "requestId": invocation.request_id}


def _worth_another_try(resolution: Resolution) -> ResolverError | None:
    """Return the failure for which the event is to be retried; None if the result can go out as it is."""
    if resolution.resolved:
        return None
    return next((error for error in resolution.failures if error.kind.retryable or error.kind.is_fault), None)


def _kind_of(request: Mapping[str, Any]) -> type[ImageManifestRequest | DownloadUrlRequest | DownloadUrlsRequest]:
    return next((kind for field, kind in _REQUESTS.items() if field in request), DownloadUrlsRequest)


def _parsed(event: Mapping[str, Any], kind: type[BaseModel]) -> Event[Any]:
    try:
        return parse(event=dict(event), model=Event[kind])  # type: ignore[valid-type]
    except ValidationError as error:
        raise ResolverError(errors.INVALID_PARAMETER, described(error, kind)) from None


def _size_of(event: Mapping[str, Any]) -> int:
    try:
        return len(json.dumps(event))
    except RecursionError:
        raise ResolverError(errors.INVALID_PARAMETER, "The event's values are nested too deep.") from None


def _batch_of(request: ImageManifestRequest | DownloadUrlRequest | DownloadUrlsRequest) -> LayerBatch:
    if isinstance(request, DownloadUrlRequest):
        return LayerBatch.of_digests(request.repository, [request.layer_digest])
    if isinstance(request, DownloadUrlsRequest):
        return LayerBatch.of_digests(request.repository, request.layer_digests)
    document = request.image_manifest
    if parse_document(document, MediaType).media_type in INDEX_MEDIA_TYPES:
        raise index_refused(document)
    return LayerBatch.of_manifest(request.repository, parse_document(document, PostedManifest))
