"""A layer as a file: the bytes are the layer's wherever they are read, and whatever S3 does meanwhile."""

import gzip
import io
import random
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from ecr_layers import IntegrityError, TransferError
from ecr_layers.transfer.downloads import DownloadError
from ecr_layers.transfer.read_ahead import PART, WINDOW, ReadAhead
from tests.client.faulty_s3 import Fault, Kind
from tests.client.fetching import LARGE, Fetching
from tests.client.small_parts import BLOCK, REPOSITORY


@contextmanager
def opened(origin: Fetching, digest: str | None = None, size: int | None = None) -> Iterator[io.BufferedReader]:
    """Open a layer, by default the largest."""
    with origin.service() as service, service.open_layer(REPOSITORY, digest or origin.large, size) as layer:
        yield layer


def test_reads_at_random_places_are_the_layers_bytes(origin: Fetching) -> None:
    content = origin.blob(origin.large)
    chance = random.Random(3)
    with opened(origin, size=len(content)) as layer:
        for _ in range(60):
            place, count = chance.randrange(len(content) + 10), chance.randrange(200_000)
            assert layer.seek(place) == place
            assert layer.read(count) == content[place : place + count]


def test_a_tar_archive_is_read_as_from_a_file(origin: Fetching) -> None:
    digest = origin.layers("image")[0]["digest"]
    with opened(origin, digest) as layer:
        with tarfile.open(fileobj=layer, mode="r:gz") as archive:
            member = archive.extractfile("a")
            assert member is not None
            assert member.read() == b"image a" * 1000
        layer.seek(0)
        with gzip.GzipFile(fileobj=layer) as file:
            assert file.read() == gzip.decompress(origin.blob(digest))


def test_what_is_read_in_order_is_asked_for_once_in_ever_larger_ranges(origin: Fetching) -> None:
    read = []
    with opened(origin) as layer:
        while data := layer.read(10_000):
            read.append(data)
    assert b"".join(read) == origin.blob(origin.large)
    lengths = [each.last - each.first + 1 for each in origin.s3.asked]
    assert len(lengths) < 8
    # Behind them, parts of one size are read ahead, in any order.
    assert lengths[:3] == sorted(lengths[:3])
    assert max(lengths) <= PART
    assert origin.s3.sent < 1.5 * LARGE


def test_an_empty_layer_is_an_empty_file_with_a_digest(origin: Fetching) -> None:
    with opened(origin, origin.layers("empty")[0]["digest"]) as layer:
        assert layer.read() == b""
    with opened(origin, size=0) as layer, pytest.raises(IntegrityError, match="Digest mismatch"):
        layer.read()


RETRIED: list[Kind] = ["throttled", "reset", "short", "expired", "redirect"]


@pytest.mark.parametrize("kind", RETRIED)
@pytest.mark.parametrize(("read_before", "place"), [(BLOCK, 600_000), (PART, PART)], ids=["one range", "read ahead"])
def test_a_fault_is_made_up_for(origin: Fetching, kind: Kind, read_before: int, place: int) -> None:
    content = origin.blob(origin.large)
    with opened(origin, size=len(content)) as layer:
        assert layer.read(read_before) == content[:read_before]
        origin.s3.faults = [Fault(kind, after=BLOCK, times=2)]
        layer.seek(place)
        assert layer.read() == content[place:]
    assert not origin.s3.faults


@pytest.mark.parametrize("read_before", [0, PART])
def test_a_fault_that_does_not_end_is_an_error(origin: Fetching, read_before: int) -> None:
    large = origin.large
    with opened(origin, size=len(origin.blob(large))) as layer:
        layer.read(read_before)
        origin.s3.faults = [Fault("reset", times=1000)]
        with pytest.raises(TransferError, match=f"{large} couldn't be downloaded"):
            layer.read()


def test_a_server_that_takes_no_ranges_is_read_up_to_the_place(origin: Fetching) -> None:
    content = origin.blob(origin.large)
    origin.s3.faults = [Fault("no ranges", times=1000)]
    with opened(origin) as layer:
        layer.seek(700_000)
        assert layer.read(100) == content[700_000:700_100]
        assert layer.read() == content[700_100:]


def test_wrong_bytes_are_an_error_when_all_have_been_read_in_order(origin: Fetching) -> None:
    origin.s3.faults = [Fault("wrong", times=1000)]
    with opened(origin) as layer, pytest.raises(IntegrityError, match=origin.large):
        layer.read()


def test_there_is_no_place_before_the_first_byte(origin: Fetching) -> None:
    with opened(origin) as layer:
        with pytest.raises(ValueError, match="Negative offset"):
            layer.seek(-1)
        assert layer.seek(10**9) == 10**9
        assert layer.read() == b""
        with pytest.raises(io.UnsupportedOperation):
            layer.write(b"x")


def test_a_reader_that_jumps_while_it_is_read_ahead_gets_its_bytes(origin: Fetching) -> None:
    content = origin.blob(origin.large)
    with opened(origin, size=len(content)) as layer:
        layer.read(PART + 300_000)
        layer.seek(10)
        assert layer.read(20) == content[10:30]
        layer.seek(2_000_000)
        assert layer.read() == content[2_000_000:]


class Zeros:
    """A blob of zeros that tells how far it was read."""

    def __init__(self) -> None:
        self.furthest = 0
        self.is_window_full = threading.Event()

    def attempts(self, *_: object) -> None:
        """Return no retries: nothing fails here."""

    @contextmanager
    def open(self, first: int, last: int) -> Iterator[Any]:
        self.furthest = max(self.furthest, last + 1)
        if self.furthest == WINDOW:
            self.is_window_full.set()
        yield SimpleNamespace(takes_ranges=True, read=lambda count: bytes(min(count, last - first + 1)))


def test_a_reader_that_stops_early_has_loaded_at_most_about_twice_what_it_read() -> None:
    zeros: Any = Zeros()
    reading = ReadAhead(zeros, 0, 200 * PART, 16)
    read = 0
    while read < 8 * PART:
        read += len(reading.read(PART))
    reading.close()
    assert zeros.furthest <= 2 * read + PART


def test_a_reader_of_everything_is_read_ahead_from_the_start() -> None:
    zeros: Any = Zeros()
    reading = ReadAhead(zeros, 0, 200 * PART, 16, is_read_whole=True)
    assert zeros.is_window_full.wait(10)
    reading.close()


class Failing:
    """A blob that can't be read, and whose reader waits for its retries until it is closed."""

    def __init__(self) -> None:
        self.was_asked = threading.Event()

    def attempts(self, wait: Callable[[float], object]) -> Any:
        return SimpleNamespace(failed=lambda _: wait(60))

    def open(self, *_: object) -> NoReturn:
        self.was_asked.set()
        raise DownloadError("nothing is there")


def test_a_reader_that_is_closed_waits_for_no_retry() -> None:
    failing: Any = Failing()
    reading = ReadAhead(failing, 0, PART, 1)
    assert failing.was_asked.wait(10)
    reading.close()
    for thread in threading.enumerate():
        if thread.name.startswith("read-ahead-"):
            thread.join(10)
            assert not thread.is_alive()
