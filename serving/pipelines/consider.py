"""Everything of a turn up to its decision; what Converse and Decide have in common.

    session ┐                       ┌ order ─────┐
    past    ├─▶ plan the turn ─────▶┼ answer ────┼─▶ features ─▶ decide
    understand ┘                    └ recommend ─┘

What stands in one column runs side by side.
"""

from dataclasses import dataclass, replace

from serving.concurrently import task_group
from serving.context import RequestContext, observe_step
from serving.dialogue.intents import INTENTS
from serving.dialogue.policy import TurnPlan, plan_turn
from serving.dialogue.state import DialogueState
from serving.pipelines.answer import AnswerPipeline
from serving.pipelines.attempt import attempt
from serving.pipelines.past import Past, load_past
from serving.pipelines.recommend import RecommendInput, RecommendPipeline
from serving.pipelines.turn import (
    DecisionMade,
    Emit,
    ItemsFound,
    SourcesFound,
    TurnEvent,
    TurnInput,
    UnderstandingKnown,
)
from serving.pipelines.turn_features import possible_actions, turn_features
from serving.settings import DialogueSettings
from serving.steps.decide import DecideInput, decision_by_rule
from serving.steps.placement import Step
from serving.steps.understand import UnderstandInput
from serving.stores.protocols import HistoryStore, SessionStore, ShopStore, StoredSession
from serving.types import Action, Answer, Candidate, Decision, Order, Slot, Understanding

# Slots that describe a product, beside its name.
_DETAILS = ("colour", "size")


@dataclass(frozen=True, kw_only=True)
class Considered:
    """A turn, decided."""

    plan: TurnPlan
    understanding: Understanding | None
    answer: Answer | None
    items: tuple[Candidate, ...]
    order: Order | None
    # An order number that the shop does not have; "" otherwise.
    unknown_order_number: str
    decision: Decision
    # Revision that the session was read at; 0 for a new one.
    revision: int


async def _tell_nobody(event: TurnEvent) -> None:
    """For callers who only want the outcome."""


class Consider:
    """Understands an utterance within its conversation, gathers what it asks for, and decides."""

    def __init__(
        self,
        *,
        understand: Step[UnderstandInput, Understanding],
        decide: Step[DecideInput, Decision],
        answer: AnswerPipeline,
        recommend: RecommendPipeline,
        sessions: SessionStore,
        histories: HistoryStore,
        shop: ShopStore,
        settings: DialogueSettings,
    ) -> None:
        self._understand = understand
        self._decide = decide
        self._answer = answer
        self._recommend = recommend
        self._sessions = sessions
        self._histories = histories
        self._shop = shop
        self._settings = settings

    async def __call__(
        self, turn: TurnInput, context: RequestContext, emit: Emit = _tell_nobody
    ) -> Considered:
        """Considers one turn; saves nothing.

        Raises:
            DeadlineExceeded: no time is left at all.
            StoreUnavailable: a store cannot be read.
        """
        async with task_group() as group:
            loading = group.create_task(self._load(turn, context))
            understanding = await attempt(
                context,
                "understand",
                self._understand,
                UnderstandInput(text=turn.text),
                fallback="clarify",
                then=("answer", "decide"),
            )
            if understanding is not None:
                await emit(UnderstandingKnown(understanding=understanding))
        state, revision, past = loading.result()
        plan = plan_turn(state, understanding, turn.text, self._settings)
        order = await self._order(plan, turn, context)
        unknown_order_number = ""
        if plan.wants_order and plan.order_number and order is None:
            unknown_order_number = plan.order_number
            plan = asked_again(plan, "order_number")
        answer, items = await self._gather(plan, understanding, past, turn, context, emit)
        considered = Considered(
            plan=plan,
            understanding=understanding,
            answer=answer,
            items=items,
            order=order,
            unknown_order_number=unknown_order_number,
            decision=await self._decision(plan, understanding, answer, items, order, past, context),
            revision=revision,
        )
        await emit(DecisionMade(decision=considered.decision))
        return considered

    async def _load(
        self, turn: TurnInput, context: RequestContext
    ) -> tuple[DialogueState, int, Past]:
        """The conversation so far with its revision, and the customer's past."""
        with observe_step(context, "load"):
            async with task_group() as group:
                session = group.create_task(self._session(turn.session_id))
                past = group.create_task(
                    load_past(
                        self._histories,
                        customer_id=turn.customer_id,
                        session_id=turn.session_id,
                    )
                )
        stored = session.result()
        if stored is None:
            return DialogueState(), 0, past.result()
        return DialogueState.from_json(stored.state), stored.revision, past.result()

    async def _session(self, session_id: str) -> StoredSession | None:
        """The stored session; none for the conversation without an id, which is never saved."""
        return await self._sessions.load(session_id) if session_id else None

    async def _order(
        self, plan: TurnPlan, turn: TurnInput, context: RequestContext
    ) -> Order | None:
        """The order asked for; one that may not be shown counts as one that does not exist."""
        if not plan.wants_order or not plan.order_number:
            return None
        with observe_step(context, "look_up_order"):
            order = await self._shop.order(plan.order_number)
        if order is None:
            return None
        if turn.customer_id:
            return order if order.customer_id == turn.customer_id else None
        return order if self._settings.orders_for_visitors else None

    async def _gather(
        self,
        plan: TurnPlan,
        understanding: Understanding | None,
        past: Past,
        turn: TurnInput,
        context: RequestContext,
        emit: Emit,
    ) -> tuple[Answer | None, tuple[Candidate, ...]]:
        """Answer and items, side by side where both are wanted; told in this order."""

        async def answering(question: str, within: RequestContext) -> Answer:
            sources = self._settings.default_sources
            return await self._answer(question, sources, within, topic=plan.intent)

        async def recommending(
            request: RecommendInput, within: RequestContext
        ) -> tuple[Candidate, ...]:
            product, details = _sought(plan)
            return await self._recommend.with_past(
                request, past, within, product=product, details=details
            )

        async def answer_wanted() -> Answer | None:
            if not plan.wants_answer:
                return None
            question = _question(plan, understanding, turn.text)
            return await attempt(
                context, "answer", answering, question, fallback="no answer", then=("decide",)
            )

        async def items_wanted() -> tuple[Candidate, ...]:
            if not plan.wants_items:
                return ()
            request = RecommendInput(
                customer_id=turn.customer_id, session_id=turn.session_id, top_k=turn.top_k
            )
            found = await attempt(
                context, "recommend", recommending, request, fallback="no items", then=("decide",)
            )
            return found or ()

        async with task_group() as group:
            answered = group.create_task(answer_wanted())
            recommended = group.create_task(items_wanted())
            answer = await answered
            if answer is not None and answer.passages:
                await emit(SourcesFound(passages=answer.passages))
            items = await recommended
            if items:
                await emit(ItemsFound(items=items))
        return answer, items

    async def _decision(
        self,
        plan: TurnPlan,
        understanding: Understanding | None,
        answer: Answer | None,
        items: tuple[Candidate, ...],
        order: Order | None,
        past: Past,
        context: RequestContext,
    ) -> Decision:
        """The rule's action where a rule holds, else the model's."""
        if plan.forced_action is not None:
            return decision_by_rule(plan.forced_action, plan.forced_reason)
        features = turn_features(
            plan=plan,
            understanding=understanding,
            answer=answer,
            items=items,
            order=order,
            past=past,
        )
        request = DecideInput(features=features, possible=possible_actions(items))
        decision = await attempt(context, "decide", self._decide, request, fallback="answer only")
        return decision_by_rule(Action.ANSWER, "safe_rule") if decision is None else decision


def asked_again(plan: TurnPlan, slot: str) -> TurnPlan:
    """The plan after a slot's value turned out to be unusable: it is forgotten, and asked for."""
    kept = tuple(known for known in plan.state.slots if known.name != slot)
    return replace(
        plan,
        missing_slot=slot,
        order_number="",
        state=replace(plan.state, slots=kept, requested_slot=slot),
    )


def _question(plan: TurnPlan, understanding: Understanding | None, text: str) -> str:
    """What the knowledge base is asked: the text, or the matter if the text only filled a slot."""
    if understanding is not None and understanding.intent == plan.intent:
        return text
    return plan.intent.replace("_", " ")


def _sought(plan: TurnPlan) -> tuple[str, tuple[str, ...]]:
    """The product in the customer's words and its details.

    Slots of earlier turns count only for a matter that cannot do without them; otherwise a mug
    once asked for would narrow every later recommendation.
    """
    intent = INTENTS.get(plan.intent)
    keeps = intent is not None and "product" in intent.required_slots
    slots = {s.name: s.value for s in plan.state.slots if keeps or _said_now(s)}
    return slots.get("product", ""), tuple(slots[name] for name in _DETAILS if name in slots)


def _said_now(slot: Slot) -> bool:
    """A slot carried over from an earlier turn has an empty span."""
    return slot.end_char > slot.start_char
