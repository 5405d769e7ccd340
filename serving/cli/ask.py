"""`cartwright ask`: one turn of a conversation, with what stands behind the answer."""

import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import click

from serving.cli.connection import Connection, with_connection
from serving.cli.document import plain, print_document
from serving.cli.render import conversation_turn, stdout_console
from serving.errors import Internal
from serving.protos import commerce_pb2 as pb

if TYPE_CHECKING:
    from serving.cli.tracing import CallTrace

SERVICE = "cartwright.v1.Agent"


@click.command()
@click.argument("text")
@click.option("--session", default="", help="Session to continue. Default: a new one.")
@click.option("--customer", default="", help="Customer id. Default: an anonymous visitor.")
@click.option("--top-k", type=int, default=0, help="Products wanted. Default: the server's.")
@click.option("--stream", is_flag=True, help="Use the streaming method; print words as they come.")
@click.option("--trace", "with_trace", is_flag=True, help="Print the tree of spans with times.")
@with_connection
def ask(
    connection: Connection,
    text: str,
    session: str,
    customer: str,
    top_k: int,
    stream: bool,
    with_trace: bool,
) -> None:
    """Say TEXT to the agent and print its answer."""
    request: dict[str, Any] = {
        "text": text,
        "session_id": session or f"cli-{secrets.token_hex(4)}",
        "customer_id": customer,
        "top_k": top_k,
        "deadline_ms": connection.deadline_ms,
    }
    take_turn = _streamed if stream else _unary
    if not with_trace:
        document = take_turn(connection, request)
    else:
        document = _traced(
            connection, request, take_turn, "ConverseStream" if stream else "Converse"
        )
    if connection.as_json:
        print_document(document)


def _unary(connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
    """One reply; printed here unless JSON is wanted."""
    with connection.client() as client:
        reply = client.converse(**request)
    _print_turn(connection, reply, with_text=True)
    return {"reply": plain(reply)}


def _streamed(connection: Connection, request: dict[str, Any]) -> dict[str, Any]:
    """The reply as events; words are printed as they come."""
    events: list[dict[str, Any]] = []
    reply: pb.ConverseReply | None = None
    said_something = False
    began = time.perf_counter()
    with connection.client() as client:
        for event in client.converse_stream(**request):
            kind = event.WhichOneof("event") or "unknown"
            events.append({"event": kind, "after_ms": (time.perf_counter() - began) * 1000.0})
            if kind == "text_piece" and not connection.as_json:
                click.echo(event.text_piece, nl=False)
                said_something = True
            elif kind == "done":
                reply = event.done
    if said_something:
        click.echo()
    if reply is None:
        raise Internal(f"the stream ended after {len(events)} events, without its last one")
    _print_turn(connection, reply, with_text=not said_something)
    return {"reply": plain(reply), "events": events}


def _print_turn(connection: Connection, reply: pb.ConverseReply, *, with_text: bool) -> None:
    if connection.as_json:
        return
    console = stdout_console()
    for part in conversation_turn(reply, with_text=with_text):
        console.print(part)


def _traced(
    connection: Connection,
    request: dict[str, Any],
    take_turn: Callable[[Connection, dict[str, Any]], dict[str, Any]],
    method: str,
) -> dict[str, Any]:
    """The turn with its trace; the tree is printed for a failed call as well."""
    # Imported late: the OpenTelemetry SDK and the settings take a while to load.
    from serving.cli.tracing import CallTrace, span_document
    from serving.settings import load_settings

    with CallTrace(load_settings().telemetry) as call_trace, ExitStack() as finish:
        if not connection.as_json:
            finish.callback(_print_trace, call_trace)
        with call_trace.call(SERVICE, method) as traceparent:
            document = take_turn(connection, {**request, "traceparent": traceparent})
        if connection.as_json:
            spans = call_trace.collect()
            document["trace"] = {
                "trace_id": call_trace.trace_id,
                "note": call_trace.note,
                "spans": span_document(spans),
            }
    return document


def _print_trace(call_trace: "CallTrace") -> None:
    from serving.telemetry.tree import render_tree

    spans = call_trace.collect()
    console = stdout_console()
    if spans:
        console.print(render_tree(spans))
    if call_trace.note:
        console.print(f"note: {call_trace.note} (trace {call_trace.trace_id})", style="yellow")
