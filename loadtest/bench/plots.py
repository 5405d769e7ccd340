"""A run as pictures: share of the limit, CPU by process, latencies."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadtest.bench.aims import ECHO, NULL
from loadtest.bench.cpu import is_model, is_ray
from loadtest.bench.results import Results
from loadtest.bench.summary import GENERATOR, Row, Summary

_DPI = 120
_CPU_LEVEL = 64
# What every way of serving is asked; the other methods are other work.
_SAME_WORK = ("Understand", "in the handler", "serve.batch", "batch 1", "batch 8")
_PERCENTILES = ("p50", "p90", "p99")
_STEPS = "steps in deployments"


def write_plots(results: Results, summary: Summary, folder: Path) -> list[Path]:
    """Writes the pictures; returns those for which there is something to show."""
    import matplotlib as mpl

    # No window; chosen before pyplot is imported.
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, draw in (("share", _draw_share), ("cpu", _draw_cpu), ("latency", _draw_latency)):
        figure, axes = plt.subplots(figsize=(9, 5))
        if draw(axes, results, summary):
            path = folder / f"{name}.png"
            figure.tight_layout()
            # Without the date, so that equal figures give equal files.
            figure.savefig(path, dpi=_DPI, metadata={"Software": None})
            written.append(path)
        plt.close(figure)
    return written


def _draw_share(axes: Any, results: Results, summary: Summary) -> bool:
    """Share of the limit over the requests in flight, a line for each way of serving."""
    rows = [r for r in summary.rows if r.load == "closed" and r.method in _SAME_WORK]
    lines: dict[str, list[Row]] = {}
    for row in rows:
        # Those do no work: they would press all else against the axis.
        if row.variant not in (ECHO, NULL):
            lines.setdefault(_name(row), []).append(row)
    for name, members in lines.items():
        levels = [row.in_flight for row in members]
        middle = [row.share.median for row in members]
        axes.plot(levels, middle, marker="o", label=name)
        low, high = ([getattr(row.share, edge) for row in members] for edge in ("low", "high"))
        axes.fill_between(levels, low, high, alpha=0.15)
    axes.axhline(1.0, color="black", linewidth=1)
    axes.set_xscale("log", base=2)
    levels = sorted({row.in_flight for row in rows})
    axes.set_xticks(levels, [str(level) for level in levels])
    axes.set_ylim(bottom=0.0)
    axes.set_xlabel("requests in flight")
    axes.set_ylabel("texts/s as a share of the bare work")
    axes.set_title(f"The limit: {results.limit_setting}")
    if lines:
        axes.legend(fontsize="small")
    return bool(lines)


def _draw_cpu(axes: Any, _results: Results, summary: Summary) -> bool:
    """CPU milliseconds a text, stacked by process, at the level that shows most."""
    closed = [r for r in summary.rows if r.load == "closed"]
    levels = {row.in_flight for row in closed}
    level = _CPU_LEVEL if _CPU_LEVEL in levels else max(levels, default=0)
    rows = [row for row in closed if row.in_flight == level]
    bottoms = [0.0] * len(rows)
    from matplotlib import colormaps

    colours = colormaps["tab20"](range(20))
    groups = ("models", *_own_kinds(rows), _STEPS, "Ray's own", GENERATOR)
    for number, group in enumerate(groups):
        heights = [_group(row, group) for row in rows]
        if not any(heights):
            continue
        axes.bar(range(len(rows)), heights, bottom=bottoms, label=group, color=colours[number])
        bottoms = [b + h for b, h in zip(bottoms, heights, strict=True)]
    axes.set_xticks(range(len(rows)), [_name(row) for row in rows], rotation=30, ha="right")
    axes.set_ylabel("CPU ms a text")
    axes.set_title(f"CPU by process at {level} in flight")
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return bool(rows)


def _draw_latency(axes: Any, _results: Results, summary: Summary) -> bool:
    """Percentiles of the stack's methods, by level."""
    rows = [row for row in summary.rows if row.variant.startswith("stack")]
    width = 0.8 / len(_PERCENTILES)
    for number, percentile in enumerate(_PERCENTILES):
        heights = [getattr(row, f"{percentile}_ms").median for row in rows]
        places = [at + number * width for at in range(len(rows))]
        axes.bar(places, heights, width=width, label=percentile)
    names = [f"{row.variant.removeprefix('stack ')} {row.method} {row.level}" for row in rows]
    axes.set_xticks(
        [at + width for at in range(len(rows))], names, rotation=60, ha="right", fontsize="x-small"
    )
    axes.set_yscale("log")
    axes.set_ylabel("milliseconds")
    axes.set_title("Latency of the stack by method and requests in flight (or rate)")
    axes.legend(fontsize="small")
    return bool(rows)


def _own_kinds(rows: Sequence[Row]) -> list[str]:
    """Kinds of processes that have a colour of their own."""
    kinds = {kind for row in rows for kind in row.cpu.by_kind}
    return sorted(
        kind
        for kind in kinds
        if not is_model(kind)
        and not is_ray(kind)
        and not kind.startswith("step ")
        and kind != GENERATOR
    )


def _group(row: Row, group: str) -> float:
    if group == "models":
        return row.cpu.model
    if group == "Ray's own":
        return row.cpu.ray
    if group == _STEPS:
        return sum(ms for kind, ms in row.cpu.by_kind.items() if kind.startswith("step "))
    return row.cpu.by_kind.get(group, 0.0)


def _name(row: Row) -> str:
    return row.variant if row.method == "Understand" else f"{row.variant}, {row.method}"
