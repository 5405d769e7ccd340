"""A model client over one version of each of some models, for tests."""

from collections.abc import Iterable

from serving.context import RequestContext
from serving.models.client import ModelOutput, Tensors
from serving.models.manifest import ModelManifest
from serving.triton.client import TritonModelClient


class OneVersionEach:
    """A `ModelClient`; `client` is the one that holds the versions."""

    def __init__(self, client: TritonModelClient, manifests: Iterable[ModelManifest]) -> None:
        self.client = client
        self.stats = client.stats
        self.in_flight = client.in_flight
        self.close = client.close
        self._versions = {manifest.model: client.open(manifest) for manifest in manifests}

    async def infer(self, model: str, inputs: Tensors, context: RequestContext) -> ModelOutput:
        """See `serving.models.client.ModelClient.infer`."""
        return await self._versions[model].infer(model, inputs, context)
