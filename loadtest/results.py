"""What is left of a run: lines on the terminal, a page, JSON and CSV, and the exit code."""

import csv
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtest.plan import Plan
from loadtest.record import Record
from loadtest.report import render
from loadtest.summary import Summary, summarise
from loadtest.thresholds import Thresholds, Verdict, judge
from loadtest.timeline import moments, slowest_steps, trouble_names

PASSED = 0
MISSED = 1


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run that has ended, or that is still going on."""

    plan: Plan
    address: str
    # Unix time in seconds.
    began_at: float
    record: Record
    # Defects of the generator itself: exceptions that users raised.
    defects: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Conclusion:
    """A run held against its thresholds."""

    run: Run
    summary: Summary
    verdicts: list[Verdict]

    @property
    def exit_code(self) -> int:
        """0 if everything that was asked for holds."""
        missed = any(not verdict.passed for verdict in self.verdicts)
        return MISSED if missed or self.run.defects else PASSED

    @property
    def title(self) -> str:
        """What was run, in a few words."""
        plan = self.run.plan
        shape = "users set by hand" if plan.shape is None else f"shape {plan.shape.name}"
        return f"model {plan.model}, {shape}, deadline {plan.deadline_ms:g} ms"

    def lines(self) -> list[str]:
        """For the terminal."""
        total = self.summary.total
        counts = ", ".join(f"{name} {count}" for name, count in total.outcomes.items())
        lines = [
            f"{self.title}, {self.run.address}",
            f"judged: {total.offered} calls, {total.goodput_per_s:.1f} good a second ({counts})",
        ]
        for method, measured in self.summary.by_method.items():
            values = measured.admitted
            if values.p50_ms is not None and values.p99_ms is not None:
                lines.append(
                    f"  {method:<15} {measured.offered:>6} calls   "
                    f"p50 {values.p50_ms:7.1f} ms   p99 {values.p99_ms:7.1f} ms"
                )
        if self.summary.knee is not None:
            knee = self.summary.knee
            level = "before the first step" if knee.level is None else f"at level {knee.level:.4g}"
            lines.append(f"knee {level}; peak goodput {knee.peak_goodput_per_s:.1f} a second")
        if self.summary.overload is not None:
            found = self.summary.overload
            recovery = "not seen" if found.recovery_s is None else f"after {found.recovery_s:g} s"
            lines.append(
                f"overload: goodput {found.goodput_per_s:.1f} a second, "
                f"{found.goodput_share:.1%} of the peak; p99 of the admitted "
                f"{_ms(found.during.admitted.p99_ms)}; {found.during.refused.count} refusals, "
                f"p50 {_ms(found.during.refused.p50_ms)}, p99 {_ms(found.during.refused.p99_ms)}; "
                f"back to normal {recovery}"
            )
        lines += [f"WARNING {text}" for text in self.summary.warnings]
        lines += [f"FAIL a user raised: {text}" for text in self.run.defects]
        lines += [verdict.line() for verdict in self.verdicts]
        if self.verdicts or self.run.defects:
            lines.append("passed" if self.exit_code == PASSED else "failed")
        return lines

    def page(self) -> str:
        """The HTML report."""
        began = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.run.began_at))
        return render(
            title=self.title,
            address=self.run.address,
            began=began,
            record=self.run.record,
            shape=self.run.plan.shape,
            summary=self.summary,
            verdicts=self.verdicts,
            failures=[f"A user raised: {text}" for text in self.run.defects],
        )

    def write(self, folder: Path) -> None:
        """Writes report.html, summary.json, timeline.csv and methods.csv into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.html").write_text(self.page(), encoding="utf-8")
        document = {
            "title": self.title,
            "address": self.run.address,
            "began_at": self.run.began_at,
            "exit_code": self.exit_code,
            "thresholds": [
                {"name": v.name, "limit": v.limit, "value": v.value, "passed": v.passed}
                for v in self.verdicts
            ],
            **self.summary.document(),
        }
        text = json.dumps(document, indent=2) + "\n"
        (folder / "summary.json").write_text(text, encoding="utf-8")
        self._write_timeline(folder / "timeline.csv")
        self._write_methods(folder / "methods.csv")

    def _write_timeline(self, path: Path) -> None:
        run = moments(self.run.record)
        troubles, steps = trouble_names(run), slowest_steps(run)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(
                ["at_s", "offered_per_s", "goodput_per_s", "p50_ms", "p90_ms", "p99_ms"]
                + ["refused_p99_ms", "with_retry_after_per_s", "first_event_p50_ms"]
                + ["first_event_p99_ms", "lateness_p99_ms"]
                + [f"{name}_per_s" for name in troubles]
                + [f"server_{step}_mean_ms" for step in steps]
            )
            for m in run:
                writer.writerow(
                    [m.at_s, m.offered_per_s, m.goodput_per_s, m.p50_ms, m.p90_ms, m.p99_ms]
                    + [m.refused_p99_ms, m.with_retry_after_per_s, m.first_event_p50_ms]
                    + [m.first_event_p99_ms, m.lateness_p99_ms]
                    + [m.troubles_per_s.get(name, 0.0) for name in troubles]
                    + [m.server_mean_ms.get(step) for step in steps]
                )

    def _write_methods(self, path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(
                ["method", "outcome", "calls", "p50_ms", "p90_ms", "p99_ms", "max_ms", "per_s"]
            )
            for method, measured in self.summary.by_method.items():
                values = measured.admitted
                for outcome, count in measured.outcomes.items():
                    writer.writerow(
                        (
                            *(method, outcome, count, values.p50_ms, values.p90_ms),
                            *(values.p99_ms, values.max_ms, count / measured.duration_s),
                        )
                    )


def conclude(run: Run, thresholds: Thresholds | None) -> Conclusion:
    """Holds a run against its thresholds."""
    plan = run.plan
    summary = summarise(
        run.record,
        plan.shape,
        open_model=plan.open_model,
        deadline_ms=plan.deadline_ms,
        known_peak_per_s=plan.known_peak_per_s,
    )
    verdicts = [] if thresholds is None else judge(thresholds, summary)
    return Conclusion(run=run, summary=summary, verdicts=verdicts)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"
