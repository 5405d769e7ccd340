"""What a sweep needs of the server that it measures."""

from typing import Protocol

from model_build.serving_profile import TunedHosting
from model_build.tune.figures import Look


class PointFailed(Exception):
    """A point cannot be measured; the text says why."""


class PointHost(Protocol):
    """Hosts one model in many ways."""

    @property
    def now_s(self) -> float:
        """Seconds since the server was up."""
        ...

    async def load(self, point: TunedHosting) -> None:
        """Makes a point ready to be looked at; does nothing if it is.

        Raises:
            PointFailed: it cannot be hosted so.
        """
        ...

    async def look(self, point: TunedHosting, concurrency: int, seconds: float) -> Look:
        """Measures a loaded point under load for about so long.

        Raises:
            PointFailed: it does not answer.
        """
        ...
