"""Who called whom: spans, in any order and with some missing, as a tree with times."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rich.markup import escape
from rich.tree import Tree

from serving.telemetry.otlp import SpanRecord

NANOSECONDS_A_MS = 1e6


@dataclass(kw_only=True)
class SpanNode:
    """A span with what was opened below it; `span` is None for a parent that never arrived."""

    span_id: str
    span: SpanRecord | None
    children: list["SpanNode"] = field(default_factory=list)

    @property
    def start_ns(self) -> int:
        """When it began; a missing span with its first child."""
        if self.span is not None:
            return self.span.start_ns
        return min(child.start_ns for child in self.children)


def build_tree(spans: Iterable[SpanRecord]) -> list[SpanNode]:
    """The roots of one trace's spans, siblings in the order of their start."""
    nodes = {span.span_id: SpanNode(span_id=span.span_id, span=span) for span in spans}
    roots: list[SpanNode] = []
    for node in list(nodes.values()):
        assert node.span is not None
        parent_id = node.span.parent_id
        if not parent_id or _is_below(node, nodes):
            roots.append(node)
            continue
        if parent_id not in nodes:
            nodes[parent_id] = SpanNode(span_id=parent_id, span=None)
            roots.append(nodes[parent_id])
        nodes[parent_id].children.append(node)
    for node in nodes.values():
        node.children.sort(key=lambda child: child.start_ns)
    return sorted(roots, key=lambda root: root.start_ns)


def missing_parents(spans: Sequence[SpanRecord]) -> set[str]:
    """Ids of spans that others name as their parent and that have not arrived."""
    return {span.parent_id for span in spans if span.parent_id} - {span.span_id for span in spans}


def is_complete(spans: Sequence[SpanRecord], *, caller_id: str = "") -> bool:
    """Whether all of a trace seems to have arrived.

    That is: something is there, every parent is known, and below every remote call that
    succeeded stands what was called.

    Args:
        spans: what has arrived of one trace.
        caller_id: a span that others name as their parent and that nobody exports, if any.
    """
    parents = {span.parent_id for span in spans}
    return (
        bool(spans)
        and missing_parents(spans) <= {caller_id}
        and all(
            span.span_id in parents for span in spans if span.kind == "client" and not span.failed
        )
    )


def render_tree(spans: Sequence[SpanRecord]) -> Tree:
    """A printable tree: offset from the first span and duration in milliseconds."""
    roots = build_tree(spans)
    began_ns = min((span.start_ns for span in spans), default=0)
    trace_id = spans[0].trace_id if spans else ""
    tree = Tree(f"trace {trace_id}", guide_style="dim")
    for root in roots:
        _add(tree, root, began_ns)
    return tree


def _add(branch: Tree, node: SpanNode, began_ns: int) -> None:
    offset_ms = (node.start_ns - began_ns) / NANOSECONDS_A_MS
    if node.span is None:
        label = f"[yellow](span {node.span_id} has not arrived)[/yellow]"
    else:
        label = _label(node.span, offset_ms)
    below = branch.add(label)
    for child in node.children:
        _add(below, child, began_ns)


def _label(span: SpanRecord, offset_ms: float) -> str:
    duration_ms = (span.end_ns - span.start_ns) / NANOSECONDS_A_MS
    parts = [
        f"[bold]{escape(span.name)}[/bold]",
        f"[dim]{escape(span.service)} {span.kind}[/dim]",
        f"+{offset_ms:.1f} ms",
        f"[cyan]{duration_ms:.1f} ms[/cyan]",
    ]
    if span.failed:
        parts.append(f"[red]failed: {escape(span.status_message or 'no reason given')}[/red]")
    return "  ".join(parts)


def _is_below(node: SpanNode, nodes: dict[str, SpanNode]) -> bool:
    """Whether following the parents leads back to the span, and it is the first of that circle.

    Broken exporters exist; each circle becomes a tree that starts at its smallest id.
    """
    seen: list[str] = []
    at: SpanNode | None = node
    while at is not None and at.span is not None and at.span_id not in seen:
        seen.append(at.span_id)
        at = nodes.get(at.span.parent_id)
    return at is not None and at.span_id == node.span_id and node.span_id == min(seen)
