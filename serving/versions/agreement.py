"""Whether two versions' answers to one request mean the same to a customer."""

from functools import singledispatch

import numpy as np

from serving.steps.encode import Embeddings
from serving.steps.generate_candidates import Candidates
from serving.steps.rank import Ranking
from serving.types import Decision, Understanding

# Products that a customer gets to see; what lies further down may differ.
SHOWN = 5
# Of the shown products, so many have to be the same.
_SHARED = 0.6
# Cosine of two vectors that mean the same.
_SAME_MEANING = 0.95


@singledispatch
def agree(live: object, candidate: object) -> bool:
    """Whether the answers mean the same; for answers without a rule, whether they are equal."""
    return live == candidate


@agree.register
def _(live: Understanding, candidate: object) -> bool:
    """The same intent, and the same values of the same slots."""
    if not isinstance(candidate, Understanding) or live.intent != candidate.intent:
        return False
    return {(s.name, s.value) for s in live.slots} == {(s.name, s.value) for s in candidate.slots}


@agree.register
def _(live: Candidates, candidate: object) -> bool:
    """Most of what would be shown first is the same."""
    return isinstance(candidate, Candidates) and _mostly_same(
        live.product_ids, candidate.product_ids
    )


@agree.register
def _(live: Ranking, candidate: object) -> bool:
    """Most of what is shown is the same."""
    return isinstance(candidate, Ranking) and _mostly_same(live.product_ids, candidate.product_ids)


@agree.register
def _(live: Decision, candidate: object) -> bool:
    """The same action."""
    return isinstance(candidate, Decision) and live.action == candidate.action


@agree.register
def _(live: Embeddings, candidate: object) -> bool:
    """Every vector points the same way; encoders that were trained anew do not agree."""
    if not isinstance(candidate, Embeddings) or live.vectors.shape != candidate.vectors.shape:
        return False
    cosines = np.einsum("ij,ij->i", live.vectors, candidate.vectors)
    return bool((cosines >= _SAME_MEANING).all())


def _mostly_same(live: tuple[str, ...], candidate: tuple[str, ...]) -> bool:
    shown = set(live[:SHOWN])
    return len(shown & set(candidate[:SHOWN])) >= _SHARED * len(shown)
