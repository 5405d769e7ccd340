"""How much work a build does: `full` for use, `quick` for tests. The code is the same."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Amounts of data and training."""

    name: str
    # Written ones; fewer are enough where real ones show how customers talk.
    utterances_per_intent: int
    utterances_per_intent_beside_real: int
    understanding_frozen_layers: int
    understanding_epochs: int
    # Utterances of a real set that are used at most for training.
    most_real_utterances: int
    # Models learn from this share of the customers.
    customers_share: float
    candidates_epochs: int
    ranker_epochs: int
    decision_turns: int
    decision_epochs: int


PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(
            name="full",
            utterances_per_intent=250,
            utterances_per_intent_beside_real=110,
            understanding_frozen_layers=4,
            understanding_epochs=3,
            most_real_utterances=6_000,
            customers_share=1.0,
            candidates_epochs=5,
            ranker_epochs=4,
            decision_turns=40_000,
            decision_epochs=12,
        ),
        Profile(
            name="quick",
            utterances_per_intent=50,
            utterances_per_intent_beside_real=40,
            understanding_frozen_layers=4,
            understanding_epochs=2,
            most_real_utterances=1_200,
            customers_share=0.25,
            candidates_epochs=1,
            ranker_epochs=1,
            decision_turns=6_000,
            decision_epochs=4,
        ),
    )
}
