"""What a gate found, before it is known about whom, when and where: the inside of a verdict."""

from collections.abc import Iterable
from dataclasses import dataclass

from serving.versions.verdict import Figure, Outcome


@dataclass(frozen=True, kw_only=True)
class Finding:
    """See `serving.versions.verdict.Verdict` for the fields."""

    outcome: Outcome
    reason: str
    figures: tuple[Figure, ...] = ()
    examples: tuple[str, ...] = ()


def together(outcomes: Iterable[Outcome]) -> Outcome:
    """Of several measures: one that failed is enough to fail, all must pass to pass.

    To demand all needs no correction for their number (Berger, "Multiparameter hypothesis testing
    and acceptance sampling", 1982): whoever is too bad in one is let through with its chance at
    most.
    """
    found = set(outcomes)
    for outcome in (Outcome.FAILED, Outcome.UNDECIDED):
        if outcome in found:
            return outcome
    return Outcome.PASSED
