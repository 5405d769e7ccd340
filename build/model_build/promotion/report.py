"""Verdicts for people: one table of all, then what speaks against the version."""

from collections.abc import Iterable, Iterator, Sequence

from rich.markup import escape
from rich.table import Table

from serving.versions.verdict import Outcome, Verdict, written

_STYLES = {Outcome.PASSED: "green", Outcome.FAILED: "bold red", Outcome.UNDECIDED: "yellow"}


def table(verdicts: Sequence[Verdict]) -> Table:
    """Every figure of every gate, with its interval and its bound."""
    first = verdicts[0]
    shown = Table(
        title=f"{first.model} {first.version}",
        title_justify="left",
        title_style="bold",
        box=None,
        padding=(0, 2, 0, 0),
        pad_edge=False,
        header_style="dim",
    )
    for column in ("gate", "verdict", "figure"):
        shown.add_column(column, no_wrap=True)
    for column in ("value", "95 % confidence", "needed"):
        shown.add_column(column, justify="right", no_wrap=True)
    for verdict in verdicts:
        style = _STYLES[verdict.outcome]
        heading = [str(verdict.gate), f"[{style}]{verdict.outcome}[/]"]
        for figure in verdict.figures:
            value = written(figure.value) + (figure.unit and f" {figure.unit}")
            name = figure.name.replace("_", " ")
            shown.add_row(*heading, escape(name), value, figure.interval, figure.bound)
            heading = ["", ""]
        if not verdict.figures:
            shown.add_row(*heading)
    return shown


def lines(verdicts: Iterable[Verdict]) -> Iterator[str]:
    """The reason of each verdict, and the examples of those that did not pass."""
    for verdict in verdicts:
        yield summary(verdict)
        for example in verdict.examples if verdict.outcome is not Outcome.PASSED else ():
            yield f"  {example}"


def summary(verdict: Verdict) -> str:
    """The verdict in a line."""
    against = "" if verdict.against is None else f" against {verdict.against}"
    return f"{verdict.gate}{against}: {verdict.outcome}: {verdict.reason}"
