"""The time budget of a request: made once at the ingress, handed down as remaining time."""

import time
from dataclasses import dataclass

from serving.errors import DeadlineExceeded, InvalidRequest

METADATA_KEY = "cartwright-deadline-ms"
# A deadline beyond this is a mistake in units, not a wish.
LONGEST_MS = 600_000.0


@dataclass(frozen=True)
class Deadline:
    """A point on the monotonic clock (seconds) by which the reply has to be out."""

    at_s: float

    @classmethod
    def after_ms(cls, duration_ms: float) -> "Deadline":
        """The deadline `duration_ms` milliseconds from now."""
        return cls(time.monotonic() + duration_ms / 1000.0)

    @classmethod
    def from_metadata(cls, value: str | None, default_ms: float) -> "Deadline":
        """Reads the client's remaining time in milliseconds; without one, the method's default.

        Raises:
            InvalidRequest: not a number, not positive, or longer than ten minutes.
        """
        if value is None:
            return cls.after_ms(default_ms)
        try:
            duration_ms = float(value)
        except ValueError:
            raise InvalidRequest(
                METADATA_KEY, f"must be a number of milliseconds, got {value[:32]!r}"
            ) from None
        # Written so that NaN fails as well.
        if not 0 < duration_ms <= LONGEST_MS:
            raise InvalidRequest(
                METADATA_KEY,
                f"must be above 0 and at most {LONGEST_MS:.0f} ms, got {value[:32]}",
            )
        return cls.after_ms(duration_ms)

    def remaining_ms(self) -> float:
        """Milliseconds left; negative once it has passed."""
        return (self.at_s - time.monotonic()) * 1000.0

    def require(self, needed_ms: float, purpose: str) -> None:
        """Refuses to begin what cannot end in time.

        Raises:
            DeadlineExceeded: fewer than `needed_ms` milliseconds are left.
        """
        remaining_ms = self.remaining_ms()
        if remaining_ms < needed_ms or remaining_ms <= 0:
            raise DeadlineExceeded(
                f"{max(remaining_ms, 0.0):.1f} ms left, {purpose} needs {needed_ms:.0f} ms"
            )
