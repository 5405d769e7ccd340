"""Answer: question ─▶ retrieve (words and meaning, else words) ─▶ extract ─▶ answer."""

from serving.context import RequestContext, observe_step
from serving.pipelines.attempt import attempt
from serving.steps.extract_answer import extract_answer
from serving.steps.placement import Step
from serving.steps.reply import not_known_text
from serving.steps.retrieve import RetrieveInput
from serving.types import Answer, Passage

Retrieving = Step[RetrieveInput, tuple[Passage, ...]]


class AnswerPipeline:
    """Answers from the knowledge base, or says that it does not know."""

    def __init__(
        self, retrieve: Retrieving, retrieve_words: Retrieving, min_answer_score: float
    ) -> None:
        """`retrieve_words` needs no model and is never in another process."""
        self._retrieve = retrieve
        self._retrieve_words = retrieve_words
        self._min_answer_score = min_answer_score

    async def __call__(
        self, question: str, top_k: int, context: RequestContext, *, topic: str = ""
    ) -> Answer:
        """Answers with up to `top_k` sources, best first; those about `topic` are preferred.

        The confidence is the score of the best passage, whether or not it suffices for an answer.

        Raises:
            DeadlineExceeded: no time is left at all.
            StoreUnavailable: the knowledge base cannot be read.
        """
        wanted = RetrieveInput(question=question, limit=top_k, topic=topic)
        passages = await attempt(
            context, "retrieve", self._retrieve, wanted, fallback="word search only"
        )
        if passages is None:
            with observe_step(context, "retrieve_words") as inner:
                passages = await self._retrieve_words(wanted, inner)
        confidence = passages[0].score if passages else 0.0
        if confidence < self._min_answer_score:
            return Answer(known=False, text=not_known_text(), confidence=confidence)
        return Answer(
            known=True,
            text=extract_answer(question, passages[0].article),
            passages=passages,
            confidence=confidence,
        )
