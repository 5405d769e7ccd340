"""Calls of an MLflow registry and what its failures mean; what an export registers."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_build.exchange.mlflow_export import export_to_mlflow
from model_build.exchange.mlflow_http import Credentials
from model_build.exchange.mlflow_registry import MlflowRegistry, RegisteredVersion
from model_build.exchange.mlflow_uri import MlflowUri
from serving.errors import (
    CartwrightError,
    Conflict,
    FailedPrecondition,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    StartupError,
    Unauthenticated,
    Unavailable,
)
from serving.models.repository import ModelRepository
from tests.fakes.mlflow import FakeMlflow
from tests.small_versions import publish_decision

pytestmark = pytest.mark.contract

CHAMPION = MlflowUri(name="shop decision", alias="champion")
NAME = CHAMPION.name


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """Two versions of `decision` that somebody else has built."""
    made = tmp_path / "theirs"
    publish_decision(made, 0.25)
    publish_decision(made, 0.75)
    return made


@pytest.fixture
def server(theirs: Path) -> Iterator[FakeMlflow]:
    with FakeMlflow() as fake:
        for version in (1, 2):
            fake.add(NAME, version, theirs / "decision" / str(version))
        fake.aliases[NAME, "champion"] = 1
        yield fake


# ---- the registry -------------------------------------------------------------------------------


def test_what_is_not_there_is_not_found(server: FakeMlflow) -> None:
    for uri in ("mlflow:/nothing/1", f"mlflow:/{NAME}/9"):
        with pytest.raises(NotFound, match="version not found"):
            server.registry().find(MlflowUri.parse(uri))
    with pytest.raises(FailedPrecondition, match="alias not found"):
        server.registry().find(MlflowUri(name=NAME, alias="challenger"))


def test_a_name_alone_is_no_version(server: FakeMlflow) -> None:
    with pytest.raises(InvalidRequest, match="which version"):
        server.registry().find(MlflowUri(name=NAME))


def test_a_version_that_is_not_ready_is_not_taken(server: FakeMlflow) -> None:
    server.versions[NAME, 1].status = "PENDING_REGISTRATION"
    with pytest.raises(FailedPrecondition, match="is PENDING_REGISTRATION, not READY"):
        server.registry().find(CHAMPION)


@pytest.mark.parametrize(
    "uri", ["s3://bucket/1", "file:///srv/1", "mlflow-artifacts://other:5000/1"]
)
def test_artifacts_that_the_server_does_not_serve_are_named(server: FakeMlflow, uri: str) -> None:
    server.versions[NAME, 1].artifact_uri = uri
    registry = server.registry()
    with pytest.raises(FailedPrecondition, match=f"lie at {uri}, .* --serve-artifacts"):
        registry.artifacts(registry.find(CHAMPION))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, FailedPrecondition),
        (401, Unauthenticated),
        (403, PermissionDenied),
        (404, NotFound),
        (409, Conflict),
        (429, Unavailable),
        (500, Unavailable),
        (503, Unavailable),
    ],
)
def test_a_refusal_keeps_its_meaning_and_its_words(
    server: FakeMlflow, status: int, kind: type[CartwrightError]
) -> None:
    server.answer = (status, b'{"error_code": "X", "message": "not\\n today"}')
    with pytest.raises(kind) as caught:
        server.registry().find(CHAMPION)
    assert type(caught.value) is kind
    assert caught.value.message == f"{server.url}: not today"
    server.answer = (status, b"<html>who are you?</html>")
    with pytest.raises(kind, match=f"answered {status} "):
        server.registry().find(CHAMPION)


@pytest.mark.parametrize("body", [b"<html>please log in</html>", b"{}", b"[]", b""])
def test_a_server_that_is_no_mlflow_is_told(server: FakeMlflow, body: bytes) -> None:
    server.answer = (200, body)
    with pytest.raises(FailedPrecondition, match="/registered-models/alias is not MLflow's: "):
        server.registry().find(CHAMPION)


def test_no_server_is_told_in_few_words() -> None:
    with socket.socket() as taken:
        # Bound and not listening: nobody else gets the port, and nobody answers on it.
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Unavailable) as caught:
            MlflowRegistry(url, Credentials()).find(CHAMPION)
    assert caught.value.message == f"{url}: Connection refused"


def test_credentials_are_sent_and_kept_to_oneself(server: FakeMlflow) -> None:
    for credentials in (
        Credentials(),
        Credentials(token="t0ken"),
        Credentials(username="me", password="pw"),
    ):
        server.registry(credentials).find(CHAMPION)
    assert server.authorizations == {None, "Bearer t0ken", "Basic bWU6cHc="}


# ---- exports ------------------------------------------------------------------------------------


def run_export(server: FakeMlflow, theirs: Path, target: str) -> RegisteredVersion:
    version = ModelRepository(theirs).version("decision", 2)
    return export_to_mlflow(server.registry(), version, MlflowUri.parse(target))


def test_a_version_is_registered_when_all_of_it_is_there(server: FakeMlflow, theirs: Path) -> None:
    registered = run_export(server, theirs, "mlflow:/decision@champion")
    assert str(registered) == "mlflow:/decision/5"
    assert [path.rpartition("/")[2] for path in server.paths if "/artifacts/1/r1/" in path] == [
        "model.onnx",
        "features.json",
        "manifest.json",
    ]
    posted = dict(server.posted)
    assert [call for call, _ in server.posted] == [
        "runs/create",
        "runs/log-batch",
        "runs/update",
        "registered-models/create",
        "model-versions/create",
        "registered-models/alias",
    ]
    assert posted["runs/update"]["status"] == "FINISHED"
    assert posted["runs/log-batch"]["metrics"][0]["key"] == "accuracy"
    assert posted["model-versions/create"]["source"] == "mlflow-artifacts:/1/r1"
    assert posted["model-versions/create"]["tags"] == [
        {"key": "cartwright.version", "value": "decision/2"}
    ]
    assert posted["registered-models/alias"] == {
        "name": "decision",
        "alias": "champion",
        "version": "5",
    }


def test_without_an_alias_none_is_set(server: FakeMlflow, theirs: Path) -> None:
    run_export(server, theirs, "mlflow:/decision")
    assert "registered-models/alias" not in dict(server.posted)


def test_an_upload_that_fails_registers_nothing(server: FakeMlflow, theirs: Path) -> None:
    server.broken.add("features.json")
    with pytest.raises(Unavailable):
        run_export(server, theirs, "mlflow:/decision@champion")
    assert [call for call, _ in server.posted] == ["runs/create", "runs/log-batch", "runs/update"]
    assert dict(server.posted)["runs/update"]["status"] == "FAILED"


def test_a_damaged_version_is_not_exported(server: FakeMlflow, theirs: Path) -> None:
    (theirs / "decision" / "2" / "features.json").write_bytes(b"[]")
    with pytest.raises(StartupError, match=r"features\.json: corrupt"):
        run_export(server, theirs, "mlflow:/decision")
    assert server.posted == []
