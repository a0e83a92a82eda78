"""The function's log group, and CloudWatch Logs Insights for the query of `ecr-layers token usage`."""

import json
import re
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from threading import Lock
from typing import Any

from ecr_layers.ops.token_usage import MOST_ROWS, QUERY

_MOST_LINES = 100_000
_CALLERS = re.compile(
    re.escape(QUERY).replace(re.escape("{callers}"), "(?: and caller in (.+))?").replace(r"\{limit\}", str(MOST_ROWS))
)


class QueryError(Exception):
    """The query isn't one that is known here."""


class FunctionLog:
    """The last 100,000 lines that the function wrote. Threads can share it."""

    def __init__(self) -> None:
        self._lines: deque[tuple[int, dict[str, Any]]] = deque(maxlen=_MOST_LINES)
        self._lock = Lock()

    def append(self, line: str) -> None:
        """Add a line. Only JSON objects have fields to ask for."""
        try:
            fields = json.loads(line)
        except ValueError:
            return
        if isinstance(fields, dict):
            with self._lock:
                self._lines.append((time.time_ns() // 1_000_000, fields))

    def usage(self, query: str, start: float, end: float) -> list[dict[str, str]]:
        """Return the rows of a query between two times in seconds since 1970.

        Raises:
            QueryError: If the query is another one.
        """
        match = _CALLERS.fullmatch(query)
        if match is None:
            raise QueryError
        callers = json.loads(match[1]) if match[1] else None
        groups: defaultdict[tuple[str, ...], list[tuple[int, dict[str, Any]]]] = defaultdict(list)
        for moment, fields in self._pulls(start, end):
            if callers is None or fields.get("caller") in callers:
                groups[tuple(str(fields.get(name) or "") for name in _GROUPED_BY)].append((moment, fields))
        rows = [dict(zip(_GROUPED_BY, group, strict=True)) | _totals(lines) for group, lines in groups.items()]
        return sorted(rows, key=lambda row: -int(row["last"]))[:MOST_ROWS]

    def _pulls(self, start: float, end: float) -> Iterator[tuple[int, dict[str, Any]]]:
        with self._lock:
            lines = list(self._lines)
        for moment, fields in lines:
            is_of_token = fields.get("callerKind") == "token" and fields.get("callerRule") is None
            is_pull = fields.get("repositoryName") is not None and fields.get("status", 500) < 400
            if is_of_token and is_pull and start <= moment / 1000 <= end:
                yield moment, fields


_GROUPED_BY = ("caller", "registryId", "repositoryName")


def _totals(lines: list[tuple[int, dict[str, Any]]]) -> dict[str, str]:
    return {
        "requests": str(len(lines)),
        "layers": str(sum(fields.get("layersResolved", 0) for _, fields in lines)),
        "addresses": str(len({fields.get("sourceIp") for _, fields in lines})),
        "last": str(max(moment for moment, _ in lines)),
    }
