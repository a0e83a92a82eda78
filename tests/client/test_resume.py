"""A fetch that was killed or stopped goes on where it was, whenever that was."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ecr_layers import TargetError, TransferError
from tests.client.faulty_s3 import Fault
from tests.client.fetching import LARGE, Fetching, files_in
from tests.client.small_parts import BLOCK, REPOSITORY, SMALL_PARTS
from tests.commands import CLIENT, ROOT

KILLS = 30


def test_a_fetch_that_is_killed_again_and_again_is_right_and_loads_next_to_nothing_twice(
    origin: Fetching, tmp_path: Path
) -> None:
    s3 = origin.s3
    s3.chunk_delay = 0.02
    result = subprocess.run(
        [sys.executable, "-m", "tests.client.killed_runs", origin.url, str(tmp_path), str(KILLS), "7"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    layouts = [Path(layout) for layout in json.loads(result.stdout)]
    s3.chunk_delay = 0.0
    for layout in layouts:
        origin.save("large", layout)
        names = files_in(layout)
        assert not {name for name in names if name.endswith((".part", ".journal"))}
        for name in names - {"index.json", "oci-layout"}:
            assert (layout / name).read_bytes() == (origin.layout / name).read_bytes()
    size = sum(each["size"] for each in origin.layers("large"))
    # Of each connection of a killed run, the block that it was reading is lost, and what was on its way.
    lost = KILLS * SMALL_PARTS.connections * 6 * BLOCK
    assert s3.sent < size * len(layouts) + lost


def break_off(origin: Fetching, directory: Path) -> Path:
    """Fetch a layer until the connections break, and return where it will be."""
    origin.s3.faults = [Fault("reset", after=8 * BLOCK, times=6), Fault("reset", times=1000)]
    with pytest.raises(TransferError):
        origin.save_layers([origin.large], directory)
    return directory / origin.large.replace(":", "/")


def test_a_run_that_broke_off_is_gone_on_with_by_the_blocks_that_are_missing(origin: Fetching, tmp_path: Path) -> None:
    path, loaded_first = break_off(origin, tmp_path), origin.s3.sent
    origin.s3.forget()
    fetched = origin.save_layers([origin.large], tmp_path)
    assert path.read_bytes() == origin.blob(origin.large)
    assert fetched.present_bytes > 0
    assert fetched.loaded_bytes + fetched.present_bytes == path.stat().st_size
    assert loaded_first + fetched.loaded_bytes < LARGE * 1.3


def test_what_was_damaged_between_two_runs_is_loaded_anew(origin: Fetching, tmp_path: Path) -> None:
    path = break_off(origin, tmp_path)
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(bytes(part.stat().st_size))
    origin.s3.forget()
    origin.save_layers([origin.large], tmp_path)
    assert path.read_bytes() == origin.blob(origin.large)


@pytest.mark.parametrize(
    "damage",
    [lambda _: b"", lambda _: b"\xff" * 5000, lambda journal: journal.replace(b"sha256:", b"sha512:")],
    ids=["empty", "nonsense", "of another blob"],
)
def test_a_journal_that_is_none_is_no_reason_to_trust_what_is_there(
    origin: Fetching, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = break_off(origin, tmp_path)
    journal = path.with_name(f"{path.name}.journal")
    journal.write_bytes(damage(journal.read_bytes()))
    origin.s3.forget()
    fetched = origin.save_layers([origin.large], tmp_path)
    assert fetched.present_bytes == 0
    assert path.read_bytes() == origin.blob(origin.large)


def test_a_part_that_is_a_link_is_not_written_through(origin: Fetching, tmp_path: Path) -> None:
    large = origin.large
    path = tmp_path / "blobs" / large.replace(":", "/")
    path.parent.mkdir(parents=True)
    (tmp_path / "mine").write_text("mine")
    path.with_name(f"{path.name}.part").symlink_to(tmp_path / "mine")
    with pytest.raises(TargetError, match="can't be written"):
        origin.save_layers([large], tmp_path / "blobs")
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_with_one_line_and_the_next_finishes(
    origin: Fetching, tmp_path: Path, number: signal.Signals
) -> None:
    s3, url = origin.s3, origin.url
    s3.chunk_delay = 0.05
    command = [*CLIENT, "fetch", "--url", url, f"{REPOSITORY}:large", "-o", str(tmp_path / "app"), "--quiet"]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20
    while s3.sent < LARGE / 10 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert errors == "ecr-layers: Stopped. Run it again to resume.\n"
    assert {Path(name).suffix for name in files_in(tmp_path)} >= {".part", ".journal"}
    s3.forget()
    origin.save("large", tmp_path / "app")
    assert not any(name.endswith((".part", ".journal")) for name in files_in(tmp_path))
