"""What pull tokens were used for, from the function's log, by CloudWatch Logs Insights.

docs/audit.md has the fields of the log.
"""

import json
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from ecr_layers.errors import UsageError
from ecr_layers.ops import aws

MOST_ROWS = 10_000
"""The most rows that a query returns: https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html"""

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 2.0
_RUNNING = frozenset({"Scheduled", "Running", "Unknown"})
_WHAT = "CloudWatch Logs"

QUERY = """\
filter callerKind = "token" and not ispresent(callerRule) and ispresent(repositoryName) and status < 400{callers}
| stats count(*) as requests, sum(layersResolved) as layers, count_distinct(sourceIp) as addresses,
  max(toMillis(@timestamp)) as last by caller, registryId, repositoryName
| sort last desc
| limit {limit}"""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one token got of one repository.

    Attributes:
        token: The token's name.
        repository: The repository, with its account in front if that isn't the deployment's.
        requests: How many requests were answered.
        layers: How many download URLs were among the answers.
        addresses: How many addresses they came from.
        last: When the last one came; None if the log doesn't say.
    """

    token: str
    repository: str
    requests: int
    layers: int
    addresses: int
    last: datetime | None


def find_usage(
    client: Any, log_group: str, names: Iterable[str], period: timedelta, longest_wait: float = 60.0
) -> list[Usage]:
    """Return what tokens were used for, the latest first.

    Args:
        client: botocore's client of the service `logs`.
        log_group: The name of the log group of the function.
        names: Names of tokens, as `check_name` takes them; none for all.
        period: How far to look back.
        longest_wait: How many seconds the query may take.

    Raises:
        UsageError: If AWS refuses, or takes too long.
    """
    listed = json.dumps(sorted(names))
    query = QUERY.format(callers=f" and caller in {listed}" if listed != "[]" else "", limit=MOST_ROWS)
    now = datetime.now(UTC)
    with aws.one_line_errors(_WHAT):
        started = aws.call(
            client,
            "StartQuery",
            logGroupName=log_group,
            startTime=int((now - period).timestamp()),
            endTime=int(now.timestamp()) + 1,
            queryString=query,
        )
        return [_read(row) for row in _results(client, started.get("queryId", ""), longest_wait)]


def _results(client: Any, query_id: str, longest_wait: float) -> list[dict[str, str]]:
    end, pause, status = time.monotonic() + longest_wait, _FIRST_PAUSE_SECONDS, "Running"
    try:
        while time.monotonic() < end:
            answer = aws.call(client, "GetQueryResults", queryId=query_id)
            status = answer.get("status", "Unknown")
            if status == "Complete":
                rows = answer.get("results", [])
                return [{cell.get("field", ""): cell.get("value", "") for cell in row} for row in rows]
            if status not in _RUNNING:
                raise UsageError(f"{_WHAT} ended the query: {status}. Try fewer days.")
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
        raise UsageError(f"{_WHAT} took longer than {longest_wait:.0f} s. Try fewer days.")
    finally:
        # One that goes on costs money.
        if status in _RUNNING:
            with suppress(ClientError, BotoCoreError):
                aws.call(client, "StopQuery", queryId=query_id)


def _read(row: dict[str, str]) -> Usage:
    registry, repository = row.get("registryId", ""), row.get("repositoryName", "")
    last = _number(row, "last")
    return Usage(
        row.get("caller", ""),
        f"{registry}/{repository}" if registry else repository,
        int(_number(row, "requests")),
        int(_number(row, "layers")),
        int(_number(row, "addresses")),
        datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=last) if last else None,
    )


def _number(row: dict[str, str], field: str) -> float:
    """Return a number of a row; 0 if it has none."""
    try:
        number = float(row.get(field, ""))
    except ValueError:
        return 0
    return number if abs(number) < 1e14 else 0
