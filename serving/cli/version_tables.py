"""Tables of a model's versions, and of the steps that were taken with them."""

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from serving.cli.tables import DIGEST_CHARS, plain_table, utc
from serving.protos import commerce_pb2 as pb

_VERDICTS = {"accept": "green", "reject": "red", "go on": ""}
_STYLES = {"live": "green", "canary": "yellow", "shadow": "yellow"}


def versions_table(reply: pb.ShowModelReply) -> Table:
    """Every version: what it is for, where it is ready, and why it is not."""
    table = plain_table(
        reply.model, "stage", "ready on", "artifact", "sha256", "published", "trouble"
    )
    for status in reply.versions:
        stage = status.stage
        if stage == "canary":
            stage = f"canary {reply.canary_percent:g} %"
        table.add_row(
            str(status.version),
            Text(stage, style=_STYLES.get(status.stage, "")),
            Text(", ".join(status.ready_host_ids) or "-"),
            Text(status.artifact),
            Text(status.sha256[:DIGEST_CHARS]),
            utc(status.published_at_ms),
            Text("; ".join(f"{where}: {why}" for where, why in sorted(status.faults.items()))),
        )
    return table


def rollout_table(rollout: pb.Rollout) -> Table:
    """What the present stage of a rollout has shown."""
    table = plain_table(
        rollout.stage,
        "live",
        "candidate",
        "difference",
        "bounds at all times",
        "allowed",
        "verdict",
    )
    for finding in rollout.findings:
        live = f"{finding.live_bad} of {finding.live_of}" if finding.HasField("live_of") else "-"
        verdict = finding.verdict if finding.needed else f"{finding.verdict} (not waited for)"
        table.add_row(
            finding.measure,
            live,
            f"{finding.candidate_bad} of {finding.candidate_of}",
            f"{finding.difference:+.2%}",
            f"{finding.low:+.2%} to {finding.high:+.2%}",
            f"{finding.margin:+.2%}",
            Text(verdict, style=_VERDICTS[finding.verdict]),
        )
    return table


def steps_table(steps: Iterable[pb.ModelStep]) -> Table:
    """Steps with their authors and reasons."""
    table = plain_table("revision", "step", "live", "author", "reason", "at")
    for step in steps:
        action = f"{step.action} (forced)" if step.forced else step.action
        table.add_row(
            str(step.revision),
            Text(action),
            str(step.live or "-"),
            Text(step.author),
            Text(step.reason),
            utc(step.at_ms),
        )
    return table
