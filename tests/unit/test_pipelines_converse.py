import asyncio
import time
from dataclasses import replace

import pytest

from serving.deadline import Deadline
from serving.dialogue.policy import ASKS_FOR_HUMAN, NOT_UNDERSTOOD_AGAIN
from serving.errors import DeadlineExceeded, SessionConflict
from serving.pipelines.turn import (
    DecisionMade,
    ItemsFound,
    SourcesFound,
    TextPiece,
    TurnEvent,
    TurnInput,
    TurnOutcome,
    UnderstandingKnown,
)
from serving.settings import Settings
from serving.types import Action, EventKind, Sentiment
from tests.fakes.world import World, build_world, context, with_vectors


@pytest.fixture
async def world() -> World:
    return await with_vectors(build_world())


class Listener:
    """Keeps the events of a turn."""

    def __init__(self) -> None:
        self.events: list[TurnEvent] = []

    async def __call__(self, event: TurnEvent) -> None:
        self.events.append(event)

    def kinds(self) -> list[type[TurnEvent]]:
        return [type(event) for event in self.events]

    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, TextPiece))


def slots(outcome: TurnOutcome) -> dict[str, str]:
    return {slot.name: slot.value for slot in outcome.known_slots}


# ---- whole conversations ------------------------------------------------------------------------


async def test_a_missing_slot_is_asked_for_filled_and_remembered(world: World) -> None:
    asked = await world.say("where is my order?", customer_id="alice")
    assert asked.requested_slot == "order_number"
    assert asked.text == "What is your order number?"
    assert asked.decision.action is Action.CLARIFY
    filled = await world.say("it's 12345", customer_id="alice")
    assert filled.turn == 2
    assert filled.requested_slot == ""
    assert slots(filled) == {"order_number": "12345"}
    assert filled.text == (
        "Order 12345 (2 items, €24.80) was placed on 18 November 2026 and has been shipped; "
        "it is expected to arrive on 24 November 2026."
    )
    # Carried over to another matter of the same group: nothing is asked again.
    cancelled = await world.say("cancel", customer_id="alice")
    assert cancelled.requested_slot == ""
    assert cancelled.answer is not None
    assert "Order 12345" in cancelled.text
    assert "until it has been packed" in cancelled.text


async def test_an_unknown_order_number_is_said_and_asked_for_again(world: World) -> None:
    outcome = await world.say("where is my order 99999", customer_id="alice")
    assert outcome.text == (
        "I could not find an order with the number 99999.\nCould you check it and tell me again?"
    )
    assert outcome.requested_slot == "order_number"
    assert "order_number" not in slots(outcome)
    assert "shipped" in (await world.say("12345", customer_id="alice")).text


async def test_somebody_elses_order_is_not_told(world: World) -> None:
    outcome = await world.say("where is my order 67890", customer_id="alice")
    assert "could not find an order with the number 67890" in outcome.text
    assert "2026" not in outcome.text
    own = await world.say("where is my order 67890", customer_id="bob", session_id="other")
    assert "has been delivered" in own.text


async def test_a_question_is_answered_with_its_sources(world: World) -> None:
    outcome = await world.say("standard delivery times")
    assert outcome.answer is not None
    assert outcome.answer.known
    assert outcome.answer.passages[0].article.article_id == "delivery"
    assert outcome.text.startswith(outcome.answer.text)
    assert outcome.decision.action is Action.ANSWER
    assert "answer_known" in [factor.name for factor in outcome.decision.factors]


async def test_what_the_knowledge_base_does_not_know_is_not_made_up(world: World) -> None:
    outcome = await world.say("delivery to the moon by rocket on sunday morning please")
    assert outcome.answer is not None
    assert not outcome.answer.known
    assert outcome.answer.passages == ()
    assert "could not find an answer" in outcome.text


async def test_an_event_changes_the_very_next_recommendation(world: World) -> None:
    before = await world.say("recommend something", customer_id="alice")
    assert {item.reason.split()[0] for item in before.items} == {"popular"}
    await world.happens(EventKind.VIEW, "p03", "p08", customer_id="alice")
    after = await world.say("recommend something", customer_id="alice")
    assert after.items[0].product.category == "garden/tools/spades"
    assert [i.product.product_id for i in after.items] != [
        i.product.product_id for i in before.items
    ]
    assert all(item.product.title in after.text for item in after.items)
    assert "€" in after.text
    assert after.decision.action is Action.RECOMMEND


async def test_a_search_shows_what_fits_the_words_and_a_later_wish_is_free_of_them(
    world: World,
) -> None:
    found = await world.say("find blue mugs")
    assert {item.product.category for item in found.items} == {"home/kitchen/mugs"}
    assert found.items[0].product.colours == ("blue",)
    narrowed = await world.say("red")
    assert {item.product.colours for item in narrowed.items} == {("red",)}
    assert {item.product.category for item in narrowed.items} == {"home/kitchen/mugs"}
    free = await world.say("recommend something")
    assert {item.product.category for item in free.items} != {"home/kitchen/mugs"}


async def test_a_product_that_the_shop_does_not_have_is_not_replaced_in_silence(
    world: World,
) -> None:
    outcome = await world.say("find something")
    assert outcome.requested_slot == "product"
    outcome = await world.say("a submarine")
    assert outcome.items == ()
    assert outcome.text.startswith("I found no product that fits.")
    assert outcome.decision.action not in (Action.RECOMMEND, Action.OFFER)


async def test_two_failures_to_understand_in_a_row_escalate(world: World) -> None:
    first = await world.say("blorp")
    assert first.decision.action is Action.CLARIFY
    second = await world.say("blorp blorp")
    assert second.decision.action is Action.ESCALATE
    assert [factor.name for factor in second.decision.factors] == [NOT_UNDERSTOOD_AGAIN]
    assert second.decision.probability == 1.0
    assert "colleague" in second.text


async def test_being_understood_in_between_starts_the_count_anew(world: World) -> None:
    actions = [
        (await world.say(text)).decision.action for text in ("blorp", "hello", "blorp", "thanks")
    ]
    assert Action.ESCALATE not in actions


async def test_asking_for_a_person_gets_one(world: World) -> None:
    outcome = await world.say("I want to talk to a human person")
    assert outcome.decision.action is Action.ESCALATE
    assert [factor.name for factor in outcome.decision.factors] == [ASKS_FOR_HUMAN]
    assert world.models.called("decision") == 0


async def test_anger_raises_the_chance_of_a_person(world: World) -> None:
    calm = await world.say("standard delivery times", session_id="calm")
    angry = await world.say("standard delivery times, terrible awful", session_id="angry")
    assert angry.understanding is not None
    assert angry.understanding.sentiment is Sentiment.NEGATIVE
    assert angry.text.startswith("I'm sorry about the trouble.")
    assert angry.decision.action is Action.ANSWER
    assert calm.decision.action is Action.ANSWER
    factors = {f.name: f.contribution for f in angry.decision.factors}
    assert factors["negative_probability"] < 0
    # The anger is remembered: a calm sentence after it is not as safe as one without.
    later = await world.say("standard delivery times", session_id="angry")
    assert later.decision.probability < calm.decision.probability


async def test_smalltalk_is_answered_in_kind_and_an_open_question_stays_open(world: World) -> None:
    assert (await world.say("hello")).text == "Hello! What can I do for you?"
    await world.say("where is my order?")
    thanked = await world.say("thanks")
    assert thanked.requested_slot == "order_number"
    assert "order number" in thanked.text
    assert (await world.say("goodbye")).requested_slot == ""


async def test_sessions_do_not_know_of_each_other(world: World) -> None:
    await world.say("where is my order 12345", session_id="one")
    other = await world.say("where is my order", session_id="two")
    assert other.turn == 1
    assert other.requested_slot == "order_number"


@pytest.mark.parametrize(
    "text", ["", " ", "\ud800\x00", "🦆" * 3000, "12345" * 900, "\n".join("a" * 500)], ids=len
)
async def test_any_text_gets_a_reply(world: World, text: str) -> None:
    outcome = await world.say(text, customer_id="\ud800", top_k=1)
    assert outcome.text
    assert outcome.turn == 1


# ---- side by side, streaming, time --------------------------------------------------------------


async def test_answer_and_recommendation_run_side_by_side(world: World) -> None:
    await world.happens(EventKind.VIEW, "p20", customer_id="alice")
    encoding, proposing = world.models.hold("encoder"), world.models.hold("candidates")
    turn = asyncio.create_task(world.say("buy", customer_id="alice"))
    # Each waits for its model while the other does: neither began after the other's end.
    await asyncio.wait_for(encoding.wait(), 2)
    await asyncio.wait_for(proposing.wait(), 2)
    world.models.release("candidates")
    world.models.release("encoder")
    outcome = await turn
    assert outcome.answer is not None
    assert outcome.answer.known
    assert outcome.items
    assert outcome.answer.text in outcome.text
    assert outcome.items[0].product.title in outcome.text


async def test_events_come_in_order_whichever_side_is_done_first(world: World) -> None:
    await world.happens(EventKind.VIEW, "p20", customer_id="alice")
    expected = [UnderstandingKnown, SourcesFound, ItemsFound, DecisionMade, TextPiece]
    for slow in ("encoder", "candidates"):
        listener, waiting = Listener(), world.models.hold(slow)
        turn = asyncio.create_task(
            world.say("buy", customer_id="alice", session_id=slow, emit=listener)
        )
        await asyncio.wait_for(waiting.wait(), 2)
        early = listener.kinds()
        world.models.release(slow)
        outcome = await turn
        assert list(dict.fromkeys(listener.kinds())) == expected
        assert listener.text() == outcome.text
        # What is known is told while the rest is still under way.
        assert early[:1] == [UnderstandingKnown]


async def test_a_turn_without_sources_or_items_tells_of_none(world: World) -> None:
    listener = Listener()
    await world.say("hello", emit=listener)
    assert listener.kinds()[:2] == [UnderstandingKnown, DecisionMade]
    assert set(listener.kinds()[2:]) == {TextPiece}


async def test_the_text_is_told_only_after_the_turn_is_saved(world: World) -> None:
    saved: list[bool] = []

    async def tell(event: TurnEvent) -> None:
        if isinstance(event, TextPiece):
            saved.append("session" in world.stores.sessions.sessions)

    await world.say("hello", emit=tell)
    assert saved
    assert all(saved)


async def test_of_two_turns_at_once_one_is_saved_and_the_other_told_to_try_again(
    world: World,
) -> None:
    waiting = world.models.hold("decision")
    turns = [asyncio.create_task(world.say(text)) for text in ("hello", "thanks")]
    await asyncio.wait_for(waiting.wait(), 2)
    world.models.release("decision")
    outcomes = await asyncio.gather(*turns, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {TurnOutcome, SessionConflict}
    again = await world.say("hello")
    assert again.turn == 2


async def test_a_slow_model_gives_a_degraded_reply_within_the_deadline(world: World) -> None:
    world.models.hold("encoder")
    started = time.monotonic()
    outcome = await world.say("standard delivery times", deadline_ms=200)
    assert time.monotonic() - started < 0.2
    assert outcome.answer is not None
    assert outcome.answer.known
    assert world.degraded() == [("retrieve", "word search only")]


async def test_a_turn_that_is_too_late_is_not_saved(world: World) -> None:
    request = context()
    turn = TurnInput(session_id="session", text="hello", top_k=3)

    async def use_up_the_time(event: TurnEvent) -> None:
        if isinstance(event, DecisionMade):
            # As if the reader had taken all the time that was left.
            late.deadline = Deadline.after_ms(0)

    late = replace(request)
    with pytest.raises(DeadlineExceeded):
        await world.pipelines.converse(turn, late, use_up_the_time)
    assert world.stores.sessions.sessions == {}


async def test_a_cancelled_turn_leaves_no_task_and_no_trace_in_the_session(world: World) -> None:
    await world.happens(EventKind.VIEW, "p20", customer_id="alice")
    waiting = world.models.hold("encoder"), world.models.hold("candidates")
    turn = asyncio.create_task(world.say("buy", customer_id="alice"))
    for event in waiting:
        await asyncio.wait_for(event.wait(), 2)
    turn.cancel()
    with pytest.raises(asyncio.CancelledError):
        await turn
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert world.stores.sessions.sessions == {}


async def test_every_step_of_a_turn_is_timed_and_every_model_named(world: World) -> None:
    await world.happens(EventKind.VIEW, "p20", customer_id="alice")
    await world.say("buy", customer_id="alice")
    report = world.contexts[-1].report()
    assert {timing.step for timing in report.timings} == {
        "load", "understand", "answer", "retrieve", "encode", "recommend",
        "generate_candidates", "rank", "decide", "save",
    }  # fmt: skip
    assert report.model_versions == dict.fromkeys(
        ("understanding", "encoder", "candidates", "ranker", "decision"), 1
    )
    assert report.total_ms >= max(timing.duration_ms for timing in report.timings)


async def test_deciding_does_not_move_the_conversation_on(world: World) -> None:
    turn = TurnInput(session_id="session", customer_id="alice", text="where is my order", top_k=3)
    first = await world.pipelines.decide(turn, context())
    assert first == await world.pipelines.decide(turn, context())
    assert world.stores.sessions.sessions == {}
    await world.say("where is my order", customer_id="alice")
    filled = await world.pipelines.decide(replace(turn, text="12345"), context())
    assert filled.action is Action.ANSWER
    assert (await world.say("12345", customer_id="alice")).turn == 2


async def test_a_visitor_may_be_kept_from_orders() -> None:
    shown = await build_world().say("where is my order 12345")
    hidden = await build_world(
        Settings.model_validate({"dialogue": {"orders_for_visitors": False}})
    ).say("where is my order 12345")
    assert "shipped" in shown.text
    assert "could not find an order with the number 12345" in hidden.text
