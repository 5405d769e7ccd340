"""A run in figures: what thresholds are held against and what the report shows."""

from dataclasses import asdict, dataclass
from typing import Any

from loadtest import generators
from loadtest.measures import Measure, Percentiles, Span, degraded_steps, measure, methods
from loadtest.measures import server_steps as measure_server_steps
from loadtest.record import Record
from loadtest.saturation import (
    Knee,
    Overload,
    Step,
    find_knee,
    find_overload,
    find_steps,
    settled_span,
)
from loadtest.shapes import Shape


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Figures of the judged time: the normal phases, or all that is not settling."""

    total: Measure
    by_method: dict[str, Measure]
    # Everything that was offered from the start to the end.
    whole_run: Measure
    phases: list[Step]
    server_steps: dict[str, dict[str, Percentiles]]
    degraded_steps: dict[str, int]
    # Of a `steps` shape.
    knee: Knee | None
    # Of a shape with more load than the system can carry.
    overload: Overload | None
    # Share of a core by generator process, stayed below for nine tenths of the time.
    generator_cpu: dict[str, float]
    warnings: list[str]

    def document(self) -> dict[str, Any]:
        """As JSON-compatible data, with the derived figures."""
        return {
            "total": _measure_document(self.total),
            "by_method": {name: _measure_document(m) for name, m in self.by_method.items()},
            "whole_run": _measure_document(self.whole_run),
            "phases": [
                {"name": step.name, "level": step.level, **_measure_document(step.measured)}
                for step in self.phases
            ],
            "server_steps": {
                method: {step: asdict(values) for step, values in steps.items()}
                for method, steps in self.server_steps.items()
            },
            "degraded_steps": self.degraded_steps,
            "knee": None if self.knee is None else asdict(self.knee),
            "overload": None if self.overload is None else _overload_document(self.overload),
            "generator_cpu": self.generator_cpu,
            "warnings": self.warnings,
        }


def summarise(
    record: Record,
    shape: Shape | None,
    *,
    open_model: bool,
    deadline_ms: float,
    known_peak_per_s: float = 0.0,
) -> Summary:
    """The figures of a run.

    Args:
        record: what was measured.
        shape: its load; None for users set by hand.
        open_model: whether calls arrived by a schedule.
        deadline_ms: of each call.
        known_peak_per_s: goodput that the stack reached before, for the overload's share.
    """
    end_s = _end_s(record)
    judged = _judged_spans(record, shape)
    total = measure(record, judged)
    # Without the wait for the last calls, in which a busy generator looks idle.
    load_ends_s = end_s if shape is None else shape.duration_s
    samples = [sample for sample in record.samples if sample.at_s < load_ends_s]
    is_steps = shape is not None and shape.name == "steps"
    steps = [] if shape is None else find_steps(record, shape)
    # The generator has to keep up in an overload as well, or it is none.
    whole = measure(record, [(0.0, end_s)])
    return Summary(
        total=total,
        by_method={name: measure(record, judged, name) for name in methods(record)},
        whole_run=whole,
        phases=steps,
        server_steps=measure_server_steps(record, judged),
        degraded_steps=degraded_steps(record, judged),
        knee=find_knee(steps, open_model=open_model) if is_steps else None,
        overload=None if shape is None else find_overload(record, shape, known_peak_per_s),
        generator_cpu=generators.cpu_share_p90(samples),
        warnings=generators.warnings(samples, whole, deadline_ms),
    )


def _judged_spans(record: Record, shape: Shape | None) -> list[Span]:
    if shape is None:
        return [(0.0, _end_s(record))]
    normal = [settled_span(phase) for phase in shape.phases if phase.kind == "normal"]
    return normal or [(0.0, shape.duration_s)]


def _end_s(record: Record) -> float:
    slots = [slot for slot, _, _ in record.cells]
    return (max(slots) + 1) * record.slot_s if slots else 0.0


def _measure_document(measured: Measure) -> dict[str, Any]:
    return {
        **asdict(measured),
        "offered": measured.offered,
        "sent": measured.sent,
        "failed_share": measured.failed_share,
        "offered_per_s": measured.offered_per_s,
        "goodput_per_s": measured.goodput_per_s,
        "retry_after_share": measured.retry_after_share,
    }


def _overload_document(overload: Overload) -> dict[str, Any]:
    return {
        "peak_goodput_per_s": overload.peak_goodput_per_s,
        "goodput_per_s": overload.goodput_per_s,
        "goodput_share": overload.goodput_share,
        "recovery_s": overload.recovery_s,
        "during": _measure_document(overload.during),
    }
