"""EventBridge events and direct invocations: from an event to the result that Lambda's destinations pass on.

Lambda passes on what is returned here to the on-success destination. An event that raises is tried again, twice if the
invocation was asynchronous, and then goes to the failure queue as it came.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from layer_resolver.backend import IMAGE_DIGEST_ADVICE, Backend
from layer_resolver.errors import (
    INVALID_PARAMETER,
    RESULT_TOO_LARGE,
    UNSUPPORTED_EVENT,
    ResolverError,
    Subject,
    as_resolver_error,
)
from layer_resolver.foreign_events import name_of
from layer_resolver.function_url import LARGEST_ANSWER_BYTES
from layer_resolver.invocation import Invocation
from layer_resolver.models import (
    INDEX_MEDIA_TYPES,
    REGISTRY_ID,
    DownloadUrlRequest,
    DownloadUrlsRequest,
    ImageManifestRequest,
    LayerBatch,
    Repository,
)
from layer_resolver.resolver import Resolution
from layer_resolver.validation import described, parse_request

REQUEST_DETAIL_TYPE = "ECR Layer Download URL Request"
PUSH_DETAIL_TYPE = "ECR Image Action"

# Lambda's record of an invocation has, beside event and result, ids, ARNs and times of about 1 KB.
_RECORD_OVERHEAD_BYTES = 4 * 1024

# The least and the usual size of one layer in a result: ECR's URLs have a session token of about 1 KB.
_LEAST_BYTES_OF_A_LAYER = 1000
_BYTES_OF_A_LAYER = 2048

_REQUEST_FIELDS = frozenset({"repositoryName", "layerDigest", "layerDigests", "imageManifest"})


class EventApi:
    """Answers events, one at a time, as Lambda gives them.

    Args:
        backend: What it asks.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._most_bytes = backend.settings.maximum_result_kilobytes * 1024
        self._batches: dict[str, Callable[[dict[str, Any], Invocation], LayerBatch]] = {
            REQUEST_DETAIL_TYPE: lambda detail, _: _batch_of_request(detail)
        }
        if backend.settings.image_pull:
            self._batches[PUSH_DETAIL_TYPE] = self._batch_of_push

    def answer(self, event: Any, invocation: Invocation) -> dict[str, Any]:
        """Resolve what an event asks for.

        Args:
            event: An event of EventBridge, or a request by itself.
            invocation: Where it is recorded.

        Returns:
            The result: the id of the event, or else of the invocation, the download URLs, and the failures.

        Raises:
            ResolverError: If nothing was resolved and the same event can succeed later; if the function answers no
                such event; or if the result is too large for its destination. Lambda writes the message where it puts
                the event, so it has no ARN, download URL or token, and it has no cause.
        """
        invocation.route, invocation.request_id = "event", invocation.lambda_request_id
        try:
            result = self._result(event, invocation)
        except Exception as cause:
            error = as_resolver_error(cause)
            invocation.status, invocation.error, invocation.is_failed = error.kind.http_status, error, True
            raise ResolverError(error.kind, error.detail) from None
        invocation.status = 200
        return result

    def _result(self, event: Any, invocation: Invocation) -> dict[str, Any]:
        if isinstance(event, Mapping) and "detail-type" in event:
            invocation.trigger = "eventbridge"
            account = event.get("account")
            invocation.caller = account if isinstance(account, str) and REGISTRY_ID.admits(account) else None
            return self._result_of_event(dict(event), invocation)
        if isinstance(event, Mapping) and not _REQUEST_FIELDS.isdisjoint(event):
            invocation.trigger = "direct"
            return _as_answer(self._resolve(_batch_of_request(dict(event)), invocation))
        name = name_of(event)
        raise ResolverError(UNSUPPORTED_EVENT, f"This is {name}. {UNSUPPORTED_EVENT.advice}" if name else None)

    def _result_of_event(self, event: dict[str, Any], invocation: Invocation) -> dict[str, Any]:
        detail_type, event_id, detail = _read_event(event)
        invocation.identify(event_id)
        read = self._batches.get(detail_type)
        if read is None:
            raise ResolverError(
                UNSUPPORTED_EVENT,
                f"The function answers events of detail-type {', '.join(map(repr, self._batches))} and no others. "
                "Correct the event, or the pattern of the rule that sent it.",
            )
        batch = read(detail, invocation)
        size = _size_of(event) + _RECORD_OVERHEAD_BYTES
        if size + len(batch.layers) * _LEAST_BYTES_OF_A_LAYER > self._most_bytes:
            raise self._too_large(size, detail_type)
        result = self._resolve(batch, invocation)
        if size + len(json.dumps(result)) > self._most_bytes:
            # Lambda silently drops a result that its destination does not take.
            raise self._too_large(size, detail_type)
        return result

    def _too_large(self, size: int, detail_type: str) -> ResolverError:
        layers = max(1, (self._most_bytes - size) // _BYTES_OF_A_LAYER)
        if detail_type == PUSH_DETAIL_TYPE:
            advice = "POST the image's manifest"
        else:
            advice = f"Ask for at most {layers} layers with one event, or POST them"
        return ResolverError(
            RESULT_TOO_LARGE,
            f"The result is larger than {self._most_bytes // 1024} KB, so it would be lost. {advice} to "
            "/download-urls of the function URL.",
        )

    def _batch_of_push(self, detail: dict[str, Any], invocation: Invocation) -> LayerBatch:
        """Return the config and the layers of an image that was pushed; an index has none, only its images do."""
        from layer_resolver.manifests import batch_of_image  # noqa: PLC0415

        repository, digest = _pushed_image(detail)
        invocation.record_image(repository, digest)
        manifest = self._backend.images.manifest(repository, digest, invocation)
        if manifest.is_index:
            return LayerBatch(repository, ())
        return batch_of_image(manifest, Subject(repository, "image", digest))

    def _resolve(self, batch: LayerBatch, invocation: Invocation) -> dict[str, Any]:
        resolution = self._backend.resolver.resolve(batch, invocation)
        failure = _worth_another_try(resolution)
        if failure is not None:
            raise failure
        self._backend.point_to_images(resolution.failures, invocation, IMAGE_DIGEST_ADVICE)
        return {**resolution.wire(invocation.request_id), "requestId": invocation.request_id}


def _worth_another_try(resolution: Resolution) -> ResolverError | None:
    """Return the failure for which the event is to be tried again, None if the result can go out as it is."""
    if resolution.resolved:
        return None
    return next((error for error in resolution.failures if error.kind.retryable or error.kind.is_fault), None)


def _read_event(event: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """Return the detail-type, the id and the detail of an event of EventBridge."""
    # This loads pydantic and Powertools' models, which requests over HTTP do not need.
    from aws_lambda_powertools.utilities.parser import ValidationError, parse  # noqa: PLC0415
    from aws_lambda_powertools.utilities.parser.models import EventBridgeModel  # noqa: PLC0415

    if not isinstance(event.get("detail"), dict):
        raise ResolverError(INVALID_PARAMETER, "detail must be a JSON object with the fields of a request.")
    try:
        envelope = parse(event=event, model=EventBridgeModel)
    except ValidationError as error:
        raise ResolverError(INVALID_PARAMETER, described(error)) from None
    return envelope.detail_type, envelope.id, event["detail"]


def _size_of(event: dict[str, Any]) -> int:
    try:
        return len(json.dumps(event))
    except RecursionError:
        raise ResolverError(INVALID_PARAMETER, "The event has a depth that is too large.") from None


def _as_answer(result: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a direct invocation, whose caller waits for it as one over HTTP does."""
    if len(json.dumps(result)) > LARGEST_ANSWER_BYTES:
        raise ResolverError(RESULT_TOO_LARGE)
    return result


def _pushed_image(detail: dict[str, Any]) -> tuple[Repository, str]:
    """Return the repository and the digest that the detail of an `ECR Image Action` names.

    Source: https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-eventbridge.html
    """
    if (detail.get("action-type"), detail.get("result")) != ("PUSH", "SUCCESS"):
        raise ResolverError(
            UNSUPPORTED_EVENT, "Of ECR's events, the function answers those of images that were pushed, and no others."
        )
    wanted = {"repositoryName": detail.get("repository-name"), "layerDigest": detail.get("image-digest")}
    request = parse_request(wanted, DownloadUrlRequest)
    return request.repository, request.layer_digest


def _batch_of_request(request: dict[str, Any]) -> LayerBatch:
    if "imageManifest" in request:
        return _batch_of_manifest_request(parse_request(request, ImageManifestRequest))
    if "layerDigest" in request:
        wanted = parse_request(request, DownloadUrlRequest)
        return LayerBatch.of_digests(wanted.repository, [wanted.layer_digest])
    several = parse_request(request, DownloadUrlsRequest)
    return LayerBatch.of_digests(several.repository, several.layer_digests)


def _batch_of_manifest_request(request: ImageManifestRequest) -> LayerBatch:
    from layer_resolver.manifests import batch_of_manifest, index_refused, media_type_of  # noqa: PLC0415

    if media_type_of(request.image_manifest) in INDEX_MEDIA_TYPES:
        raise index_refused(request.image_manifest)
    return batch_of_manifest(request.image_manifest, None, request.repository)
