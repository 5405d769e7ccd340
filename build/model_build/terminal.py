"""What offline commands print, and where."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from serving.cli.render import PLAIN_WIDTH, stdout_console


def console_beside(*, as_json: bool) -> Console:
    """Standard output, or beside it where that is one JSON document."""
    return Console(stderr=True, highlight=False) if as_json else stdout_console()


def say(console: Console, line: str) -> None:
    """Prints a line as it is."""
    console.print(escape(line), highlight=False, soft_wrap=True)


def show(console: Console, table: Table) -> None:
    """Prints a table; lines that a narrow terminal wraps are better than figures cut off."""
    console.print(table, width=max(console.width, PLAIN_WIDTH), crop=False)
