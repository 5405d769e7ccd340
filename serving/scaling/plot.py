"""A replay as a picture: pressure and numbers over time, one row a deployment."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serving.errors import StartupError
from serving.scaling.decide import Action
from serving.scaling.replay import Replayed

_WIDTH_INCHES = 10.0
_ROW_INCHES = 4.0
_DPI = 110
# Beyond it a row would show nothing but its highest moment.
_HIGHEST_PRESSURE = 5.0


def draw(replayed: Sequence[Replayed], path: Path) -> None:
    """Writes a PNG.

    Raises:
        StartupError: Matplotlib is not installed, or the file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise StartupError(
            f"a picture needs Matplotlib ({error}): pip install 'cartwright[loadtest]'"
        ) from error
    names = list(dict.fromkeys(moment.deployment for moment in replayed))
    figure: Any = Figure(
        figsize=(_WIDTH_INCHES, _ROW_INCHES * max(len(names), 1)), layout="constrained"
    )
    # No window system is asked for.
    FigureCanvasAgg(figure)
    began_s = min((moment.seen.time_s for moment in replayed), default=0.0)
    rows = figure.subplots(max(len(names), 1), 1, squeeze=False)[:, 0]
    for axis, name in zip(rows, names, strict=False):
        _draw_row(axis, [m for m in replayed if m.deployment == name], name, began_s)
    try:
        figure.savefig(path, dpi=_DPI, format="png")
    except OSError as error:
        raise StartupError(f"{path}: cannot be written: {error}") from error


def _draw_row(axis: Any, moments: Sequence[Replayed], name: str, began_s: float) -> None:
    times = [moment.seen.time_s - began_s for moment in moments]
    pressure = [
        float("nan") if m.decision.pressure is None else min(m.decision.pressure, _HIGHEST_PRESSURE)
        for m in moments
    ]
    axis.set_title(name)
    axis.set_xlabel("seconds")
    axis.set_ylabel("load as a share of its target")
    axis.plot(times, pressure, color="tab:gray", linewidth=1.0, label="pressure")
    axis.axhline(1.0, color="tab:gray", linewidth=0.7, linestyle=":")
    axis.set_ylim(bottom=0.0)
    numbers = axis.twinx()
    numbers.set_ylabel("replicas")
    recorded = [moment.recorded_target for moment in moments]
    decided = [moment.decision.target for moment in moments]
    numbers.step(
        times, recorded, where="post", color="tab:orange", linestyle="--", label="recorded"
    )
    numbers.step(times, decided, where="post", color="tab:blue", label="decided")
    for action, marker in ((Action.UP, "^"), (Action.DOWN, "v")):
        at = [i for i, moment in enumerate(moments) if moment.decision.action is action]
        numbers.plot([times[i] for i in at], [decided[i] for i in at], marker, color="tab:blue")
    numbers.set_ylim(0, max([*recorded, *decided, 1]) + 0.5)
    lines = [*axis.get_lines()[:1], *numbers.get_lines()[:2]]
    axis.legend(lines, [line.get_label() for line in lines], loc="upper right")
