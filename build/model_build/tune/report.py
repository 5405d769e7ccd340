"""What a sweep found, as a table, as lines and as JSON."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.table import Table

from model_build.serving_profile import TunedHosting
from model_build.tune.choose import keeps, pareto_front
from model_build.tune.figures import Estimate
from model_build.tune.sweep import SweepOptions, SweepResult

_COLUMNS = (
    *("instances\nx threads", "batch\nup to", "delay\nus", "looks", "req/s", "p50\nms", "p99\nms"),
    *("rows/\nbatch", "CPU ms\n/req", "MiB"),
)
# Cores that a generator of one process may keep busy before it is what is measured.
_GENERATOR_CORES = 0.8


def table(model: str, options: SweepOptions, result: SweepResult) -> Table:
    """All points, the fastest first, with what speaks for and against each."""
    front = pareto_front(result.estimates)
    shown = Table(
        title=f"{model}, {options.concurrency} in flight: requests/s against p99",
        title_justify="left",
        title_style="bold",
        box=None,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for column in _COLUMNS:
        shown.add_column(column, justify="right", no_wrap=True)
    for level in options.other_levels:
        shown.add_column(f"at {level}:\nreq/s, p99", justify="right", no_wrap=True)
    shown.add_column("", no_wrap=True)
    for found in sorted(result.estimates, key=lambda e: -e.requests_per_s):
        point = found.point
        chosen = result.choice is not None and point == result.choice.chosen.point
        shown.add_row(
            f"{point.instances} x {point.intra_op_threads}",
            str(point.max_batch_rows),
            str(point.max_queue_delay_microseconds),
            str(found.looks),
            f"{found.requests_per_s:.0f}",
            f"{found.p50_ms:.1f}",
            f"{found.p99_ms:.1f}",
            f"{found.mean_batch_rows:.1f}",
            f"{found.cpu_ms:.2f}",
            f"{found.memory_mib:.0f}",
            *(_at(result, level, point) for level in options.other_levels),
            ", ".join(_remarks(found, options, result, on_front=point in front)),
            style="bold" if chosen else "" if point in front else "dim",
        )
    return shown


def lines(options: SweepOptions, result: SweepResult) -> Iterator[str]:
    """The noise, the choice and the warnings, a sentence each."""
    beside = ", compared with the hosting in use beside them" if result.calibrated else ""
    yield (
        f"noise: looks at one point scatter by {result.deviation:.1%}{beside}; points within "
        f"{result.noise_band:.1%} of the fastest count as equal"
    )
    if result.noise > result.noise_band:
        yield (
            f"warning: two points may differ by {result.noise:.0%} by chance, so that another run "
            "may choose another point; give more --minutes, or a machine at rest"
        )
    busiest = max(result.estimates, key=lambda e: e.generator_cores)
    if busiest.generator_cores > _GENERATOR_CORES:
        yield (
            f"warning: at {busiest.point.label} the load generator kept "
            f"{busiest.generator_cores:.2f} cores busy, about what one process can; the model may "
            "be faster than it looks"
        )
    for point, reason in result.failed.items():
        yield f"left out: {point.label}: {' '.join(reason.split())}"
    choice = result.choice
    if choice is None:
        return
    yield (
        f"fastest with p99 <= {options.p99_limit_ms:g} ms: {choice.fastest.point.label}, "
        f"{choice.fastest.requests_per_s:.0f} requests/s"
    )
    equals = ", ".join(point.label for point in choice.equivalent)
    yield f"as fast, within {result.noise_band:.1%}, the simplest first: {equals}"
    in_use = result.of(options.in_use)
    assert in_use is not None
    share = in_use.requests_per_s / choice.fastest.requests_per_s
    if not keeps(in_use, options.p99_limit_ms):
        verdict = f"misses the bound with {in_use.p99_ms:.1f} ms"
    elif options.in_use in choice.equivalent:
        verdict = "equivalent"
    elif share >= 1.0 - result.noise:
        verdict = "not told apart in this noise"
    else:
        verdict = "not equivalent"
    yield f"in use: {options.in_use.label}, {share:.0%} of the fastest: {verdict}"
    chosen = choice.chosen
    yield (
        f"chosen: {describe(chosen.point)}: {chosen.requests_per_s:.0f} requests/s, "
        f"p50 {chosen.p50_ms:.1f} ms, p99 {chosen.p99_ms:.1f} ms, {chosen.cpu_ms:.2f} ms CPU and "
        f"{chosen.mean_batch_rows:.1f} rows a batch, {chosen.memory_mib:.0f} MiB"
    )


def describe(point: TunedHosting) -> str:
    """A point in words."""
    copies = "1 instance" if point.instances == 1 else f"{point.instances} instances"
    threads = "1 thread" if point.intra_op_threads == 1 else f"{point.intra_op_threads} threads"
    return (
        f"{copies} of {threads}, batches of up to {point.max_batch_rows}, "
        f"queue delay {point.max_queue_delay_microseconds} us"
    )


def document(model: str, options: SweepOptions, result: SweepResult) -> dict[str, Any]:
    """Everything, JSON-compatible."""
    front = pareto_front(result.estimates)
    choice = result.choice
    return {
        "model": model,
        "concurrency": options.concurrency,
        "p99_limit_ms": options.p99_limit_ms,
        "seconds": round(result.seconds, 1),
        "scatter": result.deviation,
        "calibrated": result.calibrated,
        "noise": result.noise,
        "noise_band": result.noise_band,
        "in_use": options.in_use.label,
        "chosen": choice.chosen.point.label if choice else None,
        "fastest": choice.fastest.point.label if choice else None,
        "equivalent": [point.label for point in choice.equivalent] if choice else [],
        "failed": {point.label: reason for point, reason in result.failed.items()},
        "points": [
            {
                "label": found.point.label,
                "on_front": found.point in front,
                "finalist": found.point in result.finalists,
                **_figures(found),
                "other_levels": {
                    str(level): _figures(estimates[found.point])
                    for level, estimates in result.others.items()
                    if found.point in estimates
                },
            }
            for found in result.estimates
        ],
    }


def _figures(found: Estimate) -> dict[str, Any]:
    figures = asdict(found)
    figures["point"] = found.point.model_dump()
    figures["batches"] = {str(rows): count for rows, count in found.batches.items()}
    return figures


def _at(result: SweepResult, level: int, point: TunedHosting) -> str:
    found = result.others.get(level, {}).get(point)
    return f"{found.requests_per_s:.0f}, {found.p99_ms:.1f}" if found else ""


def _remarks(
    found: Estimate, options: SweepOptions, result: SweepResult, *, on_front: bool
) -> Iterator[str]:
    if result.choice is not None and found.point == result.choice.chosen.point:
        yield "chosen"
    if found.point == options.in_use:
        yield "in use"
    if found.errors:
        yield f"{found.errors} failed"
    elif not keeps(found, options.p99_limit_ms):
        yield "too late"
    yield "front" if on_front else "dominated"
