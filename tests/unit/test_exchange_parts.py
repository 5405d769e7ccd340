"""What is checked before anything is exchanged: URIs, durations, manifests, files, graphs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from model_build.exchange.mlflow_http import Credentials
from model_build.exchange.mlflow_registry import MlflowRegistry
from model_build.exchange.mlflow_uri import MlflowUri
from model_build.exchange.options import Duration
from model_build.exchange.version_check import ASSETS, check_file, check_manifest, check_model
from model_build.publish import find_same
from model_build.specs import SPECS
from serving.errors import InvalidRequest
from serving.models.manifest import ArtifactRecord, ModelManifest, OriginRecord, TensorSpec
from tests.small_versions import decision_graph, publish_candidates, publish_decision

ORIGIN = OriginRecord(registry="http://there:5000", name="decision", version=3, run_id="r")


@pytest.fixture
def manifest(tmp_path: Path) -> ModelManifest:
    return publish_decision(tmp_path)


def refused(call: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(InvalidRequest) as caught:
        call(*arguments)
    return caught.value.message


def refusal(manifest: ModelManifest, **changes: Any) -> str:
    return refused(check_manifest, manifest.model_copy(update=changes))


# ---- URIs and durations -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("mlflow:/understanding", MlflowUri(name="understanding")),
        ("mlflow:/understanding@champion", MlflowUri(name="understanding", alias="champion")),
        ("mlflow:/understanding/3", MlflowUri(name="understanding", version=3)),
        ("mlflow:/a shop.intents v2@A_b-1", MlflowUri(name="a shop.intents v2", alias="A_b-1")),
    ],
)
def test_a_uri_is_read_and_written(text: str, uri: MlflowUri) -> None:
    assert MlflowUri.parse(text) == uri
    assert str(uri) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "understanding@champion",
        "models:/understanding@champion",
        "mlflow:understanding@champion",
        "mlflow://understanding@champion",
        "mlflow:/@champion",
        "mlflow:/understanding@",
        "mlflow:/understanding@two words",
        "mlflow:/understanding/0",
        "mlflow:/understanding/03",
        "mlflow:/understanding/latest",
        "mlflow:/understanding/3@champion",
        "mlflow:/understanding@champion/3",
        "mlflow:/understanding/3\n",
    ],
)
def test_another_form_is_refused_with_the_right_ones(text: str) -> None:
    message = refused(MlflowUri.parse, text)
    assert message.startswith("URI: must be mlflow:/NAME, ")
    assert message.endswith(f", got {text!r}")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30.0), ("1.5m", 90.0), ("1h", 3600.0), ("0.1s", 0.1)],
)
def test_a_duration_has_a_unit(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["30", "s", "-1s", "1 s", "1d", "99ms", "0s", "1e9s"])
def test_no_duration(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Duration().convert(text, None, None)


@pytest.mark.parametrize("url", ["", "sqlite:///mlflow.db", "databricks", "./mlruns", "http://"])
def test_a_registry_is_a_server(url: str) -> None:
    message = refused(MlflowRegistry, url, Credentials())
    assert message.startswith("registry: must be the http:// or https:// address")


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    message = refused(MlflowRegistry, "http://me:secret@there:5000", Credentials())
    assert message.startswith("registry: must hold no password")
    assert "secret" not in message


# ---- manifests ----------------------------------------------------------------------------------


def test_a_manifest_of_a_published_version_is_right(manifest: ModelManifest) -> None:
    assert check_manifest(manifest) is SPECS["decision"]


def test_every_model_has_its_assets_listed() -> None:
    assert set(ASSETS) == set(SPECS)


def test_an_unknown_model_is_refused(manifest: ModelManifest) -> None:
    text = refusal(manifest, model="reranker")
    assert text.startswith("manifest.json: model: 'reranker' is none of understanding, ")


def test_other_tensors_are_refused(manifest: ModelManifest) -> None:
    other = (TensorSpec(name="features", dtype="FP32", dims=(21,)),)
    assert refusal(manifest, inputs=other) == (
        "manifest.json: inputs: are features FP32 [21]; the spec says features FP32 [22]"
    )
    assert "manifest.json: outputs: are none; " in refusal(manifest, outputs=())


def test_another_batch_size_is_refused(manifest: ModelManifest) -> None:
    assert refusal(manifest, max_batch_size=65) == (
        "manifest.json: max_batch_size: is 65, the spec says 64"
    )


@pytest.mark.parametrize(
    "path",
    ["", ".", "..", "../x", "/etc/passwd", "a/b", ".hidden", "manifest.json", "x/", "./x"],
)
def test_a_file_stays_in_its_folder(manifest: ModelManifest, path: str) -> None:
    stray = ArtifactRecord(kind="asset", path=path, sha256="", size_bytes=0)
    assert refusal(manifest, artifacts=(*manifest.artifacts, stray)) == (
        f"manifest.json: artifacts: {path!r} is no name for a file of a version"
    )


def test_a_file_is_listed_once(manifest: ModelManifest) -> None:
    text = refusal(manifest, artifacts=(*manifest.artifacts, manifest.artifacts[-1]))
    assert text == "manifest.json: artifacts: features.json is listed twice"


@pytest.mark.parametrize("left_out", ["model.onnx", "features.json"])
def test_what_is_served_must_be_listed(manifest: ModelManifest, left_out: str) -> None:
    kept = tuple(a for a in manifest.artifacts if a.path != left_out)
    assert f"artifacts: {left_out} is not listed as " in refusal(manifest, artifacts=kept)


def test_the_served_file_is_of_the_served_kind(manifest: ModelManifest) -> None:
    assert refusal(manifest, served_artifact="onnx-int8") == (
        "manifest.json: artifacts: model.onnx is not listed as onnx-int8"
    )


# ---- files and graphs ---------------------------------------------------------------------------


def test_a_file_is_the_recorded_one_or_refused(tmp_path: Path, manifest: ModelManifest) -> None:
    record = manifest.artifacts[0]
    path = tmp_path / "decision" / "1" / record.path
    check_file(path, record)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"\0\0")
    message = refused(check_file, path, record)
    assert message.startswith(f"model.onnx: has {len(content) + 1} bytes, ")
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert refused(check_file, path, record).startswith("model.onnx: corrupt: ")


def test_a_graph_must_run_with_the_tensors_of_its_spec(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(decision_graph(0.5).SerializeToString())
    check_model(path, SPECS["decision"])
    prefix = "model.onnx: does not run as the spec says: "
    assert refused(check_model, path, SPECS["ranker"]).startswith(prefix)
    path.write_bytes(decision_graph(0.5, features=21).SerializeToString())
    message = refused(check_model, path, SPECS["decision"])
    assert message.startswith(prefix)
    assert "features" in message
    path.write_bytes(b"this is no ONNX")
    assert refused(check_model, path, SPECS["decision"]).startswith(prefix)


# ---- the same version ---------------------------------------------------------------------------


def test_the_same_version_is_found_whatever_its_number_and_origin(tmp_path: Path) -> None:
    first, second = (publish_decision(tmp_path, p) for p in (0.25, 0.75))
    publish_candidates(tmp_path)
    assert find_same(tmp_path, first) == 1
    asked = second.model_copy(update={"version": 9, "published_at_ms": 9, "origin": ORIGIN})
    assert find_same(tmp_path, asked) == 2
    assert find_same(tmp_path, second.model_copy(update={"seed": 1})) is None
    assert find_same(tmp_path / "empty", first) is None


def test_a_damaged_version_is_not_the_same(tmp_path: Path, manifest: ModelManifest) -> None:
    path = tmp_path / "decision" / "1" / "model.onnx"
    path.write_bytes(bytes(reversed(path.read_bytes())))
    assert find_same(tmp_path, manifest) is None
    publish_decision(tmp_path)
    assert find_same(tmp_path, manifest) == 2
    (tmp_path / "decision" / "2" / "manifest.json").write_text("{")
    assert find_same(tmp_path, manifest) is None
