"""One HTML page of a run that needs nothing but itself."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template

from loadtest.charts import line_chart
from loadtest.measures import Measure, Percentiles
from loadtest.record import Record, Sample
from loadtest.saturation import Overload
from loadtest.shapes import Shape
from loadtest.summary import Summary
from loadtest.thresholds import Verdict
from loadtest.timeline import Moment, moments, slowest_steps, trouble_names

PAGE = Path(__file__).with_name("report.html")
Cell = str | float | int | None


def render(
    *,
    title: str,
    address: str,
    began: str,
    record: Record,
    shape: Shape | None,
    summary: Summary,
    verdicts: Sequence[Verdict],
    failures: Sequence[str],
) -> str:
    """The page.

    Args:
        title: what was run, in a few words.
        address: which stack.
        began: when, for reading.
        record: what was measured.
        shape: the load, for the charts' background.
        summary: its figures.
        verdicts: thresholds held against it.
        failures: what failed besides thresholds.
    """
    failed = bool(failures) or any(not verdict.passed for verdict in verdicts)
    run = moments(record)
    return Template(PAGE.read_text(encoding="utf-8")).substitute(
        title=escape(title),
        address=escape(address),
        began=escape(began),
        state="FAIL" if failed else "pass",
        verdict="failed" if failed else "passed",
        warnings="".join(
            f'<p class="warning">{escape(text)}</p>' for text in (*failures, *summary.warnings)
        ),
        verdicts=_verdict_lines(verdicts),
        by_method=_measures("method", summary.by_method.items()),
        phases=_measures("phase", ((step.name, step.measured) for step in summary.phases)),
        overload="" if summary.overload is None else _overload(summary.overload),
        charts=_charts(run, shape),
        server_steps=_server_steps(summary),
        generator=_generator(summary, record.samples, shape),
    )


def _verdict_lines(verdicts: Sequence[Verdict]) -> str:
    if not verdicts:
        return '<p class="note">None were given.</p>'
    lines = (
        f'<div class="{verdict.line()[:4]}">{escape(verdict.line())}</div>' for verdict in verdicts
    )
    return "".join(lines)


def _measures(head: str, rows: Iterable[tuple[str, Measure]]) -> str:
    return _table(
        [head, "calls", "per s", "good per s", "p50 ms", "p90 ms", "p99 ms", "max ms", "outcomes"],
        (
            [
                name,
                measured.offered,
                measured.offered_per_s,
                measured.goodput_per_s,
                measured.admitted.p50_ms,
                measured.admitted.p90_ms,
                measured.admitted.p99_ms,
                measured.admitted.max_ms,
                ", ".join(f"{outcome} {count}" for outcome, count in measured.outcomes.items()),
            ]
            for name, measured in rows
        ),
    )


def _overload(found: Overload) -> str:
    during = found.during
    recovery = "not seen" if found.recovery_s is None else f"{found.recovery_s:g} s"
    retry = during.retry_after_share
    rows: list[list[Cell]] = [
        ["peak goodput a second", found.peak_goodput_per_s],
        ["goodput a second in the overload", found.goodput_per_s],
        ["as a share of the peak", f"{found.goodput_share:.1%}"],
        ["p99 of the admitted, ms", during.admitted.p99_ms],
        ["refused", f"{during.refused.count} of {during.sent}"],
        ["p50 of refusals, ms", during.refused.p50_ms],
        ["p99 of refusals, ms", during.refused.p99_ms],
        ["refusals with retry-after", "-" if retry is None else f"{retry:.1%}"],
        ["back to normal after", recovery],
    ]
    return "<h2>Overload</h2>" + _table(["", ""], rows)


def _charts(run: Sequence[Moment], shape: Shape | None) -> str:
    end_s = run[-1].at_s if run else 0.0
    times = [moment.at_s for moment in run]

    def chart(title: str, unit: str, **series: Sequence[float | None]) -> str:
        points = {
            name.replace("_", " "): list(zip(times, values, strict=True))
            for name, values in series.items()
        }
        return line_chart(title, unit, points, end_s=end_s, shape=shape)

    troubles = {
        name: [moment.troubles_per_s.get(name, 0.0) for moment in run]
        for name in trouble_names(run)
    }
    steps = {
        name: [moment.server_mean_ms.get(name) for moment in run] for name in slowest_steps(run)
    }
    return "".join(
        (
            chart(
                "Throughput",
                "calls a second",
                offered=[m.offered_per_s for m in run],
                goodput=[m.goodput_per_s for m in run],
            ),
            chart(
                "Latency",
                "ms",
                p50=[m.p50_ms for m in run],
                p90=[m.p90_ms for m in run],
                p99=[m.p99_ms for m in run],
            ),
            chart("Errors, refusals and degraded replies", "calls a second", **troubles),
            chart(
                "Refusals that say when to come back",
                "calls a second",
                with_retry_after=[m.with_retry_after_per_s for m in run],
            ),
            chart("Time of refusals, p99", "ms", refused=[m.refused_p99_ms for m in run]),
            chart(
                "Time to the first event of ConverseStream",
                "ms",
                p50=[m.first_event_p50_ms for m in run],
                p99=[m.first_event_p99_ms for m in run],
            ),
            chart("The server's own time by step, mean", "ms", **steps),
            chart("How late calls were sent, p99", "ms", lateness=[m.lateness_p99_ms for m in run]),
        )
    )


def _server_steps(summary: Summary) -> str:
    rows: list[list[Cell]] = [
        [method, step, values.count, *_percentiles(values)]
        for method, steps in summary.server_steps.items()
        for step, values in steps.items()
    ]
    return _table(["method", "step", "count", "p50 ms", "p90 ms", "p99 ms", "max ms"], rows)


def _generator(summary: Summary, samples: Sequence[Sample], shape: Shape | None) -> str:
    rows: list[list[Cell]] = [
        [process, f"{share:.0%}"] for process, share in summary.generator_cpu.items()
    ]
    table = _table(["process", "of a core, for nine tenths of the time at most"], rows)
    processes = sorted({sample.process for sample in samples})
    points = {
        f"process {process}": [
            (s.at_s, float(s.in_flight)) for s in samples if s.process == process
        ]
        for process in processes
    }
    end_s = max((sample.at_s for sample in samples), default=0.0)
    return table + line_chart("Calls under way", "calls", points, end_s=end_s, shape=shape)


def _percentiles(values: Percentiles) -> list[Cell]:
    return [values.p50_ms, values.p90_ms, values.p99_ms, values.max_ms]


def _table(heads: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in heads)
    body = "".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(value: Cell) -> str:
    if value is None:
        return '<td class="n">-</td>'
    if isinstance(value, str):
        return f"<td>{escape(value)}</td>"
    text = str(value) if isinstance(value, int) else f"{value:.1f}"
    return f'<td class="n">{text}</td>'
