from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from serving.steps.diversify import diversify, largest_group
from serving.types import Candidate, Product

CATEGORIES = ("mugs", "pans", "spades", "lamps")
RANKINGS = st.lists(st.sampled_from(CATEGORIES), max_size=40)
SIZES = st.integers(0, 30)


def ranking(categories: list[str]) -> list[Candidate]:
    return [
        Candidate(
            product=Product(product_id=f"p{i}", title="", category=category, price_cents=1),
            score=1.0 / (i + 1),
        )
        for i, category in enumerate(categories)
    ]


def ids(candidates: tuple[Candidate, ...] | list[Candidate]) -> list[str]:
    return [candidate.product.product_id for candidate in candidates]


@given(RANKINGS, SIZES)
def test_the_head_is_drawn_from_the_ranking_without_repetition(
    categories: list[str], top_k: int
) -> None:
    ranked = ranking(categories)
    head = diversify(ranked, top_k)
    assert len(head) == min(top_k, len(ranked))
    assert len(set(ids(head))) == len(head)
    assert set(ids(head)) <= set(ids(ranked))


@given(RANKINGS, SIZES)
def test_a_category_exceeds_its_share_only_where_the_others_have_run_out(
    categories: list[str], top_k: int
) -> None:
    ranked = ranking(categories)
    head = diversify(ranked, top_k)
    counts = Counter(candidate.product.category for candidate in head)
    available = Counter(categories)
    cap = largest_group(top_k)
    if any(count > cap for count in counts.values()):
        for category, count in available.items():
            assert counts[category] >= min(cap, count)


@given(RANKINGS, st.integers(1, 30))
def test_the_best_stays_first_and_each_category_keeps_its_order(
    categories: list[str], top_k: int
) -> None:
    ranked = ranking(categories)
    head = diversify(ranked, top_k)
    assert ids(head)[:1] == ids(ranked)[:1]
    for category in CATEGORIES:
        places = [int(c.product.product_id[1:]) for c in head if c.product.category == category]
        assert places == sorted(places)


@given(RANKINGS, SIZES, st.permutations(CATEGORIES))
def test_names_of_categories_do_not_matter(
    categories: list[str], top_k: int, names: list[str]
) -> None:
    renamed = dict(zip(CATEGORIES, names, strict=True))
    head = diversify(ranking(categories), top_k)
    assert ids(diversify(ranking([renamed[c] for c in categories]), top_k)) == ids(head)


def test_one_category_alone_keeps_its_ranking() -> None:
    assert ids(diversify(ranking(["mugs"] * 8), 5)) == ["p0", "p1", "p2", "p3", "p4"]


def test_a_crowded_category_gives_way_in_the_head() -> None:
    head = diversify(ranking(["mugs"] * 6 + ["pans", "spades"]), 5)
    assert ids(head) == ["p0", "p1", "p6", "p7", "p2"]
