from collections.abc import Callable
from typing import Any

import pytest

from layer_resolver.handler import create_handler
from tests.unit.fakes import Answer, Context, FakeEcr, function_url_event

Send = Callable[..., Answer]


@pytest.fixture
def ecr() -> FakeEcr:
    return FakeEcr()


@pytest.fixture
def send(ecr: FakeEcr) -> Send:
    """Return a function that sends a request, as `function_url_event` takes it, and returns the answer."""
    handler = create_handler(ecr)

    def send_request(*request: Any, remaining_milliseconds: int = 15_000, **more: Any) -> Answer:
        answer = handler(function_url_event(*request, **more), Context(remaining_milliseconds))
        return Answer(answer["statusCode"], answer["headers"], answer["body"])

    return send_request
