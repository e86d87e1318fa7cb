"""Schedules as pure functions of the step, so that a resumed run needs no state for them."""

from __future__ import annotations


def cooling(done: float, cooldown: float) -> float:
    """1 until the last ``cooldown`` share of a run, then falling evenly to 0."""
    return 1.0 if cooldown <= 0 else min(1.0, max(0.0, 1.0 - done) / cooldown)


def rising(done: float, start: float, end: float, hold: float = 0.4) -> float:
    """``start`` for the share ``hold`` of a run, then rising evenly to ``end``."""
    return start + (end - start) * max(0.0, done - hold) / (1 - hold)


def ema_decay(step: int, decay: float) -> float:
    """Decay of a moving average that trusts its start less: (1 + step) / (10 + step), at most ``decay``."""
    return min(decay, (1 + step) / (10 + step))


def step_seed(seed: int, step: int) -> int:
    """Seed of the random numbers of one step: the same after a resume."""
    return (seed * 1_000_003 + step * 2_654_435_761) % (1 << 63)
