"""What a run has measured so far: counts and histograms by time slot, small enough to send about.

process 1 ─ packed ─┐
process 2 ─ packed ─┼─▶ Record.merge ─▶ summary, thresholds, report
process 3 ─ packed ─┘
"""

from dataclasses import dataclass, field
from typing import Any

from loadtest import outcomes
from loadtest.histogram import Histogram
from loadtest.outcomes import Outcome

# A finished run has at most about so many slots, however long it is.
MOST_SLOTS = 240
LEAST_SLOT_S = 0.5


def slot_length_s(duration_s: float) -> float:
    """Seconds of a slot for a run of so many seconds: half a second, more for long runs."""
    halves = duration_s / MOST_SLOTS / LEAST_SLOT_S
    return LEAST_SLOT_S * max(int(-(-halves // 1)), 1)


@dataclass
class Cell:
    """Calls of one method with one outcome that were due in one slot."""

    response: Histogram = field(default_factory=Histogram)
    service: Histogram = field(default_factory=Histogram)
    first_event: Histogram = field(default_factory=Histogram)
    server_steps: dict[str, Histogram] = field(default_factory=dict)
    degraded_steps: dict[str, int] = field(default_factory=dict)
    with_retry_after: int = 0
    count: int = 0

    def add(self, outcome: Outcome) -> None:
        """Counts a call."""
        self.count += 1
        if outcome.name == outcomes.GENERATOR_SATURATED:
            # It was never sent, so it took no time.
            return
        self.response.add(outcome.response_ms)
        self.service.add(outcome.service_ms)
        if outcome.first_event_ms is not None:
            self.first_event.add(outcome.first_event_ms)
        for step, duration_ms in outcome.server_steps:
            self.server_steps.setdefault(step, Histogram()).add(duration_ms)
        for step in outcome.degraded_steps:
            self.degraded_steps[step] = self.degraded_steps.get(step, 0) + 1
        if outcome.retry_after_ms is not None:
            self.with_retry_after += 1

    def merge(self, other: "Cell") -> None:
        """Adds what another cell has counted."""
        self.count += other.count
        self.with_retry_after += other.with_retry_after
        self.response.merge(other.response)
        self.service.merge(other.service)
        self.first_event.merge(other.first_event)
        for step, histogram in other.server_steps.items():
            self.server_steps.setdefault(step, Histogram()).merge(histogram)
        for step, count in other.degraded_steps.items():
            self.degraded_steps[step] = self.degraded_steps.get(step, 0) + count

    def packed(self) -> list[Any]:
        """As plain lists, for sending."""
        return [
            self.count,
            self.with_retry_after,
            self.response.packed(),
            self.service.packed(),
            self.first_event.packed(),
            {step: histogram.packed() for step, histogram in self.server_steps.items()},
            self.degraded_steps,
        ]

    @classmethod
    def unpacked(cls, values: list[Any]) -> "Cell":
        """The cell that `packed` described."""
        count, with_retry_after, response, service, first_event, steps, degraded = values
        return cls(
            count=count,
            with_retry_after=with_retry_after,
            response=Histogram.unpacked(response),
            service=Histogram.unpacked(service),
            first_event=Histogram.unpacked(first_event),
            server_steps={step: Histogram.unpacked(flat) for step, flat in steps.items()},
            degraded_steps=dict(degraded),
        )


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A look at one generator process."""

    process: str
    at_s: float
    # Of one core; above 1 with several threads.
    cpu_share: float
    in_flight: int
    users: int


Key = tuple[int, str, str]


class Record:
    """Everything measured, by (slot, method, outcome)."""

    def __init__(self, slot_s: float) -> None:
        """An empty record with slots of `slot_s` seconds."""
        self.slot_s = slot_s
        self.cells: dict[Key, Cell] = {}
        # Good replies by the slot in which they arrived, and method.
        self.completed: dict[tuple[int, str], int] = {}
        # How late calls were sent, by the slot in which they were due.
        self.lateness: dict[int, Histogram] = {}
        self.samples: list[Sample] = []

    def add(self, outcome: Outcome) -> None:
        """Counts a call."""
        slot = int(outcome.scheduled_s / self.slot_s)
        key = (slot, outcome.method, outcome.name)
        self.cells.setdefault(key, Cell()).add(outcome)
        if outcome.name == outcomes.OK:
            done = (int(outcome.done_s / self.slot_s), outcome.method)
            self.completed[done] = self.completed.get(done, 0) + 1
        self.lateness.setdefault(slot, Histogram()).add(outcome.lateness_ms)

    def merge(self, other: "Record") -> None:
        """Adds what another process has measured.

        Raises:
            ValueError: its slots have another length.
        """
        if other.slot_s != self.slot_s:
            raise ValueError(f"slots of {other.slot_s:g} s do not fit those of {self.slot_s:g} s")
        for key, cell in other.cells.items():
            self.cells.setdefault(key, Cell()).merge(cell)
        for done, count in other.completed.items():
            self.completed[done] = self.completed.get(done, 0) + count
        for slot, histogram in other.lateness.items():
            self.lateness.setdefault(slot, Histogram()).merge(histogram)
        self.samples += other.samples

    def packed(self) -> dict[str, Any]:
        """As plain values, for sending to the master."""
        return {
            "slot_s": self.slot_s,
            "cells": [[*key, cell.packed()] for key, cell in self.cells.items()],
            "completed": [[*done, count] for done, count in self.completed.items()],
            "lateness": [[slot, made.packed()] for slot, made in self.lateness.items()],
            "samples": [
                [s.process, s.at_s, s.cpu_share, s.in_flight, s.users] for s in self.samples
            ],
        }

    @classmethod
    def unpacked(cls, values: dict[str, Any]) -> "Record":
        """The record that `packed` described."""
        made = cls(values["slot_s"])
        for slot, method, outcome, cell in values["cells"]:
            made.cells[slot, method, outcome] = Cell.unpacked(cell)
        made.completed = {(slot, method): count for slot, method, count in values["completed"]}
        made.lateness = {slot: Histogram.unpacked(flat) for slot, flat in values["lateness"]}
        made.samples = [
            Sample(process=process, at_s=at_s, cpu_share=cpu, in_flight=in_flight, users=users)
            for process, at_s, cpu, in_flight, users in values["samples"]
        ]
        return made
