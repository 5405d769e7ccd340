"""Composes the text that the customer reads, from what the turn found out. Pure.

Nothing is promised or claimed that is not in the parts: no discounts, no dates but the order's, no
sentence about the shop but those of its articles.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from serving.dialogue.policy import TurnPlan
from serving.steps.wording import item_line, order_status, question_for
from serving.types import Action, Answer, Candidate, Decision, Order, Sentiment, Understanding

_SMALLTALK = {
    "greeting": "Hello! What can I do for you?",
    "thanks": "You're welcome! Is there anything else?",
    "goodbye": "Goodbye, and thank you for your visit!",
    "give_information": "Thank you. What would you like me to do with that?",
}
_REGRET = "I'm sorry about the trouble."
_HAND_OVER = "I am passing you on to a colleague, who will take it from here."
_SAY_AGAIN = "Sorry, I did not get that. Could you say it in other words?"
_NOT_KNOWN = (
    "I could not find an answer to that in our help pages. "
    "You can put it differently, or ask me for a person."
)
_NOTHING_FOUND = "I found no product that fits."
_ANYTHING_ELSE = "How can I help you?"

# A piece ends after a sentence's mark with its blanks, or after a line break.
_PIECE = re.compile(r".*?(?:[.!?…]\s+|\n+|\Z)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class ReplyParts:
    """What a turn found out."""

    plan: TurnPlan
    # None: the utterance could not be analysed.
    understanding: Understanding | None
    answer: Answer | None
    items: tuple[Candidate, ...]
    order: Order | None
    # An order number that the shop does not have; "" otherwise.
    unknown_order_number: str
    decision: Decision


def compose_reply(parts: ReplyParts) -> str:
    """The whole text, never empty."""
    if parts.decision.action is Action.ESCALATE:
        return " ".join([*_regret(parts), *_order(parts), _HAND_OVER])
    blocks = [" ".join([*_regret(parts), *_order(parts), *_answer(parts)]), *_items(parts)]
    found = [block for block in blocks if block]
    question = _question(parts, something_said=bool(found))
    return "\n".join([*found, *([question] if question else [])])


def text_pieces(text: str) -> Iterator[str]:
    """The text in pieces of about a sentence, for streaming; joined they are the text."""
    return (piece for piece in _PIECE.findall(text) if piece)


def _regret(parts: ReplyParts) -> list[str]:
    mood = parts.understanding
    return [_REGRET] if mood is not None and mood.sentiment is Sentiment.NEGATIVE else []


def _order(parts: ReplyParts) -> list[str]:
    if parts.order is not None:
        return [order_status(parts.order)]
    if parts.unknown_order_number:
        return [f"I could not find an order with the number {parts.unknown_order_number}."]
    return []


def _answer(parts: ReplyParts) -> list[str]:
    if parts.answer is None:
        return []
    if parts.answer.known:
        return [parts.answer.text]
    # With an order's status, or a question to come, the turn is of use without an article.
    silent = parts.order is not None or parts.plan.missing_slot or parts.unknown_order_number
    return [] if silent else [parts.answer.text]


def _items(parts: ReplyParts) -> list[str]:
    if parts.items:
        lines = [item_line(item) for item in parts.items]
        return ["\n".join(["Here is what I would suggest:", *lines])]
    return [_NOTHING_FOUND] if parts.plan.wants_items and not parts.plan.missing_slot else []


def _question(parts: ReplyParts, *, something_said: bool) -> str:
    """How the text ends: the missing piece first, then what the decision wants."""
    if parts.plan.missing_slot:
        if parts.unknown_order_number:
            return "Could you check it and tell me again?"
        return question_for(parts.plan.missing_slot)
    if not parts.plan.understood and not something_said:
        return _SAY_AGAIN
    match parts.decision.action:
        case Action.CLARIFY:
            return "Is that what you meant?" if something_said else _SAY_AGAIN
        case Action.OFFER if parts.items:
            return f"Shall I put {parts.items[0].product.title} into your cart?"
        case _:
            return "" if something_said else _SMALLTALK.get(parts.plan.intent, _ANYTHING_ELSE)


def not_known_text() -> str:
    """The honest "don't know"."""
    return _NOT_KNOWN
