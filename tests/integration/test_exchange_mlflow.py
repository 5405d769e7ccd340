"""A real MLflow registry: versions go there, come back by alias, and are followed when it moves."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest
import requests

from model_build.exchange.mlflow_http import Credentials
from model_build.exchange.mlflow_registry import MlflowRegistry
from model_build.exchange.version_check import ASSETS, check_manifest
from serving.models.manifest import ModelManifest
from serving.models.repository import ModelRepository
from tests.integration.conftest import BUILT, ROOT, BuiltModels
from tests.mlflow_server import CannotInstall, MlflowServer, install
from tests.small_versions import publish_decision

pytestmark = [pytest.mark.integration, pytest.mark.untimed]
API = "/api/2.0/mlflow"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    try:
        packages = install(BUILT)
    except CannotInstall as error:
        pytest.skip(f"MLflow cannot be installed here: {error}")
    with MlflowServer(packages, tmp_path_factory.mktemp("mlflow")) as running:
        yield running


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """Three versions of `decision` that somebody else has built."""
    made = tmp_path / "theirs"
    for propensity in (0.25, 0.5, 0.75):
        publish_decision(made, propensity)
    return made


def command(server: MlflowServer, *arguments: object) -> list[str]:
    program = (sys.executable, "-m", "serving.cli.main", "models")
    return [*program, *map(str, arguments), "--registry", server.url, "--json"]


def call(server: MlflowServer, *arguments: object) -> Any:
    done = subprocess.run(
        command(server, *arguments), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refusal(server: MlflowServer, *arguments: object) -> str:
    done = subprocess.run(
        command(server, *arguments), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    message: str = json.loads(done.stdout)["error"]["message"]
    return message


def asked(server: MlflowServer, path: str, **parameters: str) -> Any:
    """What MLflow itself says."""
    reply = requests.get(f"{server.url}{API}/{path}", params=parameters, timeout=10)
    reply.raise_for_status()
    return reply.json()


def test_every_version_that_is_built_passes_as_one_of_somebody_else(models: BuiltModels) -> None:
    known = ModelRepository(models.repository)
    for model, assets in ASSETS.items():
        manifest = known.latest(model).manifest
        assert check_manifest(manifest).name == model
        assert {a.path for a in manifest.artifacts if a.kind == "asset"} == set(assets)


def test_a_model_goes_to_the_registry_and_comes_back_by_its_alias(
    server: MlflowServer, models: BuiltModels, tmp_path: Path
) -> None:
    source = ModelRepository(models.repository).latest("understanding")
    exported = call(
        server,
        *("export", "understanding", source.manifest.version),
        *("--to", "mlflow:/understanding@champion", "--repository", models.repository),
    )
    run_id = exported["registered"]["run_id"]
    assert exported["registered"] == {
        "name": "understanding",
        "version": 1,
        "run_id": run_id,
        "alias": "champion",
    }
    run = asked(server, "runs/get", run_id=run_id)["run"]
    assert run["info"]["status"] == "FINISHED"
    metrics = {metric["key"]: metric["value"] for metric in run["data"]["metrics"]}
    assert metrics == pytest.approx(source.manifest.metrics)

    arguments = ("import", "mlflow:/understanding@champion", "--repository", tmp_path)
    assert call(server, *arguments) == {
        "uri": "mlflow:/understanding@champion",
        "source": {"name": "understanding", "version": 1, "run_id": run_id},
        "model": "understanding",
        "version": 1,
        "published": True,
    }
    imported = ModelRepository(tmp_path).version("understanding", 1)
    imported.verify()
    assert imported.manifest.artifacts == source.manifest.artifacts
    origin = imported.manifest.origin
    assert origin is not None
    assert (origin.registry, origin.run_id) == (server.url, run_id)
    again = call(server, *arguments)
    assert (again["version"], again["published"]) == (1, False)


def test_versions_are_found_by_number_and_what_is_missing_is_named(
    server: MlflowServer, theirs: Path, tmp_path: Path
) -> None:
    for version in (1, 2):
        call(
            server,
            *("export", "decision", version),
            *("--to", "mlflow:/by number", "--repository", theirs),
        )
    ours = ("--repository", tmp_path / "ours")
    assert call(server, "import", "mlflow:/by number/2", *ours)["source"]["version"] == 2
    published = ModelManifest.read(tmp_path / "ours" / "decision" / "1")
    assert published.artifacts == ModelManifest.read(theirs / "decision" / "2").artifacts
    for uri, message in (
        ("mlflow:/by number/3", "Model Version (name=by number, version=3) not found"),
        ("mlflow:/by number@nobody", "Registered model alias nobody not found."),
        ("mlflow:/nothing@nobody", "Registered Model with name=nothing not found"),
    ):
        assert refusal(server, "import", uri, *ours) == f"{server.url}: {message}"


def test_a_model_that_is_no_version_of_ours_is_refused(
    server: MlflowServer, tmp_path: Path
) -> None:
    registry = MlflowRegistry(server.url, Credentials())
    run = registry.start_run("somebody's", "a pickle", now_ms=1)
    stranger = tmp_path / "model.pkl"
    stranger.write_bytes(b"\x80\x04N.")
    run.artifacts.store(stranger)
    registry.end_run(run, succeeded=True, now_ms=2)
    registry.register("pickled", run, {})
    message = refusal(server, "import", "mlflow:/pickled/1", "--repository", tmp_path / "ours")
    assert message == "mlflow:/pickled/1: manifest.json: is not among its artifacts"
    assert not (tmp_path / "ours").exists()


class Watching:
    """A running `cartwright models import --watch`."""

    def __init__(self, server: MlflowServer, repository: Path, uri: str) -> None:
        self._process = subprocess.Popen(
            command(server, "import", uri, "--repository", repository, "--watch", "200ms"),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._lines: IO[str] = self._process.stdout

    def until(self, event: str) -> Any:
        """The next event of this kind."""
        for line in self._lines:
            document = json.loads(line)
            if document["event"] == event:
                return document
        raise AssertionError(f"ended with {self._process.wait(10)} before {event!r}")

    def stop(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(20)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._lines.close()


def test_a_moved_alias_is_noticed_and_a_server_that_was_away_is_found_again(
    server: MlflowServer, theirs: Path, tmp_path: Path
) -> None:
    ours = tmp_path / "ours"
    uri = "mlflow:/watched@champion"

    def promote(version: int) -> None:
        call(server, "export", "decision", version, "--to", uri, "--repository", theirs)

    promote(1)
    watching = Watching(server, ours, uri)
    try:
        first = watching.until("imported")
        assert (first["source"]["version"], first["version"]) == (1, 1)
        promote(2)
        second = watching.until("imported")
        assert (second["source"]["version"], second["version"]) == (2, 2)
        server.stop()
        away = [watching.until("failed") for _ in range(3)]
        assert [event["code"] for event in away] == ["UNAVAILABLE"] * 3
        pauses = [event["next_look_s"] for event in away]
        assert pauses == [0.2, 0.4, 0.8]
        server.start()
        watching.until("recovered")
        promote(3)
        third = watching.until("imported")
        assert (third["source"]["version"], third["version"]) == (3, 3)
        assert watching.stop() == 0
    finally:
        watching.close()
    assert ModelRepository(ours).versions("decision") == [1, 2, 3]
    artifacts = [
        ModelManifest.read(folder / "decision" / "3").artifacts for folder in (theirs, ours)
    ]
    assert artifacts[0] == artifacts[1]
