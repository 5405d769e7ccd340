"""Line charts as inline SVG: nothing to load, sharp at any size."""

from collections.abc import Mapping, Sequence
from html import escape

from loadtest.shapes import Shape

WIDTH, HEIGHT = 860, 250
LEFT, RIGHT, TOP, BOTTOM = 62, 16, 12, 34
COLOURS = (
    *("#1f6fb2", "#d9822b", "#2e8b57", "#b03a5b", "#6b52ae"),
    *("#8a6d3b", "#c94f9a", "#5f6b75", "#9aa61e", "#1e9aa6"),
)
BACKGROUNDS = {"overload": "#fbe4e0", "recovery": "#e6f3e6", "peak": "#fff4d6"}

# (seconds, value); a value of None interrupts the line.
Points = Sequence[tuple[float, float | None]]


def line_chart(
    title: str, unit: str, series: Mapping[str, Points], *, end_s: float, shape: Shape | None
) -> str:
    """One chart with its title and legend.

    Args:
        title: what is shown.
        unit: of the values, e.g. "ms".
        series: points by name, over seconds since the start of the run.
        end_s: right end of the time axis.
        shape: phases to shade in the background.
    """
    shown = {name: points for name, points in series.items() if any(v for _, v in points)}
    top = _nice_top(max((v or 0.0 for points in shown.values() for _, v in points), default=0.0))
    end_s = max(end_s, 1.0)

    def x(at_s: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(at_s / end_s, 1.0)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top

    parts = [
        f"<figure><figcaption>{escape(title)} <small>({escape(unit)})</small></figcaption>",
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
    ]
    for phase in () if shape is None else shape.phases:
        colour = BACKGROUNDS.get(phase.kind)
        if colour:
            parts.append(
                f'<rect x="{x(phase.start_s):.1f}" y="{TOP}" height="{HEIGHT - TOP - BOTTOM}" '
                f'width="{x(phase.end_s) - x(phase.start_s):.1f}" fill="{colour}">'
                f"<title>{escape(phase.name)}</title></rect>"
            )
    for tick in range(5):
        value = top * tick / 4
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" '
            f'class="grid"/><text x="{LEFT - 6}" y="{y(value) + 4:.1f}" class="left">{value:g}'
            "</text>"
        )
    for tick in range(7):
        at_s = end_s * tick / 6
        parts.append(
            f'<text x="{x(at_s):.1f}" y="{HEIGHT - BOTTOM + 18}" class="below">{at_s:.4g} s</text>'
        )
    for index, points in enumerate(shown.values()):
        parts += [
            f'<polyline points="{" ".join(f"{x(t):.1f},{y(v):.1f}" for t, v in run)}" '
            f'stroke="{COLOURS[index % len(COLOURS)]}"/>'
            for run in _unbroken(points)
        ]
    parts.append("</svg>")
    parts += [
        f'<span class="key"><i style="background:{COLOURS[index % len(COLOURS)]}"></i>'
        f"{escape(name)}</span>"
        for index, name in enumerate(shown)
    ]
    if not shown:
        parts.append('<span class="key">nothing was measured</span>')
    parts.append("</figure>")
    return "".join(parts)


def _unbroken(points: Points) -> list[list[tuple[float, float]]]:
    """The pieces of a line between its gaps; a lonely point becomes a short dash."""
    runs: list[list[tuple[float, float]]] = [[]]
    for at_s, value in points:
        if value is None:
            runs.append([])
        else:
            runs[-1].append((at_s, value))
    return [run if len(run) > 1 else [run[0], run[0]] for run in runs if run]


def _nice_top(value: float) -> float:
    """The least of 1, 2, 4, 5 or 10 times a power of ten that is not below the value."""
    if value <= 0:
        return 1.0
    power = 1.0
    while power * 10 <= value:
        power *= 10
    while power > value:
        power /= 10
    return next(power * step for step in (1, 2, 4, 5, 10) if power * step >= value)
