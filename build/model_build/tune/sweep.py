"""One sweep: successive halving over the points, interleaved with looks at the one in use."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from model_build.serving_profile import TunedHosting
from model_build.tune.choose import WIDEST_BAND, Choice, choose, nearest, survivors
from model_build.tune.figures import Estimate, Look, drift, estimate, noise_band, scatter
from model_build.tune.host import PointFailed, PointHost
from model_build.tune.schedule import Stage, fitted, plan, visits
from serving.errors import StartupError

# Short looks may err by so much in p99, so that a point is not dropped for it.
_EARLY_P99_SLACK = 1.5
# Assumed where one single look at each point says nothing about noise.
_ASSUMED_DEVIATION = 0.1

# Told before each look: stage (from 1), stages, point, seconds since the start.
Watch = Callable[[int, int, TunedHosting, float], None]


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """What to measure, and for how long."""

    points: Sequence[TunedHosting]
    # Calibrates the others, and is a candidate as well.
    in_use: TunedHosting
    # Requests in flight under which the choice is made.
    concurrency: int
    # Others to be shown.
    other_levels: tuple[int, ...]
    p99_limit_ms: float
    seconds: float
    # Time to load one point, as far as is known before.
    load_s: float = 0.8

    def stages(self) -> tuple[Stage, ...]:
        """The plan.

        Raises:
            ValueError: the time is too short; says how much is needed.
        """
        points = len(set(self.points) - {self.in_use})
        return plan(points, self.seconds, self.load_s, 1 + len(self.other_levels))


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """Everything that was measured, and what follows."""

    # Every point that could be measured, at the stated concurrency.
    estimates: tuple[Estimate, ...]
    # By another concurrency: the points that were looked at there.
    others: dict[int, dict[TunedHosting, Estimate]]
    # Points with the longest looks: those that may be chosen.
    finalists: tuple[TunedHosting, ...]
    failed: dict[TunedHosting, str]
    # How looks at one point scatter, as a share.
    deviation: float
    # Whether they are compared with looks at the point in use beside them.
    calibrated: bool
    # How much two finalists may differ by chance, as a share.
    noise: float
    # Finalists whose throughput differs by no more count as equal: the noise, within limits.
    noise_band: float
    # None: no point keeps the bound.
    choice: Choice | None
    # The finalist that misses the bound by least, or is furthest below it.
    nearest: Estimate
    seconds: float

    def of(self, point: TunedHosting) -> Estimate | None:
        """The estimate of a point at the stated concurrency, if it could be measured."""
        return next((e for e in self.estimates if e.point == point), None)


@dataclass
class _Sweep:
    """The looks so far."""

    host: PointHost
    options: SweepOptions
    watch: Watch
    looks: dict[TunedHosting, list[Look]] = field(default_factory=dict)
    others: dict[int, dict[TunedHosting, list[Look]]] = field(default_factory=dict)
    failed: dict[TunedHosting, str] = field(default_factory=dict)

    async def visit(self, point: TunedHosting, stage: Stage, levels: Sequence[int]) -> None:
        """Looks at a point; one that fails is never looked at again.

        Raises:
            StartupError: it is the one in use, which everything is compared with.
        """
        if point in self.failed:
            return
        try:
            await self.host.load(point)
            look = await self.host.look(point, self.options.concurrency, stage.look_s)
            self.looks.setdefault(point, []).append(look)
            for level in levels:
                look = await self.host.look(point, level, stage.look_s / 2)
                self.others.setdefault(level, {}).setdefault(point, []).append(look)
        except PointFailed as error:
            if point == self.options.in_use:
                raise StartupError(
                    f"{point.label}, the hosting in use, cannot be measured: {error}"
                ) from error
            self.failed[point] = str(error)
            self.looks.pop(point, None)

    def estimates(self, points: Sequence[TunedHosting], *, calibrated: bool) -> list[Estimate]:
        """Of those of the points that could be measured."""
        in_use = self.options.in_use
        speed = drift(self.looks[in_use]) if calibrated else None
        return [
            # Its own looks are what the drift is read from.
            estimate(point, self.looks[point], None if point == in_use else speed)
            for point in points
            if point in self.looks
        ]

    def early_band(self) -> float:
        """How much two single looks may differ, within limits."""
        repeats = [look.requests_per_s for look in self.looks[self.options.in_use]]
        return min(noise_band(scatter([repeats]) or _ASSUMED_DEVIATION, 1), 2 * WIDEST_BAND)


async def sweep(
    host: PointHost, options: SweepOptions, rng: np.random.Generator, watch: Watch
) -> SweepResult:
    """Measures within `options.seconds`; the server is up already.

    Raises:
        StartupError: the point in use cannot be measured, or the time is too short.
    """
    began_s = host.now_s
    try:
        stages = options.stages()
    except ValueError as error:
        raise StartupError(str(error)) from error
    run = _Sweep(host, options, watch)
    alive = [point for point in options.points if point != options.in_use]
    load_s = options.load_s
    for number, stage in enumerate(stages, start=1):
        if number > 1:
            bound_ms = options.p99_limit_ms * _EARLY_P99_SLACK
            known = run.estimates(alive, calibrated=True)
            alive = survivors(known, stage.points, bound_ms, run.early_band())
            load_s = 0.0
        left_s = options.seconds - (host.now_s - began_s)
        share = _seconds(stage, options, load_s) / sum(
            _seconds(s, options, load_s) for s in stages[number - 1 :]
        )
        stage = fitted(
            len(alive),
            stage.passes,
            left_s * share,
            load_s,
            1 + len(options.other_levels),
            all_levels=stage.all_levels,
        )
        for done in range(stage.passes):
            pass_s = _seconds(stage, options, 0.0) / stage.passes
            if done and options.seconds - (host.now_s - began_s) < pass_s:
                break
            order = visits(alive, options.in_use, rng)
            for place, point in enumerate(order):
                watch(number, len(stages), point, host.now_s - began_s)
                repeated = point == options.in_use and place > 0
                wanted = stage.all_levels and not repeated
                await run.visit(point, stage, options.other_levels if wanted else ())
    finalists = (*(point for point in alive if point in run.looks), options.in_use)
    return _result(run, finalists, host.now_s - began_s)


def _seconds(stage: Stage, options: SweepOptions, load_s: float) -> float:
    return stage.seconds(load_s, 1 + len(options.other_levels))


def _result(run: _Sweep, finalists: tuple[TunedHosting, ...], seconds: float) -> SweepResult:
    """Takes the looks as they are or calibrated, whichever scatters less."""
    in_use = run.options.in_use
    scatters: dict[bool, float] = {}
    for calibrated in (True, False):
        found = scatter(
            [e.speeds for e in run.estimates(finalists, calibrated=calibrated) if e.point != in_use]
        )
        if found is not None:
            scatters[calibrated] = found
    calibrated = bool(scatters) and min(scatters, key=lambda key: scatters[key])
    deviation = scatters.get(
        calibrated,
        scatter([[look.requests_per_s for look in run.looks[in_use]]]) or _ASSUMED_DEVIATION,
    )
    final = run.estimates(finalists, calibrated=calibrated)
    # Of the typical finalist; the one in use has more looks than the others.
    noise = noise_band(deviation, int(median(e.looks for e in final)))
    band = min(noise, WIDEST_BAND)
    return SweepResult(
        estimates=tuple(run.estimates(list(run.looks), calibrated=calibrated)),
        others={
            level: {point: estimate(point, looks) for point, looks in found.items()}
            for level, found in sorted(run.others.items())
        },
        finalists=finalists,
        failed=run.failed,
        deviation=deviation,
        calibrated=calibrated,
        noise=noise,
        noise_band=band,
        choice=choose(final, run.options.p99_limit_ms, band),
        nearest=nearest(final),
        seconds=seconds,
    )
