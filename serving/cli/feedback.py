"""`cartwright feedback`: what a customer thinks of a reply."""

import click

from serving.cli.connection import Connection, with_connection
from serving.cli.document import plain, print_document
from serving.types import Feedback


@click.command()
@click.argument("trace_id")
@click.option("--helpful/--not-helpful", required=True, help="The rating.")
@click.option("--comment", default="", help="In the customer's words; masked before it is stored.")
@with_connection
def feedback(connection: Connection, trace_id: str, helpful: bool, comment: str) -> None:
    """Rate the reply with the id TRACE_ID; a rating that it has already is replaced."""
    with connection.client() as client:
        reply = client.record_feedback(
            [Feedback(trace_id=trace_id, helpful=helpful, comment=comment)],
            deadline_ms=connection.deadline_ms,
        )
    if connection.as_json:
        print_document(plain(reply))
        return
    click.echo("recorded" if reply.recorded else "not recorded: the request has a newer rating")
    for unknown in reply.unknown_trace_ids:
        click.echo(f"the ledger knows no answer of a model to {unknown}: it counts for no version")
