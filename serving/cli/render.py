"""Replies for people: what the rich console prints. Pure: message in, renderables out."""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence

from google.protobuf.descriptor import EnumDescriptor
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from serving.protos import commerce_pb2 as pb

# Columns when the output is no terminal: wide enough that no table breaks its words.
PLAIN_WIDTH = 120
SHOWN_FACTORS = 4


def stdout_console() -> Console:
    """A console on the standard output of this moment (tests replace it)."""
    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    return Console(file=sys.stdout, highlight=False, width=width, emoji=False)


def conversation_turn(
    reply: pb.ConverseReply, *, with_text: bool = True
) -> Iterator[RenderableType]:
    """The agent's words, then what stands behind them."""
    if with_text:
        yield Text(reply.text, style="bold")
    if reply.items:
        yield item_table(reply.items)
    facts = _Facts()
    facts.add("decision", _decision(reply.decision) if reply.HasField("decision") else "")
    if reply.HasField("understanding"):
        facts.add("understood", _understanding(reply.understanding))
    facts.add("known", ", ".join(f"{slot.name}={slot.value}" for slot in reply.known_slots))
    facts.add("asks for", reply.requested_slot)
    for source in reply.answer.sources:
        facts.add("source", f"{source.title} ({source.article_id}, {source.score:.2f})")
    facts.add_meta(reply.meta)
    facts.add("session", f"{reply.session_id}, turn {reply.turn}")
    yield facts.table


def recommendation(reply: pb.RecommendReply) -> Iterator[RenderableType]:
    """The items, then time, models and what was degraded."""
    yield item_table(reply.items) if reply.items else Text("no items", style="yellow")
    facts = _Facts()
    facts.add_meta(reply.meta)
    yield facts.table


def item_table(items: Iterable[pb.Item]) -> Table:
    """Products, best first."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("product", "title", "category"):
        table.add_column(column)
    table.add_column("price", justify="right")
    table.add_column("score", justify="right")
    table.add_column("why")
    for item in items:
        table.add_row(
            Text(item.product_id),
            Text(item.title),
            Text(item.category),
            f"{item.price_cents / 100:.2f} {item.currency}",
            f"{item.score:.3f}",
            Text(item.reason),
        )
    return table


def word(enum: EnumDescriptor, value: int) -> str:
    """The value's name without the enum's, e.g. "escalate"; the number if it has no name here."""
    known = enum.values_by_number.get(value)
    if known is None:
        return str(value)
    prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", enum.name).upper() + "_"
    return known.name.removeprefix(prefix).lower()


class _Facts:
    """Two columns: a word, and what there is to say about it; empty values are left out."""

    def __init__(self) -> None:
        self.table = Table.grid(padding=(0, 2))
        self.table.add_column(style="dim", no_wrap=True)
        self.table.add_column()

    def add(self, label: str, value: str, style: str = "") -> None:
        if value:
            self.table.add_row(label, Text(value, style=style))

    def add_meta(self, meta: pb.ReplyMeta) -> None:
        for degradation in meta.degraded:
            self.add(
                "degraded",
                f"{degradation.step} -> {degradation.fallback}: {degradation.reason}",
                "yellow",
            )
        steps = ", ".join(f"{step.step} {step.duration_ms:.1f}" for step in meta.steps)
        self.add("time", f"{meta.total_ms:.1f} ms" + (f": {steps}" if steps else ""))
        self.add("models", ", ".join(f"{v.model}/{v.version}" for v in meta.model_versions))
        self.add("trace", meta.trace_id)


def _decision(decision: pb.Decision) -> str:
    strongest: Sequence[pb.Factor] = sorted(
        decision.factors, key=lambda factor: abs(factor.contribution), reverse=True
    )[:SHOWN_FACTORS]
    factors = ", ".join(f"{factor.name} {factor.contribution:+.2f}" for factor in strongest)
    return (
        f"{word(pb.Action.DESCRIPTOR, decision.action)} {decision.probability:.2f}, "
        f"purchase propensity {decision.purchase_propensity:.2f}"
        + (f" ({factors})" if factors else "")
    )


def _understanding(understanding: pb.Understanding) -> str:
    slots = "".join(f", {slot.name}={slot.value}" for slot in understanding.slots)
    return (
        f"{understanding.intent} {understanding.intent_confidence:.2f}, "
        f"{word(pb.Sentiment.DESCRIPTOR, understanding.sentiment)} "
        f"{understanding.sentiment_confidence:.2f}, "
        f"out of scope {understanding.out_of_scope_probability:.2f}{slots}"
    )
