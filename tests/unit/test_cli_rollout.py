"""`cartwright models promote --auto` tells what happens, and ends as the rollout ends."""

import io

from click.testing import CliRunner
from rich.console import Console

from serving.cli.main import cartwright
from serving.cli.rollout import follow_rollout
from serving.cli.version_tables import rollout_table
from serving.errors import FailedPrecondition
from serving.protos import commerce_pb2 as pb

MODEL = "understanding"


def state(
    revision: int, action: str, *, live: int = 3, going_on: bool = True, why: str = "better"
) -> pb.ShowModelReply:
    reply = pb.ShowModelReply(
        model=MODEL,
        last_step=pb.ModelStep(
            revision=revision, action=action, author="ada", reason=why, live=live
        ),
    )
    if going_on:
        reply.rollout.CopyFrom(
            pb.Rollout(version=4, stage="canary 10 %", counting=True, verdict="go on")
        )
        reply.rollout.findings.append(
            pb.RolloutFinding(
                measure="failed or degraded",
                verdict="go on",
                candidate_bad=3,
                candidate_of=40,
                live_bad=1,
                live_of=400,
                difference=0.0725,
                low=-0.02,
                high=0.31,
                margin=0.01,
                needed=True,
            )
        )
        reply.rollout.findings.append(
            pb.RolloutFinding(measure="answered otherwise", verdict="accept", candidate_of=99)
        )
    return reply


def follow(*looks: pb.ShowModelReply, table_period_s: float = 99.0) -> tuple[int, str]:
    """The last revision seen, or 0 for an error; and what was told."""
    seen = iter(looks)
    console = Console(file=io.StringIO(), width=200)
    try:
        reply = follow_rollout(
            lambda: next(seen), 4, console, look_period_s=0.0, table_period_s=table_period_s
        )
    except FailedPrecondition as error:
        return 0, text_of(console) + error.message
    return reply.last_step.revision, text_of(console)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_each_step_is_told_once_until_the_version_is_live() -> None:
    revision, told = follow(
        state(5, "roll out 4"),
        state(5, "roll out 4"),
        state(6, "canary 4 10%", why="accepted as shadow"),
        state(7, "promote 4", live=4, going_on=False, why="accepted as canary 10 %"),
    )
    assert revision == 7
    assert told.splitlines() == [
        "roll out 4: better",
        "canary 4 10%: accepted as shadow",
        "promote 4: accepted as canary 10 %",
    ]


def test_a_version_that_is_withdrawn_is_an_error_that_says_why() -> None:
    revision, told = follow(
        state(5, "roll out 4"),
        state(6, "rollback", going_on=False, why="rejected as shadow: [all] 9 of 9"),
    )
    assert revision == 0
    assert told.splitlines() == [
        "roll out 4: better",
        "understanding: version 4 is not live: rollback by ada: rejected as shadow: [all] 9 of 9",
    ]


def test_what_a_stage_has_shown_is_told_from_time_to_time() -> None:
    looks = (state(5, "roll out 4"), state(6, "promote 4", live=4, going_on=False))
    assert "failed or degraded" in follow(*looks, table_period_s=0.0)[1]
    assert "failed or degraded" not in follow(*looks)[1]


def test_the_table_shows_both_arms_and_what_is_known_of_the_difference() -> None:
    console = Console(file=io.StringIO(), width=200)
    console.print(rollout_table(state(5, "roll out 4").rollout))
    header, first, second = text_of(console).splitlines()
    assert " ".join(header.split()) == (
        "canary 10 % live candidate difference bounds at all times allowed verdict"
    )
    assert " ".join(first.split()) == (
        "failed or degraded 1 of 400 3 of 40 +7.25% -2.00% to +31.00% +1.00% go on"
    )
    # Compared with the live version itself; and nobody waits for it.
    assert second.split()[:3] == ["answered", "otherwise", "-"]
    assert "accept (not waited for)" in second


def test_detach_is_for_rollouts() -> None:
    result = CliRunner().invoke(
        cartwright, ["models", "promote", MODEL, "4", "--reason", "x", "--detach"]
    )
    assert result.exit_code == 2
    assert "--detach: only with --auto" in result.output
