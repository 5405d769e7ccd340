"""Sends calls at their scheduled times and never waits for a reply (the open model).

A generator that waits for replies slows down with the system under test, and so leaves out exactly
the calls that would have been slow ("coordinated omission"). Here the schedule does not know of
replies: each call's latency counts from its scheduled time, and what cannot be sent because too
much is under way is counted as an outcome of its own.
"""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Due:
    """A call that is due: its place in the schedule, and how late it is started."""

    index: int
    # Seconds since the start of the run.
    scheduled_s: float
    lateness_s: float


class Dispatcher:
    """Starts what is due, up to a bound on what is under way."""

    def __init__(
        self,
        *,
        now_s: Callable[[], float],
        sleep_s: Callable[[float], None],
        start: Callable[[Callable[[], None]], None],
        send: Callable[[Due], None],
        drop: Callable[[Due], None],
        max_in_flight: int,
    ) -> None:
        """Prepares the dispatcher.

        Args:
            now_s: seconds since the start of the run.
            sleep_s: waits so many seconds and lets others run.
            start: runs a function concurrently, without waiting for it.
            send: makes one call, from its start to its end; runs inside `start`.
            drop: takes note of a call that is not sent.
            max_in_flight: calls that may be under way at once.

        Raises:
            ValueError: `max_in_flight` is below 1.
        """
        if max_in_flight < 1:
            raise ValueError(f"max_in_flight must be at least 1, got {max_in_flight}")
        self._now_s = now_s
        self._sleep_s = sleep_s
        self._start = start
        self._send = send
        self._drop = drop
        self._max_in_flight = max_in_flight
        self.in_flight = 0

    def run(self, schedule: Iterable[float]) -> None:
        """Works through the schedule (seconds since the start, in order); returns at its end.

        What is under way then goes on.
        """
        for index, scheduled_s in zip(itertools.count(), schedule):
            # Not skipped when late: replies are taken in while this sleeps.
            self._sleep_s(max(scheduled_s - self._now_s(), 0.0))
            lateness_s = max(self._now_s() - scheduled_s, 0.0)
            due = Due(index=index, scheduled_s=scheduled_s, lateness_s=lateness_s)
            if self.in_flight >= self._max_in_flight:
                self._drop(due)
                continue
            self.in_flight += 1
            self._start(lambda due=due: self._carry_out(due))  # type: ignore[misc]

    def _carry_out(self, due: Due) -> None:
        try:
            self._send(due)
        finally:
            self.in_flight -= 1
