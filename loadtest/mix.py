"""Single calls for the open model: independent of each other, drawn by a mix of methods."""

from collections.abc import Mapping

import numpy as np

from loadtest import journeys
from loadtest.calls import METHODS, Call
from loadtest.population import Population
from serving.protos import commerce_pb2 as pb

# About what the journeys make of a visit, with the texts that a search box sends on top.
DEFAULT_MIX: Mapping[str, float] = {
    "Converse": 0.20,
    "ConverseStream": 0.15,
    "Understand": 0.05,
    "Answer": 0.10,
    "Recommend": 0.25,
    "Decide": 0.08,
    "RecordEvents": 0.17,
}


def parse_mix(text: str) -> dict[str, float]:
    """Reads "Understand=3,Recommend=1"; the weights are relative. "" gives the default mix.

    Raises:
        ValueError: an unknown method, or a weight that is no number above 0; names it.
    """
    if not text:
        return dict(DEFAULT_MIX)
    mix: dict[str, float] = {}
    for part in text.split(","):
        method, _, weight = part.strip().partition("=")
        if method not in METHODS:
            raise ValueError(f"mix: there is no method {method!r}; known: {', '.join(METHODS)}")
        try:
            mix[method] = float(weight or "1")
        except ValueError:
            raise ValueError(f"mix: {method}: {weight!r} is no number") from None
        if not mix[method] > 0:
            raise ValueError(f"mix: {method}: the weight must be above 0, got {weight}")
    return mix


class Mix:
    """Draws calls."""

    def __init__(self, weights: Mapping[str, float], population: Population) -> None:
        """Prepares the mix.

        Args:
            weights: relative weight by method.
            population: who calls and what about.
        """
        self._methods = tuple(weights)
        values = np.array([weights[method] for method in self._methods])
        self._shares = values / values.sum()
        self._population = population

    def draw(self) -> Call:
        """The next call, of a customer and a session of its own."""
        population = self._population
        method = self._methods[population.choice(self._shares)]
        visitor = journeys.arriving(population)
        match method:
            case "Converse" | "ConverseStream":
                stream = method == "ConverseStream"
                return journeys.converse(population, visitor, population.text(), stream=stream)
            case "Understand":
                return Call(method, pb.UnderstandRequest(text=population.text()))
            case "Answer":
                return journeys.answer(population)
            case "Recommend":
                return journeys.recommend(population, visitor)
            case "Decide":
                return journeys.decide(population, visitor)
            case "RecordEvents":
                seen = [population.product() for _ in range(population.whole(1, 3))]
                return journeys.events(population, visitor, pb.EVENT_KIND_VIEW, seen)
            case _:
                raise AssertionError(f"no call is known for {method}")
