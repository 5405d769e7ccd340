"""Defaults < file < environment; mistakes name the field."""

from pathlib import Path

import pytest

from serving.errors import StartupError
from serving.settings import CONFIG_VARIABLE, load_settings
from serving.versions.verdict import Gate


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CONFIG_VARIABLE, raising=False)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "cartwright.yaml"
    path.write_text(text)
    return path


def test_without_anything_the_defaults_hold() -> None:
    settings = load_settings()
    assert settings.server.grpc_port == 9000
    assert settings.server.ha_proxy
    assert settings.placement.understand == "inline"


def test_the_environment_wins_over_the_file_field_by_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "server:\n  grpc_port: 9100\n  reflection: false\n")
    monkeypatch.setenv("CARTWRIGHT_SERVER__GRPC_PORT", "9200")
    settings = load_settings(path)
    assert settings.server.grpc_port == 9200
    assert settings.server.reflection is False


def test_the_file_can_be_named_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, str(written(tmp_path, "triton: {hosts: 3}")))
    assert load_settings().triton.hosts == 3


def test_the_gates_of_a_promotion_can_be_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load_settings().versions.gates == (Gate.PARITY, Gate.QUALITY, Gate.LATENCY)
    monkeypatch.setenv("CARTWRIGHT_VERSIONS__GATES", '["parity", "replay"]')
    assert load_settings().versions.gates == (Gate.PARITY, Gate.REPLAY)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("server: {grpc_port: 70000}", "server.grpc_port"),
        ("server: {gprc_port: 1}", "server.gprc_port: there is no such setting"),
        ("sever: {}", "sever: there is no such setting"),
        ("deadlines: {converse_ms: 0}", "deadlines.converse_ms"),
        ("placement: {rank: somewhere}", "placement.rank"),
        ("versions: {gates: [beauty]}", "versions.gates.0"),
        ("triton: {mode: external}", "urls must name at least one"),
        ("triton: {urls: ['h:1']}", "urls may only be given"),
        (
            "deployments: {agent: {min_replicas: 4, max_replicas: 2}}",
            "max_replicas (2) is below min_replicas (4)",
        ),
        (
            "server: {admission: {max_in_flight: 128}}",
            "server.admission.max_in_flight (128) must be below",
        ),
        (
            "ledger: {segment_bytes: 4194304, max_bytes: 4194304}",
            "max_bytes (4194304) is below twice segment_bytes (4194304)",
        ),
        (
            "recording: {max_bytes: 5000}",
            "max_bytes (5000) is below twice segment_max_bytes (4000000)",
        ),
        ("recording: {share: 0}", "recording.share"),
        ("- a\n- b\n", "must be a mapping"),
        ("server: [", "cannot be read"),
    ],
)
def test_mistakes_in_the_file_name_the_field(tmp_path: Path, text: str, names: str) -> None:
    with pytest.raises(StartupError) as caught:
        load_settings(written(tmp_path, text))
    assert names in caught.value.message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"nowhere\.yaml"):
        load_settings(tmp_path / "nowhere.yaml")


def test_a_misspelt_section_in_the_environment_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CARTWRIGHT_SEVRER__GRPC_PORT", "1")
    with pytest.raises(StartupError, match="sevrer"):
        load_settings()
