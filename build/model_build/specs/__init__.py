"""One file a model: its ModelSpec. `SPECS` has them in the order of the build."""

from model_build.spec import ModelSpec
from model_build.specs import candidates, decision, encoder, ranker, understanding

SPECS: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        understanding.SPEC,
        encoder.SPEC,
        candidates.SPEC,
        # Trained on what `candidates` retrieves.
        ranker.SPEC,
        decision.SPEC,
    )
}
