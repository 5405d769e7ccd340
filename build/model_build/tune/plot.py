"""Throughput against p99 as a PNG. Matplotlib comes with the extra `loadtest`."""

import importlib.util
from pathlib import Path

from model_build.tune.choose import pareto_front
from model_build.tune.sweep import SweepOptions, SweepResult

MISSING = "no plot: Matplotlib is not installed; run `pip install 'cartwright[loadtest]'`"


def can_plot() -> bool:
    """Whether Matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def write_plot(path: Path, model: str, options: SweepOptions, result: SweepResult) -> None:
    """Draws every point, the front, the bound, the choice and the hosting in use.

    Raises:
        OSError: the file cannot be written.
    """
    # Imported late: it takes a second, and may be missing.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 6.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    on_front = pareto_front(result.estimates)
    front = sorted(
        (e for e in result.estimates if e.point in on_front), key=lambda e: e.requests_per_s
    )
    rest = [e for e in result.estimates if e.point not in on_front]
    axes.scatter(
        [e.requests_per_s for e in rest],
        [e.p99_ms for e in rest],
        color="0.65",
        label="dominated",
    )
    axes.plot(
        [e.requests_per_s for e in front],
        [e.p99_ms for e in front],
        marker="o",
        color="tab:blue",
        label="front",
    )
    for found in front:
        axes.annotate(
            found.point.label,
            (found.requests_per_s, found.p99_ms),
            textcoords="offset points",
            xytext=(6, -11),
            fontsize=8,
        )
    for label, marker, point in (
        ("in use", "s", options.in_use),
        ("chosen", "*", result.choice.chosen.point if result.choice else None),
    ):
        marked = None if point is None else result.of(point)
        if marked is not None:
            axes.scatter(
                [marked.requests_per_s],
                [marked.p99_ms],
                marker=marker,
                s=220,
                facecolors="none",
                edgecolors="tab:red" if label == "chosen" else "black",
                label=f"{label}: {marked.point.label}",
            )
    highest_ms = max(e.p99_ms for e in result.estimates)
    # A bound far above everything would leave the points no room.
    if options.p99_limit_ms <= 2.0 * highest_ms:
        axes.axhline(options.p99_limit_ms, linestyle="--", color="tab:red", linewidth=1.0)
    axes.set_xlabel("requests/s")
    axes.set_ylabel("p99, ms")
    axes.set_ylim(bottom=0.0)
    axes.margins(x=0.12)
    axes.set_title(
        f"{model}, {options.concurrency} in flight; "
        f"points within {result.noise_band:.1%} are not told apart"
    )
    axes.legend()
    figure.savefig(path, dpi=120)
