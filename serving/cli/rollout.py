"""Follows a promotion that goes on by itself, from its shadow to its end."""

import time
from collections.abc import Callable

from rich.console import Console
from rich.markup import escape

from serving.cli.version_tables import rollout_table
from serving.errors import FailedPrecondition
from serving.protos import commerce_pb2 as pb


def follow_rollout(
    look: Callable[[], pb.ShowModelReply],
    version: int,
    console: Console,
    *,
    look_period_s: float = 0.5,
    table_period_s: float = 30.0,
) -> pb.ShowModelReply:
    """Tells each step, and from time to time what the stage has shown, until the end.

    Args:
        look: the model as it is now.
        version: that is rolled out.
        console: to tell it on.
        look_period_s: between two looks.
        table_period_s: between two tables of the same stage.

    Returns:
        The model with the version live.

    Raises:
        FailedPrecondition: the version was withdrawn, or somebody took another step; says why.
    """
    state = look()
    told = 0
    table_at_s = time.monotonic() + table_period_s
    while True:
        step = state.last_step
        if step.revision != told and (state.HasField("rollout") or step.live == version):
            told = step.revision
            console.print(escape(f"{step.action}: {step.reason}"), soft_wrap=True)
            table_at_s = time.monotonic() + table_period_s
        if not state.HasField("rollout"):
            break
        if state.rollout.counting and time.monotonic() >= table_at_s:
            console.print(rollout_table(state.rollout))
            table_at_s = time.monotonic() + table_period_s
        time.sleep(look_period_s)
        state = look()
    if step.live == version:
        return state
    raise FailedPrecondition(
        f"{state.model}: version {version} is not live: {step.action} by {step.author}: "
        f"{step.reason}"
    )
