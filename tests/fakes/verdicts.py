"""Verdicts that nobody reached."""

from serving.versions.verdict import Figure, Gate, Outcome, Verdict


def verdict(
    gate: Gate,
    outcome: Outcome = Outcome.PASSED,
    *,
    version: int = 4,
    against: int = 3,
    reason: str = "So it is.",
    figures: tuple[Figure, ...] = (),
    examples: tuple[str, ...] = (),
) -> Verdict:
    """About a version of `understanding`."""
    return Verdict(
        gate=gate,
        model="understanding",
        version=version,
        against=against if gate.compares else None,
        outcome=outcome,
        reason=reason,
        figures=figures,
        examples=examples,
        at_ms=1000,
        environment={"cores": "2"},
    )
