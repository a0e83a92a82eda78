"""One invocation of the function while it runs: until when, and what is recorded of it.

observability.py writes it down in the end. A call to ECR that outlives its invocation still records into its own one,
which is no longer read, and never into the next.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from layer_resolver.callers import CallerKind
from layer_resolver.errors import ResolverError
from layer_resolver.models import IMAGE_DIGEST, IMAGE_TAG, DownloadUrl, LayerBatch, Repository
from layer_resolver.network import Deadline

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Resolved(Protocol):
    """What an invocation records of a resolution."""

    @property
    def batch(self) -> LayerBatch:
        """What was asked for."""

    @property
    def resolved(self) -> Sequence[DownloadUrl]:
        """The download URLs."""

    @property
    def failures(self) -> Sequence[ResolverError]:
        """Why the other layers have none."""

    @property
    def hits(self) -> int:
        """How many layers ECR did not have to be asked for."""


@dataclass(slots=True)
class EcrCall:
    """One call to ECR.

    Attributes:
        action: The action, as botocore's method is called.
        attempts: How often it was tried.
        seconds: How long it took, its retries and the waiting between them included; None while it is under way.
        outcome: `ok`, or the code of the error's row.
    """

    action: str
    attempts: int = 0
    seconds: float | None = None
    outcome: str = "ok"


@dataclass(slots=True)
class Invocation:
    """What is known and recorded of one invocation.

    Attributes:
        deadline: When the answer has to be there.
        request_id: The id that the caller is told: of the request to the function URL, of the event, or else Lambda's.
        lambda_request_id: Lambda's id of the invocation.
        function_arn: The ARN that was invoked.
        trigger: What invoked the function: `http`, `eventbridge`, `direct`, or `unknown`.
        route: Method and path template, never the path or query that came in; `event` if it was no request over HTTP.
        caller_kind: What kind of caller it has: `iam`, `token` or `public` over HTTP, or else `event`.
        caller: The IAM ARN of who signed a request, or the name of the pull token with which the edge let it in; of an
            event, the account that put it; None if that is not known.
        source_ip: Where a request over HTTP came from.
        status: HTTP status of the answer; of an event, that of the row of the error table.
        is_failed: Whether the invocation itself ends with an error, for Lambda to act on.
        image: Repository and reference of the image that was asked for.
        repository: The repository that ECR was asked about.
        image_digest: The digest of the manifest that ECR gave for it; of the last, if one led to another.
        resolution: What came of the layers, if any were asked for.
        error: What kept the request as a whole from being answered.
        ecr_calls: The calls to ECR.
        pull_event_failure: What kept the event about a pull from the bus, None if nothing did.
    """

    deadline: Deadline
    request_id: str = ""
    lambda_request_id: str = ""
    function_arn: str = ""
    trigger: str = "unknown"
    route: str = "unmatched"
    caller_kind: CallerKind = "event"
    caller: str | None = None
    source_ip: str | None = None
    status: int = 0
    is_failed: bool = False
    image: str | None = None
    repository: Repository | None = None
    image_digest: str | None = None
    resolution: Resolved | None = None
    error: ResolverError | None = None
    ecr_calls: list[EcrCall] = field(default_factory=list)
    pull_event_failure: Exception | None = None
    started: float = field(default_factory=time.monotonic)

    def identify(self, request_id: str) -> None:
        """Take the id of a request or an event if it is a UUID, as AWS's are; other text could be anything."""
        self.request_id = request_id if _UUID.fullmatch(request_id) else self.lambda_request_id

    def record_image(self, repository: Repository, reference: str) -> None:
        """Record which image was asked for; a reference that is neither tag nor digest is not."""
        if IMAGE_TAG.admits(reference) or IMAGE_DIGEST.admits(reference):
            self.image = f"{repository.repository_name} {reference}"

    def digest_of_image(self) -> str | None:
        """Return the digest of the image that was asked for, None if no image was, or there is none."""
        return self.image_digest if self.image is not None else None

    def record(self, resolution: Resolved) -> None:
        """Record the result for the layers that were asked for."""
        self.resolution = resolution

    def seconds(self) -> float:
        """Return how long the invocation has run, in seconds."""
        return time.monotonic() - self.started
