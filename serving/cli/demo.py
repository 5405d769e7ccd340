"""`cartwright demo`: starts a stack, holds a real conversation over gRPC, breaks it, stops it.

Everything that is printed comes from the replies. At the end stands what the conversation had to
show; the exit code is 1 if it did not.
"""

import signal
import time
import uuid
from dataclasses import dataclass, field

import click
from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from serving.cli.demo_script import Script, Turn, script_for
from serving.cli.local_stack import LocalStack, local_stack, wait_until_serving
from serving.cli.render import conversation_turn, stdout_console
from serving.client import CommerceClient
from serving.errors import StartupError
from serving.protos import commerce_pb2 as pb
from serving.settings import load_settings
from serving.telemetry.receiver import SpanReceiver
from serving.telemetry.tree import is_complete, render_tree

DEADLINE_MS = 5000.0
RECOVERY_TIMEOUT_S = 60.0
TRACE_TIMEOUT_S = 15.0


@dataclass
class _Shown:
    """What has been seen in replies so far."""

    points: dict[str, bool] = field(
        default_factory=lambda: dict.fromkeys(
            (
                "answered with sources",
                "slot asked for",
                "slot filled",
                "recommendations changed after an event",
                "decision with its factors",
                "degraded reply while the model host was down",
                "recovered by itself",
                "escalated",
            ),
            False,
        )
    )
    items_before: tuple[str, ...] = ()
    requested: str = ""
    event_recorded: bool = False
    host_down: bool = False

    def look_at(self, reply: pb.ConverseReply) -> None:
        """Notes what a reply shows."""
        points = self.points
        if reply.answer.known and reply.answer.sources:
            points["answered with sources"] = True
        if self.requested and any(slot.name == self.requested for slot in reply.known_slots):
            points["slot filled"] = True
        if reply.requested_slot:
            points["slot asked for"] = True
        self.requested = reply.requested_slot
        if reply.items:
            items = tuple(item.product_id for item in reply.items)
            if self.event_recorded and self.items_before and items != self.items_before:
                points["recommendations changed after an event"] = True
            self.items_before = items
        if reply.decision.factors:
            points["decision with its factors"] = True
        if reply.decision.action == pb.ACTION_ESCALATE:
            points["escalated"] = True
        if self.host_down and reply.meta.degraded:
            points["degraded reply while the model host was down"] = True


@click.command()
def demo() -> None:
    """Start a stack, hold a conversation, kill its model host, stop."""
    console = stdout_console()
    began = time.monotonic()
    script = script_for(load_settings().stores.shop)
    shown = _Shown()
    with SpanReceiver() as receiver:
        overrides = {"CARTWRIGHT_TELEMETRY__OTLP_ENDPOINT": receiver.endpoint}
        with local_stack(overrides) as stack, CommerceClient(stack.address) as client:
            console.print(
                f"SERVING on {stack.address} after {stack.start_s:.1f} s; "
                f"shop “{script.shop}”, customer {script.customer_id}"
            )
            trace_id, caller_id = _converse(console, client, stack, script, shown)
            _print_trace(console, receiver, trace_id, caller_id)
    console.print(Rule("what the conversation showed"))
    for point, seen in shown.points.items():
        console.print(
            Text(f"{'yes' if seen else 'NO '}  {point}", style="" if seen else "bold red")
        )
    console.print(f"done in {time.monotonic() - began:.1f} s")
    if not all(shown.points.values()):
        raise SystemExit(1)


def _converse(
    console: Console, client: CommerceClient, stack: LocalStack, script: Script, shown: _Shown
) -> tuple[str, str]:
    """Holds the conversation; returns the ids of trace and caller of its traced turn."""
    session_id = f"demo-{uuid.uuid4().hex[:8]}"
    trace_id, caller_id = uuid.uuid4().hex, uuid.uuid4().hex[:16]
    for number, turn in enumerate(script.turns, start=1):
        _prepare(console, client, stack, turn, shown, script)
        reply = client.converse(
            turn.text,
            session_id=session_id,
            customer_id=script.customer_id,
            deadline_ms=DEADLINE_MS,
            traceparent=f"00-{trace_id}-{caller_id}-01" if turn.traced else "",
        )
        shown.look_at(reply)
        console.print(Rule(f"turn {number}", align="left", style="dim"))
        console.print(Text(f"customer  {turn.text}", style="cyan"))
        for part in conversation_turn(reply):
            console.print(part)
    return trace_id, caller_id


def _prepare(
    console: Console,
    client: CommerceClient,
    stack: LocalStack,
    turn: Turn,
    shown: _Shown,
    script: Script,
) -> None:
    """What happens in the shop before the customer speaks."""
    if turn.before == "events":
        events = [
            pb.Event(
                event_id=uuid.uuid4().hex,
                customer_id=script.customer_id,
                kind=pb.EVENT_KIND_VIEW,
                product_id=product_id,
            )
            for product_id in script.viewed
        ]
        stored = client.record_events(events, deadline_ms=DEADLINE_MS).stored
        shown.event_recorded = True
        console.print(f"\n-- the customer looks at {stored} products of {script.viewed_category}")
    elif turn.before == "kill":
        for server in stack.tritonservers():
            server.send_signal(signal.SIGKILL)
            console.print(f"\n-- kill -9 {server.pid} (tritonserver)")
        shown.host_down = True
    elif turn.before == "recovery":
        try:
            waited_s = wait_until_serving(client, RECOVERY_TIMEOUT_S)
        except StartupError as error:
            console.print(f"\n-- {error.message}")
        else:
            shown.host_down = False
            shown.points["recovered by itself"] = True
            console.print(f"\n-- SERVING again {waited_s:.1f} s later, without anyone's help")


def _print_trace(console: Console, receiver: SpanReceiver, trace_id: str, caller_id: str) -> None:
    spans = receiver.wait_for(
        trace_id,
        until=lambda collected: is_complete(collected, caller_id=caller_id),
        timeout_s=TRACE_TIMEOUT_S,
    )
    console.print(Rule("one turn as a trace", align="left", style="dim"))
    console.print(render_tree(spans))
