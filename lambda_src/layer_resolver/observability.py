"""Powertools' Logger and Metrics, and the one log line of an invocation.

No secret gets into the log, because a line has only fields named here: names, digests, codes, counts. Of an exception
it has types, code, status and error number, never the text, which may quote a download URL.
"""

import logging
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import accumulate
from pathlib import PurePath
from typing import Any

from aws_lambda_powertools import Logger, Metrics, single_metric
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch import AmazonCloudWatchEMFProvider

from layer_resolver import __version__
from layer_resolver.errors import ResolverError, describe_cause
from layer_resolver.invocation import Invocation
from layer_resolver.settings import log_level

SERVICE = "ecr-layer-resolver"
NAMESPACE = "EcrLayerResolver"

LOGGED_FAILURES = 10
"""How many failures of a batch, and calls to ECR, a line lists; the counts have them all."""

LOGGED_LAYERS = 128
"""How many digests of layers a line lists: Docker's images have at most 127 layers, and a config; source:
https://docs.docker.com/engine/storage/drivers/overlayfs-driver/"""

LOGGED_DIGEST_BYTES = 16 * 1024
"""How many bytes of digests a line lists; all else has a bound too, so that no line exceeds 32 KB."""

_TRACED_FRAMES = 20


class _Provider(AmazonCloudWatchEMFProvider):
    """Writes metrics to standard output; an output that takes no more must not cost the answer."""

    def flush_metrics(self, raise_on_empty_metrics: bool = False) -> None:
        with suppress(OSError):
            # A hundred values of one metric are flushed at once, so nothing may be left.
            if self.metric_set:
                super().flush_metrics(raise_on_empty_metrics)
        self.clear_metrics()

    def add_cold_start_metric(self, context: Any) -> None:
        with suppress(OSError):
            super().add_cold_start_metric(context)


_level = log_level()
logger = Logger(service=SERVICE, level=_level, version=__version__)
metrics = Metrics(provider=_Provider(namespace=NAMESPACE, service=SERVICE))

# Powertools would use Lambda's own level, which is never above INFO, because Lambda drops metrics otherwise; source:
# https://docs.aws.amazon.com/powertools/python/latest/core/logger/#aws-lambda-advanced-logging-controls-alc
logging.getLogger(SERVICE).setLevel(_level or logger.log_level)
# At lower levels these log whole requests; at WARNING, URLs with headers that can't be parsed, and credentials' errors.
for _library in ("boto3", "botocore", "urllib3"):
    logging.getLogger(_library).setLevel(logging.ERROR)


def publish(invocation: Invocation, stack: str) -> None:
    """Write the log line and the metrics of an invocation that has been answered; the stack's name is a dimension."""
    logger.set_correlation_id(invocation.request_id)
    log = logger.error if _is_error(invocation) else logger.info
    log(f"{invocation.route} answered {invocation.status}", extra=_fields(invocation))
    for call in invocation.ecr_calls[:LOGGED_FAILURES]:
        duration = None if call.seconds is None else round(call.seconds * 1000, 1)
        fields = {"action": call.action, "attempts": call.attempts, "outcome": call.outcome, "durationMs": duration}
        logger.debug("Called ECR", extra=fields)
    with suppress(OSError):
        _count(invocation, stack)


def first_digests(digests: Sequence[str], most_bytes: int) -> Sequence[str]:
    """Return as many digests from the first on as fit into `most_bytes` of a JSON document."""
    sizes = accumulate(len(digest) + len('"",') for digest in digests)
    return digests[: sum(size <= most_bytes for size in sizes)]


def _count(invocation: Invocation, stack: str) -> None:
    metrics.add_dimension("stack", stack)
    counts = {
        "CacheHits": invocation.cache_hits,
        "LayersResolved": len(invocation.resolved),
        "PullEventsFailed": int(invocation.pull_event_failure is not None),
    }
    for name, count in counts.items():
        if count:
            metrics.add_metric(name, MetricUnit.Count, count)
    for call in invocation.ecr_calls:
        if call.seconds is not None:
            metrics.add_metric("EcrCallLatency", MetricUnit.Milliseconds, call.seconds * 1000)
    _count_by("Requests", 1, stack, callerKind=invocation.caller.kind, outcome=_outcome(invocation.status))
    if invocation.error is not None:
        # The layers failed for the same reason, which would be counted and raise an alarm twice.
        _count_by("RequestsFailed", 1, stack, code=invocation.error.kind.code)
        return
    for code, count in Counter(each.kind.code for each in invocation.failures).items():
        _count_by("LayersFailed", count, stack, code=code)


def _count_by(name: str, count: int, stack: str, **dimensions: str) -> None:
    dimensions = {"service": SERVICE, "stack": stack, **dimensions}
    with single_metric(name, MetricUnit.Count, count, namespace=NAMESPACE, default_dimensions=dimensions):
        pass


def _outcome(status: int) -> str:
    if status < 400:
        return "answered"
    return "refused" if status < 500 else "failed"


def _is_error(invocation: Invocation) -> bool:
    """Tell whether an invocation is the operator's business: a fault, or an event, which then ends in the queue."""
    is_failed_event = invocation.trigger != "http" and invocation.error is not None
    return is_failed_event or invocation.status >= 500 or any(each.kind.is_fault for each in invocation.failures)


def _fields(invocation: Invocation) -> dict[str, Any]:
    """Return the fields of an invocation's line; Powertools leaves out those without a value."""
    repository, error, asked = invocation.repository, invocation.error, invocation.layer_digests
    return {
        "trigger": invocation.trigger,
        "route": invocation.route,
        "status": invocation.status,
        "durationMs": round(invocation.seconds() * 1000, 1),
        **invocation.caller.fields(),
        "image": invocation.image,
        "imageDigest": invocation.image_digest,
        "ecrCalls": len(invocation.ecr_calls),
        "cacheHits": invocation.cache_hits,
        "repositoryName": repository.repository_name if repository else None,
        "registryId": repository.registry_id if repository else None,
        "layersRequested": len(asked) or None,
        "layersResolved": len(invocation.resolved) if asked else None,
        "layersFailed": len(invocation.failures) if asked else None,
        "layersBypassEdge": invocation.layers_bypass_edge or None,
        "failures": [_describe(each) for each in invocation.failures[:LOGGED_FAILURES]] or None,
        "error": _describe(error) if error and error not in invocation.failures else None,
        "pullEventFailure": invocation.pull_event_failure and describe_cause(invocation.pull_event_failure),
        "trace": _trace(invocation),
        # Last, because Logs Insights finds the first 200 fields of a line, and each digest is one of them; source:
        # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_AnalyzeLogData-discoverable-fields.html
        "layerDigests": first_digests(asked[:LOGGED_LAYERS], LOGGED_DIGEST_BYTES) or None,
    }


def _describe(error: ResolverError) -> dict[str, Any]:
    """Return an error for the log: what it is about, and its cause, which the caller isn't told."""
    described: dict[str, Any] = {"code": error.kind.code}
    subject = error.subject
    if subject is None:
        described["message"] = error.detail
    elif subject.kind == "layer":
        described["layerDigest"] = subject.name
    else:
        described["repositoryName"] = subject.repository.repository_name
        if subject.kind == "image":
            described["image"] = subject.name
    if error.__cause__ is not None:
        described["cause"] = describe_cause(error.__cause__)
    return described


def _trace(invocation: Invocation) -> list[str] | None:
    """Return where the first fault was raised, innermost last; None without a fault."""
    errors = (each for each in (invocation.error, *invocation.failures) if each is not None and each.kind.is_fault)
    cause = next((each.__cause__ for each in errors if each.__cause__ is not None), None)
    if cause is None:
        return None
    frames = traceback.extract_tb(cause.__traceback__)[-_TRACED_FRAMES:]
    return [f"{PurePath(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
