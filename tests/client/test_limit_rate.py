"""The rate of downloads can be limited, across all connections."""

import threading
from pathlib import Path

import pytest

from ecr_layers import Client
from ecr_layers.transfer.blobs import TransferSettings
from ecr_layers.transfer.rates import RateLimit
from tests.archives import file, gzipped, tar
from tests.client.commanding import REPOSITORY, Command, command, serving

__all__ = ["command"]


class Time:
    """A clock that only advances by waiting, as if all connections waited at once."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


def test_connections_share_the_rate() -> None:
    time = Time()
    limit = RateLimit(1000, lambda: time.now, time.sleep)
    threads = [threading.Thread(target=limit.wait, args=(500,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(time.waits) == [0.5, 1.0, 1.5, 2.0]


def test_idle_time_is_not_made_up_for() -> None:
    time = Time()
    limit = RateLimit(1000, lambda: time.now, time.sleep)
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


LAYER = gzipped(tar(file("a", bytes(range(32, 127)) * 5000)))


def test_every_byte_of_a_layer_counts(tmp_path: Path, waited: list[int]) -> None:
    with (
        serving(tmp_path, {"1": [LAYER]}) as url,
        Client(url, transfers=TransferSettings(limit_rate=10**6)) as client,
    ):
        with client.image(f"{REPOSITORY}:1").layers[0].open() as layer:
            assert layer.read() == LAYER
        assert sum(waited) >= len(LAYER)
        waited.clear()
        client.image(f"{REPOSITORY}:1").save(tmp_path / "saved")
        assert sum(waited) >= len(LAYER)


@pytest.mark.parametrize("arguments", [("fetch", "-o", "out"), ("cat", "/a"), ("extract", "-o", "out"), ("ls",)])
def test_commands_take_the_limit(
    tmp_path: Path,
    waited: list[int],
    command: Command,
    arguments: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    name, *rest = arguments
    with serving(tmp_path / "layout", {"1": [LAYER]}) as url:
        result = command(name, f"{REPOSITORY}:1", *rest, "--url", url, "--limit-rate", "500k")
    assert result.status == 0, result.error
    assert sum(waited) >= len(LAYER)


@pytest.mark.parametrize("rate", ["0", "-1", "fast", "1.5M"])
def test_a_rate_that_is_none_is_refused(command: Command, rate: str) -> None:
    result = command("cat", "team/app", "/a", "--url", "http://127.0.0.1:1", "--limit-rate", rate)
    assert result.status == 2
    assert rate in result.error
