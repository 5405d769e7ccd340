"""Tables of the ledger: one call, many calls, segments. Pure: what was read in, renderables out."""

from collections.abc import Iterable, Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from serving.cli.moments import utc
from serving.ledger.contents import Damage
from serving.ledger.entry import Entry, ModelUse
from serving.ledger.files import SUFFIX
from serving.ledger.marks import Loss
from serving.ledger.reader import SegmentReport, State

_STATE_COLOURS = {State.WRITTEN: "green", State.CLOSED: "", State.LEFT: "yellow"}


def answer_facts(entry: Entry) -> Iterator[RenderableType]:
    """One call: what was called and how it went, then what answered it."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column()
    for label, value in (
        ("request", entry.trace_id),
        ("answered", f"{utc(entry.at_ms)} UTC"),
        ("method", entry.method),
        ("status", entry.code),
        ("time", f"{entry.duration_ms:.1f} ms"),
        ("customer", entry.customer or "-"),
        ("settings", entry.settings or "-"),
    ):
        facts.add_row(label, Text(value))
    for step in entry.degraded:
        text = f"{step.step} -> {step.fallback}: {step.reason}"
        facts.add_row("degraded", Text(text, style="yellow"))
    yield facts
    uses = _table("model", "version", "arm", "artifact")
    for use in entry.models:
        uses.add_row(Text(use.model), str(use.version), Text(use.arm), Text(use.artifact))
    yield uses if entry.models else Text("no model had a part in it", style="yellow")


def entry_table(entries: Iterable[Entry]) -> Table:
    """Many calls."""
    table = _table("answered (UTC)", "request", "method", "status", "ms", "models", "degraded")
    for entry in entries:
        table.add_row(
            Text(utc(entry.at_ms)),
            Text(entry.trace_id),
            Text(entry.method),
            Text(entry.code, style="" if entry.code == "OK" else "red"),
            f"{entry.duration_ms:.1f}",
            Text(", ".join(_use(use) for use in entry.models)),
            Text(", ".join(step.step for step in entry.degraded), style="yellow"),
        )
    return table


def segment_table(reports: Iterable[SegmentReport]) -> Table:
    """Segments with what was found in them."""
    table = _table(
        *("segment", "state", "entries", "from (UTC)", "until (UTC)"),
        *("damaged", "missing", "unfinished"),
    )
    for report in reports:
        damaged_bytes = sum(damage.stop - damage.start for damage in report.damages)
        table.add_row(
            Text(report.segment.removesuffix(SUFFIX)),
            Text(report.state, style=_STATE_COLOURS[report.state]),
            str(report.entries),
            Text(_minute(report.first_at_ms) if report.entries else "-"),
            Text(_minute(report.last_at_ms) if report.entries else "-"),
            Text(f"{damaged_bytes} bytes" if report.damages else "-", style="red"),
            Text(str(report.missing) if report.missing else "-", style="red"),
            f"{report.unfinished_bytes} bytes" if report.unfinished_bytes else "-",
        )
    return table


def damage_notes(damages: Iterable[Damage]) -> Iterator[Text]:
    """A line for each damaged place."""
    for damage in damages:
        text = f"damaged: {damage.segment}, bytes {damage.start} to {damage.stop}: {damage.reason}"
        yield Text(text, style="red")


def loss_notes(losses: Iterable[Loss]) -> Iterator[Text]:
    """A line for each time in which entries could not be written."""
    for loss in losses:
        span = f"from {utc(loss.first_at_ms)} to {utc(loss.last_at_ms)} UTC"
        yield Text(f"could not be written: {loss.entries}, {span}", style="yellow")


def _use(use: ModelUse) -> str:
    """E.g. "understanding/3 canary"; the live arm goes without saying."""
    return f"{use.model}/{use.version}" + ("" if use.arm == "live" else f" {use.arm}")


def _minute(unix_ms: int) -> str:
    return utc(unix_ms)[: len("2026-01-31 12:00")]


def _table(*columns: str) -> Table:
    """The first two columns keep their words: what one looks for stands there."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number < 2)
    return table
