"""Logger, metrics, and the one record that an invocation leaves in both.

Every log line passes through `redaction.redact` on its way out, whoever wrote it.
"""

import json
import logging
import time
import warnings
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aws_lambda_powertools import Logger, Metrics, single_metric
from aws_lambda_powertools.metrics import MetricUnit

from layer_resolver.errors import ResolverError
from layer_resolver.models import LayerBatch
from layer_resolver.redaction import redact

SERVICE = "ecr-layer-resolver"
NAMESPACE = "EcrLayerResolver"

LOGGED_LAYERS = 10
"""How many layers and failures of a batch the log line has one by one; the counts have them all."""

# A request to /healthz has no metric, and a warning about it would be one per request.
warnings.filterwarnings("ignore", message="No application metrics to publish")


def _serialize(log: Mapping[str, Any]) -> str:
    return redact(json.dumps(log, default=str, separators=(",", ":")))


class _RedactingFilter(logging.Filter):
    """Redacts what libraries log through the root logger, which Lambda's runtime client writes out."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = redact(record.getMessage())
        record.args = None
        return True


def redact_library_logs() -> None:
    """Put the redaction before each handler that the root logger has."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(_RedactingFilter())


logger = Logger(
    service=SERVICE, json_serializer=_serialize, utc=True, use_rfc3339=True, serialize_stacktrace=False, location=None
)
metrics = Metrics(namespace=NAMESPACE, service=SERVICE)

_call_seconds: deque[float] = deque()
_cache_hits: deque[int] = deque()


def record_ecr_call(seconds: float) -> None:
    """Keep the duration of a call to ECR for the metric `EcrCallLatency`; may be called from any thread."""
    _call_seconds.append(seconds)


def record_cache_hits(layers: int) -> None:
    """Keep for the metric `CacheHits` how many layers were resolved without a call to ECR."""
    _cache_hits.append(layers)


@dataclass(slots=True)
class Invocation:
    """What is recorded of one invocation.

    Attributes:
        trigger: What invoked the function: `http`, `eventbridge`, `direct`, or `unknown`.
        route: Method and path template, never the path or query that came in; `event` if it was no request over HTTP.
        status: HTTP status of the answer; of an event, that of the row of the error table.
        is_failed: Whether the invocation itself ends with an error, for Lambda to act on.
        batch: What was asked for, if the request could be read.
        image: Repository and reference of the image that was asked for.
        resolved: How many layers got a download URL.
        failures: The errors of those that did not.
        error: What kept the request as a whole from being answered.
    """

    trigger: str = "http"
    route: str = "unmatched"
    status: int = 0
    is_failed: bool = False
    batch: LayerBatch | None = None
    image: str | None = None
    resolved: int = 0
    failures: list[ResolverError] = field(default_factory=list)
    error: ResolverError | None = None
    started: float = field(default_factory=time.monotonic)

    def publish(self) -> None:
        """Write the log line and add the metrics."""
        self._log()
        self._add_metrics()

    def _log(self) -> None:
        fields: dict[str, Any] = {
            "trigger": self.trigger,
            "route": self.route,
            "status": self.status,
            "durationMs": round((time.monotonic() - self.started) * 1000, 1),
        }
        if self.image is not None:
            fields["image"] = self.image
        if self.batch is not None:
            fields |= {
                "repositoryName": self.batch.repository_name,
                "registryId": self.batch.registry_id,
                "layerDigests": [layer.digest for layer in self.batch.layers[:LOGGED_LAYERS]],
                "layersRequested": len(self.batch.layers),
                "layersResolved": self.resolved,
                "layersFailed": len(self.failures),
            }
        if self.failures:
            fields["failures"] = [_describe(error) for error in self.failures[:LOGGED_LAYERS]]
        if self.error is not None and self.error not in self.failures:
            fields["error"] = _describe(self.error)
        message = f"{self.route} answered {self.status}"
        if self.is_failed or self.status >= 500:
            logger.error(message, extra=fields, exc_info=self.error)
        else:
            logger.info(message, extra=fields)

    def _add_metrics(self) -> None:
        while _call_seconds:
            metrics.add_metric("EcrCallLatency", MetricUnit.Milliseconds, _call_seconds.popleft() * 1000)
        while _cache_hits:
            metrics.add_metric("CacheHits", MetricUnit.Count, _cache_hits.popleft())
        if self.resolved:
            metrics.add_metric("LayersResolved", MetricUnit.Count, self.resolved)
        for code, count in Counter(error.kind.code for error in self.failures).items():
            with single_metric(
                "LayersFailed",
                MetricUnit.Count,
                count,
                namespace=NAMESPACE,
                default_dimensions={"service": SERVICE, "code": code},
            ):
                pass


def _describe(error: ResolverError) -> dict[str, str]:
    """Return an error for the log: with its cause, which the caller is not told."""
    if error.layer_digest is None:
        description = {"code": error.kind.code, "message": error.detail}
    else:
        description = {"code": error.kind.code, "layerDigest": error.layer_digest}
    if error.__cause__ is not None:
        description["cause"] = f"{type(error.__cause__).__name__}: {error.__cause__}"
    return description
