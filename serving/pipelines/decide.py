"""Decide: utterance ─▶ consider ─▶ decision; the conversation does not move on."""

from serving.context import RequestContext
from serving.pipelines.consider import Consider
from serving.pipelines.turn import TurnInput
from serving.types import Decision


class DecidePipeline:
    """What the agent would do next, how sure it is, and why."""

    def __init__(self, consider: Consider) -> None:
        self._consider = consider

    async def __call__(self, turn: TurnInput, context: RequestContext) -> Decision:
        """Decides on one utterance within its conversation; saves nothing.

        Raises:
            DeadlineExceeded: no time is left at all.
            StoreUnavailable: a store cannot be read.
        """
        return (await self._consider(turn, context)).decision
