"""Settings of a client with which even a small image takes many parts, and no retry takes long."""

import itertools

from ecr_layers import Retries, TransferSettings

REPOSITORY = "team/app"
BLOCK = 16 * 1024


def quick_retries(failures: int) -> Retries:
    """Return retries that end after some failures: the clock advances whenever a failure reads it."""
    clock = itertools.count(step=1000).__next__
    return Retries(seconds=1000 * (failures - 1), shortest_wait=0.01, longest_wait=0.02, clock=clock)


QUICK = quick_retries(20)
SMALL_PARTS = TransferSettings(
    connections=6, largest_range=16 * BLOCK, smallest_range=4 * BLOCK, block_size=BLOCK, patience=0.3
)
