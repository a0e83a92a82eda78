"""Logger, metrics, and the one record that an invocation leaves in both.

What is logged of a request is known fields of a known form: names, digests, codes, counts. Foreign text (of an
exception, or of a library's log line) is not among them: of a cause the line has its type, code and status. Its text,
and what libraries log, appear at the level DEBUG alone, and after redaction.
"""

import json
import logging
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, cast

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter
from botocore.exceptions import ClientError

from layer_resolver import __version__
from layer_resolver.errors import ResolverError, ecr_code
from layer_resolver.invocation import Invocation
from layer_resolver.redaction import redact

SERVICE = "ecr-layer-resolver"
NAMESPACE = "EcrLayerResolver"

LOGGED_FAILURES = 10
"""How many failures of a batch, and calls to ECR, the log line has one by one; the counts have them all."""

LOGGED_LAYERS = 128
"""How many digests of layers the log line has: Docker's images have at most 127 layers, and a config; source:
https://docs.docker.com/engine/storage/drivers/overlayfs-driver/"""

LONGEST_LINE = 32 * 1024
"""How many bytes a log line may have."""

# Python then does not look up who called the logger, nor thread and process, which no line says; source:
# https://docs.python.org/3/howto/logging.html#optimization
logging._srcfile = None  # noqa: SLF001
logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False

_encode = json.JSONEncoder(default=str, separators=(",", ":")).encode
_TRACED_FRAMES = 20

# How many values of one metric a line may have; source:
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
_VALUES_A_LINE = 100

# The units of the metrics that are no counts.
_UNITS = {"EcrCallLatency": "Milliseconds"}

# How many kinds of lines are kept: they differ in which metrics they have, and with what dimensions.
_FRAMES = 256

_Values = dict[str, list[float]]
# The names of metrics, and the names and values of their dimensions.
_Names = tuple[tuple[str, ...], tuple[tuple[str, str], ...]]


class _Formatter(LambdaPowertoolsFormatter):
    """Writes the record of an invocation without the detours that lines of any form need."""

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "fields", None)
        line = {
            "level": record.levelname,
            # Only the record of an invocation is made of what is known to be no secret.
            "message": record.msg if fields is not None else redact(record.getMessage()),
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "service": SERVICE,
            **(fields or {}),
        }
        return _to_line(line)


def _to_line(line: dict[str, Any]) -> str:
    text = _encode(line)
    if len(text) <= LONGEST_LINE:
        return text
    # Only what is listed can make a line long.
    short = {name: value for name, value in line.items() if not isinstance(value, list | dict)}
    return _encode({**short, "isShortened": True})[:LONGEST_LINE]


class _LibraryFilter(logging.Filter):
    """Reduces a library's log line to the library's name; only at DEBUG has it the text, after redaction."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name == SERVICE:
            return True
        if _shows_text():
            record.msg = redact(record.getMessage())
        else:
            record.msg = f"{record.name} logged something; set logLevel to DEBUG to read it"
        record.args = record.exc_info = record.exc_text = record.stack_info = None
        return True


def quieten_libraries() -> None:
    """Let libraries log warnings and errors alone, and put the filter before each handler that the root logger has.

    At the level DEBUG botocore and urllib3 log whole requests, with credentials and download URLs; Lambda's runtime
    client sets the root logger to the function's own level.
    """
    root = logging.getLogger()
    root.setLevel(max(root.level, logging.WARNING))
    for handler in root.handlers:
        handler.addFilter(_LibraryFilter())


def _shows_text() -> bool:
    return _level.isEnabledFor(logging.DEBUG)


logger = Logger(service=SERVICE, logger_formatter=_Formatter())
# Powertools would prefer Lambda's own level, which lets metrics pass and therefore is never above INFO; source:
# https://docs.aws.amazon.com/powertools/python/latest/core/logger/#aws-lambda-advanced-logging-controls-alc
_level = logging.getLogger(SERVICE)
_level.setLevel(os.environ.get("POWERTOOLS_LOG_LEVEL", "INFO"))
metrics = Metrics(namespace=NAMESPACE, service=SERVICE)


class Publisher:
    """Writes what invocations leave behind: a log line each, and metrics.

    Args:
        stack_name: The dimension by which the metrics of several stacks of one account are told apart.
    """

    def __init__(self, stack_name: str) -> None:
        self._dimensions = {"service": SERVICE, "stack": stack_name}
        self._is_cold_start = True

    def publish(self, invocation: Invocation) -> None:
        """Write the log line and the metrics of an invocation that has been answered."""
        _log(invocation, is_cold_start=self._is_cold_start)
        self._publish_metrics(invocation)
        self._is_cold_start = False

    def _publish_metrics(self, invocation: Invocation) -> None:
        counts = {"ColdStart": 1} if self._is_cold_start else {}
        resolution = invocation.resolution
        if resolution is not None:
            counts |= {"CacheHits": resolution.hits, "LayersResolved": len(resolution.resolved)}
            for code, count in Counter(each.kind.code for each in resolution.failures).items():
                self._write(({"LayersFailed": [count]}, {"code": code}))
        if invocation.error is not None:
            self._write(({"RequestsFailed": [1]}, {"code": invocation.error.kind.code}))
        if invocation.pull_event_failure is not None:
            counts["PullEventsFailed"] = 1
        values: _Values = {name: [count] for name, count in counts.items() if count}
        milliseconds = [call.seconds * 1000 for call in invocation.ecr_calls if call.seconds is not None]
        if milliseconds:
            values["EcrCallLatency"] = milliseconds[:_VALUES_A_LINE]
        # One line for all of them, because each is billed with all that belongs to a line.
        requests = {"callerKind": invocation.caller_kind, "outcome": _outcome(invocation)}
        self._write((values, {}), ({"Requests": [1]}, requests))
        for start in range(_VALUES_A_LINE, len(milliseconds), _VALUES_A_LINE):
            self._write(({"EcrCallLatency": milliseconds[start : start + _VALUES_A_LINE]}, {}))

    def _write(self, *sets: tuple[_Values, dict[str, str]]) -> None:
        """Write a line of metrics: the values of some, with their dimensions beside those of all, and of others."""
        names: list[_Names] = []
        values: _Values = {}
        for own, dimensions in sets:
            if own:
                names.append((tuple(own), tuple({**self._dimensions, **dimensions}.items())))
                values |= own
        frame, now = _frame(tuple(names)), int(time.time() * 1000)
        # In one piece: Lambda's runtime client flushes after each, and print writes the end of the line by itself.
        sys.stdout.write(f'{{"_aws":{{"Timestamp":{now},{frame},{_encode(values)[1:]}\n')


@lru_cache(maxsize=_FRAMES)
def _frame(sets: tuple[_Names, ...]) -> str:
    """Return what lines with the same metrics and dimensions have in common, encoded, as Powertools serializes it."""
    directives: list[Any] = []
    dimensions: dict[str, str] = {}
    for names, own in sets:
        unvalued: Any = {name: {"Unit": _UNITS.get(name, "Count"), "Value": []} for name in names}
        line = cast("dict[str, Any]", metrics.serialize_metric_set(unvalued, dict(own), {}))
        directives += line["_aws"]["CloudWatchMetrics"]
        dimensions |= dict(own)
    return f'"CloudWatchMetrics":{_encode(directives)}}},{_encode(dimensions)[1:-1]}'


def _outcome(invocation: Invocation) -> str:
    """Return what came of an invocation: whether it was answered, refused, or the service failed."""
    if invocation.status < 400:
        return "answered"
    return "refused" if invocation.status < 500 else "failed"


def _log(invocation: Invocation, *, is_cold_start: bool) -> None:
    fields: dict[str, Any] = {
        "version": __version__,
        "cold_start": is_cold_start,
        "function_arn": invocation.function_arn,
        "function_request_id": invocation.lambda_request_id,
        "correlation_id": invocation.request_id,
        "trigger": invocation.trigger,
        "route": invocation.route,
        "status": invocation.status,
        "durationMs": round(invocation.seconds() * 1000, 1),
    }
    fields |= _fields_of_caller(invocation) | _fields_of_image(invocation) | _fields_of_layers(invocation)
    if invocation.pull_event_failure is not None:
        fields["pullEventFailure"] = _cause(invocation.pull_event_failure)
    if _shows_text():
        fields |= _what_was_asked(invocation)
    fields |= _fields_of_errors(invocation)
    if invocation.resolution is not None:
        # Last, because Logs Insights finds the first 200 fields of a line, and each digest is one of them; source:
        # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_AnalyzeLogData-discoverable-fields.html
        layers = invocation.resolution.batch.layers[:LOGGED_LAYERS]
        fields["layerDigests"] = [layer.digest for layer in layers]
    message = f"{invocation.route} answered {invocation.status}"
    (logger.error if _is_error(invocation) else logger.info)(message, extra={"fields": fields})


def _fields_of_caller(invocation: Invocation) -> dict[str, Any]:
    fields = {"callerKind": invocation.caller_kind, "caller": invocation.caller, "sourceIp": invocation.source_ip}
    return {name: value for name, value in fields.items() if value is not None}


def _fields_of_image(invocation: Invocation) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if invocation.repository is not None:
        fields |= {
            "repositoryName": invocation.repository.repository_name,
            "registryId": invocation.repository.registry_id,
        }
    if invocation.image is not None:
        fields |= {"image": invocation.image, "imageDigest": invocation.image_digest}
    return fields


def _failures(invocation: Invocation) -> Sequence[ResolverError]:
    return invocation.resolution.failures if invocation.resolution is not None else ()


def _is_error(invocation: Invocation) -> bool:
    has_fault = any(each.kind.is_fault for each in _failures(invocation))
    return invocation.is_failed or invocation.status >= 500 or has_fault


def _fields_of_errors(invocation: Invocation) -> dict[str, Any]:
    error, failures = invocation.error, _failures(invocation)
    fields: dict[str, Any] = {}
    if error is not None and error not in failures:
        fields["error"] = _describe(error)
    if _is_error(invocation):
        bug = next((each for each in (error, *failures) if each is not None and each.kind.is_fault), error)
        if bug is not None and bug.__cause__ is not None:
            fields["trace"] = _trace(bug.__cause__)
    return fields


def _fields_of_layers(invocation: Invocation) -> dict[str, Any]:
    resolution = invocation.resolution
    if resolution is None:
        return {}
    repository, layers = resolution.batch.repository, resolution.batch.layers
    fields: dict[str, Any] = {
        "repositoryName": repository.repository_name,
        "registryId": repository.registry_id,
        "layersRequested": len(layers),
        "layersResolved": len(resolution.resolved),
        "layersFailed": len(resolution.failures),
    }
    if resolution.failures:
        fields["failures"] = [_describe(error) for error in resolution.failures[:LOGGED_FAILURES]]
    return fields


def _what_was_asked(invocation: Invocation) -> dict[str, Any]:
    """Return the calls to ECR with their attempts and outcomes, and the number of cache hits."""
    calls = invocation.ecr_calls
    return {
        "ecrCalls": [
            {
                "action": call.action,
                "attempts": call.attempts,
                "outcome": call.outcome if call.seconds is not None else "under way",
            }
            for call in calls[:LOGGED_FAILURES]
        ],
        "ecrCallsMade": len(calls),
        "cacheHits": invocation.resolution.hits if invocation.resolution is not None else 0,
    }


def _describe(error: ResolverError) -> dict[str, Any]:
    """Return an error for the log: what it is about, and the kind of its cause, which the caller is not told."""
    description: dict[str, Any] = {"code": error.kind.code}
    subject = error.subject
    if subject is None:
        description["message"] = error.detail
    elif subject.kind == "layer":
        description["layerDigest"] = subject.name
    else:
        description["repositoryName"] = subject.repository.repository_name
        if subject.kind == "image":
            description["image"] = subject.name
    if error.__cause__ is not None:
        description["cause"] = _cause(error.__cause__)
    return description


def _cause(cause: BaseException) -> dict[str, Any]:
    described: dict[str, Any] = {"type": type(cause).__name__}
    if isinstance(cause, ClientError):
        described["code"] = ecr_code(cause)
        described["status"] = cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if _shows_text():
        described["text"] = redact(str(cause))
    return described


def _trace(cause: BaseException) -> list[str]:
    """Return where an exception was raised, innermost last; its text stays out, which may quote what is secret."""
    frames = traceback.extract_tb(cause.__traceback__)[-_TRACED_FRAMES:]
    return [f"{os.path.basename(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames]  # noqa: PTH119
