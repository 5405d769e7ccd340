"""When calls arrive in the open model: times drawn from a rate that changes over time.

Arrivals are made in operational time, where they come at rate one, and carried over to the clock by
inverting the integral of the rate (time rescaling; D. J. Daley and D. Vere-Jones, "An Introduction
to the Theory of Point Processes", 2003, section 7.4).
"""

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np

Spacing = Literal["poisson", "constant"]
# The rate is taken as even within so many seconds.
GRID_S = 0.01


def arrival_times(
    rate: Callable[[float], float | None],
    *,
    spacing: Spacing,
    generator: np.random.Generator,
    share: float = 1.0,
    offset: float = 0.0,
) -> Iterator[float]:
    """Yields the times of arrivals in seconds since the start, in order.

    Args:
        rate: arrivals a second at a time in seconds; None once there is no more.
        spacing: "poisson" draws independent exponential gaps; "constant" keeps them even.
        generator: draws the gaps.
        share: part of the rate that is this process's, above 0 and at most 1.
        offset: for "constant", how far into a gap the first arrival lies (0 to 1): processes that
            share a rate take different ones, so that together they are even as well.

    Raises:
        ValueError: an unusable share or offset.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, got {share:g}")
    if not 0 <= offset < 1:
        raise ValueError(f"offset must be from 0 to below 1, got {offset:g}")

    def gap() -> float:
        return float(generator.exponential()) if spacing == "poisson" else 1.0

    # Operational time of the next arrival, and what has passed of it.
    due = gap() if spacing == "poisson" else offset
    passed = 0.0
    cell = 0
    while True:
        began_s = cell * GRID_S
        level = rate(began_s + GRID_S / 2)
        if level is None:
            return
        intensity = level * share
        gained = intensity * GRID_S
        while due < passed + gained:
            yield began_s + (due - passed) / intensity
            due += gap()
        passed += gained
        cell += 1
