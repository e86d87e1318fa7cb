"""Threads for what runs beside the network: decoding, enlarging, encoding, writing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def threads() -> Iterator[ThreadPoolExecutor]:
    """Threads that drop what they have not begun when the block is left early."""
    pool = ThreadPoolExecutor(4)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def in_threads(pool: ThreadPoolExecutor, work: Callable[[T], R], jobs: Iterable[T], *, ahead: int) -> Iterator[R]:
    """Results in order; at most `ahead` jobs wait, which bounds the memory they hold."""
    running: deque[Future[R]] = deque()
    for job in jobs:
        running.append(pool.submit(work, job))
        while len(running) >= ahead or (running and running[0].done()):
            yield running.popleft().result()
    while running:
        yield running.popleft().result()
