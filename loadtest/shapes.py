"""Load over time: each shape is a pure function from seconds to a level, made of named phases.

A level is a number of users (closed model) or calls a second (open model); a shape does not care.
"""

from dataclasses import dataclass
from typing import Literal

# What a phase is for: the first seconds of `settle` count for nothing, `overload` is more than the
# system can do, `recovery` is what follows it.
Kind = Literal["settle", "normal", "peak", "overload", "recovery"]


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A piece of a shape: the level moves evenly from `from_level` to `to_level`."""

    name: str
    kind: Kind
    # Seconds since the start of the run; half-open.
    start_s: float
    end_s: float
    from_level: float
    to_level: float

    @property
    def duration_s(self) -> float:
        """Its length in seconds."""
        return self.end_s - self.start_s


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Phases one after the other, without gaps."""

    name: str
    phases: tuple[Phase, ...]

    @property
    def duration_s(self) -> float:
        """From the start to the end of the last phase, in seconds."""
        return self.phases[-1].end_s

    def level(self, at_s: float) -> float | None:
        """Users or calls a second at `at_s` seconds; None once the shape has ended."""
        for phase in self.phases:
            if at_s < phase.end_s:
                progress = max(at_s - phase.start_s, 0.0) / phase.duration_s
                return phase.from_level + progress * (phase.to_level - phase.from_level)
        return None

    def phase(self, at_s: float) -> Phase | None:
        """The phase at `at_s` seconds; None once the shape has ended."""
        return next((phase for phase in self.phases if at_s < phase.end_s), None)


class _Builder:
    """Puts phases one after the other."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._phases: list[Phase] = []
        self._at_s = 0.0

    def add(
        self, name: str, kind: Kind, duration_s: float, level: float, to_level: float | None = None
    ) -> "_Builder":
        if duration_s > 0:
            self._phases.append(
                Phase(
                    name=name,
                    kind=kind,
                    start_s=self._at_s,
                    end_s=self._at_s + duration_s,
                    from_level=level,
                    to_level=level if to_level is None else to_level,
                )
            )
            self._at_s += duration_s
        return self

    def shape(self) -> Shape:
        return Shape(name=self._name, phases=tuple(self._phases))


def soak(*, level: float, ramp_s: float, hold_s: float) -> Shape:
    """Rises evenly to `level` and stays there."""
    _require_positive(level=level, hold_s=hold_s)
    _require_not_negative(ramp_s=ramp_s)
    return (
        _Builder("soak")
        .add("ramp", "settle", ramp_s, 0.0, level)
        .add("hold", "normal", hold_s, level)
        .shape()
    )


def steps(*, level: float, factor: float, count: int, hold_s: float) -> Shape:
    """Geometric steps up, to find the knee: level, level x factor, ... each for `hold_s`."""
    _require_positive(level=level, hold_s=hold_s, count=count)
    if factor <= 1:
        raise ValueError(f"factor must be above 1, got {factor:g}")
    builder = _Builder("steps")
    for index in range(count):
        height = level * factor**index
        builder.add(f"step {index + 1}: {height:.4g}", "normal", hold_s, height)
    return builder.shape()


def spike(*, level: float, factor: float, before_s: float, spike_s: float, after_s: float) -> Shape:
    """Calm, at once `factor` times as much for a short while, and calm again."""
    _require_positive(level=level, before_s=before_s, spike_s=spike_s, after_s=after_s)
    if factor <= 1:
        raise ValueError(f"factor must be above 1, got {factor:g}")
    return (
        _Builder("spike")
        .add("calm", "normal", before_s, level)
        .add("spike", "overload", spike_s, level * factor)
        .add("after", "recovery", after_s, level)
        .shape()
    )


def overload(
    *, saturation: float, half_s: float, peak_s: float, twice_s: float, recovery_s: float
) -> Shape:
    """Half of saturation, saturation, twice saturation, and half again."""
    _require_positive(
        saturation=saturation,
        half_s=half_s,
        peak_s=peak_s,
        twice_s=twice_s,
        recovery_s=recovery_s,
    )
    return (
        _Builder("overload")
        .add("half", "normal", half_s, saturation / 2)
        .add("saturation", "peak", peak_s, saturation)
        .add("twice", "overload", twice_s, saturation * 2)
        .add("recovery", "recovery", recovery_s, saturation / 2)
        .shape()
    )


def _require_positive(**values: float) -> None:
    for name, value in values.items():
        # Written so that NaN fails as well.
        if not value > 0:
            raise ValueError(f"{name} must be above 0, got {value:g}")


def _require_not_negative(**values: float) -> None:
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"{name} must not be negative, got {value:g}")
