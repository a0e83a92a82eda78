"""The rate of downloads can be limited, across all connections."""

import threading
from pathlib import Path

import pytest

from ecr_layers import TransferSettings
from ecr_layers.transfer.rates import RateLimit
from tests.client.commanding import Command, command
from tests.client.fetching import Fetching
from tests.client.small_parts import REPOSITORY

__all__ = ["command"]


class Time:
    """A clock that only advances by waiting, as if all connections waited at once."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def limit(self) -> RateLimit:
        return RateLimit(1000, lambda: self.now, self.waits.append)


def test_connections_share_the_rate() -> None:
    time = Time()
    limit = time.limit()
    threads = [threading.Thread(target=limit.wait, args=(500,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(time.waits) == [0.5, 1.0, 1.5, 2.0]


def test_idle_time_is_not_made_up_for() -> None:
    time = Time()
    limit = time.limit()
    limit.wait(500)
    time.now = 100
    limit.wait(500)
    assert time.waits == [0.5, 0.5]


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the bytes that are waited for, without waiting."""
    counts: list[int] = []
    monkeypatch.setattr(RateLimit, "wait", lambda _, count: counts.append(count))
    return counts


def test_every_byte_of_a_layer_counts(service_with_images: Fetching, waited: list[int]) -> None:
    content = service_with_images.blob(service_with_images.large)
    with (
        service_with_images.service(TransferSettings(limit_rate=10**6)) as client,
        client.open_layer(REPOSITORY, service_with_images.large) as layer,
    ):
        assert layer.read() == content
    assert sum(waited) >= len(content)


@pytest.mark.parametrize("arguments", [("fetch", "-o", "out"), ("cat", "/a"), ("extract", "-o", "out"), ("ls",)])
def test_commands_take_the_limit(
    service_with_images: Fetching,
    tmp_path: Path,
    waited: list[int],
    command: Command,
    arguments: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    name, *rest = arguments
    image = (f"{REPOSITORY}:image", "--url", service_with_images.url)
    result = command(name, *image, *rest, "--limit-rate", "500k")
    assert result.status == 0, result.error
    assert sum(waited) >= sum(each["size"] for each in service_with_images.layers("image"))
