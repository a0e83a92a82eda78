"""Fetches an image over and over, and kills each run at a random moment: `python -m … URL DIRECTORY KILLS SEED`.

Each run is a fork of this process, which has loaded everything: so a run takes no time to start. When a run has ended
by itself, the next begins in a new directory. After each run, whatever has the name of a blob has to be that blob.
"""

import hashlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from ecr_layers import Client
from tests.client.small_parts import QUICK, REPOSITORY, SMALL_PARTS

LONGEST_LIFE_SECONDS = 0.25


def main() -> None:
    url, directory, kills, seed = sys.argv[1:]
    chance = random.Random(int(seed))
    layouts, killed = [Path(directory) / "0"], 0
    while killed < int(kills):
        if run_and_kill(url, layouts[-1], chance.uniform(0.0, LONGEST_LIFE_SECONDS)):
            killed += 1
        else:
            layouts.append(Path(directory) / str(len(layouts)))
        check(layouts)
    print(json.dumps([str(layout) for layout in layouts]))


def run_and_kill(url: str, layout: Path, seconds: float) -> bool:
    """Start a run, kill it after some time, and return whether it was still running."""
    child = os.fork()
    if not child:
        status = 1
        try:
            with Client(url, retries=QUICK, transfers=SMALL_PARTS) as service:
                service.image(f"{REPOSITORY}:large").save(layout)
            status = 0
        finally:
            os._exit(status)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            assert status == 0, "a run failed"
            return False
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def check(layouts: list[Path]) -> None:
    for blob in layouts[-1].glob("blobs/sha256/*"):
        if not blob.suffix:
            assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name, f"{blob} is not what its name says"


if __name__ == "__main__":
    main()
