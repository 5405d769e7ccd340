"""Commands of a page of the documentation.

A block fenced as `console` has commands behind `$ `, each followed by what it prints; one fenced as
`text` has none. Other fences are refused, so that no command hides in one.
"""

import re
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(.*)$")
_PROMPT = "$ "
# Code within a sentence.
_INLINE = re.compile(r"`([^`\n]+(?:\n[^`\n]+)?)`")


@dataclass(frozen=True)
class Command:
    """One command as it stands there."""

    text: str
    # Of the page, from 1.
    line: int


def commands_of(page: Path) -> list[Command]:
    """The commands of all blocks in the order of the page.

    Raises:
        ValueError: a fence is neither `console` nor `text`, or a `console` block has no command in
            its first line; names the line.
    """
    found: list[Command] = []
    fence: str | None = None
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        mark = _FENCE.match(line)
        if mark and fence is None:
            fence = mark[1]
            if fence not in ("console", "text"):
                raise ValueError(f"{page.name}:{number}: fenced as {fence!r}: console or text?")
            began = number
        elif mark:
            fence = None
        elif fence == "console" and line.startswith(_PROMPT):
            found.append(Command(line.removeprefix(_PROMPT), number))
        elif fence == "console" and number == began + 1:
            raise ValueError(f"{page.name}:{number}: the block begins with no command")
    return found


def inline_commands_of(page: Path, program: str) -> list[str]:
    """What stands in code within sentences and begins with the program's name."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    found = (" ".join(code.split()) for code in _INLINE.findall(prose))
    return [code for code in found if code.split()[0] == program]
