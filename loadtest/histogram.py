"""A histogram of milliseconds with buckets of even relative width: small, mergeable, 1 % exact."""

import math
from collections.abc import Iterable

# Bounds of a bucket are 2 % apart, so that its middle is within 1 % of every value in it.
GROWTH = 1.02
# Everything at or below lies in bucket 0.
LEAST_MS = 0.01

_LOG_GROWTH = math.log(GROWTH)


class Histogram:
    """Counts of values in milliseconds; percentiles are exact to 1 %, sum and maximum exactly."""

    __slots__ = ("_counts", "count", "max_ms", "sum_ms")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.count = 0
        self.sum_ms = 0.0
        self.max_ms = 0.0

    def add(self, value_ms: float) -> None:
        """Counts one value."""
        index = 0
        if value_ms > LEAST_MS:
            index = 1 + int(math.log(value_ms / LEAST_MS) / _LOG_GROWTH)
        self._counts[index] = self._counts.get(index, 0) + 1
        self.count += 1
        self.sum_ms += value_ms
        self.max_ms = max(self.max_ms, value_ms)

    def merge(self, other: "Histogram") -> None:
        """Adds what another histogram has counted."""
        for index, count in other._counts.items():
            self._counts[index] = self._counts.get(index, 0) + count
        self.count += other.count
        self.sum_ms += other.sum_ms
        self.max_ms = max(self.max_ms, other.max_ms)

    def percentile(self, share: float) -> float | None:
        """The value in milliseconds that `share` (0 to 1) of the values do not exceed.

        None without values.
        """
        if not self.count:
            return None
        wanted = max(math.ceil(share * self.count), 1)
        seen = 0
        for index in sorted(self._counts):
            seen += self._counts[index]
            if seen >= wanted:
                return min(_middle_ms(index), self.max_ms)
        raise AssertionError("the counts do not add up")

    def share_within(self, limit_ms: float) -> float:
        """Part of the values (0 to 1) at or below a limit in milliseconds; 1 without values."""
        if not self.count:
            return 1.0
        within = sum(
            count for index, count in self._counts.items() if _middle_ms(index) <= limit_ms
        )
        return within / self.count

    @property
    def mean_ms(self) -> float | None:
        """The mean in milliseconds; None without values."""
        return self.sum_ms / self.count if self.count else None

    def packed(self) -> list[float]:
        """As a flat list: sum, maximum, then index and count by turns."""
        flat: list[float] = [self.sum_ms, self.max_ms]
        for index, count in self._counts.items():
            flat += (index, count)
        return flat

    @classmethod
    def unpacked(cls, flat: list[float]) -> "Histogram":
        """The histogram that `packed` described."""
        made = cls()
        made.sum_ms, made.max_ms = flat[0], flat[1]
        made._counts = {
            int(index): int(count) for index, count in zip(flat[2::2], flat[3::2], strict=True)
        }
        made.count = sum(made._counts.values())
        return made


def merged(histograms: Iterable[Histogram]) -> Histogram:
    """One histogram of all values."""
    total = Histogram()
    for histogram in histograms:
        total.merge(histogram)
    return total


def _middle_ms(index: int) -> float:
    """The geometric middle of a bucket."""
    return LEAST_MS * GROWTH ** (index - 0.5) if index else LEAST_MS
