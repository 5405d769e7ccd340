"""Answers that are remembered are the model's own, bounded, and never of another input."""

import numpy as np

from serving.context import RequestContext
from serving.deadline import Deadline
from serving.models.client import ModelOutput, Tensors
from serving.models.memory import RememberingModels


class Doubling:
    """A model that doubles, and counts."""

    def __init__(self) -> None:
        self.calls = 0

    async def infer(self, model: str, inputs: Tensors, context: RequestContext) -> ModelOutput:
        self.calls += 1
        context.model_versions[model] = 4
        return ModelOutput(tensors={"y": inputs["x"] * 2}, version=4)


def context() -> RequestContext:
    return RequestContext(deadline=Deadline.after_ms(1000.0))


def ids(*values: int, rows: int = 1) -> Tensors:
    return {"x": np.array([values] * rows, np.int64), "mask": np.ones((rows, len(values)))}


async def test_the_same_input_is_asked_once_and_its_version_noted_each_time() -> None:
    model = Doubling()
    remembering = RememberingModels(model, {"text"}, 8)
    for _ in range(3):
        request = context()
        output = await remembering.infer("text", ids(1, 2), request)
        assert output.tensors["y"].tolist() == [[2, 4]]
        assert (output.version, request.model_versions) == (4, {"text": 4})
    assert model.calls == 1
    assert (remembering.stats.hits, remembering.stats.misses) == (2, 1)


async def test_other_inputs_models_and_batches_are_asked() -> None:
    model = Doubling()
    remembering = RememberingModels(model, {"text"}, 8)
    for name, inputs in (
        ("text", ids(1, 2)),
        ("text", ids(2, 1)),
        ("text", ids(1, 2, 0)),
        ("text", ids(1, 2, rows=2)),
        ("text", ids(1, 2, rows=2)),
        ("other", ids(1, 2)),
        ("other", ids(1, 2)),
    ):
        output = await remembering.infer(name, inputs, context())
        assert np.array_equal(output.tensors["y"], inputs["x"] * 2)
    assert model.calls == 7


async def test_the_least_recently_used_is_forgotten() -> None:
    model = Doubling()
    remembering = RememberingModels(model, {"text"}, 2)
    for value in (1, 2, 1, 3, 1, 2):
        await remembering.infer("text", ids(value), context())
    # 1, 2 and 3 are new, 2 had to go for 3.
    assert model.calls == 4
