"""What the stack aims at, and whether a run met it: pure functions over a summary."""

from dataclasses import dataclass

from loadtest.bench.summary import Row, Summary
from serving.settings import ObjectiveSettings

STACK = "stack inline"
RAY_DEFAULTS = "Ray Serve defaults"
OVERLOAD = "stack overload"
ECHO = "Ray Serve echo"
NULL = "null model"
PLAIN = "plain grpc.aio"
# Where the model runs in the process that serves it: its CPU time is not known apart.
IN_PROCESS = (RAY_DEFAULTS, PLAIN)
_OBJECTIVES = ObjectiveSettings()
# Within which a refused caller knows.
_REFUSAL_MS = 20.0
# Replies that may name another intent than the reference, of those that were checked.
MOST_WRONG = 0.03


@dataclass(frozen=True, kw_only=True)
class Aim:
    """One aim. `met` is None when it was not measured."""

    text: str
    measured: str
    met: bool | None

    @property
    def verdict(self) -> str:
        """In a word."""
        return {True: "yes", False: "no", None: "not measured"}[self.met]


def aims(summary: Summary) -> list[Aim]:
    """Every aim with what the run measured."""
    understand_64 = summary.find(STACK, "Understand", 64)
    return [
        _share(summary, summary.find(STACK, "Understand", 16), 16, 0.75),
        _share(summary, understand_64, 64, 0.90),
        _against_defaults(summary),
        _against_echo(summary),
        _cpu(understand_64, "Understand", 0.6),
        _cpu(summary.find(STACK, "Converse", 64), "Converse", 1.5),
        _tail(summary.find(STACK, "Understand", 0, "open"), "Understand"),
        _tail(summary.find(STACK, "Converse", 0, "open"), "Converse"),
        *_overload(summary, "Understand", _OBJECTIVES.understand_ms),
        *_overload(summary, "Recommend", _OBJECTIVES.recommend_ms),
        *_overload(summary, "Converse", _OBJECTIVES.converse_ms),
    ]


def failures(summary: Summary) -> list[str]:
    """What makes the figures worthless: calls that failed, and replies that are not right."""
    found = []
    for row in summary.rows:
        name = f"{row.variant}, {row.method}, {row.level}"
        if not row.requests:
            found.append(f"{name}: nothing was answered")
        if row.errors:
            counts = ", ".join(f"{count} {code}" for code, count in sorted(row.errors.items()))
            found.append(f"{name}: {counts}")
        if row.degraded:
            found.append(f"{name}: {row.degraded} of {row.requests} replies degraded")
        if row.wrong > 1 + MOST_WRONG * row.checked:
            found.append(f"{name}: {row.wrong} of {row.checked} checked replies wrong")
    return found


def _share(summary: Summary, row: Row | None, in_flight: int, aim: float) -> Aim:
    text = f"Understand at {in_flight} in flight: at least {aim:.0%} of the bare work"
    if row is None:
        return Aim(text=text, measured="", met=None)
    measured = f"{row.share.median:.0%}"
    # The limit sorts all texts there are, which nobody can who answers them as they come.
    others = (
        ("of buckets among 64 that wait", summary.fastest("sorted by 64")),
        ("of batches as they come", summary.fastest("as they come")),
        ("of one text after the other", summary.fastest()),
    )
    for name, other in others:
        if summary.limit is not None and other is not None:
            ratio = summary.limit.texts_per_s.median / other.texts_per_s.median
            measured += f"; {row.share.median * ratio:.0%} {name}"
    return Aim(text=text, measured=measured, met=row.share.median >= aim)


def _against_defaults(summary: Summary) -> Aim:
    """Against the better of the two ways, both at 64 in flight."""
    text = "Understand at 64 in flight: at least 3 times Ray Serve's defaults"
    ours = summary.find(STACK, "Understand", 64)
    theirs = [r for r in summary.rows if r.variant == RAY_DEFAULTS and r.in_flight == 64]
    if ours is None or not theirs:
        return Aim(text=text, measured="", met=None)
    best = max(theirs, key=lambda row: row.share.median)
    # Shares, because the machine may have been faster for one of them.
    times = ours.share.median / best.share.median
    return Aim(text=text, measured=f"{times:.1f} times ({best.method})", met=times >= 3.0)


def _against_echo(summary: Summary) -> Aim:
    text = "null model: at least 60% of an empty Ray Serve echo through the same ingress"
    peaks = []
    for variant in (NULL, ECHO):
        rows = [r for r in summary.rows if r.variant == variant and r.load == "closed"]
        if not rows:
            return Aim(text=text, measured="", met=None)
        # Shares, because the machine may have been faster for one of them.
        peaks.append(max(rows, key=lambda row: row.share.median))
    ours, theirs = peaks
    ratio = ours.share.median / theirs.share.median
    counted = ours.texts_per_s.median / theirs.texts_per_s.median
    rates = " and ".join(
        f"{row.texts_per_s.median:.0f}/s at {row.in_flight} in flight" for row in peaks
    )
    measured = f"{ratio:.0%}, without calibration {counted:.0%}: {rates}"
    return Aim(text=text, measured=measured, met=ratio >= 0.6)


def _cpu(row: Row | None, method: str, aim_ms: float) -> Aim:
    text = f"{method} at 64 in flight: at most {aim_ms} ms of CPU outside the models"
    if row is None:
        return Aim(text=text, measured="", met=None)
    measured = f"{row.cpu.around:.2f} ms, with Ray's own processes {row.cpu.outside:.2f} ms"
    return Aim(text=text, measured=measured, met=row.cpu.outside <= aim_ms)


def _tail(row: Row | None, method: str) -> Aim:
    text = f"{method} at half of its peak, constant arrivals: p99 at most 3 times p50"
    if row is None or not row.p50_ms.median:
        return Aim(text=text, measured="", met=None)
    times = row.p99_ms.median / row.p50_ms.median
    measured = f"{row.p99_ms.median:.1f} / {row.p50_ms.median:.1f} ms = {times:.1f}"
    return Aim(text=text, measured=measured, met=times <= 3.0)


def _overload(summary: Summary, method: str, objective_ms: float) -> list[Aim]:
    texts = [
        f"{method} at twice its peak: at least 90% of the peak",
        f"{method} at twice its peak: p99 of those let in within {objective_ms:.0f} ms",
        f"{method} at twice its peak: p99 of the refusals within {_REFUSAL_MS:.0f} ms",
    ]
    row, peak = summary.find(OVERLOAD, method, 0, "open"), summary.peak(OVERLOAD, method)
    if row is None or peak is None or not row.refused:
        return [Aim(text=text, measured="", met=None) for text in texts]
    # Shares, because the machine may have been faster for one of them.
    goodput = row.share.median / peak.share.median
    admitted, refused = row.p99_ms.median, row.refused_p99_ms.median
    return [
        Aim(text=texts[0], measured=f"{goodput:.1%}", met=goodput >= 0.9),
        Aim(text=texts[1], measured=f"{admitted:.0f} ms", met=admitted <= objective_ms),
        Aim(text=texts[2], measured=f"{refused:.1f} ms", met=refused <= _REFUSAL_MS),
    ]
