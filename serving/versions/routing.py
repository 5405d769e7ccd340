"""Which version of a model answers a request, in one process.

The choice is made once a request and model, so that everything within a turn comes from the same
version. It is the arm's version while that is ready; else one that is kept beside it, and the reply
says so.
"""

from collections.abc import Callable, Mapping

from serving.context import RequestContext
from serving.errors import FailedPrecondition, ModelUnavailable
from serving.models.version import ModelVersion
from serving.types import Arm, Choice
from serving.versions.arms import choose
from serving.versions.lineup import Lineup


class Router:
    """Chooses by the line-ups as they were last told. For one event loop."""

    def __init__(self, is_ready: Callable[[ModelVersion], bool]) -> None:
        """Knows no line-up yet.

        Args:
            is_ready: whether this process can ask a version now.
        """
        self._is_ready = is_ready
        self._lineups: Mapping[str, Lineup] = {}
        self._tried: Mapping[str, Lineup] = {}

    def follow(self, lineups: Mapping[str, Lineup]) -> None:
        """Takes new line-ups; requests that have chosen already keep to their choice."""
        self._lineups = dict(lineups)
        self._tried = {m: lineup for m, lineup in lineups.items() if lineup.candidate is not None}

    def shadow_of(self, model: str, choice: Choice) -> int | None:
        """The version that is to be asked as well when the live one has answered; None for none.

        A canary is one too, for the customers that it does not answer.
        """
        lineup = self._tried.get(model)
        if lineup is None or lineup.candidate is None or choice.arm is not Arm.LIVE:
            return None
        return lineup.candidate if self._ready(lineup, lineup.candidate) else None

    def lineups(self) -> Mapping[str, Lineup]:
        """By model, as they were last told."""
        return self._lineups

    def tried(self) -> Mapping[str, Lineup]:
        """By model, those with a version that is tried."""
        return self._tried

    def choose(self, model: str, context: RequestContext) -> Choice:
        """The version that answers this request, and why.

        Raises:
            ModelUnavailable: nothing is live.
            FailedPrecondition: the version that was asked for by number is not ready.
        """
        choice = context.choices.get(model)
        if choice is None:
            choice = context.choices[model] = self._decide(model, context)
        return choice

    def can_answer(self, model: str) -> bool:
        """Whether any version that may answer is ready."""
        lineup = self._lineups.get(model)
        return lineup is not None and any(self._ready(lineup, v) for v in _answering(lineup))

    def _decide(self, model: str, context: RequestContext) -> Choice:
        pinned = context.pinned.get(model)
        if pinned is not None:
            if not self._is_ready(ModelVersion(model, pinned)):
                raise FailedPrecondition(f"model {model}: version {pinned} is not ready")
            return Choice(pinned, Arm.PINNED)
        lineup = self._lineups.get(model)
        wanted = None if lineup is None else choose(lineup, context.customer or context.trace_id)
        if lineup is None or wanted is None:
            raise ModelUnavailable(f"model {model}: no version is live")
        if self._ready(lineup, wanted.version):
            return wanted
        for version in _answering(lineup):
            if self._ready(lineup, version):
                return Choice(version, Arm.STANDBY)
        # Whoever asks it learns which hosts there are and what they lack.
        return wanted

    def _ready(self, lineup: Lineup, version: int) -> bool:
        return self._is_ready(ModelVersion(lineup.model, version))


def _answering(lineup: Lineup) -> tuple[int, ...]:
    """Versions that have been found fit to answer everybody, the live one first."""
    return tuple(v for v in (lineup.live, lineup.previous) if v is not None)
