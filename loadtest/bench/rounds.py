"""One run: every variant in each round, in another order each time, calibrated at every step.

    round ─▶ bare limit, all settings
          ─▶ variant: start ─▶ idle ─▶ [limit] load [limit] load … [limit] ─▶ stop

The servers are frozen while the limit is measured beside them: what an idle stack burns must count
against the stack, not against the limit.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar
from uuid import uuid4

from loadtest.bench.batches import (
    Counts,
    metrics_urls,
    read_counts,
    rows_per_execution,
    rows_per_request,
)
from loadtest.bench.cpu import ServerProcesses, difference
from loadtest.bench.limit import Limit, Setting, best
from loadtest.bench.load import Load, LoadGenerator, Outcome
from loadtest.bench.plan import Plan
from loadtest.bench.results import IdlePoint, LimitPoint, Point
from loadtest.bench.variants import Case, Variant

GENERATOR = "load generator"
# Of what was reached: where queues are short, and where they would grow without end.
_HALF, _DOUBLE = 0.5, 2.0
# Open loads: channels to spread the arrivals over.
_OPEN_CHANNELS = 8
# So many callers make the time before the window opens twice as long.
_CALLERS_A_RAMP = 64

T = TypeVar("T")
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Everything that the rounds gave."""

    limit_setting: str
    limits: tuple[LimitPoint, ...]
    points: tuple[Point, ...]
    idle: tuple[IdlePoint, ...]
    # First error's text by variant and method.
    complaints: dict[str, str]


class Rounds:
    """Runs a plan."""

    def __init__(
        self,
        plan: Plan,
        limit: Limit,
        generator: LoadGenerator,
        settings: Sequence[Setting],
        served: str,
        say: Say,
    ) -> None:
        """Takes what it measures with.

        Args:
            plan: rounds and seconds.
            limit: the bare work.
            generator: puts the loads on.
            settings: of the bare work, to find the best of.
            served: precision of the served artifact; its best setting is the limit.
            say: takes a line about what is going on.
        """
        self._plan = plan
        self._limit = limit
        self._generator = generator
        self._settings = settings
        self._served = served
        self._say = say
        self._limits: list[LimitPoint] = []
        self._points: list[Point] = []
        self._idle: list[IdlePoint] = []
        self._complaints: dict[str, str] = {}
        # Next message by case, so that texts are not repeated until all have been sent.
        self._next: dict[str, int] = {}
        self._calibration: Setting | None = None
        self._round = 0

    def run(self, variants: Sequence[Variant]) -> Measured:
        """Measures every variant in every round."""
        for number in range(self._plan.rounds):
            self._round = number
            self._sweep()
            for variant in rotated(variants, self._round):
                self._measure(variant)
        assert self._calibration is not None
        return Measured(
            limit_setting=self._limits_of(self._calibration)[0].setting,
            limits=tuple(self._limits),
            points=tuple(self._points),
            idle=tuple(self._idle),
            complaints=self._complaints,
        )

    def _sweep(self) -> None:
        """The bare work with every setting; the first round chooses the one to calibrate with."""
        for setting in rotated(self._settings, self._round):
            point = self._limit.measure(setting, self._plan.limit_seconds, self._round)
            self._limits.append(point)
            self._say(
                f"round {self._round + 1}: bare, {point.setting}: {point.texts_per_s:.0f} texts/s"
            )
        if self._calibration is None:
            fastest = best(self._limits, self._served)
            self._calibration = next(
                s for s in self._settings if self._limits_of(s)[0].setting == fastest.setting
            )

    def _limits_of(self, setting: Setting) -> list[LimitPoint]:
        return [
            point
            for point in self._limits
            if (point.artifact, point.batch, point.order, point.sessions)
            == (setting.artifact, setting.batch, setting.order, setting.sessions)
        ]

    def _measure(self, variant: Variant) -> None:
        mark = uuid4().hex
        began_s = time.monotonic()
        with variant.start(mark) as address:
            processes = ServerProcesses(mark)
            self._say(
                f"round {self._round + 1}: {variant.name}: started in "
                f"{time.monotonic() - began_s:.1f} s"
            )
            session = _Session(
                variant=variant,
                address=address,
                processes=processes,
                metrics_urls=metrics_urls(processes.command_lines()),
            )
            for case in variant.cases:
                self._warm_up(session, case)
            if variant.idle:
                self._look_at_idle(session)
            before = self._calibrate(session)
            loads = [(case, level) for case in variant.cases for level in case.levels]
            highest: dict[str, float] = {}
            for case, level in rotated(loads, self._round):
                point, before = self._load(session, case, level, 0.0, before)
                highest[case.label] = max(highest.get(case.label, 0.0), point.texts_per_s)
            for case in variant.cases:
                peak = highest[case.label] / case.workload.texts
                for share, wanted in ((_HALF, case.half_load), (_DOUBLE, case.double_load)):
                    if wanted and peak > 0:
                        _, before = self._load(session, case, _OPEN_CHANNELS, share * peak, before)

    def _warm_up(self, session: "_Session", case: Case) -> None:
        level = max(case.levels)
        outcome = self._generator.run(
            self._request(session, case, level, 0.0, self._plan.warm_up_seconds), lambda: None
        )
        if outcome.first_error:
            self._complain(session, case, outcome)

    def _look_at_idle(self, session: "_Session") -> None:
        before = session.processes.cpu_seconds()
        began_s = time.monotonic()
        time.sleep(self._plan.idle_seconds)
        used = difference(before, session.processes.cpu_seconds())
        took_s = time.monotonic() - began_s
        self._idle.append(
            IdlePoint(
                variant=session.variant.name,
                round=self._round,
                cores={kind: seconds / took_s for kind, seconds in used.items()},
            )
        )

    def _calibrate(self, session: "_Session") -> float:
        assert self._calibration is not None
        with frozen(session.processes):
            return self._limit.measure(
                self._calibration, self._plan.calibration_seconds, self._round
            ).texts_per_s

    def _request(
        self, session: "_Session", case: Case, level: int, rate: float, seconds: float
    ) -> Load:
        return Load(
            address=session.address,
            workload=case.workload,
            in_flight=level,
            seconds=seconds,
            # Until as many replies have come as there are callers, and the queues are as they stay.
            warm_up_s=self._plan.ramp_seconds * (1.0 + level / _CALLERS_A_RAMP),
            rate=rate,
            first=self._next.get(case.label, 0),
            run=uuid4().hex[:8],
        )

    def _load(
        self, session: "_Session", case: Case, level: int, rate: float, before: float
    ) -> tuple[Point, float]:
        """Measures one load; returns the point and the limit measured after it."""
        looks: list[tuple[dict[str, float], dict[str, Counts]]] = []

        def look() -> None:
            looks.append((session.processes.cpu_seconds(), read_counts(session.metrics_urls)))

        outcome = self._generator.run(
            self._request(session, case, level, rate, self._plan.seconds), look
        )
        after = self._calibrate(session)
        self._next[case.label] = outcome.next
        (cpu_before, rows_before), (cpu_after, rows_after) = looks
        used = {**difference(cpu_before, cpu_after), GENERATOR: outcome.cpu_s}
        answered = max(outcome.requests, 1)
        point = Point(
            variant=session.variant.name,
            method=case.label,
            load="open" if rate else "closed",
            in_flight=outcome.most_in_flight if rate else level,
            rate=rate,
            round=self._round,
            requests=outcome.requests,
            texts=case.workload.texts,
            seconds=outcome.seconds,
            p50_ms=_number(outcome.p50_ms),
            p90_ms=_number(outcome.p90_ms),
            p99_ms=_number(outcome.p99_ms),
            errors=outcome.errors,
            refused=outcome.refused,
            refused_p50_ms=_number(outcome.refused_p50_ms),
            refused_p99_ms=_number(outcome.refused_p99_ms),
            degraded=outcome.degraded,
            wrong=outcome.wrong,
            checked=outcome.checked,
            limit_before=before,
            limit_after=after,
            cpu_ms={kind: seconds * 1000.0 / answered for kind, seconds in used.items()},
            request_rows=rows_per_request(rows_before, rows_after),
            batch_sizes=rows_per_execution(rows_before, rows_after),
        )
        self._points.append(point)
        if outcome.first_error:
            self._complain(session, case, outcome)
        how = f"at {rate:.0f}/s" if rate else f"{level} in flight"
        self._say(
            f"round {self._round + 1}: {session.variant.name}, {case.label}, {how}: "
            f"{point.texts_per_s:.0f} texts/s ({point.share:.2f} of the limit), "
            f"p50 {point.p50_ms:.1f} ms, p99 {point.p99_ms:.1f} ms"
            + (f", errors {outcome.errors}" if outcome.errors else "")
        )
        return point, after

    def _complain(self, session: "_Session", case: Case, outcome: Outcome) -> None:
        name = f"{session.variant.name}, {case.label}"
        self._complaints.setdefault(name, outcome.first_error)


@dataclass(frozen=True, kw_only=True)
class _Session:
    """A started variant."""

    variant: Variant
    address: str
    processes: ServerProcesses
    metrics_urls: list[str]


def rotated(items: Sequence[T], by: int) -> list[T]:
    """The items, beginning with another one each time; every other time backwards."""
    if not items:
        return []
    start = by % len(items)
    turned = [*items[start:], *items[:start]]
    return [turned[0], *turned[:0:-1]] if by % 2 else turned


@contextmanager
def frozen(processes: ServerProcesses) -> Iterator[None]:
    """Nothing of the server runs within the block."""
    processes.freeze()
    try:
        yield
    finally:
        processes.thaw()


def _number(value: float) -> float:
    """JSON has no NaN: 0 where nothing was answered."""
    return value if value == value else 0.0
