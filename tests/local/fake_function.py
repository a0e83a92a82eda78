"""A function that answers as a test says."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from local.execution_environment import Result


@dataclass
class FakeFunction:
    """Keeps the events that it gets, and answers the same to all, by the event, or with an error."""

    events: list[dict[str, Any]] = field(default_factory=list)
    answer: dict[str, Any] | Result | Callable[[dict[str, Any]], dict[str, Any]] = field(
        default_factory=lambda: {"statusCode": 200, "body": "{}"}
    )

    def __call__(self, payload: bytes, request_id: str) -> Result:
        event = json.loads(payload)
        assert event["requestContext"]["requestId"] == request_id
        self.events.append(event)
        answer = self.answer(event) if callable(self.answer) else self.answer
        return answer if isinstance(answer, Result) else Result(json.dumps(answer).encode())
