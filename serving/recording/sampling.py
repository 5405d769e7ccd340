"""Which requests are recorded: a share by chance, and no more than so many a second."""

import random
import time
from collections.abc import Callable


class Sampler:
    """A coin, then a token bucket that holds one second's worth. For one thread."""

    def __init__(
        self,
        share: float,
        per_second: float,
        *,
        rng: random.Random | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begins with a full bucket.

        Args:
            share: chance of a request to be considered, above 0 and at most 1.
            per_second: requests taken in a second at most, on average.
            rng: the coin.
            clock_s: a monotonic clock.
        """
        self._share = share
        self._per_second = per_second
        self._toss = (rng or random.Random()).random
        self._clock_s = clock_s
        self._most = max(1.0, per_second)
        self._tokens = self._most
        self._filled_at_s = clock_s()

    def wants(self) -> bool:
        """Whether the request that comes now is taken."""
        if self._toss() >= self._share:
            return False
        now_s = self._clock_s()
        tokens = self._tokens + (now_s - self._filled_at_s) * self._per_second
        self._filled_at_s = now_s
        if tokens < 1.0:
            self._tokens = tokens
            return False
        self._tokens = (tokens if tokens < self._most else self._most) - 1.0
        return True
