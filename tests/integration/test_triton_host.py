"""Starting and stopping a real tritonserver, and every reason not to start."""

import asyncio
import os
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from serving.errors import StartupError, Unavailable
from serving.models.manifest import ArtifactRecord, ModelManifest, sha256_of
from serving.models.repository import ModelRepository
from serving.settings import Settings, StoreSettings
from serving.triton.command import Ports, free_ports
from serving.triton.discovery import HostState
from serving.triton.installation import prepare_installation
from serving.triton.replica import ModelHostReplica
from serving.versions.resident import adopt_newest
from serving.versions.store import FILE_NAME, VersionStore
from tests.tiny_models import add_graph, publish
from tests.triton_bench import Bench, processes, shared_memory
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.untimed]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench.make(tmp_path)
    yield made
    await made.close()
    assert processes(tmp_path) == []
    assert shared_memory(os.getpid()) == []


def republish(version_folder: Path) -> None:
    """Writes the digest of what lies there now into the manifest."""
    path = version_folder / "model.onnx"
    manifest = ModelManifest.read(version_folder)
    record = ArtifactRecord(
        kind="onnx", path=path.name, sha256=sha256_of(path), size_bytes=path.stat().st_size
    )
    manifest.model_copy(update={"artifacts": (record,)}).write(version_folder)


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


async def refusal(bench: Bench, **changes: object) -> str:
    """Text of the error that a start ends with; it is the detail of the last record too."""
    host = bench.host(settings=bench.settings(**changes))
    with pytest.raises(StartupError) as caught:
        await host.start()
    assert bench.states() == [HostState.STARTING, HostState.DOWN]
    assert bench.records[-1].detail == caught.value.message
    assert processes(bench.folder) == []
    return caught.value.message


# ---- models ------------------------------------------------------------------------------------


async def test_a_changed_file_is_not_served(bench: Bench) -> None:
    path = bench.folder / "models" / "add" / "1" / "model.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    text = await refusal(bench)
    assert str(path) in text
    assert "corrupt: its SHA-256 differs" in text


async def test_a_file_that_is_no_model_is_refused_with_tritons_reason(bench: Bench) -> None:
    folder = bench.folder / "models" / "add" / "1"
    (folder / "model.onnx").write_bytes(b"this is no ONNX")
    republish(folder)
    text = await refusal(bench)
    assert text.startswith("model add/1: Triton cannot load it: ")
    assert "model.onnx" in text
    assert "Protobuf parsing failed" in text
    assert "\n" not in text
    assert "initialize" not in text


async def test_a_model_with_other_tensors_than_configured_is_refused(bench: Bench) -> None:
    rewrite(bench.folder / "models" / "add" / "config.pbtxt", 'name: "y"', 'name: "z"')
    assert "outputs are ['y'], config.pbtxt says ['z']" in await refusal(bench)


async def test_a_configuration_that_cannot_be_read_is_refused(bench: Bench) -> None:
    rewrite(bench.folder / "models" / "add" / "config.pbtxt", "backend:", "no_such_field:")
    text = await refusal(bench)
    assert "models/add/config.pbtxt: Triton's configuration cannot be read: " in text
    assert 'has no field named "no_such_field"' in text


async def test_a_count_of_threads_must_be_a_number(bench: Bench) -> None:
    config = bench.folder / "models" / "add" / "config.pbtxt"
    rewrite(config, 'string_value: "1"', 'string_value: "many"')
    assert "intra_op_thread_count: must be a count of threads, got 'many'" in await refusal(bench)


async def test_every_model_that_fails_is_named(bench: Bench) -> None:
    (bench.folder / "models" / "add" / "1" / "model.onnx").write_bytes(b"")
    text = await refusal(bench, models=("add", "slow", "ghost"))
    assert "add/1/model.onnx: corrupt" in text
    assert "no published version of model 'ghost'" in text


async def test_the_latest_version_is_served(bench: Bench) -> None:
    publish(bench.folder / "other", "add", add_graph(), version=12)
    (bench.folder / "other" / "add" / "12").rename(bench.folder / "models" / "add" / "12")
    host = bench.host()
    await host.start()
    assert dict(host.record.ready_models) == {"add": (12,), "slow": (1,)}


# ---- program and machine -----------------------------------------------------------------------


def program(bench: Bench, text: str) -> dict[str, str]:
    """Settings of a program that does `text` when it is not just asked for help."""
    path = bench.folder / "bin" / "tritonserver"
    path.parent.mkdir(parents=True)
    path.write_text(f'#!/bin/sh\n[ "$1" = --help ] && exit 0\n{text}\n')
    path.chmod(0o755)
    (bench.folder / "backends" / "onnxruntime").mkdir(parents=True)
    return {"binary": str(path)}


async def test_a_program_that_ends_at_once_is_quoted(bench: Bench) -> None:
    text = await refusal(bench, **program(bench, "echo first; echo 'no such device'; exit 3"))
    assert text.startswith(f"triton.binary: {bench.folder}/bin/tritonserver: ")
    assert "ended with exit code 3; its last lines: " in text
    assert "first / no such device" in text
    assert str(bench.folder / "log" / "host-1.log") in text


async def test_a_program_that_never_answers_is_given_up(bench: Bench) -> None:
    text = await refusal(bench, start_timeout_s=0.5, **program(bench, "sleep 60 & wait"))
    assert text.startswith("triton.start_timeout_s: not ready within 0.5 s; see ")


async def test_a_log_folder_that_cannot_be_made_is_named(bench: Bench) -> None:
    (bench.folder / "file").write_text("")
    text = await refusal(bench, log_folder=bench.folder / "file" / "log")
    assert text.startswith("triton.log_folder: ")


@pytest.mark.parametrize("taken", ["http", "grpc", "metrics"])
async def test_a_port_that_was_taken_meanwhile_is_replaced(bench: Bench, taken: str) -> None:
    chosen: list[Ports] = []

    def choose() -> Ports:
        chosen.append(free_ports() if chosen else unlucky)
        return chosen[-1]

    with socket.create_server(("127.0.0.1", 0)) as other:
        free = free_ports()
        ports = {"http": free.http, "grpc": free.grpc, "metrics": free.metrics}
        unlucky = Ports(**{**ports, taken: other.getsockname()[1]})
        host = bench.host(choose_ports=choose)
        await host.start()
    assert len(chosen) == 2
    assert host.record.url == f"127.0.0.1:{chosen[1].grpc}"
    assert host.record.restarts == 0


async def test_when_every_port_is_taken_the_start_fails(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        host = bench.host(
            settings=bench.settings(
                **program(bench, f"echo \"Socket '127.0.0.1:{port}' already in use\"; exit 1")
            )
        )
        with pytest.raises(StartupError, match="already in use"):
            await host.start()


# ---- the end -----------------------------------------------------------------------------------


async def test_stopping_leaves_nothing_and_may_be_repeated(bench: Bench) -> None:
    host = bench.host()
    await host.start()
    pid = host.record.pid
    running = Counter(processes(bench.folder))
    assert running["tritonserver"] == 1
    assert running["triton_python_backend_stub"] == 2
    assert shared_memory(os.getpid())
    await host.stop()
    await host.stop()
    assert processes(bench.folder) == []
    assert shared_memory(os.getpid()) == []
    assert bench.states() == [HostState.STARTING, HostState.READY, HostState.DOWN]
    assert bench.records[-1].detail == "stopped"
    assert not psutil.pid_exists(pid)
    assert host.failure() is None


async def test_stopping_what_never_started_is_fine(bench: Bench) -> None:
    await bench.host().stop()


async def test_a_start_that_is_cancelled_leaves_nothing(bench: Bench) -> None:
    host = bench.host()
    starting = asyncio.create_task(host.start())
    log = bench.folder / "log" / "host-1.log"
    await until(lambda: log.exists() and b"Started Metrics Service" in log.read_bytes())
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert processes(bench.folder) == []
    assert bench.records[-1].state is HostState.DOWN


async def test_the_log_is_kept_over_starts(bench: Bench) -> None:
    for _ in range(2):
        host = bench.host()
        await host.start()
        await host.stop(patience_s=0.0)
    text = (bench.folder / "log" / "host-1.log").read_text()
    assert text.count("Started GRPCInferenceService") == 2


# ---- as a replica ------------------------------------------------------------------------------


async def test_a_replica_is_healthy_until_its_host_cannot_be_brought_back(bench: Bench) -> None:
    installation = prepare_installation(bench.settings())
    variables = " ".join(
        f"{name}={installation.environment[name]}" for name in ("PATH", "LD_LIBRARY_PATH")
    )
    real = f'exec env {variables} {installation.binary} "$@"'
    # A program that can be broken and mended.
    wrapped = program(bench, real)
    settings = bench.settings(backend_directory=str(installation.backend_directory), **wrapped)
    stores = StoreSettings(folder=bench.folder / "state")
    adopt_newest(
        VersionStore(stores.folder / FILE_NAME),
        ModelRepository(settings.model_repository),
        settings.models,
    )
    replica = ModelHostReplica(Settings(triton=settings, stores=stores), "host-1", bench.publish)
    await replica.start()
    try:
        replica.check_health()
        assert replica.record().state is HostState.READY
        rewrite(Path(wrapped["binary"]), real, "exit 9")
        os.kill(replica.record().pid, signal.SIGKILL)
        errors: list[Unavailable] = []

        def unhealthy() -> bool:
            try:
                replica.check_health()
            except Unavailable as error:
                errors.append(error)
            return bool(errors)

        await until(unhealthy, 20.0)
        assert errors[0].message.startswith("model host host-1: 5 starts in a row failed: ")
        assert "exit code 9" in errors[0].message
        assert replica.record().restarts >= 5
        # Should nobody replace it, it comes back once the reason is gone.
        rewrite(Path(wrapped["binary"]), "exit 9", real)
        await until(lambda: replica.record().state is HostState.READY, 20.0)
        replica.check_health()
    finally:
        await replica.shutdown()
        await replica.shutdown()
