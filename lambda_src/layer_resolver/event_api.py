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

from layer_resolver import errors, models
from layer_resolver.callers import Caller
from layer_resolver.errors import Repository, ResolverError
from layer_resolver.function_url import LARGEST_ANSWER_BYTES
from layer_resolver.images import ImageReader, index_refused
from layer_resolver.invocation import Invocation
from layer_resolver.models import DownloadUrlRequest, DownloadUrlsRequest, ImageManifestRequest, LayerBatch
from layer_resolver.resolver import LEAST_BYTES_OF_AN_ENTRY, LayerUrlResolver

REQUEST_DETAIL_TYPE = "ECR Layer Download URL Request"
PUSH_DETAIL_TYPE = "ECR Image Action"

# Lambda's record of an invocation has, beside event and result, ids, ARNs and times of about 1 KB.
_RECORD_OVERHEAD_BYTES = 4 * 1024
# The usual size of one layer in a result.
_BYTES_OF_AN_ENTRY = 2048

_AnyRequest = ImageManifestRequest | DownloadUrlRequest | DownloadUrlsRequest
_REQUESTS: dict[str, type[_AnyRequest]] = {
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
    repository_name: Annotated[models.RepositoryName, Field(alias="repository-name")]
    image_digest: Annotated[models.Digest, Field(alias="image-digest")]


class EventApi:
    """Answers events, one at a time, as Lambda passes them on.

    Events about pushed images are answered only if `images` is enabled. The record of an event and its result may have
    `maximum_result_kilobytes`.
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
            error = invocation.error = errors.as_resolver_error(cause)
            invocation.status, invocation.resolved = error.kind.http_status, ()
            raise ResolverError(error.kind, error.detail) from None
        invocation.status = 200
        return result

    def _result(self, event: Any, invocation: Invocation) -> dict[str, Any]:
        if isinstance(event, dict) and "detail-type" in event:
            account = event.get("account")
            name = account if isinstance(account, str) and models.is_registry_id(account) else None
            invocation.trigger, invocation.caller = "eventbridge", Caller("event", name)
            return self._result_of_event(event, invocation)
        if not isinstance(event, dict) or event.keys().isdisjoint({"repositoryName", *_REQUESTS}):
            raise ResolverError(errors.UNSUPPORTED_EVENT)
        invocation.trigger, invocation.caller = "direct", Caller("direct")
        result = self._resolve(_batch_of(models.parse_request(event, _kind_of(event))), invocation)
        # Its caller waits for it, as one over HTTP does.
        if len(json.dumps(result)) > LARGEST_ANSWER_BYTES:
            raise ResolverError(errors.RESULT_TOO_LARGE)
        return result

    def _result_of_event(self, event: dict[str, Any], invocation: Invocation) -> dict[str, Any]:
        invocation.identify(event.get("id"))
        batch = self._batch_of_event(event, invocation)
        try:
            size = len(json.dumps(event)) + _RECORD_OVERHEAD_BYTES
        except RecursionError:
            raise ResolverError(errors.INVALID_PARAMETER, "The event's values are nested too deep.") from None
        self._check_size(event, size, len(batch.layers) * LEAST_BYTES_OF_AN_ENTRY)
        result = self._resolve(batch, invocation)
        # Lambda silently drops a result that its destination refuses.
        self._check_size(event, size, len(json.dumps(result)))
        return result

    def _batch_of_event(self, event: dict[str, Any], invocation: Invocation) -> LayerBatch:
        if event["detail-type"] == PUSH_DETAIL_TYPE and self._images.is_enabled:
            return self._batch_of_push(_parse(event, Push).detail, invocation)
        if event["detail-type"] != REQUEST_DETAIL_TYPE:
            known = [REQUEST_DETAIL_TYPE, *([PUSH_DETAIL_TYPE] if self._images.is_enabled else [])]
            raise ResolverError(
                errors.UNSUPPORTED_EVENT,
                f"The function answers only events of detail-type {', '.join(map(repr, known))}. "
                "Correct the event, or the pattern of the rule that sent it.",
            )
        detail = event.get("detail")
        if not isinstance(detail, Mapping):
            raise ResolverError(errors.INVALID_PARAMETER, "detail must be a JSON object with the fields of a request.")
        return _batch_of(_parse(event, _kind_of(detail)).detail)

    def _batch_of_push(self, push: Push, invocation: Invocation) -> LayerBatch:
        """Return the config and the layers of a pushed image; an index has none, only its images do."""
        if (push.action_type, push.result) != ("PUSH", "SUCCESS"):
            raise ResolverError(
                errors.UNSUPPORTED_EVENT, "Of ECR's events, the function answers only those of pushed images."
            )
        repository, digest = Repository(push.repository_name), push.image_digest
        manifest = self._images.manifest(repository, digest, invocation)
        if manifest.is_index:
            return LayerBatch(repository, {})
        return LayerBatch.of_manifest(repository, manifest.read(models.ImageManifest))

    def _check_size(self, event: dict[str, Any], event_bytes: int, result_bytes: int) -> None:
        if event_bytes + result_bytes <= self._most_bytes:
            return
        layers = max(1, (self._most_bytes - event_bytes) // _BYTES_OF_AN_ENTRY)
        advice = f"Ask for at most {layers} layers with one event, or POST them to /download-urls"
        if event["detail-type"] == PUSH_DETAIL_TYPE:
            advice = "GET /images/download-urls"
        problem = f"The result is larger than {self._most_bytes // 1024} KB, so it would be lost."
        raise ResolverError(errors.RESULT_TOO_LARGE, f"{problem} {advice} of the function URL.")

    def _resolve(self, batch: LayerBatch, invocation: Invocation) -> dict[str, Any]:
        resolution = self._resolver.resolve(batch, invocation)
        worth_retrying = [error for error in resolution.failures if error.kind.retryable or error.kind.is_fault]
        if worth_retrying and not resolution.resolved:
            raise worth_retrying[0]
        self._images.explain_missing(batch.repository, resolution.failures, invocation)
        return {**resolution.wire(invocation.request_id), "requestId": invocation.request_id}


def _parse(event: dict[str, Any], kind: type[BaseModel]) -> Event[Any]:
    try:
        return parse(event=event, model=Event[kind])  # type: ignore[valid-type]
    except ValidationError as error:
        raise ResolverError(errors.INVALID_PARAMETER, models.described(error, kind)) from None


def _kind_of(request: Mapping[str, Any]) -> type[_AnyRequest]:
    return next((kind for field, kind in _REQUESTS.items() if field in request), DownloadUrlsRequest)


def _batch_of(request: _AnyRequest) -> LayerBatch:
    if isinstance(request, DownloadUrlRequest):
        return LayerBatch.of_digests(request.repository, [request.layer_digest])
    if isinstance(request, DownloadUrlsRequest):
        return LayerBatch.of_digests(request.repository, request.layer_digests)
    document = request.image_manifest
    if models.parse_request(document, models.MediaType).media_type in models.INDEX_MEDIA_TYPES:
        raise index_refused(document)
    return LayerBatch.of_manifest(request.repository, models.parse_request(document, models.PostedManifest))
