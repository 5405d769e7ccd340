"""`cartwright demo`: starts a stack, holds a real conversation over gRPC, breaks it, stops it.

Everything that is printed comes from the replies. At the end stands what the conversation had to
show; the exit code is 1 if it did not.
"""

import signal
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import click
from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from serving.cli.demo_script import Before, Script, Turn, script_for
from serving.cli.local_stack import LocalStack, local_stack
from serving.cli.render import conversation_turn, stdout_console
from serving.client import CommerceClient
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
    host_back: bool = False

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
        if self.host_back and not reply.meta.degraded and reply.answer.known:
            points["recovered by itself"] = True


@click.command()
def demo() -> None:
    """Start a stack, hold a conversation, kill its model host, stop."""
    console = stdout_console()
    began = time.monotonic()
    script = script_for(load_settings().stores.shop)
    with SpanReceiver() as receiver:
        overrides = {
            "CARTWRIGHT_TELEMETRY__OTLP_ENDPOINT": receiver.endpoint,
            "CARTWRIGHT_TELEMETRY__EXPORT_DELAY_MS": "200",
        }
        with local_stack(overrides) as stack, CommerceClient(stack.address) as client:
            console.print(
                f"SERVING on {stack.address} after {stack.start_s:.1f} s; "
                f"shop “{script.shop}”, customer {script.customer_id}"
            )
            conversation = _Conversation(console, client, stack, script, receiver)
            for turn in script.turns:
                conversation.take(turn)
    console.print(Rule("what the conversation showed"))
    points = conversation.shown.points
    for point, seen in points.items():
        console.print(
            Text(f"{'yes' if seen else 'NO '}  {point}", style="" if seen else "bold red")
        )
    console.print(f"done in {time.monotonic() - began:.1f} s")
    if not all(points.values()):
        raise SystemExit(1)


class _Conversation:
    """The script, played against a running stack."""

    def __init__(
        self,
        console: Console,
        client: CommerceClient,
        stack: LocalStack,
        script: Script,
        receiver: SpanReceiver,
    ) -> None:
        self.shown = _Shown()
        self._console = console
        self._client = client
        self._stack = stack
        self._script = script
        self._receiver = receiver
        self._session_id = f"demo-{uuid.uuid4().hex[:8]}"
        self._before: dict[Before, Callable[[], None]] = {
            "events": self._look_at_products,
            "kill": self._kill_model_host,
            "recovery": self._await_recovery,
        }

    def take(self, turn: Turn) -> None:
        """What happens before the customer speaks, the turn itself, and its trace."""
        if turn.before:
            self._before[turn.before]()
        trace_id, caller_id = uuid.uuid4().hex, uuid.uuid4().hex[:16]
        reply = self._client.converse(
            turn.text,
            session_id=self._session_id,
            customer_id=self._script.customer_id,
            deadline_ms=DEADLINE_MS,
            traceparent=f"00-{trace_id}-{caller_id}-01" if turn.traced else "",
        )
        self.shown.look_at(reply)
        self._console.print(Rule(f"turn {reply.turn}", align="left", style="dim"))
        self._console.print(Text(f"customer  {turn.text}", style="cyan"))
        for part in conversation_turn(reply):
            self._console.print(part)
        if turn.traced:
            _print_trace(self._console, self._receiver, trace_id, caller_id)

    def _look_at_products(self) -> None:
        events = [
            pb.Event(
                event_id=uuid.uuid4().hex,
                customer_id=self._script.customer_id,
                kind=pb.EVENT_KIND_VIEW,
                product_id=product_id,
            )
            for product_id in self._script.viewed
        ]
        stored = self._client.record_events(events, deadline_ms=DEADLINE_MS).stored
        self.shown.event_recorded = True
        self._console.print(
            f"\n-- the customer looks at {stored} products of {self._script.viewed_category}"
        )

    def _kill_model_host(self) -> None:
        for server in self._stack.tritonservers():
            server.send_signal(signal.SIGKILL)
            self._console.print(f"\n-- kill -9 {server.pid} (tritonserver)")
        self.shown.host_down = True

    def _await_recovery(self) -> None:
        """Waits for the supervisor: started again, and everything ready."""
        began = time.monotonic()
        while time.monotonic() - began < RECOVERY_TIMEOUT_S:
            hosts = self._client.list_models(deadline_ms=DEADLINE_MS).hosts
            if hosts and all(h.restarts > 0 and h.state == pb.HOST_STATE_READY for h in hosts):
                self.shown.host_down = False
                self.shown.host_back = True
                self._console.print(
                    f"\n-- the host is back after {time.monotonic() - began:.1f} s, "
                    "without anyone's help"
                )
                return
            time.sleep(0.1)
        self._console.print(f"\n-- the host was not back within {RECOVERY_TIMEOUT_S:.0f} s")


def _print_trace(console: Console, receiver: SpanReceiver, trace_id: str, caller_id: str) -> None:
    spans = receiver.wait_for(
        trace_id,
        until=lambda collected: is_complete(collected, caller_id=caller_id),
        timeout_s=TRACE_TIMEOUT_S,
    )
    console.print(Rule("one turn as a trace", align="left", style="dim"))
    console.print(render_tree(spans))
