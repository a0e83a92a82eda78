"""Puts an event on the bus for each request over HTTP that gave something away: who got what, and never a URL.

Off unless the operator sets pullEvents. The answer is there when the event is put, and is the same whatever comes of
that; it waits for it, and no longer than `PUT_SECONDS`.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from layer_resolver.ecr import create_client, within
from layer_resolver.errors import CREDENTIALS_REFUSED, OutOfTimeError, error_kind
from layer_resolver.invocation import Invocation

SOURCE = "ecr-layer-resolver"
DETAIL_TYPE = "ECR Layer Pull"

PUT_SECONDS = 0.5
"""How long an answer waits for its event at most, with looking up, connecting and signing, in seconds."""

MOST_BYTES_OF_DIGESTS = 48 * 1024
"""How much of an event its digests may be, so that EventBridge bills it as one, of 64 KB."""


class EventsClient(Protocol):
    """The part of botocore's client of EventBridge that is used."""

    def put_events(self, **parameters: Any) -> Any:
        """Put events; see https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html."""


class NotTakenError(Exception):
    """EventBridge has answered, and has not taken the event."""


def create_events_client() -> EventsClient:
    """Return a client of EventBridge, which tries each call once."""
    client: EventsClient = create_client("events", connections=1)
    return client


class PullEvents:
    """Puts events on one bus.

    Args:
        bus: The name of the bus.
        create_client: Makes the client; asked again after AWS has refused the credentials of the one before.
    """

    def __init__(self, bus: str, create_client: Callable[[], EventsClient] = create_events_client) -> None:
        self._bus = bus
        self._create_client = create_client
        self._client: EventsClient | None = create_client()

    def put(self, invocation: Invocation) -> None:
        """Put the event of a request that has its answer, if it got anything; what goes wrong is recorded."""
        detail = detail_of(invocation)
        if detail is None:
            return
        try:
            self._put(json.dumps(detail, separators=(",", ":")), invocation)
        except Exception as cause:
            invocation.pull_event_failure = cause
            if error_kind(cause) is CREDENTIALS_REFUSED:
                self._client = None

    def _put(self, detail: str, invocation: Invocation) -> None:
        if self._client is None:
            self._client = self._create_client()
        entry = {"EventBusName": self._bus, "Source": SOURCE, "DetailType": DETAIL_TYPE, "Detail": detail}
        deadline = invocation.deadline.within(PUT_SECONDS)
        if deadline.remaining() == 0:
            raise OutOfTimeError
        with within(deadline):
            answer = self._client.put_events(Entries=[entry])
        if answer.get("FailedEntryCount"):
            raise NotTakenError


def detail_of(invocation: Invocation) -> dict[str, Any] | None:
    """Return the detail of the event of a request, None if the request got neither a download URL nor an image."""
    resolution, image_digest = invocation.resolution, invocation.digest_of_image()
    repository = resolution.batch.repository if resolution is not None else invocation.repository
    layers = [url.layer.digest for url in resolution.resolved] if resolution is not None else []
    if repository is None or invocation.status >= 400 or not (layers or image_digest):
        return None
    failed = len(resolution.failures) if resolution is not None else 0
    return {
        "requestId": invocation.request_id,
        "callerKind": invocation.caller_kind,
        "caller": invocation.caller,
        "sourceIp": invocation.source_ip,
        "route": invocation.route,
        "status": invocation.status,
        "outcome": "partial" if failed else "resolved",
        "registryId": repository.registry_id,
        "repositoryName": repository.repository_name,
        "imageReference": invocation.image.partition(" ")[2] if invocation.image is not None else None,
        "imageDigest": image_digest,
        "layerDigests": _beginning(layers, MOST_BYTES_OF_DIGESTS),
        "layersResolved": len(layers),
        "layersFailed": failed,
    }


def _beginning(digests: Sequence[str], most_bytes: int) -> Sequence[str]:
    """Return as many digests from the first on as have room in a JSON document."""
    size = 0
    for index, digest in enumerate(digests):
        size += len(digest) + len('"",')
        if size > most_bytes:
            return digests[:index]
    return digests
