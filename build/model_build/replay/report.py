"""A result for the terminal."""

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from model_build.replay.result import Example, ReplayResult, Share, Shown, Side

_EXAMPLES = 10


def tables(result: ReplayResult) -> Iterator[Table]:
    """Counts by kind, latencies, and the first examples if there are any."""
    kinds = _table("disagreements", "", "requests", "share", "95 % bounds")
    for kind, share in result.by_kind.items():
        kinds.add_row(kind.value, *_figures(share), style="" if share.count else "dim")
    kinds.add_row("any of them", *_figures(result.disagreements), style="bold")
    yield kinds
    latency = _table("one request at a time, in turn", "version", "answered", "p50 ms", "p99 ms")
    latency.add_column("mean ms", justify="right")
    latency.add_column("failed", justify="right")
    for side in (result.first, result.second):
        latency.add_row(*_latency(side))
    yield latency
    if result.examples:
        yield _examples(result)


def lines(result: ReplayResult) -> Iterator[str]:
    """What was compared, and what one should know of it, a sentence each."""
    first, second = result.first, result.second
    yield (
        f"{result.model} {first.version} ({first.served_artifact}) and {second.version} "
        f"({second.served_artifact}): {result.records} requests with {result.texts} texts, "
        f"recorded from {result.recorded_from:%Y-%m-%d %H:%M} "
        f"to {result.recorded_until:%Y-%m-%d %H:%M} UTC, {result.seconds:.1f} s"
    )
    for side in (first, second):
        if side.failed:
            yield f"version {side.version} failed {side.failed} times, first: {side.first_failure}"
        if side.as_recorded.of:
            yield (
                f"version {side.version} answered {side.as_recorded.of} of them live: the same "
                f"intent now for {side.as_recorded.value:.1%} (the texts are masked)"
            )
    for change in result.intent_changes[:_EXAMPLES]:
        yield f"intent {change.first} -> {change.second}: {change.records}"
    if len(result.intent_changes) > _EXAMPLES:
        yield f"and {len(result.intent_changes) - _EXAMPLES} other changes of intent"


def answer_line(shown: Shown | None) -> str:
    """An answer in a line."""
    if shown is None:
        return "no answer"
    slots = "".join(f", {slot.name}={slot.value}" for slot in shown.slots)
    return (
        f"{shown.intent} {shown.intent_confidence:.2f}, {shown.sentiment}, "
        f"out of scope {shown.out_of_scope_probability:.2f}{slots}"
    )


def _examples(result: ReplayResult) -> Table:
    shown = _table(
        "examples",
        "text",
        "differs",
        f"version {result.first.version}",
        f"version {result.second.version}",
        number_from=4,
    )
    for example in result.examples[:_EXAMPLES]:
        shown.add_row(
            # Words of others are no markup.
            Text(_quoted(example)),
            ", ".join(kind.value for kind in example.kinds),
            Text(answer_line(example.first)),
            Text(answer_line(example.second)),
        )
    return shown


def _quoted(example: Example) -> str:
    times = f" ({example.records} times)" if example.records > 1 else ""
    return f"{example.text}{times}"


def _table(title: str, *columns: str, number_from: int = 1) -> Table:
    shown = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        padding=(0, 2, 0, 0),
        pad_edge=False,
        header_style="dim",
    )
    for index, column in enumerate(columns):
        shown.add_column(column, justify="right" if index >= number_from else "left")
    return shown


def _figures(share: Share) -> tuple[str, str, str]:
    return str(share.count), f"{share.value:.2%}", f"{share.low:.2%} to {share.high:.2%}"


def _latency(side: Side) -> tuple[str, ...]:
    if side.latency is None:
        return str(side.version), "0", "-", "-", "-", str(side.failed)
    latency = side.latency
    return (
        str(side.version),
        str(latency.calls),
        f"{latency.p50_ms:.2f}",
        f"{latency.p99_ms:.2f}",
        f"{latency.mean_ms:.2f}",
        str(side.failed),
    )
