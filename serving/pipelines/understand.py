"""Understand: text ─▶ understand."""

from serving.context import RequestContext
from serving.pipelines.attempt import attempt
from serving.steps.placement import Step
from serving.steps.understand import UnderstandInput
from serving.types import Understanding

# What the caller gets when the model cannot be asked: no intent, with no confidence.
NOT_UNDERSTOOD = Understanding(intent="", intent_confidence=0.0)


class UnderstandPipeline:
    """Intent, slots and mood of one utterance."""

    def __init__(self, understand: Step[UnderstandInput, Understanding]) -> None:
        self._understand = understand

    async def __call__(self, text: str, context: RequestContext) -> Understanding:
        """Understands `text`; without the model, an understanding without an intent.

        Raises:
            DeadlineExceeded: no time is left at all.
        """
        understanding = await attempt(
            context, "understand", self._understand, UnderstandInput(text=text), fallback="clarify"
        )
        return NOT_UNDERSTOOD if understanding is None else understanding
