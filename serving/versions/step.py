"""A step over several versions of the model that it asks."""

import time
from typing import Generic, TypeVar

from serving.context import RequestContext
from serving.errors import ModelUnavailable
from serving.steps.placement import Step
from serving.versions.routing import Router
from serving.versions.shadow import Shadows

In = TypeVar("In")
Out = TypeVar("Out")


class VersionedStep(Generic[In, Out]):
    """A `Step` that passes each request to the one with the chosen version's files."""

    def __init__(self, model: str, router: Router, shadows: Shadows | None = None) -> None:
        """Has no version yet.

        Args:
            model: that the step asks.
            router: chooses the version.
            shadows: asks a shadow as well; None for never.
        """
        self.model = model
        self._router = router
        self._shadows = shadows
        self._steps: dict[int, Step[In, Out]] = {}

    def put(self, version: int, step: Step[In, Out]) -> None:
        """Adds a version, or replaces it."""
        self._steps[version] = step

    def drop(self, version: int) -> None:
        """Forgets a version; does nothing if it is not there."""
        self._steps.pop(version, None)

    async def __call__(self, request: In, context: RequestContext, /) -> Out:
        """Runs the step as the request's version of the model wants it.

        Raises:
            ModelUnavailable: no version can be asked.
            CartwrightError: as the step.
        """
        choice = self._router.choose(self.model, context)
        step = self._steps.get(choice.version)
        if step is None:
            raise ModelUnavailable(
                f"model {self.model}: version {choice.version} is not open in this process"
            )
        shadow = None if self._shadows is None else self._router.shadow_of(self.model, choice)
        if shadow is None or shadow not in self._steps:
            return await step(request, context)
        assert self._shadows is not None
        began_s = time.perf_counter()
        result = await step(request, context)
        live_ms = (time.perf_counter() - began_s) * 1000.0
        self._shadows.offer(
            self.model, shadow, self._steps[shadow], request, result, live_ms, context
        )
        return result
