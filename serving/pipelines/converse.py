"""Converse: utterance ─▶ consider ─▶ compose ─▶ save ─▶ outcome, and its events on the way."""

from serving.context import RequestContext, observe_step
from serving.dialogue.policy import close_turn
from serving.pipelines.attempt import LEAST_MS
from serving.pipelines.consider import Consider
from serving.pipelines.turn import Emit, TextPiece, TurnInput, TurnOutcome
from serving.steps.reply import ReplyParts, compose_reply, text_pieces
from serving.stores.protocols import SessionStore


class ConversePipeline:
    """Holds a conversation, turn by turn."""

    def __init__(self, consider: Consider, sessions: SessionStore) -> None:
        self._consider = consider
        self._sessions = sessions

    async def __call__(
        self, turn: TurnInput, context: RequestContext, emit: Emit | None = None
    ) -> TurnOutcome:
        """Replies to one utterance and remembers the turn.

        The text is told only once the turn is saved: what the customer reads has happened.

        Args:
            turn: the utterance.
            context: the request's.
            emit: is told what becomes known, in the order of `TurnEvent`.

        Raises:
            SessionConflict: another turn of the session was saved meanwhile; this one was not.
            DeadlineExceeded: no time is left at all; nothing was saved.
            StoreUnavailable: a store cannot be read or written.
        """
        if emit is None:
            considered = await self._consider(turn, context)
        else:
            considered = await self._consider(turn, context, emit)
        text = compose_reply(
            ReplyParts(
                plan=considered.plan,
                understanding=considered.understanding,
                answer=considered.answer,
                items=considered.items,
                order=considered.order,
                unknown_order_number=considered.unknown_order_number,
                decision=considered.decision,
            )
        )
        state = close_turn(considered.plan, considered.decision)
        context.deadline.require(LEAST_MS, "saving the turn")
        with observe_step(context, "save"):
            await self._sessions.save(turn.session_id, state.to_json(), considered.revision)
        if emit is not None:
            for piece in text_pieces(text):
                await emit(TextPiece(text=piece))
        return TurnOutcome(
            session_id=turn.session_id,
            turn=state.turn,
            text=text,
            understanding=considered.understanding,
            answer=considered.answer,
            items=considered.items,
            decision=considered.decision,
            requested_slot=state.requested_slot,
            known_slots=state.slots,
        )
