"""One invocation while it runs: until when, and what is recorded of it.

observability.py logs and counts it at the end. A call that outlives its invocation still records into its own.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from layer_resolver.callers import EVENT, Caller
from layer_resolver.calls import Deadline
from layer_resolver.errors import Repository, ResolverError
from layer_resolver.models import is_digest, is_tag

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(slots=True)
class EcrCall:
    """One call to ECR.

    Attributes:
        action: The name of boto3's method.
        is_answered: Whether an answer of any kind has come.
        seconds: How long it took, with retries and backoff; None while it runs.
        outcome: `ok`, or the code of the error's row.
    """

    action: str
    attempts: int = 0
    is_answered: bool = False
    seconds: float | None = None
    outcome: str = "ok"


@dataclass(slots=True)
class Invocation:
    """What is known and recorded of one invocation.

    Attributes:
        deadline: When the answer has to be there.
        request_id: The id the caller is told: Lambda's, until the request or event is known by its own.
        trigger: What invoked the function: `http`, `eventbridge`, `direct`, or `unknown`.
        route: Method and path template, never the path or query that came in; `event` for anything but HTTP.
        status: HTTP status of the answer; for an event, that of its row of the error table.
        image: Repository and reference of the image that was asked for.
        image_digest: The digest of the last manifest that ECR gave.
        gives_image: Whether the caller gets the manifest itself.
        repository: The repository that was asked about.
        layer_digests: The layers that were asked for, or looked at.
        cache_hits: How many of them ECR didn't have to be asked for.
        resolved: The digests of those whose download URL the caller gets.
        failures: Why others have none.
        error: Why the request as a whole wasn't answered.
        ecr_calls: The calls to ECR.
        pull_event_failure: What kept the pull event from the bus.
    """

    deadline: Deadline
    request_id: str = ""
    trigger: str = "unknown"
    route: str = "unmatched"
    caller: Caller = EVENT
    status: int = 0
    image: str | None = None
    image_digest: str | None = None
    gives_image: bool = False
    repository: Repository | None = None
    layer_digests: Sequence[str] = ()
    cache_hits: int = 0
    resolved: Sequence[str] = ()
    failures: Sequence[ResolverError] = ()
    error: ResolverError | None = None
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
