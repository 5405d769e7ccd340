"""A machine that is not there, to be tuned: its speed drifts, looks are noisy, time is its own."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from model_build.serving_profile import (
    Machine,
    ServingProfile,
    TunedFigures,
    TunedHosting,
    TunedLoad,
)
from model_build.tune.figures import Look
from model_build.tune.grid import Axes
from model_build.tune.host import PointFailed
from model_build.tune.schedule import LEAD_IN_S
from model_build.tune.sweep import SweepOptions, SweepResult, sweep

POINTS = Axes(
    lanes=((1, 1), (1, 2), (2, 1), (2, 2), (4, 1)),
    delays_microseconds=(0, 500, 2000),
    batch_rows=(1, 8, 32),
).points()
IN_USE = TunedHosting(
    instances=1, intra_op_threads=2, max_queue_delay_microseconds=2000, max_batch_rows=32
)
LOAD_S = 0.5


def true_speed(point: TunedHosting) -> float:
    """Two instances of one thread are best; more do not help, waiting harms."""
    lane = {(1, 1): 420.0, (1, 2): 500.0, (2, 1): 700.0, (2, 2): 690.0, (4, 1): 705.0}
    speed = lane[point.instances, point.intra_op_threads]
    return speed * (1.0 - point.max_queue_delay_microseconds / 10_000)


@dataclass
class SimulatedHost:
    """Hosts points on a machine that is not there."""

    rng: np.random.Generator
    noise: float = 0.04
    drift: float = 0.3
    broken: frozenset[TunedHosting] = frozenset()
    now_s: float = 0.0
    loaded: set[TunedHosting] = field(default_factory=set)
    looked: Counter[TunedHosting] = field(default_factory=Counter)
    levels: set[int] = field(default_factory=set)

    async def load(self, point: TunedHosting) -> None:
        if point not in self.loaded:
            self.loaded.add(point)
            self.now_s += LOAD_S

    async def look(self, point: TunedHosting, concurrency: int, seconds: float) -> Look:
        assert point in self.loaded
        if point in self.broken:
            raise PointFailed("broken on purpose")
        self.looked[point] += 1
        self.levels.add(concurrency)
        self.now_s += seconds + LEAD_IN_S
        machine = 1.0 + self.drift * np.sin(self.now_s / 40.0)
        speed = true_speed(point) * machine * np.exp(self.noise * self.rng.normal())
        # What a closed load sees: all in flight are answered in turn.
        p50_ms = 1000.0 * concurrency / speed
        return Look(
            at_s=self.now_s - seconds / 2,
            concurrency=concurrency,
            requests=int(speed * seconds),
            errors=0,
            requests_per_s=speed,
            p50_ms=p50_ms,
            p99_ms=p50_ms * 1.8,
            server_cpu_ms=0.3,
            instances_cpu_ms=1.6,
            generator_cpu_ms=0.2,
            batches={1: int(speed * seconds)},
            memory_mib=80.0 * point.instances,
        )


def sweep_options(**changes: object) -> SweepOptions:
    values: dict[str, object] = {
        "points": POINTS,
        "in_use": IN_USE,
        "concurrency": 8,
        "other_levels": (1, 32),
        "p99_limit_ms": 40.0,
        "seconds": 175.0,
    }
    return SweepOptions(**{**values, **changes})  # type: ignore[arg-type]


async def run_sweep(
    host: SimulatedHost, asked: SweepOptions, seed: int = 1
) -> tuple[SweepResult, list[int]]:
    """The result, and the stage of each look."""
    stages: list[int] = []
    result = await sweep(
        host, asked, np.random.default_rng(seed), lambda stage, *_: stages.append(stage)
    )
    return result, stages


def tuned_profile(model: str, hosting: TunedHosting) -> ServingProfile:
    """A profile with figures that nobody measured."""
    return ServingProfile(
        model=model,
        target="cpu",
        hosting=hosting,
        load=TunedLoad(concurrency=8, rows_per_request=1, p99_limit_ms=30.0),
        figures=TunedFigures(
            requests_per_s=812.5,
            p50_ms=9.1,
            p99_ms=19.5,
            cpu_ms_per_request=1.9,
            mean_batch_rows=1.1,
            instance_memory_mib=158.0,
            looks=6,
            noise_band=0.04,
        ),
        machine=Machine(processor="a CPU", cores=2, memory_gib=8.0, system="Linux"),
        versions={"model": "2", "tritonserver": "2.51.0"},
        tuned_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        command="cartwright models tune understanding --p99-ms 30",
    )
