import logging
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

import pytest

from layer_resolver.handler import create_handler
from layer_resolver.observability import logger
from layer_resolver.settings import Settings
from tests.unit.fakes import Answer, Context, FakeEcr, Send, function_url_event


class CurrentStdout:
    """Standard output as it is when something is written; pytest gives each test another one."""

    def write(self, text: str) -> None:
        sys.stdout.write(text)

    def flush(self) -> None:
        sys.stdout.flush()


@pytest.fixture(autouse=True, scope="session")
def _log_to_current_stdout() -> None:
    handler = cast("logging.StreamHandler[TextIO]", logger.registered_handler)
    handler.setStream(cast("TextIO", CurrentStdout()))


@pytest.fixture(autouse=True, scope="session")
def _no_waiting_between_attempts() -> Iterator[None]:
    """The waits are random, so a wait of nothing is one of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("layer_resolver.ecr.JITTER.uniform", lambda *_: 0.0)
        yield


@pytest.fixture
def ecr() -> FakeEcr:
    return FakeEcr()


@pytest.fixture
def function_settings() -> Settings:
    """Return what the operator has opted into: by default, nothing."""
    return Settings()


@pytest.fixture
def send(ecr: FakeEcr, function_settings: Settings) -> Send:
    """Return a function that sends a request, as `function_url_event` takes it, and returns the answer."""
    handler = create_handler(lambda: ecr, function_settings)

    def send_request(*request: Any, remaining_milliseconds: int = 15_000, **more: Any) -> Answer:
        answer = handler(function_url_event(*request, **more), Context(remaining_milliseconds))
        return Answer(answer["statusCode"], answer["headers"], answer["body"])

    return send_request
