"""Settings of a client with which even a small image takes many parts, and no retry takes long."""

from ecr_layers import Retries, TransferSettings

REPOSITORY = "team/app"
BLOCK = 16 * 1024

QUICK = Retries(attempts=5, shortest_wait=0.01, longest_wait=0.1)
SMALL_PARTS = TransferSettings(
    connections=6, largest_range=16 * BLOCK, smallest_range=4 * BLOCK, block_size=BLOCK, patience=0.3
)
