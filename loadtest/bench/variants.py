"""A variant: something that answers, and what it is asked at which levels."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from loadtest.bench.workloads import Workload

# Gives the value of cpu.MARKER to the server's environment; yields host:port.
Start = Callable[[str], AbstractContextManager[str]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One workload and the requests in flight to ask it with."""

    workload: Workload
    levels: tuple[int, ...]
    # Also asked at a constant rate, half of the highest that was reached.
    half_load: bool = False
    # The same with twice of it.
    double_load: bool = False
    # What it is called in the results; "" for the workload's method.
    name: str = ""

    @property
    def label(self) -> str:
        """What it is called in the results."""
        return self.name or self.workload.method


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way of serving, started anew in each round."""

    name: str
    start: Start
    cases: tuple[Case, ...] = field(default=())
    # Whether to look at what it takes with nobody calling.
    idle: bool = False
