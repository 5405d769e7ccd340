"""What customers and shadow calls got of the two arms of an experiment: counts that only grow.

Every process counts for itself; the counts of all processes are added up, and what was counted
before a stage began is taken off.
"""

from dataclasses import dataclass, field

from pydantic import TypeAdapter

from serving.rollout.durations import BUCKETS, bucket_of


@dataclass(kw_only=True, slots=True)
class ArmCounts:
    """Requests whose customers belong to one arm, and that asked the model."""

    of: int = 0
    # Failed through no fault of their caller, or were answered by a fallback or another version.
    bad: int = 0
    # By method, the durations of the others in buckets (`serving.rollout.durations`).
    durations: dict[str, list[int]] = field(default_factory=dict)

    def add(self, method: str, duration_ms: float, *, bad: bool) -> None:
        """Counts one request."""
        self.of += 1
        if bad:
            self.bad += 1
            return
        counts = self.durations.get(method)
        if counts is None:
            counts = self.durations[method] = [0] * BUCKETS
        counts[bucket_of(duration_ms)] += 1

    def plus(self, other: "ArmCounts", sign: int = 1) -> "ArmCounts":
        """Both together; with a sign of -1, what is there beyond the other."""
        nothing = [0] * BUCKETS
        return ArmCounts(
            of=self.of + sign * other.of,
            bad=self.bad + sign * other.bad,
            durations={
                method: [
                    ours + sign * theirs
                    for ours, theirs in zip(
                        self.durations.get(method, nothing),
                        other.durations.get(method, nothing),
                        strict=True,
                    )
                ]
                for method in sorted({*self.durations, *other.durations})
            },
        )


@dataclass(kw_only=True, slots=True)
class ShadowCounts:
    """Requests that the live version had answered and the candidate was asked as well."""

    of: int = 0
    failed: int = 0
    # Of those that it answered.
    answered: int = 0
    disagreed: int = 0
    # It took much longer than the live version, or much less.
    slower: int = 0
    faster: int = 0

    def plus(self, other: "ShadowCounts", sign: int = 1) -> "ShadowCounts":
        """See `ArmCounts.plus`."""
        return ShadowCounts(
            of=self.of + sign * other.of,
            failed=self.failed + sign * other.failed,
            answered=self.answered + sign * other.answered,
            disagreed=self.disagreed + sign * other.disagreed,
            slower=self.slower + sign * other.slower,
            faster=self.faster + sign * other.faster,
        )


@dataclass(kw_only=True, slots=True)
class Counts:
    """Of one experiment."""

    live: ArmCounts = field(default_factory=ArmCounts)
    candidate: ArmCounts = field(default_factory=ArmCounts)
    shadow: ShadowCounts = field(default_factory=ShadowCounts)

    def plus(self, other: "Counts", sign: int = 1) -> "Counts":
        """See `ArmCounts.plus`."""
        return Counts(
            live=self.live.plus(other.live, sign),
            candidate=self.candidate.plus(other.candidate, sign),
            shadow=self.shadow.plus(other.shadow, sign),
        )

    def since(self, before: "Counts") -> "Counts":
        """What was counted after `before`."""
        return self.plus(before, -1)

    def to_json(self) -> bytes:
        """For a file."""
        return _ADAPTER.dump_json(self)

    @staticmethod
    def from_json(text: bytes) -> "Counts":
        """What `to_json` wrote.

        Raises:
            ValueError: it is something else.
        """
        return _ADAPTER.validate_json(text)


_ADAPTER = TypeAdapter(Counts)
