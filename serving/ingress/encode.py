"""From domain values to protobuf replies: pure functions."""

from collections.abc import Iterable

from serving.pipelines.turn import (
    DecisionMade,
    ItemsFound,
    SourcesFound,
    TextPiece,
    TurnEvent,
    TurnOutcome,
    UnderstandingKnown,
)
from serving.protos import commerce_pb2 as pb
from serving.types import (
    Action,
    Answer,
    Article,
    Candidate,
    Decision,
    Passage,
    Report,
    Sentiment,
    Slot,
    Understanding,
)

SNIPPET_CHARS = 200

_SENTIMENTS = {
    Sentiment.NEGATIVE: pb.SENTIMENT_NEGATIVE,
    Sentiment.NEUTRAL: pb.SENTIMENT_NEUTRAL,
    Sentiment.POSITIVE: pb.SENTIMENT_POSITIVE,
}
_ACTIONS = {
    Action.NONE: pb.ACTION_NONE,
    Action.ANSWER: pb.ACTION_ANSWER,
    Action.RECOMMEND: pb.ACTION_RECOMMEND,
    Action.OFFER: pb.ACTION_OFFER,
    Action.CLARIFY: pb.ACTION_CLARIFY,
    Action.ESCALATE: pb.ACTION_ESCALATE,
}


def meta(report: Report) -> pb.ReplyMeta:
    """What every reply carries."""
    return pb.ReplyMeta(
        model_versions=[
            pb.ModelVersion(model=model, version=version, arm=_arm(report, model))
            for model, version in sorted(report.model_versions.items())
        ],
        steps=[
            pb.StepTiming(step=timing.step, duration_ms=timing.duration_ms)
            for timing in report.timings
        ],
        degraded=[
            pb.Degradation(step=d.step, reason=d.reason, fallback=d.fallback)
            for d in report.degraded
        ],
        trace_id=report.trace_id,
        total_ms=report.total_ms,
    )


def _arm(report: Report, model: str) -> str:
    choice = report.choices.get(model)
    return "" if choice is None else choice.arm.value


def slots(values: Iterable[Slot]) -> list[pb.Slot]:
    """Slots in the given order."""
    return [
        pb.Slot(
            name=slot.name,
            value=slot.value,
            start_char=slot.start_char,
            end_char=slot.end_char,
            confidence=slot.confidence,
        )
        for slot in values
    ]


def understanding(value: Understanding) -> pb.Understanding:
    """An understanding with its slots."""
    return pb.Understanding(
        intent=value.intent,
        intent_confidence=value.intent_confidence,
        slots=slots(value.slots),
        sentiment=_SENTIMENTS[value.sentiment],
        sentiment_confidence=value.sentiment_confidence,
        out_of_scope_probability=value.out_of_scope_probability,
    )


def snippet(body: str) -> str:
    """The beginning of a text, cut at a word."""
    if len(body) <= SNIPPET_CHARS:
        return body
    cut = body[:SNIPPET_CHARS]
    return f"{cut.rsplit(' ', 1)[0]} …"


def sources(passages: Iterable[Passage]) -> list[pb.Source]:
    """Passages as sources, best first."""
    return [
        pb.Source(
            article_id=passage.article.article_id,
            title=passage.article.title,
            snippet=snippet(passage.article.body),
            score=passage.score,
        )
        for passage in passages
    ]


def answer(value: Answer) -> pb.KnowledgeAnswer:
    """An answer with its sources."""
    return pb.KnowledgeAnswer(
        known=value.known,
        text=value.text,
        sources=sources(value.passages),
        confidence=value.confidence,
    )


def items(candidates: Iterable[Candidate]) -> list[pb.Item]:
    """Recommended products, best first."""
    return [
        pb.Item(
            product_id=candidate.product.product_id,
            title=candidate.product.title,
            category=candidate.product.category,
            price_cents=candidate.product.price_cents,
            currency=candidate.product.currency,
            score=candidate.score,
            reason=candidate.reason,
        )
        for candidate in candidates
    ]


def decision(value: Decision) -> pb.Decision:
    """A decision with its factors."""
    return pb.Decision(
        action=_ACTIONS[value.action],
        probability=value.probability,
        purchase_propensity=value.purchase_propensity,
        factors=[
            pb.Factor(name=f.name, value=f.value, contribution=f.contribution)
            for f in value.factors
        ],
    )


def articles(values: Iterable[Article]) -> list[pb.Article]:
    """Articles of the knowledge base."""
    return [
        pb.Article(
            article_id=article.article_id,
            title=article.title,
            body=article.body,
            topic=article.topic,
            updated_at_ms=article.updated_at_ms,
        )
        for article in values
    ]


def turn(outcome: TurnOutcome, report: Report) -> pb.ConverseReply:
    """A whole turn."""
    return pb.ConverseReply(
        session_id=outcome.session_id,
        turn=outcome.turn,
        text=outcome.text,
        understanding=understanding(outcome.understanding) if outcome.understanding else None,
        answer=answer(outcome.answer) if outcome.answer else None,
        items=items(outcome.items),
        decision=decision(outcome.decision),
        requested_slot=outcome.requested_slot,
        known_slots=slots(outcome.known_slots),
        meta=meta(report),
    )


def turn_event(event: TurnEvent) -> pb.ConverseEvent:
    """What became known of a turn."""
    match event:
        case UnderstandingKnown():
            return pb.ConverseEvent(understanding=understanding(event.understanding))
        case SourcesFound():
            return pb.ConverseEvent(sources=pb.Sources(sources=sources(event.passages)))
        case ItemsFound():
            return pb.ConverseEvent(items=pb.Items(items=items(event.items)))
        case DecisionMade():
            return pb.ConverseEvent(decision=decision(event.decision))
        case TextPiece():
            return pb.ConverseEvent(text_piece=event.text)
