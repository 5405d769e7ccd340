"""Medians over the rounds, with their spread: pure functions over the results."""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from loadtest.bench.cpu import is_model, is_ray
from loadtest.bench.results import IdlePoint, LimitPoint, Point, Results

GENERATOR = "load generator"


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Median of the rounds, with the lowest and the highest."""

    median: float
    low: float
    high: float

    @property
    def relative(self) -> float:
        """Half of the way from low to high, as a share of the median."""
        return (self.high - self.low) / 2.0 / self.median if self.median else math.nan


@dataclass(frozen=True, kw_only=True)
class Cpu:
    """CPU milliseconds a text, medians of the rounds."""

    by_kind: dict[str, float]
    model: float
    # Everything but the models, the load generator and Ray's own processes.
    around: float
    # Ray's own processes: controller, GCS, raylet …
    ray: float
    generator: float

    @property
    def outside(self) -> float:
        """Everything but the models and the load generator."""
        return self.around + self.ray


@dataclass(frozen=True, kw_only=True)
class Row:
    """One point over all rounds."""

    variant: str
    method: str
    load: str
    # Requests in flight of a closed load; 0 for an open one.
    in_flight: int
    rate: float
    rounds: int
    texts_per_s: Spread
    requests_per_s: Spread
    share: Spread
    p50_ms: Spread
    p90_ms: Spread
    p99_ms: Spread
    requests: int
    errors: dict[str, int]
    refused: int
    refused_p50_ms: Spread
    refused_p99_ms: Spread
    degraded: int
    wrong: int
    checked: int
    cpu: Cpu
    # Mean rows of one request to Triton and of one execution there, by model.
    request_rows: dict[str, float]
    batch_sizes: dict[str, float]

    @property
    def level(self) -> str:
        """E.g. "64", or "450/s" for an open load."""
        return f"{self.rate:.0f}/s" if self.load == "open" else str(self.in_flight)


@dataclass(frozen=True, kw_only=True)
class LimitRow:
    """One setting of the bare work over all rounds."""

    setting: str
    artifact: str
    batch: int
    order: str
    sessions: int
    threads: int
    texts_per_s: Spread
    cpu_ms_per_text: float


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A run in a few dozen rows."""

    rows: tuple[Row, ...]
    limits: tuple[LimitRow, ...]
    # The one that shares are of; None if it was not measured by itself.
    limit: LimitRow | None
    # Cores with nobody calling, by variant and kind of process.
    idle: dict[str, dict[str, float]]
    # The bare work beside every load, texts a second.
    calibrations: Spread

    def find(self, variant: str, method: str, in_flight: int, load: str = "closed") -> Row | None:
        """One row; None if it was not measured."""
        for row in self.rows:
            if (row.variant, row.method, row.load) == (variant, method, load) and (
                load == "open" or row.in_flight == in_flight
            ):
                return row
        return None

    def fastest(self, *orders: str) -> LimitRow | None:
        """The fastest bare work of the limit's artifact in one of these orders.

        Without any: one text after the other, where there is nothing to order.
        """
        if self.limit is None:
            return None
        rows = [
            row
            for row in self.limits
            if row.artifact == self.limit.artifact
            and (row.batch > 1 and row.order in orders if orders else row.batch == 1)
        ]
        return max(rows, key=lambda row: row.texts_per_s.median, default=None)

    def peak(self, variant: str, method: str) -> Row | None:
        """The closed load with the highest throughput; None if there was none."""
        rows = [
            r for r in self.rows if (r.variant, r.method, r.load) == (variant, method, "closed")
        ]
        return max(rows, key=lambda row: row.requests_per_s.median, default=None)


def summarise(results: Results) -> Summary:
    """Medians and spreads of a run, in the order in which points came first."""
    points: dict[tuple[str, str, str, int], list[Point]] = {}
    for point in results.points:
        points.setdefault(point.key, []).append(point)
    limits: dict[str, list[LimitPoint]] = {}
    for limit in results.limits:
        limits.setdefault(limit.setting, []).append(limit)
    rows = [_row(group) for group in points.values()]
    variants = list(dict.fromkeys(row.variant for row in rows))
    methods = list(dict.fromkeys(row.method for row in rows))
    rows.sort(
        key=lambda r: (variants.index(r.variant), methods.index(r.method), r.load, r.in_flight)
    )
    beside = [limit for p in results.points for limit in (p.limit_before, p.limit_after)]
    limit = limits.get(results.limit_setting)
    return Summary(
        rows=tuple(rows),
        limits=tuple(_limit_row(group) for group in limits.values()),
        limit=None if limit is None else _limit_row(limit),
        idle=_idle(results.idle),
        calibrations=spread(beside or [0.0]),
    )


def spread(values: Iterable[float]) -> Spread:
    """Median, lowest and highest of at least one value."""
    found = sorted(values)
    return Spread(median=statistics.median(found), low=found[0], high=found[-1])


def _row(group: Sequence[Point]) -> Row:
    first = group[0]

    def of(value: Callable[[Point], float]) -> Spread:
        return spread(value(point) for point in group)

    errors: dict[str, int] = {}
    for point in group:
        for code, count in point.errors.items():
            errors[code] = errors.get(code, 0) + count
    return Row(
        variant=first.variant,
        method=first.method,
        load=first.load,
        in_flight=0 if first.load == "open" else first.in_flight,
        rate=statistics.median(p.rate for p in group),
        rounds=len(group),
        texts_per_s=of(lambda p: p.texts_per_s),
        requests_per_s=of(lambda p: p.requests / p.seconds),
        share=of(lambda p: p.share),
        p50_ms=of(lambda p: p.p50_ms),
        p90_ms=of(lambda p: p.p90_ms),
        p99_ms=of(lambda p: p.p99_ms),
        requests=sum(p.requests for p in group),
        errors=errors,
        refused=sum(p.refused for p in group),
        refused_p50_ms=of(lambda p: p.refused_p50_ms),
        refused_p99_ms=of(lambda p: p.refused_p99_ms),
        degraded=sum(p.degraded for p in group),
        wrong=sum(p.wrong for p in group),
        checked=sum(p.checked for p in group),
        cpu=_cpu(group),
        request_rows=_medians([p.request_rows for p in group]),
        batch_sizes=_medians([p.batch_sizes for p in group]),
    )


def _cpu(group: Sequence[Point]) -> Cpu:
    by_kind = _medians(
        [{kind: ms / point.texts for kind, ms in point.cpu_ms.items()} for point in group]
    )
    return Cpu(
        by_kind=by_kind,
        model=sum(ms for kind, ms in by_kind.items() if is_model(kind)),
        around=sum(
            ms
            for kind, ms in by_kind.items()
            if not is_model(kind) and not is_ray(kind) and kind != GENERATOR
        ),
        ray=sum(ms for kind, ms in by_kind.items() if is_ray(kind)),
        generator=by_kind.get(GENERATOR, 0.0),
    )


def _medians(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """Median of each entry; one that is absent in a round counts as 0 there."""
    names = sorted({name for one in rounds for name in one})
    return {name: statistics.median(one.get(name, 0.0) for one in rounds) for name in names}


def _limit_row(group: Sequence[LimitPoint]) -> LimitRow:
    first = group[0]
    return LimitRow(
        setting=first.setting,
        artifact=first.artifact,
        batch=first.batch,
        order=first.order,
        sessions=first.sessions,
        threads=first.threads,
        texts_per_s=spread(p.texts_per_s for p in group),
        cpu_ms_per_text=statistics.median(p.cpu_ms_per_text for p in group),
    )


def _idle(points: Sequence[IdlePoint]) -> dict[str, dict[str, float]]:
    by_variant: dict[str, list[dict[str, float]]] = {}
    for point in points:
        by_variant.setdefault(point.variant, []).append(point.cores)
    return {variant: _medians(rounds) for variant, rounds in by_variant.items()}
