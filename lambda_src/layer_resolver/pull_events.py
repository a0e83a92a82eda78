"""Puts an event on the bus for each request over HTTP that got something: who got what, never a URL.

Opt-in (`pullEvents`). The answer waits for its event, at most `PUT_SECONDS`, and is the same whatever comes of it.
"""

import json
from typing import Any

from layer_resolver.calls import Calls
from layer_resolver.invocation import Invocation
from layer_resolver.observability import first_digests

SOURCE = "ecr-layer-resolver"
DETAIL_TYPE = "ECR Layer Pull"

PUT_SECONDS = 0.5
"""How long an answer waits for its event at most, in seconds; a later one is put in the background."""

MOST_BYTES_OF_DIGESTS = 48 * 1024
"""How much of an event its digests may be, so that EventBridge bills it as one, of 64 KB."""


class EventRefusedError(Exception):
    """EventBridge has answered without taking the event."""


class PullEvents:
    """Puts events on one bus, with boto3's client of EventBridge."""

    def __init__(self, bus: str, client: Any, calls: Calls) -> None:
        self._bus = bus
        self._client = client
        self._calls = calls

    def put(self, invocation: Invocation) -> None:
        """Put the event of a request that has its answer, if it got anything; a failure is recorded."""
        detail = detail_of(invocation)
        if detail is None:
            return
        text = json.dumps(detail, separators=(",", ":"))
        entry = {"EventBusName": self._bus, "Source": SOURCE, "DetailType": DETAIL_TYPE, "Detail": text}
        try:
            answer = self._calls.run(
                invocation.deadline, lambda: self._client.put_events(Entries=[entry]), wait_seconds=PUT_SECONDS
            )
        except Exception as cause:
            invocation.pull_event_failure = cause
            return
        if answer.get("FailedEntryCount"):
            invocation.pull_event_failure = EventRefusedError()


def detail_of(invocation: Invocation) -> dict[str, Any] | None:
    """Return the detail of a request's event; None if it got neither a download URL nor an image."""
    repository, layers, image = invocation.repository, invocation.resolved, invocation.image
    if repository is None or invocation.status >= 400 or not (layers or invocation.gives_image):
        return None
    return {
        "requestId": invocation.request_id,
        **invocation.caller.fields(),
        "route": invocation.route,
        "status": invocation.status,
        "outcome": "partial" if invocation.failures else "resolved",
        "registryId": repository.registry_id,
        "repositoryName": repository.repository_name,
        "imageReference": image.partition(" ")[2] if image is not None else None,
        "imageDigest": invocation.image_digest if image is not None else None,
        "layerDigests": first_digests(layers, MOST_BYTES_OF_DIGESTS),
        "layersResolved": len(layers),
        "layersFailed": len(invocation.failures),
    }
