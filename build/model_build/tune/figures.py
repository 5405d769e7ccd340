"""From single looks to figures of a point: calibrated, as medians, with the noise between them.

A machine's speed drifts within minutes. One point, the one in use, is therefore looked at again and
again; what the others do is compared with what it did at about the same time.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import log, sqrt
from statistics import median

import numpy as np

from model_build.serving_profile import TunedHosting

# Two measurements that are closer than this are never told apart.
SMALLEST_BAND = 0.03
# Of a normal distribution: median of the distance of two draws, in standard deviations; standard
# error of a median over that of a mean.
_MEDIAN_DISTANCE = 0.6745 * sqrt(2.0)
_MEDIAN_ERROR = 1.2533
_CONFIDENCE = 2.0


@dataclass(frozen=True, kw_only=True)
class Look:
    """One measurement of one point."""

    # Seconds since the start of the sweep, in the middle of the look.
    at_s: float
    concurrency: int
    requests: int
    errors: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    # CPU time a request.
    server_cpu_ms: float
    instances_cpu_ms: float
    generator_cpu_ms: float
    # Rows of a batch -> how many such batches were run.
    batches: Mapping[int, int]
    # Proportional set size of all instances.
    memory_mib: float


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What all looks at one point under one load say: medians."""

    point: TunedHosting
    looks: int
    errors: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    server_cpu_ms: float
    instances_cpu_ms: float
    generator_cpu_ms: float
    # Cores that the load generator kept busy; near 1 it is the generator that was measured.
    generator_cores: float
    batches: Mapping[int, int]
    memory_mib: float
    # Requests/s of each look, calibrated.
    speeds: tuple[float, ...]

    @property
    def cpu_ms(self) -> float:
        """CPU time of server and instances a request."""
        return self.server_cpu_ms + self.instances_cpu_ms

    @property
    def mean_batch_rows(self) -> float:
        """Rows of an average batch; 0 if none was run."""
        runs = sum(self.batches.values())
        return sum(rows * count for rows, count in self.batches.items()) / runs if runs else 0.0


def drift(calibration: Sequence[Look]) -> Callable[[float], float]:
    """The speed of the machine over time: 1 is its median over the whole sweep.

    Args:
        calibration: looks at one and the same point, at least one of them with an answer.

    Returns:
        A function of seconds since the start; between two looks it is interpolated.
    """
    answered = sorted((look.at_s, look.requests_per_s) for look in calibration if look.requests)
    if not answered:
        raise ValueError("calibration: no look has an answered request")
    times, speeds = zip(*answered, strict=True)
    middle = float(median(speeds))

    def at(seconds: float) -> float:
        return float(np.interp(seconds, times, speeds)) / middle

    return at


def estimate(
    point: TunedHosting, looks: Sequence[Look], speed: Callable[[float], float] | None = None
) -> Estimate:
    """Medians over looks under the same load.

    Args:
        point: what was looked at.
        looks: at least one.
        speed: see `drift`; without it throughput is taken as it was measured. Latencies always are,
            because their bound is absolute.
    """
    if not looks:
        raise ValueError(f"{point.label}: no look")
    speeds = tuple(
        look.requests_per_s / (speed(look.at_s) if speed is not None else 1.0) for look in looks
    )
    batches: Counter[int] = Counter()
    for look in looks:
        batches.update(look.batches)
    return Estimate(
        point=point,
        looks=len(looks),
        errors=sum(look.errors for look in looks),
        requests_per_s=median(speeds),
        p50_ms=median(look.p50_ms for look in looks),
        p99_ms=median(look.p99_ms for look in looks),
        server_cpu_ms=median(look.server_cpu_ms for look in looks),
        instances_cpu_ms=median(look.instances_cpu_ms for look in looks),
        generator_cpu_ms=median(look.generator_cpu_ms for look in looks),
        generator_cores=median(
            look.generator_cpu_ms * look.requests_per_s / 1000.0 for look in looks
        ),
        batches=dict(sorted(batches.items())),
        memory_mib=median(look.memory_mib for look in looks),
        speeds=speeds,
    )


def scatter(repeats: Sequence[Sequence[float]]) -> float | None:
    """Standard deviation of repeated measurements, as a share of their size.

    From the median distance of two measurements of the same thing, so that a few spoilt ones do not
    count (the idea of the Shamos estimator).

    Args:
        repeats: measurements (positive) of one thing each.

    Returns:
        None if nothing was measured twice.
    """
    distances = [
        abs(log(a / b)) for values in repeats for a, b in combinations(values, 2) if a > 0 and b > 0
    ]
    return median(distances) / _MEDIAN_DISTANCE if distances else None


def noise_band(deviation: float, looks: int) -> float:
    """How much two medians of `looks` looks each may differ by chance, as a share."""
    return max(SMALLEST_BAND, _CONFIDENCE * _MEDIAN_ERROR * sqrt(2.0 / looks) * deviation)
