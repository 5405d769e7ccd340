from hypothesis import given
from hypothesis import strategies as st

from serving.steps.explain import personal_reason, popular_reason
from serving.steps.extract_answer import MAX_CHARS, extract_answer, sentences_of
from serving.steps.reply import text_pieces
from serving.steps.wording import day, order_status, price
from serving.stores.protocols import HistoryEntry
from serving.types import Article, Order, Product
from serving.words import content_words, normal_form

ARTICLE = Article(
    article_id="a",
    title="Returns",
    body=(
        "You can return an item within 30 days. Print the label at home.\n"
        "The refund takes 3.5 days on average, e.g. by card. Gift cards cannot be returned! "
        "Shoes have to be unworn."
    ),
)


def test_normal_forms_join_plurals_accents_and_cases() -> None:
    joined = [
        ("Mugs", "mug"),
        ("CRÈME", "creme"),
        ("deliveries", "delivery"),
        ("Straße", "strasse"),
    ]
    for left, right in joined:
        assert normal_form(left) == normal_form(right)
    apart = [("bus", "bu"), ("glass", "glas"), ("is", "i")]
    for left, right in apart:
        assert normal_form(left) != normal_form(right)


def test_content_words_leave_the_question_out() -> None:
    assert content_words("How can I return my mugs?") == {"return", "mug"}
    assert content_words("what is it") == frozenset()


def test_sentences_end_at_marks_and_lines_but_not_inside_numbers() -> None:
    assert sentences_of(ARTICLE.body) == [
        "You can return an item within 30 days.",
        "Print the label at home.",
        "The refund takes 3.5 days on average, e.g. by card.",
        "Gift cards cannot be returned!",
        "Shoes have to be unworn.",
    ]


def test_the_answer_is_the_first_sentence_and_those_that_share_words_with_the_question() -> None:
    assert extract_answer("how long does my refund take by card?", ARTICLE) == (
        "You can return an item within 30 days. "
        "The refund takes 3.5 days on average, e.g. by card. Gift cards cannot be returned!"
    )


def test_an_article_without_a_body_answers_with_its_title() -> None:
    assert (
        extract_answer("return", Article(article_id="a", title="Returns", body=" \n")) == "Returns"
    )


@given(st.text(max_size=1500), st.text(max_size=60))
def test_an_answer_says_only_what_the_article_says(body: str, question: str) -> None:
    answer = extract_answer(question, Article(article_id="a", title="T", body=body))
    assert len(answer) <= MAX_CHARS + 2
    said = answer.removesuffix(" …")
    sentences = sentences_of(body)
    remaining = said
    for sentence in sentences:
        if remaining.startswith(sentence):
            remaining = remaining.removeprefix(sentence).removeprefix(" ")
    assert remaining in ("", "T") or " ".join(sentences).startswith(remaining)


def test_prices_and_days_are_written_for_people() -> None:
    assert price(1250, "EUR") == "€12.50"
    assert price(123456789, "USD") == "$1,234,567.89"
    assert price(5, "GBP") == "£0.05"
    assert price(990, "CHF") == "9.90 CHF"
    assert price(-199, "EUR") == "-€1.99"
    assert price(100, "") == "1.00"
    assert day("2026-11-03") == "3 November 2026"
    assert day("soon") == "soon"


def order(status: str, expected_on: str = "2026-11-25") -> Order:
    return Order(
        order_number="12345",
        customer_id="c1",
        status=status,
        placed_on="2026-11-20",
        expected_on=expected_on,
        product_ids=("p1", "p2"),
        total_cents=4990,
    )


def test_an_order_is_told_with_its_dates_and_never_with_one_it_does_not_have() -> None:
    assert order_status(order("shipped")) == (
        "Order 12345 (2 items, €49.90) was placed on 20 November 2026 and has been shipped; "
        "it is expected to arrive on 25 November 2026."
    )
    assert "arrive" not in order_status(order("placed", expected_on=""))
    assert "arrive" not in order_status(order("delivered"))
    assert order_status(order("on hold")).endswith("; its status is: on hold.")


@given(st.text(max_size=300))
def test_the_pieces_of_a_text_are_the_text(text: str) -> None:
    assert "".join(text_pieces(text)) == text


def test_pieces_are_sentences_and_lines() -> None:
    text = "I'm sorry. Here is what I found:\n- Mug (€1.50)\n- Pan\nIs that it?"
    assert list(text_pieces(text)) == [
        "I'm sorry. ",
        "Here is what I found:\n",
        "- Mug (€1.50)\n",
        "- Pan\n",
        "Is that it?",
    ]


def product(product_id: str, category: str) -> Product:
    return Product(
        product_id=product_id, title=f"The {product_id}", category=category, price_cents=1
    )


def test_a_reason_names_the_latest_interaction_with_the_category() -> None:
    products = {p.product_id: p for p in (product("mug", "home/mugs"), product("cup", "home/mugs"))}
    products["pan"] = product("pan", "home/pans")

    def past(*entries: tuple[str, str]) -> list[HistoryEntry]:
        return [
            HistoryEntry(product_id=product_id, kind=kind, occurred_at_ms=i)
            for i, (product_id, kind) in enumerate(entries)
        ]

    def reason(*entries: tuple[str, str]) -> str:
        return personal_reason(products["mug"], past(*entries), products)

    assert reason(("cup", "view"), ("pan", "view")) == "because you looked at The cup"
    assert reason(("cup", "view"), ("cup", "purchase")) == "because you bought The cup"
    assert reason(("cup", "add_to_cart")) == "goes with The cup in your cart"
    assert reason(("pan", "purchase")) == "suggested by your interest in The pan"
    # Nothing follows from the product itself, from what was taken out, or from what is gone.
    assert reason(("mug", "view")) == ""
    assert reason(("cup", "remove_from_cart")) == ""
    assert reason(("gone", "view")) == ""


def test_popularity_is_claimed_for_the_surroundings_of_a_product() -> None:
    assert popular_reason(product("mug", "home/kitchen/mugs")) == "popular in home/kitchen"
    assert popular_reason(product("mug", "home/kitchen/mugs"), "home") == "popular in home"
    assert popular_reason(product("mug", "home")) == "popular in home"
    assert popular_reason(product("mug", "")) == "popular in our shop"
