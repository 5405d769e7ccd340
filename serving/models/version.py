"""What one version of a model is called."""

from collections.abc import Iterable
from typing import NamedTuple


class ModelVersion(NamedTuple):
    """A version of a model by its number."""

    model: str
    version: int

    def __str__(self) -> str:
        return f"{self.model}/{self.version}"


def by_model(versions: Iterable[ModelVersion]) -> dict[str, tuple[int, ...]]:
    """The numbers of the versions by model, in rising order."""
    found: dict[str, tuple[int, ...]] = {}
    for model, version in sorted(versions):
        found[model] = (*found.get(model, ()), version)
    return found
