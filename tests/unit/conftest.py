import gc
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from layer_resolver.handler import create_handler
from layer_resolver.observability import SERVICE
from layer_resolver.settings import Settings
from tests.unit.fakes import Answer, Context, FakeEcr, FakeMeta, Output, Send, function_url_event, log_to_current_stdout
from tests.unit.servers import FakeServer, running_server


@pytest.fixture(autouse=True, scope="session")
def _log_to_current_stdout() -> None:
    log_to_current_stdout()


@pytest.fixture(autouse=True, scope="session")
def _frozen_objects() -> Iterator[None]:
    """Leave the objects of all that is imported out of garbage collections, which would look at each of them."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def debugging() -> Iterator[None]:
    """Set the level DEBUG."""
    level = logging.getLogger(SERVICE)
    before = level.level
    level.setLevel(logging.DEBUG)
    yield
    level.setLevel(before)


@pytest.fixture
def output(capsys: pytest.CaptureFixture[str]) -> Output:
    """Return what the function has written."""
    return Output(capsys)


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
    handler = create_handler(ecr, function_settings)

    def send_request(*request: Any, remaining_milliseconds: int = 15_000, **more: Any) -> Answer:
        answer = handler(function_url_event(*request, **more), Context(remaining_milliseconds))
        return Answer(answer["statusCode"], answer["headers"], answer["body"])

    return send_request


@pytest.fixture
def s3(ecr: FakeEcr) -> Iterator[FakeServer]:
    """Return an S3 to which ECR's download URLs lead, in handlers made after it."""
    with running_server() as server:
        ecr.meta = FakeMeta(endpoint_url="http://127.0.0.1:1")
        ecr.url_of = server.download_url
        yield server
