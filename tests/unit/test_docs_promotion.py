"""docs/promotion.md: no command hides from the test that runs them all, and none is made up."""

import re
from pathlib import Path

import click
import pytest

from serving.cli.main import cartwright
from tests.pages import commands_of, inline_commands_of

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "promotion.md"


def page(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "page.md"
    path.write_text(text)
    return path


def test_commands_stand_behind_a_prompt(tmp_path: Path) -> None:
    text = "a\n```console\n$ one --x\noutput $ no\n$ two\n```\n```text\n$ three\n```\n"
    found = commands_of(page(tmp_path, text))
    assert [(command.text, command.line) for command in found] == [("one --x", 3), ("two", 5)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```\nrun this\n```\n", "page.md:1: fenced as '': console or text?"),
        ("```bash\nrun this\n```\n", "page.md:1: fenced as 'bash'"),
        ("\n```console\nrun this\n```\n", "page.md:3: the block begins with no command"),
    ],
)
def test_no_command_hides_in_another_block(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        commands_of(page(tmp_path, text))


def test_the_page_has_blocks_of_these_kinds_alone() -> None:
    assert len(commands_of(PAGE)) > 15


def test_commands_within_sentences_exist() -> None:
    said = inline_commands_of(PAGE, "cartwright")
    assert "cartwright models stage" in said
    for text in said:
        group: click.Command = cartwright
        for word in text.split()[1:]:
            if not isinstance(group, click.Group):
                break
            found = group.get_command(click.Context(group), word)
            assert found is not None, f"{text}: there is no {word}"
            group = found
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    for text in inline_commands_of(PAGE, "make"):
        assert text.split()[1] in targets
