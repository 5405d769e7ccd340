"""Gate `quality`: is a version worse than the live one on samples that it did not learn from?

Both answer the same samples; `paired` has the method. Each figure has a margin, which stands in the
model's file in `held_out`: a loss within it is none, and where the samples are too few to tell, the
verdict is that it is undecided.
"""

from collections.abc import Sequence
from itertools import zip_longest

from model_build.promotion.finding import Finding, together
from model_build.promotion.held_out.evaluation import Evaluation, Misbehaved, Quality
from model_build.promotion.paired import CONFIDENCE, Comparison
from serving.errors import StartupError
from serving.models.repository import PublishedVersion
from serving.versions.verdict import MOST_EXAMPLES, Outcome


def judge_quality(
    candidate: PublishedVersion,
    live: PublishedVersion,
    evaluation: Evaluation,
    doubts: Sequence[str] = (),
    remarks: Sequence[str] = (),
) -> Finding:
    """Runs both versions, whose files have been verified.

    Args:
        candidate: to be promoted.
        live: to compare with.
        evaluation: held-out samples.
        doubts: why the samples may not be held out for the candidate, a sentence each. With any, it
            cannot pass: it may know the answers by heart.
        remarks: what else there is to say about the samples, a sentence each.

    Raises:
        StartupError: an asset of a version is unusable, or the live one does not answer.
    """
    try:
        quality = evaluation.quality(candidate, live)
    except Misbehaved as error:
        if error.version != candidate.manifest.version:
            raise StartupError(f"{candidate.manifest.model}: {error.message}") from error
        return Finding(outcome=Outcome.FAILED, reason=f"{error.message.capitalize()}.")
    outcome = together(c.outcome for c in quality.comparisons)
    reasons = [_reason(quality, outcome), *doubts, *remarks]
    if doubts and outcome is Outcome.PASSED:
        outcome = Outcome.UNDECIDED
    return Finding(
        outcome=outcome,
        reason=" ".join(reasons),
        figures=tuple(figure for c in quality.comparisons for figure in c.figures),
        examples=_examples(quality),
    )


def _reason(quality: Quality, outcome: Outcome) -> str:
    shown = [c for c in quality.comparisons if c.outcome is outcome]
    figures = "; ".join(c.text for c in shown)
    basis = f"{quality.basis}, {CONFIDENCE:.0%} confidence"
    if outcome is Outcome.FAILED:
        return f"Worse than it may be on {basis}: {figures}."
    if outcome is Outcome.UNDECIDED:
        return f"Too few samples to tell on {basis}: {figures}."
    return f"No worse on {basis}: {figures}."


def _examples(quality: Quality) -> tuple[str, ...]:
    """Of each figure in turn, those that failed first."""
    order: list[Comparison] = sorted(quality.comparisons, key=_rank)
    failed = [c for c in order if c.outcome is Outcome.FAILED]
    chosen: dict[str, None] = {}
    for comparisons in (failed, [c for c in order if c not in failed]):
        lists = [quality.lost.get(c.name, ()) for c in comparisons]
        for row in zip_longest(*lists):
            chosen.update(dict.fromkeys(text for text in row if text is not None))
    return tuple(chosen)[:MOST_EXAMPLES]


def _rank(comparison: Comparison) -> float:
    """The one furthest beyond its margin first."""
    loss = comparison.change if comparison.lower_is_better else -comparison.change
    return -loss / comparison.margin
