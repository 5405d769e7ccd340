"""Keeps the head of a ranking from showing the same kind of product over and over."""

from collections import Counter
from collections.abc import Iterable

from serving.types import Candidate

# A head of ten holds at most four products of one leaf category, a head of five two.
LARGEST_SHARE = 0.4


def largest_group(top_k: int) -> int:
    """How many products of one leaf category a head of `top_k` may hold; at least one."""
    return max(1, int(top_k * LARGEST_SHARE))


def diversify(ranked: Iterable[Candidate], top_k: int) -> tuple[Candidate, ...]:
    """The first `top_k` of a ranking, no leaf category above its share while there is another.

    Greedy: in the ranking's order, a product whose category is full is set aside; what was set
    aside fills the head up, in order, when nothing else is left. The first product always stays
    the first. A cap on groups was chosen over maximal marginal relevance (Carbonell, Goldstein,
    1998) because it needs no similarity between products and no weight to tune.
    """
    cap = largest_group(top_k)
    taken: Counter[str] = Counter()
    head: list[Candidate] = []
    aside: list[Candidate] = []
    for candidate in ranked:
        if len(head) == top_k:
            break
        if taken[candidate.product.category] < cap:
            taken[candidate.product.category] += 1
            head.append(candidate)
        else:
            aside.append(candidate)
    return tuple(head + aside[: top_k - len(head)])
