"""`cartwright models import` and `export`: what they print, and their exit codes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from serving.cli.main import cartwright
from tests.fakes.mlflow import FakeMlflow
from tests.small_versions import publish_decision

pytestmark = pytest.mark.contract

# Whoever runs the tests may have a registry.
CLEAN: dict[str, str | None] = dict.fromkeys(
    f"MLFLOW_{name}"
    for name in (
        "REGISTRY_URI",
        "TRACKING_URI",
        "TRACKING_TOKEN",
        "TRACKING_USERNAME",
        "TRACKING_PASSWORD",
    )
)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    made = tmp_path / "theirs"
    publish_decision(made, 0.25)
    publish_decision(made, 0.75)
    return made


@pytest.fixture
def server(repository: Path) -> Iterator[FakeMlflow]:
    with FakeMlflow() as fake:
        fake.add("decision", 7, repository / "decision" / "2")
        fake.aliases["decision", "champion"] = 7
        yield fake


def call(*arguments: object, environment: dict[str, str] | None = None) -> Result:
    runner = CliRunner(env={**CLEAN, **(environment or {})})
    result = runner.invoke(cartwright, ["models", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def call_json(*arguments: object) -> Any:
    result = call(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


# ---- import -------------------------------------------------------------------------------------


def test_an_import_is_told_in_a_line(server: FakeMlflow, tmp_path: Path) -> None:
    arguments = ("import", "mlflow:/decision@champion", "--repository", tmp_path / "ours")
    result = call(*arguments, "--registry", server.url)
    assert result.exit_code == 0
    assert result.stdout == (
        "mlflow:/decision@champion is version 7: published as decision 1 (onnx, 2 files, 0.0 MiB)\n"
    )
    # The variables of MLflow's own client say where, too.
    for variable in ("MLFLOW_REGISTRY_URI", "MLFLOW_TRACKING_URI"):
        again = call(*arguments, environment={variable: server.url})
        assert again.stdout == (
            "mlflow:/decision@champion is version 7: here already as decision 1; "
            "nothing published\n"
        )


def test_an_import_is_told_as_a_document(server: FakeMlflow, tmp_path: Path) -> None:
    arguments = ("import", "mlflow:/decision/7", "--repository", tmp_path / "ours")
    documents = [call_json(*arguments, "--registry", server.url) for _ in range(2)]
    expected = {
        "uri": "mlflow:/decision/7",
        "source": {"name": "decision", "version": 7, "run_id": "run-7"},
        "model": "decision",
        "version": 1,
    }
    assert documents == [{**expected, "published": True}, {**expected, "published": False}]


def test_credentials_come_from_the_environment(server: FakeMlflow, tmp_path: Path) -> None:
    call(
        *("import", "mlflow:/decision/7", "--repository", tmp_path / "ours"),
        environment={"MLFLOW_TRACKING_URI": server.url, "MLFLOW_TRACKING_TOKEN": "t0ken"},
    )
    assert server.authorizations == {"Bearer t0ken"}


@pytest.mark.parametrize(
    ("arguments", "message", "exit_code"),
    [
        (("decision",), "error: INVALID_ARGUMENT: URI: must be mlflow:/NAME, ", 1),
        (("mlflow:/decision",), "error: INVALID_ARGUMENT: URI: which version? ", 1),
        (("mlflow:/decision/8",), "error: NOT_FOUND: http://127.0.0.1:", 1),
        (("mlflow:/decision/7", "--watch", "1s"), "Error: --watch needs an alias", 2),
        (("mlflow:/decision@champion", "--watch", "soon"), "'soon' is no duration", 2),
    ],
)
def test_what_cannot_be_imported_is_refused(
    server: FakeMlflow,
    tmp_path: Path,
    arguments: tuple[str, ...],
    message: str,
    exit_code: int,
) -> None:
    result = call("import", *arguments, "--registry", server.url, "--repository", tmp_path / "ours")
    assert message in result.stderr
    assert result.exit_code == exit_code
    assert not (tmp_path / "ours").exists()


def test_a_registry_must_be_named_and_answer(server: FakeMlflow) -> None:
    nowhere = call("import", "mlflow:/decision/7")
    assert nowhere.exit_code == 1
    assert "registry: missing; give --registry URL or set MLFLOW_REGISTRY_URI" in nowhere.stderr
    server.answer = (503, b'{"message": "starting"}')
    starting = call("import", "mlflow:/decision/7", "--registry", server.url, "--json")
    assert starting.exit_code == 3
    assert json.loads(starting.stdout)["error"]["message"] == f"{server.url}: starting"


# ---- export -------------------------------------------------------------------------------------


def test_an_export_to_a_folder_says_what_it_wrote(repository: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = call("export", "decision", 2, "--to", out, "--repository", repository)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"decision 2: written to {out}: decision/1/features.json, decision/1/model.onnx, "
        "decision/config.pbtxt",
        f"serve it with: tritonserver --model-repository={out}",
    ]
    again = call("export", "decision", 1, "--to", out, "--repository", repository)
    assert again.exit_code == 1
    assert f"error: ABORTED: {out}/decision: is there already; " in again.stderr


def test_an_export_is_told_as_a_document(repository: Path, tmp_path: Path) -> None:
    document = call_json("export", "decision", 1, "--to", tmp_path, "--repository", repository)
    assert document == {
        "model": "decision",
        "version": 1,
        "files": ["decision/1/features.json", "decision/1/model.onnx", "decision/config.pbtxt"],
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("decision", 3, "--to", "x"), "no version 3 is published; there: 1, 2"),
        (("reranker", 1, "--to", "x"), "no version 1 is published; there: none"),
        (("decision", 1, "--to", "mlflow:/decision/3"), "registry: missing"),
        (("decision", 1, "--to", "mlflow:decision"), "URI: must be mlflow:/NAME"),
        (
            ("decision", 1, "--to", "mlflow:/decision/3", "--registry", "http://127.0.0.1:1"),
            "URI: must be mlflow:/NAME or mlflow:/NAME@ALIAS to register, got mlflow:/decision/3",
        ),
    ],
)
def test_what_cannot_be_exported_is_refused(
    repository: Path, arguments: tuple[object, ...], message: str
) -> None:
    result = call("export", *arguments, "--repository", repository)
    assert result.exit_code == 1
    assert message in result.stderr
