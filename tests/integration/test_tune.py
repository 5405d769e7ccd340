"""The tuner on a real tritonserver, and a real tritonserver with what it wrote."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from model_build.serving_profile import FILE_NAME, ServingProfile, TunedHosting, read_profile
from model_build.specs import SPECS
from model_build.triton_config import parse_config, tuned_of
from model_build.tune.host import PointFailed
from model_build.tune.requests import make_bodies, serialise
from model_build.tune.trial_host import open_host
from serving.models.repository import ModelRepository
from serving.settings import TritonSettings
from serving.triton.command import free_ports
from serving.triton.installation import prepare_installation
from serving.triton.server import Server
from tests.fakes.tuning import tuned_profile
from tests.integration.conftest import ROOT, BuiltModels

pytestmark = [pytest.mark.integration, pytest.mark.untimed]

MODEL = "decision"
# Not what the spec says, so that a choice can be told from it.
IN_USE = TunedHosting(
    instances=2, intra_op_threads=1, max_queue_delay_microseconds=300, max_batch_rows=4
)


@pytest.fixture
def repository(models: BuiltModels, tmp_path: Path) -> Path:
    """The quick models in a repository of its own, one of them with a serving profile."""
    folder = tmp_path / "models"
    shutil.copytree(models.repository, folder, copy_function=os.link)
    for config in folder.glob("*/config.pbtxt"):
        config.unlink()
    tuned_profile(MODEL, IN_USE).write(folder)
    return folder


def cartwright(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "serving.cli.main", *(str(a) for a in arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


def tune(repository: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """A sweep of two points, each with two instances; one of them is in use."""
    return cartwright(
        *("models", "tune", MODEL, "--concurrency", "4", "--levels", "1", "--minutes", "0.3"),
        *("--instances", "2", "--threads", "1", "--delays", "0", "--batches", "16"),
        *("--repository", repository, "--output", repository.parent / "found", *arguments),
    )


def profile_of(repository: Path) -> ServingProfile:
    found = read_profile(repository, SPECS[MODEL])
    assert found is not None
    return found


async def config_on_a_server(repository: Path, log: Path) -> Any:
    """Loads the model into a tritonserver; what that says about its configuration."""
    server = await Server.launch(
        installation=prepare_installation(TritonSettings()),
        repository=repository,
        host_id="tuned",
        log=log,
        telemetry=None,
        ports=free_ports(),
    )
    try:
        await server.control.load(MODEL, 60.0)
        async with grpc.aio.insecure_channel(server.url) as channel:
            stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            reply = await stub.ModelConfig(service_pb2.ModelConfigRequest(name=MODEL))
            return reply.config
    finally:
        await server.discard()


async def test_what_is_chosen_is_what_a_server_hosts(
    models: BuiltModels, repository: Path, tmp_path: Path
) -> None:
    ran = tune(repository, "--p99-ms", "10000")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"in use: {IN_USE.label}" in ran.stdout
    assert "of the fastest count as equal" in ran.stdout
    profile = profile_of(repository)
    assert profile.hosting.label in (IN_USE.label, "2x1-b16-d0")
    assert "chosen: 2 instances of 1 thread" in ran.stdout
    assert profile.figures.requests_per_s > 0
    assert profile.figures.looks >= 2
    assert profile.versions["tritonserver"]
    assert f"models tune {MODEL} --concurrency 4" in profile.command

    found = json.loads((tmp_path / "found" / MODEL / "tune.json").read_text())
    assert found["chosen"] == profile.hosting.label
    assert {point["label"] for point in found["points"]} == {IN_USE.label, "2x1-b16-d0"}
    for point in found["points"]:
        assert point["errors"] == 0
        assert point["memory_mib"] > 0
        assert point["instances_cpu_ms"] > 0
        assert sum(point["batches"].values()) > 0
    assert (tmp_path / "found" / MODEL / "tune.png").is_file()

    # The written configuration is accepted, and a build makes the same one again.
    written = repository / MODEL / "config.pbtxt"
    hosted = await config_on_a_server(repository, tmp_path / "triton.log")
    assert hosted.instance_group[0].count == profile.hosting.instances == 2
    assert tuned_of(hosted) == tuned_of(parse_config(written.read_text())) == profile.hosting
    text = written.read_text()
    written.unlink()
    versions = ModelRepository(repository).versions(MODEL)
    built = cartwright(
        *("models", "build", "--profile", "quick"),
        *("--repository", repository, "--shop", models.shop),
    )
    assert built.returncode == 0, built.stdout + built.stderr
    assert written.read_text() == text
    # Hosting is no part of a model.
    assert ModelRepository(repository).versions(MODEL) == versions


def test_a_bound_that_none_keeps_writes_nothing(repository: Path, tmp_path: Path) -> None:
    ran = tune(repository, "--p99-ms", "0.001")
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "no hosting keeps p99 within 0.001 ms at 4 in flight; nearest is 2x1-b" in ran.stderr
    assert "nothing was written" in ran.stderr
    assert profile_of(repository) == tuned_profile(MODEL, IN_USE)
    assert not (tmp_path / "found").exists()
    assert not (repository / MODEL / "config.pbtxt").exists()


def test_a_malformed_profile_stops_a_build_with_its_field(
    models: BuiltModels, repository: Path
) -> None:
    path = repository / MODEL / FILE_NAME
    document = json.loads(path.read_text())
    document["hosting"]["instances"] = 0
    path.write_text(json.dumps(document))
    built = cartwright(
        *("models", "build", "--profile", "quick"),
        *("--repository", repository, "--shop", models.shop),
    )
    assert built.returncode == 2
    assert f"{path}: hosting.instances: " in built.stderr


def hosted_as(instances: int) -> TunedHosting:
    return TunedHosting(
        instances=instances, intra_op_threads=1, max_queue_delay_microseconds=0, max_batch_rows=8
    )


async def test_points_make_room_for_each_other_when_memory_is_short(
    models: BuiltModels, tmp_path: Path
) -> None:
    spec, version = SPECS[MODEL], ModelRepository(models.repository).latest(MODEL)
    bodies = make_bodies(spec, version, 2, (), np.random.default_rng(1))
    one, two = hosted_as(1), hosted_as(2)
    async with open_host(TritonSettings(), tmp_path, spec, version, bodies, 0.0) as host:
        for point in (one, two, one):
            await host.load(point)
            assert host.loaded == (point,)
            look = await host.look(point, 4, 0.3)
            assert look.errors == 0
            assert look.requests > 0
            # Requests of two rows, joined up to eight of them.
            assert min(look.batches) >= 2
        assert two not in host.loaded


async def test_a_point_that_does_not_answer_fails_with_tritons_reason(
    models: BuiltModels, tmp_path: Path
) -> None:
    spec, version = SPECS[MODEL], ModelRepository(models.repository).latest(MODEL)
    too_many = spec.sample_inputs(np.random.default_rng(1), spec.max_batch_size + 1)
    bodies = [serialise(spec, too_many)]
    async with open_host(TritonSettings(), tmp_path, spec, version, bodies) as host:
        with pytest.raises(PointFailed, match=r"INVALID_ARGUMENT: .*batch-size must be <= 64"):
            await host.load(hosted_as(1))
