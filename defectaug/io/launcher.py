"""What a launcher such as `torchrun` tells a process of itself by environment variables. No torch."""

from __future__ import annotations

import os


def launched_as() -> tuple[int, int]:
    """(rank, size): number of this process, from 0, and how many there are; (0, 1) without a launcher."""
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys():
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
