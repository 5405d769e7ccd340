"""Command groups that import a command when it is called, not when another one is."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click


@dataclass(frozen=True)
class LazyCommand:
    """Where a command is ("module:attribute"), and the line that help shows for it."""

    target: str
    summary: str


class LazyGroup(click.Group):
    """A group whose commands are named in a table."""

    def __init__(
        self, *args: Any, lazy_commands: Mapping[str, LazyCommand] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._lazy_commands = dict(lazy_commands or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands, sorted."""
        return sorted({*super().list_commands(ctx), *self._lazy_commands})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command; imported now if it is called for the first time."""
        command = super().get_command(ctx, cmd_name)
        if command is None and cmd_name in self._lazy_commands:
            module, _, attribute = self._lazy_commands[cmd_name].target.partition(":")
            command = _checked(cmd_name, getattr(import_module(module), attribute))
            self.add_command(command, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands without importing those in the table."""
        rows = []
        for name in self.list_commands(ctx):
            if name in self._lazy_commands:
                rows.append((name, self._lazy_commands[name].summary))
            elif (command := self.get_command(ctx, name)) is not None and not command.hidden:
                rows.append((name, command.get_short_help_str(formatter.width)))
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


class ExtensibleGroup(LazyGroup):
    """A group that installed packages add commands to, through an entry point group.

    A command's module is imported for the group's help too, so it should import little by itself.
    """

    def __init__(self, *args: Any, entry_point_group: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._entry_point_group = entry_point_group

    @cached_property
    def _entry_points(self) -> dict[str, EntryPoint]:
        """By name; looked up when they are needed, which takes a look at all installed packages."""
        return {point.name: point for point in entry_points(group=self._entry_point_group)}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands, sorted."""
        return sorted({*super().list_commands(ctx), *self._entry_points})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, from the table or from an installed package."""
        command = super().get_command(ctx, cmd_name)
        if command is None and cmd_name in self._entry_points:
            command = _load(self._entry_points[cmd_name])
            self.add_command(command, cmd_name)
        return command


def _load(point: EntryPoint) -> click.Command:
    """The command of an entry point; one that says what is missing if it cannot be imported."""
    try:
        return _checked(point.name, point.load())
    except ImportError as error:
        reason = f"'{point.name}' cannot be loaded ({error}); is its extra installed?"

        def _refuse(**_arguments: object) -> None:
            raise click.ClickException(reason)

        return click.Command(
            point.name,
            callback=_refuse,
            short_help="(not installed)",
            help=reason,
            context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
        )


def _checked(name: str, loaded: object) -> click.Command:
    if not isinstance(loaded, click.Command):
        raise TypeError(f"command {name!r}: {loaded!r} is not a click command")
    return loaded
