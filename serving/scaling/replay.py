"""A recorded trace through the rules: what would have been decided.

The load is the recorded one. Where the replay's number differs from the recorded one, requests are
spread over the replay's replicas; the queue time stays as it was, because nothing tells what it
would have been.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from serving.scaling.decide import Decision, Rules, State, decide
from serving.scaling.observation import (
    IN_FLIGHT,
    PENDING,
    REQUESTS_PER_S,
    ROWS_PER_S,
    Observation,
    ReplicaReport,
)
from serving.scaling.trace import Entry, Kind

# Values of which each replica carries its share; the others are the same for all.
_SHARED = frozenset({IN_FLIGHT, PENDING, REQUESTS_PER_S, ROWS_PER_S})


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """One recorded moment with the replay's decision."""

    deployment: str
    kind: Kind
    # What the rules saw: with the replay's own numbers.
    seen: Observation
    recorded_target: int
    decision: Decision


def replay(entries: Iterable[Entry], rules_of: Callable[[str, Kind], Rules]) -> Iterator[Replayed]:
    """Replays a trace, in its order; each deployment by itself.

    Args:
        entries: of any deployments, each in the order of time.
        rules_of: rules of a deployment by name and kind.
    """
    rules: dict[str, Rules] = {}
    states: dict[str, State] = {}
    targets: dict[str, int] = {}
    for entry in entries:
        name = entry.deployment
        if name not in rules:
            rules[name], states[name] = rules_of(name, entry.kind), State()
            targets[name] = entry.seen.target
        seen = with_target(entry.seen, targets[name])
        decision, states[name] = decide(rules[name], states[name], seen)
        targets[name] = decision.target
        yield Replayed(
            deployment=name,
            kind=entry.kind,
            seen=seen,
            recorded_target=entry.seen.target,
            decision=decision,
        )


def with_target(seen: Observation, target: int) -> Observation:
    """The same moment had `target` been aimed at, and reached."""
    if target == seen.target:
        return seen
    reports = seen.reports
    if not reports:
        return replace(seen, target=target, running=target)
    share = len(reports) / target
    spread = tuple(
        ReplicaReport(
            replica=f"replay-{number}",
            age_s=max(report.age_s for report in reports),
            values={
                name: sum(report.values[name] for report in reports)
                / len(reports)
                * (share if name in _SHARED else 1.0)
                for name in reports[0].values
            },
        )
        for number in range(target)
    )
    return replace(seen, target=target, running=target, reports=spread)
