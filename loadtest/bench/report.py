"""A summary on the console and as Markdown: the same tables, drawn by rich or by hand."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

from loadtest.bench.aims import IN_PROCESS, OVERLOAD, Aim
from loadtest.bench.compare import Change
from loadtest.bench.cpu import is_model, is_ray
from loadtest.bench.profile import Profile
from loadtest.bench.results import Results
from loadtest.bench.summary import Row, Spread, Summary

_WIDTH = 160


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of texts; the first `left` columns are aligned to the left."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int = 1


def tables(results: Results, summary: Summary, aims: Sequence[Aim]) -> list[Table]:
    """Every table of a run, in the order to read them; empty ones are left out."""
    made = [
        _loads(summary),
        _limits(results, summary),
        *_cpu(summary),
        _overload(summary),
        _batches(summary),
        _idle(summary),
        _aims(aims),
    ]
    return [table for table in made if table.rows]


def print_tables(found: Sequence[Table], about: str) -> None:
    """Draws the tables on the console."""
    console = Console(width=max(_WIDTH, Console().width), highlight=False)
    for table in found:
        drawn = RichTable(title=table.title, title_justify="left")
        for number, column in enumerate(table.columns):
            drawn.add_column(column, justify="left" if number < table.left else "right")
        for row in table.rows:
            drawn.add_row(*row)
        console.print(drawn)
    console.print(about)


def markdown(found: Sequence[Table], about: str) -> str:
    """The tables as Markdown, with a line about where they were measured."""
    parts = [about]
    for table in found:
        rule = [":--" if n < table.left else "--:" for n in range(len(table.columns))]
        lines = [table.columns, tuple(rule), *table.rows]
        parts.append(
            f"### {table.title}\n\n"
            + "\n".join("| " + " | ".join(cell or " " for cell in line) + " |" for line in lines)
        )
    return "\n\n".join(parts) + "\n"


def about_line(results: Results) -> str:
    """Machine, versions and options in one paragraph."""
    about: dict[str, Any] = results.about
    machine, versions, texts = about["machine"], about["versions"], about["texts"]
    changed = f" and {about['changed_files']} changed files" if about["changed_files"] else ""
    names = ("python", "ray", "nvidia-pytriton", "onnxruntime", "grpcio")
    return (
        f"Measured {results.started_at} in {results.took_s / 60:.0f} min on {machine['cores']} "
        f"cores of {machine['processor']} ({machine['architecture']}, kernel {machine['kernel']}), "
        f"the load generator on the same cores; "
        + ", ".join(f"{name} {versions[name]}" for name in names)
        + f"; commit {about['commit'][:10] or 'unknown'}{changed}; "
        f"{about['options']['rounds']} rounds, {about['options']['seconds']:g} s a load; "
        f"texts of {texts['mean_words']:.1f} words in the mean; understanding "
        f"version {about['understanding']['version']} ({about['understanding']['served']})."
    )


def _loads(summary: Summary) -> Table:
    return Table(
        title="Loads: medians of the rounds (± half of the range)",
        columns=(
            *("variant", "method", "in flight", "texts/s", "of the limit", "p50 ms", "p99 ms"),
            *("refused", "errors", "CPU ms: model", "around", "Ray's own"),
        ),
        rows=tuple(
            (
                row.variant,
                row.method,
                row.level,
                _figure(row.texts_per_s, 0),
                _figure(row.share, 2),
                f"{row.p50_ms.median:.1f}",
                f"{row.p99_ms.median:.1f}",
                str(row.refused or ""),
                _trouble(row),
                _ms(row.cpu.model) or ("in the process" if row.variant in IN_PROCESS else ""),
                _ms(row.cpu.around),
                _ms(row.cpu.ray),
            )
            for row in summary.rows
        ),
        left=2,
    )


def _limits(results: Results, summary: Summary) -> Table:
    chosen = next((r for r in summary.limits if r.setting == results.limit_setting), None)
    reference = chosen.texts_per_s.median if chosen else 0.0
    return Table(
        title=f"The bare work; the limit is {results.limit_setting}",
        columns=("artifact", "order", "batch", "sessions x threads", "texts/s", "of it", "CPU ms"),
        rows=tuple(
            (
                row.artifact,
                row.order if row.batch > 1 else "",
                str(row.batch),
                f"{row.sessions} x {row.threads}",
                _figure(row.texts_per_s, 0),
                f"{row.texts_per_s.median / reference:.2f}" if reference else "",
                _ms(row.cpu_ms_per_text),
            )
            for row in sorted(
                summary.limits, key=lambda r: (r.artifact, r.sessions, r.order, r.batch)
            )
        ),
        left=2,
    )


def _cpu(summary: Summary) -> list[Table]:
    """A table for each variant: by process, at every closed load."""
    made = []
    for variant in dict.fromkeys(row.variant for row in summary.rows):
        rows = [r for r in summary.rows if r.variant == variant and r.load == "closed"]
        kinds = sorted({kind for row in rows for kind in row.cpu.by_kind}, key=_kind_order)
        made.append(
            Table(
                title=f"CPU milliseconds a text by process: {variant}",
                columns=("process", *(f"{row.method} {row.in_flight}" for row in rows)),
                rows=tuple(
                    (kind, *(_ms(row.cpu.by_kind.get(kind, 0.0)) for row in rows)) for kind in kinds
                ),
            )
        )
    return made


def _overload(summary: Summary) -> Table:
    rows = []
    for row in summary.rows:
        peak = summary.peak(row.variant, row.method)
        if row.variant != OVERLOAD or row.load != "open" or peak is None:
            continue
        rows.append(
            (
                row.method,
                f"{peak.requests_per_s.median:.0f}",
                f"{row.rate:.0f}",
                _figure(row.requests_per_s, 0),
                f"{row.share.median / peak.share.median:.2f}",
                f"{row.p50_ms.median:.0f}",
                f"{row.p99_ms.median:.0f}",
                str(row.refused),
                f"{row.refused_p50_ms.median:.1f}",
                f"{row.refused_p99_ms.median:.1f}",
            )
        )
    return Table(
        title="Twice saturation, arrivals at a constant rate",
        columns=(
            *("method", "peak/s", "offered/s", "answered/s", "of the peak", "p50 ms", "p99 ms"),
            *("refused", "p50 ms", "p99 ms"),
        ),
        rows=tuple(rows),
    )


def _batches(summary: Summary) -> Table:
    """Rows of one execution."""
    rows = [row for row in summary.rows if row.batch_sizes]
    models = sorted({model for row in rows for model in row.batch_sizes})
    return Table(
        title="Batch sizes really formed: mean rows of a request to Triton / of an execution there",
        columns=("variant", "method", "in flight", *models),
        rows=tuple(
            (
                row.variant,
                row.method,
                row.level,
                *(_rows(row, model) for model in models),
            )
            for row in rows
        ),
        left=2,
    )


def _rows(row: Row, model: str) -> str:
    if not row.batch_sizes.get(model):
        return ""
    return f"{row.request_rows.get(model, 0.0):.1f} / {row.batch_sizes[model]:.1f}"


def _idle(summary: Summary) -> Table:
    kinds = sorted({k for cores in summary.idle.values() for k in cores}, key=_kind_order)
    variants = list(summary.idle)
    total = tuple(f"{100 * sum(summary.idle[v].values()):.1f}" for v in variants)
    rows = [
        (kind, *(f"{100 * summary.idle[v].get(kind, 0.0):.1f}" for v in variants)) for kind in kinds
    ]
    return Table(
        title="With nobody calling: hundredths of a core by process",
        columns=("process", *variants),
        rows=(*rows, ("in all", *total)) if rows else (),
    )


def _aims(aims: Sequence[Aim]) -> Table:
    return Table(
        title="Aims",
        columns=("aim", "measured", "met"),
        rows=tuple((aim.text, aim.measured, aim.verdict) for aim in aims),
        left=3,
    )


def changes_table(changes: Sequence[Change]) -> Table:
    """What a comparison of two runs found."""
    return Table(
        title="Before and after: medians, and the ratio with its 95% interval",
        columns=("variant", "method", "in flight", "figure", "before", "after", "ratio", "verdict"),
        rows=tuple(
            (
                change.key[0],
                change.key[1],
                str(change.key[3]) if change.key[2] == "closed" else "half load",
                change.figure,
                f"{change.before:.3g}",
                f"{change.after:.3g}",
                f"{change.ratio:.2f} ({change.low:.2f} to {change.high:.2f})",
                _verdict(change),
            )
            for change in changes
        ),
        left=2,
    )


def profile_table(found: Profile, load: str) -> Table:
    """Where a replica's time goes."""
    return Table(
        title=f"{load}: {found.requests_per_s:.0f} requests/s",
        columns=("part of the replica", "µs a request", "share"),
        rows=(
            *(
                (part, f"{us:.0f}", f"{us / found.cpu_us:.0%}" if found.cpu_us else "")
                for part, us in found.rows()
            ),
            ("CPU in all", f"{found.cpu_us:.0f}", ""),
        ),
    )


def _verdict(change: Change) -> str:
    if not change.beyond_noise:
        return "noise"
    return "better" if change.better else "worse"


def _kind_order(kind: str) -> tuple[bool, bool, str]:
    """Models first, then what is ours, then Ray's own."""
    return (is_ray(kind), not is_model(kind), kind)


def _figure(value: Spread, digits: int) -> str:
    return f"{value.median:.{digits}f} ± {(value.high - value.low) / 2:.{digits}f}"


def _ms(value: float) -> str:
    return f"{value:.2f}" if value else ""


def _trouble(row: Row) -> str:
    """Everything that should not have been, with its count."""
    found = dict(row.errors)
    if row.degraded:
        found["degraded"] = row.degraded
    if row.wrong:
        found[f"wrong of {row.checked}"] = row.wrong
    return ", ".join(f"{name} {count}" for name, count in sorted(found.items()))
