"""A recorded trace of a pipeline, made up."""

from pathlib import Path

from serving.scaling.decide import Action, Decision, Reason
from serving.scaling.observation import IN_FLIGHT, Observation, ReplicaReport
from serving.scaling.trace import write_entry

HOLD = Decision(action=Action.HOLD, target=1, reason=Reason.STEADY, text="fine", pressure=0.35)


def two_minutes(folder: Path) -> Path:
    """Two minutes of a pipeline: quiet, busy for 30 s, quiet; recorded with one replica."""
    path = folder / "trace.jsonl"
    with path.open("w") as file:
        for second in range(120):
            load = 25.0 if 20 <= second < 50 else 1.0
            report = ReplicaReport(replica="r0", age_s=0.5, values={IN_FLIGHT: load})
            seen = Observation(time_s=0.0, running=1, target=1, reports=(report,))
            file.write(
                write_entry("Agent", "pipeline", 1e9 + second, seen, HOLD, dry_run=True) + "\n"
            )
    return path
