import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from google.protobuf.message import Message

from loadtest.calls import METHODS, Call, Think
from loadtest.journeys import JOURNEYS, draw_journey, seeking_help, shopping
from loadtest.mix import DEFAULT_MIX, Mix, parse_mix
from loadtest.population import Population, ShopContent, ShopUnreadable, read_shop
from serving.protos import commerce_pb2 as pb

CONTENT = ShopContent(
    customers=tuple(f"c{i}" for i in range(200)),
    products=tuple(f"p{i}" for i in range(200)),
    orders=(("12345", "c7"), ("23456", "c8")),
    texts=("do you have mugs", "my parcel is late"),
    questions=("How long does delivery take?",),
)


def population(seed: int = 3) -> Population:
    return Population(CONTENT, np.random.default_rng(seed))


def walked(journey: Iterator[Call | Think], replies: dict[str, Message]) -> list[Call | Think]:
    """The steps of a journey whose calls are answered by method; others fail."""
    steps: list[Call | Think] = []
    reply: Message | None = None
    try:
        while True:
            step = journey.send(reply)  # type: ignore[attr-defined]
            steps.append(step)
            reply = replies.get(step.method) if isinstance(step, Call) else None
    except StopIteration:
        return steps


def methods(steps: list[Call | Think]) -> list[str]:
    return [step.method for step in steps if isinstance(step, Call)]


def test_a_shopper_browses_asks_follows_up_looks_and_buys() -> None:
    items = pb.RecommendReply(items=[pb.Item(product_id="wanted")])
    for seed in range(20):
        steps = walked(shopping(population(seed)), {"Recommend": items})
        talk = [m if m != "ConverseStream" else "Converse" for m in methods(steps)]
        assert talk == [
            *("RecordEvents", "Recommend", "Converse", "Converse"),
            *("Recommend", "RecordEvents", "Decide", "RecordEvents"),
        ]
        calls = [step for step in steps if isinstance(step, Call)]
        put, end = calls[5].request, calls[7].request
        assert isinstance(put, pb.RecordEventsRequest)
        assert isinstance(end, pb.RecordEventsRequest)
        assert put.events[0].product_id == end.events[0].product_id == "wanted"
        assert put.events[0].kind == pb.EVENT_KIND_ADD_TO_CART
        assert put.events[0].event_id != end.events[0].event_id
        sessions = {getattr(c.request, "session_id", "") for c in calls} - {""}
        assert len(sessions) == 1, "one visit, one session"


def test_a_shopper_without_replies_buys_what_was_looked_at() -> None:
    calls = [s for s in walked(shopping(population()), {}) if isinstance(s, Call)]
    looked, put = calls[0].request, calls[5].request
    assert isinstance(looked, pb.RecordEventsRequest)
    assert isinstance(put, pb.RecordEventsRequest)
    assert put.events[0].product_id == looked.events[-1].product_id


def test_the_order_number_is_given_when_it_is_asked_for() -> None:
    asking = pb.ConverseReply(requested_slot="order_number")
    replies: dict[str, Message] = {"Converse": asking, "ConverseStream": asking}
    calls = [s for s in walked(seeking_help(population()), replies) if isinstance(s, Call)]
    assert isinstance(calls[1].request, pb.ConverseRequest)
    assert calls[1].request.text in {"it's 12345", "it's 23456"}
    assert calls[1].request.customer_id in {"c7", "c8"}


def test_every_journey_pauses_and_calls_known_methods() -> None:
    assert sum(weight for weight, _ in JOURNEYS) == pytest.approx(1.0)
    seen: Counter[str] = Counter()
    for seed in range(60):
        steps = walked(draw_journey(population(seed)), {})
        thinks = [step.seconds for step in steps if isinstance(step, Think)]
        assert thinks
        assert all(0 < seconds <= 40 for seconds in thinks)
        seen.update(methods(steps))
    assert set(seen) == set(METHODS) - {"Understand"}


def test_a_seed_makes_the_same_calls() -> None:
    assert walked(shopping(population(5)), {}) == walked(shopping(population(5)), {})
    assert walked(shopping(population(5)), {}) != walked(shopping(population(6)), {})


def test_few_products_make_most_of_the_traffic_and_all_processes_agree_on_which() -> None:
    first = Counter(population(1).product() for _ in range(1)) and population(1)
    second = population(2)
    ones = Counter(first.product() for _ in range(8000))
    twos = Counter(second.product() for _ in range(8000))
    top = [product for product, _ in ones.most_common(10)]
    # Zipf with exponent 1 over 200: the ten first make half of it.
    assert 0.43 < sum(ones[product] for product in top) / 8000 < 0.57
    assert ones.most_common(1)[0][0] == twos.most_common(1)[0][0]
    assert len(ones) > 150, "the long tail is there as well"


def test_some_visitors_have_no_name() -> None:
    drawn = population()
    names = Counter(drawn.customer() == "" for _ in range(4000))
    assert 0.25 < names[True] / 4000 < 0.35


def test_think_times_lie_around_their_median() -> None:
    drawn = population()
    pauses = [drawn.pause_s(2.0) for _ in range(4000)]
    assert np.median(pauses) == pytest.approx(2.0, rel=0.1)
    assert max(pauses) <= 20.0


def test_the_mix_is_drawn_by_its_weights() -> None:
    mix = Mix(parse_mix("Understand=3,Recommend"), population())
    drawn = Counter(mix.draw().method for _ in range(2000))
    assert drawn["Understand"] / 2000 == pytest.approx(0.75, abs=0.05)
    assert set(drawn) == {"Understand", "Recommend"}


def test_the_default_mix_has_a_valid_call_of_every_method() -> None:
    assert set(DEFAULT_MIX) == set(METHODS)
    mix = Mix(parse_mix(""), population())
    requests: dict[str, Message] = {}
    for _ in range(500):
        call = mix.draw()
        requests[call.method] = call.request
    assert set(requests) == set(METHODS)
    converse = requests["Converse"]
    assert isinstance(converse, pb.ConverseRequest)
    assert converse.text in CONTENT.texts
    assert len(converse.session_id) == 32


@pytest.mark.parametrize("text", ["Understnd=1", "Answer=x", "Answer=0", "Answer=-1", "Answer=nan"])
def test_an_unusable_mix_names_the_part(text: str) -> None:
    with pytest.raises(ValueError, match=text.split("=")[0]):
        parse_mix(text)


def shop(folder: Path) -> Path:
    rows = {
        "customers.jsonl": [{"customer_id": "c1"}],
        "products.jsonl": [{"product_id": "p1"}],
        "orders.jsonl": [{"order_number": "1", "customer_id": "c1"}],
        "articles.jsonl": [{"title": "Can it go into the dishwasher?"}],
    }
    for name, values in rows.items():
        (folder / name).write_text("".join(json.dumps(v) + "\n" for v in values))
    return folder


def test_a_shop_without_held_out_utterances_asks_the_articles_questions(tmp_path: Path) -> None:
    content = read_shop(shop(tmp_path))
    assert content.texts == content.questions == ("Can it go into the dishwasher?",)
    held_out = [{"kind": "purchase"}, {"kind": "utterance", "text": "where is it"}]
    (tmp_path / "held_out.jsonl").write_text("".join(json.dumps(v) + "\n" for v in held_out))
    assert read_shop(tmp_path).texts == ("where is it",)


def test_an_unusable_shop_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(ShopUnreadable, match=r"articles\.jsonl"):
        read_shop(tmp_path / "nowhere")
    shop(tmp_path)
    (tmp_path / "orders.jsonl").write_text('{"order_number": "1"}\n')
    with pytest.raises(ShopUnreadable, match=r"orders.jsonl: line 1 has no 'customer_id'"):
        read_shop(tmp_path)
    (tmp_path / "orders.jsonl").write_text("")
    with pytest.raises(ValueError, match="no orders"):
        Population(read_shop(tmp_path), np.random.default_rng(0))
