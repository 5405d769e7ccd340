"""May a version be promoted, by the verdicts about it? A pure rule.

Every needed gate must have passed. A gate that compares must have passed against the version that
is live now: what was better than the one before it may be worse than this one. Where nothing is
live there is nothing to compare with, and those gates are not asked.
"""

from collections.abc import Iterable, Sequence
from functools import partial

from serving.versions.lineup import Lineup, Step, StepRefused, promote
from serving.versions.verdict import Gate, Outcome, Verdict

_SHOWN_EXAMPLES = 3


def objections(
    lineup: Lineup, version: int, needed: Iterable[Gate], verdicts: Sequence[Verdict]
) -> tuple[str, ...]:
    """What stands against a promotion: a text for each gate, with figures and examples.

    Args:
        lineup: the model's, as it is now.
        version: to be promoted.
        needed: gates that it must have passed.
        verdicts: about the version, the newest first. Of each gate the newest counts that was
            reached against the live version.
    """
    found = []
    for gate in needed:
        if gate.compares and lineup.live is None:
            continue
        of_gate = [verdict for verdict in verdicts if verdict.gate is gate]
        objection = _objection(lineup, version, gate, of_gate)
        if objection:
            found.append(objection)
    return tuple(found)


def gated_promotion(
    version: int, needed: Iterable[Gate], verdicts: Sequence[Verdict], *, force: bool = False
) -> Step:
    """The step that promotes a version if its gates let it; for `VersionStore.apply`.

    It judges by the live version of the line-up that it is applied to. Forced, it asks no gate;
    whether that overruled any, `objections` tells beforehand.

    Raises:
        StepRefused: by the step, if a gate or the line-up does not allow it.
    """
    return partial(
        _promoted,
        version=version,
        needed=() if force else tuple(needed),
        verdicts=tuple(verdicts),
    )


def _promoted(
    lineup: Lineup, *, version: int, needed: Sequence[Gate], verdicts: Sequence[Verdict]
) -> Lineup:
    # First, so that a version which cannot be live at all is refused for that.
    promoted = promote(lineup, version)
    found = objections(lineup, version, needed, verdicts)
    if found:
        raise StepRefused(
            f"{lineup.model}: version {version} may not be promoted: {'; '.join(found)}"
        )
    return promoted


def _objection(lineup: Lineup, version: int, gate: Gate, verdicts: Sequence[Verdict]) -> str:
    """Empty if the gate lets the version through. `verdicts` are the gate's."""
    how = f"run `cartwright models gate {lineup.model} {version} --only {gate}`"
    if gate is Gate.REPLAY:
        how = f"run `cartwright replay --model {lineup.model} --versions {lineup.live},{version}`"
    relevant = [v for v in verdicts if not gate.compares or v.against == lineup.live]
    if not verdicts:
        return f"{gate} has no verdict: {how}"
    if not relevant:
        return (
            f"{gate} was judged against version {verdicts[0].against}, and {lineup.live} is live: "
            f"{how}"
        )
    newest = relevant[0]
    if newest.outcome is Outcome.PASSED:
        return ""
    text = f"{gate} {newest.outcome}: {newest.reason}"
    shown = newest.examples[:_SHOWN_EXAMPLES]
    if shown:
        more = len(newest.examples) - len(shown)
        text += f" For example: {'; '.join(shown)}" + (f" (and {more} more)" if more else "")
    return text
