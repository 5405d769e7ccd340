"""An exported folder in a tritonserver that is started as anybody would start it.

The wheel's tritonserver has no ONNX Runtime backend, so it is given this project's, which has the
name and the parameters of NVIDIA's. Nothing else of the project is there: no model repository of
ours, no manifest, no model control, and every other option is the server's default.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import onnxruntime
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2, service_pb2_grpc

from model_build.exchange.triton_export import export_for_triton
from model_build.spec import ModelSpec
from model_build.specs import SPECS
from serving.models.repository import ModelRepository
from serving.settings import TritonSettings
from serving.triton.command import Ports, free_ports
from serving.triton.installation import prepare_installation
from serving.triton.shared_memory import new_prefix, remove_regions
from tests.integration.conftest import BuiltModels
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.untimed]


@pytest.fixture(scope="module")
def exported(models: BuiltModels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every model, in one folder."""
    folder = tmp_path_factory.mktemp("exported")
    known = ModelRepository(models.repository)
    for model in SPECS:
        export_for_triton(known.latest(model), models.repository, folder, "cpu")
    return folder


@pytest.fixture(scope="module")
def server(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ports]:
    folder = tmp_path_factory.mktemp("server")
    installation = prepare_installation(TritonSettings(cache_folder=folder / "cache"))
    ports = free_ports()
    prefix = new_prefix()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                installation.binary,
                f"--model-repository={exported}",
                f"--backend-directory={installation.backend_directory}",
                f"--backend-config=python,shm-region-prefix-name={prefix}",
                *("--http-address=127.0.0.1", f"--http-port={ports.http}"),
                *("--grpc-address=127.0.0.1", f"--grpc-port={ports.grpc}"),
                *("--metrics-address=127.0.0.1", f"--metrics-port={ports.metrics}"),
            ],
            env=installation.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield ports
    finally:
        process.terminate()
        try:
            process.wait(30)
        finally:
            process.kill()
            remove_regions(prefix)


@pytest.mark.parametrize("spec", SPECS.values(), ids=list(SPECS))
async def test_a_plain_tritonserver_answers_as_the_graph_does(
    server: Ports, exported: Path, spec: ModelSpec
) -> None:
    sample = spec.sample_inputs(np.random.default_rng(5), 4)
    session = onnxruntime.InferenceSession(str(exported / spec.name / "1" / "model.onnx"))
    expected = session.run(list(spec.output_names), sample)
    inputs = []
    for tensor in spec.inputs:
        array = sample[tensor.name]
        inputs.append(triton.InferInput(tensor.name, list(array.shape), tensor.dtype))
        inputs[-1].set_data_from_numpy(array)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc}") as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)

        async def ready() -> bool:
            try:
                request = service_pb2.ModelReadyRequest(name=spec.name, version="1")
                return bool((await stub.ModelReady(request)).ready)
            except grpc.aio.AioRpcError:
                return False

        await until(ready, 60.0)
    client = triton.InferenceServerClient(f"127.0.0.1:{server.grpc}")
    try:
        answer = client.infer(spec.name, inputs)
        for name, array in zip(spec.output_names, expected, strict=True):
            np.testing.assert_allclose(answer.as_numpy(name), array, rtol=1e-4, atol=1e-4)
    finally:
        client.close()
