"""One invocation while it runs: until when, and what is recorded of it.

observability.py logs and counts it at the end. A call that outlives its invocation still records into its own.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from layer_resolver.callers import EVENT, Caller
from layer_resolver.calls import Deadline
from layer_resolver.errors import Repository, ResolverError
from layer_resolver.models import is_digest, is_tag

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(slots=True)
class EcrCall:
    """One call to ECR; `action` is the name of boto3's method."""

    action: str
    attempts: int = 0
    is_answered: bool = False  # whether an answer of any kind has come
    seconds: float | None = None  # with retries and backoff; None while it runs
    outcome: str = "ok"  # or the code of the error's row


@dataclass(slots=True)
class Invocation:
    """What is known and recorded of one invocation, whose answer is due at the deadline."""

    deadline: Deadline
    request_id: str = ""  # the id the caller is told: Lambda's, until the request or event is known by its own
    trigger: Literal["http", "eventbridge", "direct", "unknown"] = "unknown"
    route: str = "unmatched"  # method and path template, never the path that came in; `event` for all but HTTP
    caller: Caller = EVENT
    status: int = 0  # HTTP status of the answer; for an event, that of its row of the error table
    image: str | None = None  # repository and reference of the image that was asked for
    image_digest: str | None = None  # of the last manifest that ECR gave
    gives_image: bool = False  # whether the caller gets the manifest itself
    repository: Repository | None = None
    layer_digests: Sequence[str] = ()  # the layers that were asked for, or looked at
    cache_hits: int = 0  # how many of them ECR didn't have to be asked for
    resolved: Sequence[str] = ()  # the digests of those whose download URL the caller gets
    layers_bypass_edge: bool = False  # whether the edge serves layers, but not those of a URL that the caller gets
    failures: Sequence[ResolverError] = ()  # why others have none
    error: ResolverError | None = None  # why the request as a whole wasn't answered
    ecr_calls: list[EcrCall] = field(default_factory=list)
    pull_event_failure: BaseException | None = None
    started: float = field(default_factory=time.monotonic)

    def identify(self, request_id: object) -> None:
        """Take the id of a request or an event if it is a UUID, as AWS's are; others could be anything."""
        if isinstance(request_id, str) and _UUID.fullmatch(request_id):
            self.request_id = request_id

    def record_image(self, repository: Repository, reference: str) -> None:
        """Record which image was asked for: the first, if its reference is a tag or a digest."""
        if self.image is None and (is_tag(reference) or is_digest(reference)):
            self.image = f"{repository.repository_name} {reference}"

    def seconds(self) -> float:
        """Return how long the invocation has run, in seconds."""
        return time.monotonic() - self.started
