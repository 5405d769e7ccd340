"""Counts what customers get while a version is tried, in one process.

Who belongs to which arm follows from the customer alone, and not from what became of the request:
when the candidate is not ready and the live version stands in, that speaks against the candidate.
"""

from collections.abc import Callable, Mapping

from serving.context import RequestContext
from serving.rollout.counts import Counts
from serving.types import Arm
from serving.versions.arms import choose
from serving.versions.lineup import Lineup

# Statuses that are the caller's doing, and say nothing about a version.
_CALLERS = frozenset(
    {
        "CANCELLED",
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "UNAUTHENTICATED",
        "PERMISSION_DENIED",
        "FAILED_PRECONDITION",
        "ABORTED",
    }
)
# The candidate took much longer than the live version on the same request: by half, and so much.
_MUCH = 1.5
_MUCH_MS = 5.0


class Tally:
    """Of all experiments that this process takes part in; belongs to its event loop."""

    def __init__(self, tried: Callable[[], Mapping[str, Lineup]]) -> None:
        """Counts nothing yet.

        Args:
            tried: by model, the line-ups that have a candidate.
        """
        self._tried = tried
        # By model and salt.
        self._counts: dict[tuple[str, str], Counts] = {}

    def answered(self, method: str, context: RequestContext, code: str, duration_ms: float) -> None:
        """Counts a request that ends now; costs next to nothing while no version is tried.

        Args:
            method: its name.
            context: the request's.
            code: name of the gRPC status that the caller sees.
            duration_ms: since it was let in.
        """
        tried = self._tried()
        if not tried or code in _CALLERS:
            return
        bad = code != "OK" or bool(context.degraded)
        for model, lineup in tried.items():
            made = context.choices.get(model)
            if model in context.pinned or (made is None and not bad):
                continue
            wanted = choose(lineup, context.customer or context.trace_id)
            standby = made is not None and made.arm is Arm.STANDBY
            # Else it had chosen before the last step was known here. A step elsewhere that was not
            # waited for has told no choice; what fails without one is as frequent in both arms.
            if wanted is None or not (standby or made in (wanted, None)):
                continue
            counts = self._of(lineup)
            arm = counts.candidate if wanted.arm is Arm.CANARY else counts.live
            arm.add(method, duration_ms, bad=bad or standby)

    def shadowed(
        self, model: str, version: int, agreed: bool | None, candidate_ms: float, live_ms: float
    ) -> None:
        """Counts a shadow call.

        Args:
            model: that was asked.
            version: of it.
            agreed: whether the answers mean the same; None if the candidate failed.
            candidate_ms: how long it took.
            live_ms: how long the live version had taken for the same request.
        """
        lineup = self._tried().get(model)
        if lineup is None or lineup.candidate != version:
            return
        counts = self._of(lineup).shadow
        counts.of += 1
        if agreed is None:
            counts.failed += 1
            return
        counts.answered += 1
        counts.disagreed += not agreed
        counts.slower += candidate_ms > _MUCH * live_ms + _MUCH_MS
        counts.faster += live_ms > _MUCH * candidate_ms + _MUCH_MS

    def current(self) -> dict[tuple[str, str], bytes]:
        """As JSON by model and salt, of the experiments that are going on; others are forgotten."""
        going = {(model, lineup.salt) for model, lineup in self._tried().items()}
        self._counts = {key: counts for key, counts in self._counts.items() if key in going}
        return {key: counts.to_json() for key, counts in self._counts.items()}

    def _of(self, lineup: Lineup) -> Counts:
        key = (lineup.model, lineup.salt)
        counts = self._counts.get(key)
        if counts is None:
            counts = self._counts[key] = Counts()
        return counts
