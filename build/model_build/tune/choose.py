"""Pareto front and choice."""

from collections.abc import Sequence
from dataclasses import dataclass

from model_build.serving_profile import TunedHosting
from model_build.tune.figures import Estimate
from model_build.tune.grid import simplicity

# However large the noise, no more of the throughput than this is given up for a simpler point.
WIDEST_BAND = 0.1


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The outcome of a sweep in which some point keeps the bound."""

    chosen: Estimate
    # Highest throughput within the bound; what the band is a share of.
    fastest: Estimate
    # Points that keep the bound and are as fast as the fastest, within the band; simplest first.
    equivalent: tuple[TunedHosting, ...]


def pareto_front(estimates: Sequence[Estimate]) -> set[TunedHosting]:
    """Points that no other beats in one of throughput and p99 without losing in the other.

    Points with failed requests are beaten by any.
    """
    sound = [e for e in estimates if not e.errors]
    return {e.point for e in sound if not any(_dominates(other, e) for other in sound)}


def keeps(estimate: Estimate, p99_limit_ms: float) -> bool:
    """Whether a point may be chosen."""
    return not estimate.errors and estimate.p99_ms <= p99_limit_ms


def choose(estimates: Sequence[Estimate], p99_limit_ms: float, noise_band: float) -> Choice | None:
    """The simplest of the points that are as fast as the fastest that keeps the bound.

    Args:
        estimates: points to choose from.
        p99_limit_ms: the bound.
        noise_band: share of the throughput within which points count as equal.

    Returns:
        None if none keeps the bound.
    """
    within = [e for e in estimates if keeps(e, p99_limit_ms)]
    if not within:
        return None
    fastest = max(within, key=lambda e: (e.requests_per_s, [-n for n in simplicity(e.point)]))
    equals = sorted(
        (e for e in within if e.requests_per_s >= fastest.requests_per_s * (1.0 - noise_band)),
        key=lambda e: simplicity(e.point),
    )
    return Choice(
        chosen=equals[0],
        fastest=fastest,
        equivalent=tuple(e.point for e in equals),
    )


def nearest(estimates: Sequence[Estimate]) -> Estimate:
    """The point that misses the bound by least; one without failed requests, if there is one."""
    return min(estimates, key=lambda e: (e.errors > 0, e.p99_ms, simplicity(e.point)))


def survivors(
    estimates: Sequence[Estimate], keep: int, p99_limit_ms: float, noise_band: float
) -> list[TunedHosting]:
    """The `keep` points that are worth a longer look.

    Half of the places go to the fastest; the others to the simplest that may be as fast, because
    one of these is what is chosen in the end. Points that miss the bound come last, the nearest
    first.

    Args:
        estimates: of all points still in.
        keep: how many stay at most.
        p99_limit_ms: bound, already widened by what short looks may err.
        noise_band: see `choose`.
    """
    within = sorted(
        (e for e in estimates if keeps(e, p99_limit_ms)),
        key=lambda e: (-e.requests_per_s, simplicity(e.point)),
    )
    missing = sorted(
        (e for e in estimates if not keeps(e, p99_limit_ms)),
        key=lambda e: (e.errors > 0, e.p99_ms, simplicity(e.point)),
    )
    fast = within[: (keep + 1) // 2]
    simple = sorted(
        (e for e in within if e.requests_per_s >= within[0].requests_per_s * (1.0 - noise_band)),
        key=lambda e: simplicity(e.point),
    )
    order = dict.fromkeys(e.point for e in (*fast, *simple, *within, *missing))
    return list(order)[:keep]


def _dominates(a: Estimate, b: Estimate) -> bool:
    no_worse = a.requests_per_s >= b.requests_per_s and a.p99_ms <= b.p99_ms
    return no_worse and (a.requests_per_s > b.requests_per_s or a.p99_ms < b.p99_ms)
