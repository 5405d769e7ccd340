"""`cartwright recommend`: products for a customer or a session."""

import click

from serving.cli.connection import Connection, with_connection
from serving.cli.document import plain, print_document
from serving.cli.render import recommendation, stdout_console


@click.command()
@click.option("--customer", default="", help="Customer id.")
@click.option("--session", default="", help="Session id of an anonymous visitor.")
@click.option("--top-k", type=int, default=5, show_default=True, help="Number of products.")
@click.option("--category", default="", help="Only this category and what is below it.")
@with_connection
def recommend(
    connection: Connection, customer: str, session: str, top_k: int, category: str
) -> None:
    """Recommend products to a customer or a session."""
    with connection.client() as client:
        reply = client.recommend(
            customer_id=customer,
            session_id=session,
            top_k=top_k,
            category=category,
            deadline_ms=connection.deadline_ms,
        )
    if connection.as_json:
        print_document(plain(reply))
        return
    console = stdout_console()
    for part in recommendation(reply):
        console.print(part)
