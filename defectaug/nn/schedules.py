"""Schedules as pure functions of the step or of the share of the run that is over, so that a resumed run needs no state
for them."""

from __future__ import annotations


def learning_rate_decay(fraction: float, cooldown: float) -> float:
    """Factor of the rates: 1 until the last ``cooldown`` share of a run, then falling evenly to 0."""
    return 1.0 if cooldown <= 0 else min(1.0, max(0.0, 1.0 - fraction) / cooldown)


def ema_decay(step: int, decay: float) -> float:
    """Decay of a moving average that trusts its start less: (1 + step) / (10 + step), at most ``decay``."""
    return min(decay, (1 + step) / (10 + step))


def step_seed(seed: int, step: int, process: int = 0) -> int:
    """Seed of the random numbers of one step in one of several processes: the same after a resume."""
    return (seed * 1_000_003 + step * 2_654_435_761 + process * 7_919_000_033) % (1 << 63)
