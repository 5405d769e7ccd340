"""Parts of the command line that need no server: groups, documents, run file, tables."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from google.protobuf.message import DecodeError, Message
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from serving.cli.cluster import Deployment, read_deployments
from serving.cli.document import plain
from serving.cli.lazy import ExtensibleGroup, LazyCommand, LazyGroup
from serving.cli.main import COMMANDS, cartwright
from serving.cli.models import ENTRY_POINT_GROUP
from serving.cli.render import conversation_turn, word
from serving.cli.run_file import RunFile, read_run_file, remove_run_file, write_run_file
from serving.cli.tables import deployment_table, model_table
from serving.errors import StartupError
from serving.protos import commerce_pb2 as pb

# ---- groups -------------------------------------------------------------------------------------


def test_help_names_every_command_without_importing_one() -> None:
    program = (
        "import sys; from click.testing import CliRunner; from serving.cli.main import cartwright;"
        "print(CliRunner().invoke(cartwright, ['--help']).output);"
        "print([m for m in sys.modules if m in "
        "('ray', 'serving.cli.ask', 'serving.cli.serve', 'rich', 'serving.settings', 'numpy')])"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert all(command.summary in output for command in COMMANDS.values())
    assert output.strip().endswith("[]")


@pytest.mark.parametrize("module", ["ask", "recommend", "status", "models", "ledger"])
def test_commands_start_without_ray_or_the_settings(module: str) -> None:
    program = (
        f"import sys, serving.cli.{module};"
        "print([m for m in ('ray', 'numpy', 'pydantic', 'opentelemetry.sdk') if m in sys.modules])"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert output.strip() == "[]"


def test_unknown_command_is_a_usage_error() -> None:
    result = CliRunner().invoke(cartwright, ["aks"])
    assert result.exit_code == 2
    assert "No such command 'aks'" in result.stderr


def test_table_entry_that_is_no_command_is_named() -> None:
    group = LazyGroup(lazy_commands={"odd": LazyCommand("serving.cli.render:PLAIN_WIDTH", "")})
    with pytest.raises(TypeError, match="command 'odd': 120 is not a click command"):
        group.get_command(click.Context(group), "odd")


@pytest.fixture
def installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package on the path that offers one command that loads and one that does not."""
    (tmp_path / "offered_commands.py").write_text(
        "import click\n"
        "@click.command(short_help='Builds.')\n"
        "@click.option('--seed', type=int)\n"
        "def build(seed):\n"
        "    click.echo(f'built from {seed}')\n"
    )
    information = tmp_path / "offered-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: offered\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[some.commands]\nbuild = offered_commands:build\nlost = not_there_at_all:command\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("installed_package")
def test_packages_add_commands() -> None:
    group = ExtensibleGroup("models", entry_point_group="some.commands")
    listing = CliRunner().invoke(group, ["--help"])
    assert "Builds." in listing.output
    assert "(not installed)" in listing.output
    result = CliRunner().invoke(group, ["build", "--seed", "7"])
    assert (result.exit_code, result.output) == (0, "built from 7\n")


@pytest.mark.usefixtures("installed_package")
def test_command_whose_package_is_incomplete_says_so() -> None:
    group = ExtensibleGroup("models", entry_point_group="some.commands")
    result = CliRunner().invoke(group, ["lost", "--whatever", "x"])
    assert result.exit_code == 1
    assert "'lost' cannot be loaded (No module named 'not_there_at_all')" in result.stderr


def test_models_group_takes_commands_of_its_entry_point_group() -> None:
    group = cartwright.get_command(click.Context(cartwright), "models")
    assert isinstance(group, ExtensibleGroup)
    assert ENTRY_POINT_GROUP == "cartwright.models_commands"
    assert "list" in group.list_commands(click.Context(group))


# ---- documents ----------------------------------------------------------------------------------


def test_document_has_every_field_and_plain_numbers() -> None:
    item = plain(pb.Item(product_id="p", price_cents=2**40, score=float("nan")))
    assert item == {
        "product_id": "p",
        "title": "",
        "category": "",
        "price_cents": 2**40,
        "currency": "",
        "score": None,
        "reason": "",
    }
    reply = plain(pb.ConverseReply())
    assert reply["decision"] is None
    assert reply["items"] == []
    assert set(reply) == {field.name for field in pb.ConverseReply.DESCRIPTOR.fields}


def test_enums_are_named_even_if_they_are_newer() -> None:
    decision = pb.Decision(action=pb.ACTION_ESCALATE)
    assert plain(decision)["action"] == "ACTION_ESCALATE"
    unknown = pb.Decision.FromString(b"\x08\x63")
    assert plain(unknown)["action"] == 99
    assert word(pb.Action.DESCRIPTOR, 99) == "99"
    assert word(pb.Action.DESCRIPTOR, pb.ACTION_ESCALATE) == "escalate"
    assert word(pb.HostState.DESCRIPTOR, pb.HOST_STATE_DOWN) == "down"
    assert word(pb.EventKind.DESCRIPTOR, pb.EVENT_KIND_ADD_TO_CART) == "add_to_cart"


@given(st.binary(max_size=200))
def test_any_reply_is_a_json_document(wire: bytes) -> None:
    for kind in (pb.ConverseReply, pb.ListModelsReply, pb.ReplyMeta):
        message: Message = kind()
        try:
            message.ParseFromString(wire)
        except DecodeError:
            continue
        json.loads(json.dumps(plain(message), allow_nan=False))


# ---- readable output ----------------------------------------------------------------------------


def printed(*parts: Any) -> str:
    console = Console(width=160, no_color=True)
    with console.capture() as capture:
        for part in parts:
            console.print(part)
    return capture.get()


def test_words_of_others_are_no_markup() -> None:
    reply = pb.ConverseReply(text="[bold]5 < 6[/bold] [/]", session_id="[red]s", turn=1)
    reply.items.add(title="mug [/] blue", product_id="p")
    text = printed(*conversation_turn(reply))
    assert "[bold]5 < 6[/bold] [/]" in text
    assert "mug [/] blue" in text
    assert "[red]s, turn 1" in text


def test_an_empty_reply_is_printable() -> None:
    assert "0.0 ms" in printed(*conversation_turn(pb.ConverseReply()))


def test_question_for_a_slot_is_shown() -> None:
    reply = pb.ConverseReply(text="Which order?", requested_slot="order_number")
    assert "asks for" in printed(*conversation_turn(reply))


def test_deployments_show_their_replicas() -> None:
    text = printed(
        deployment_table(
            [
                Deployment(
                    application="agent",
                    name="Agent",
                    status="HEALTHY",
                    replicas={"RUNNING": 2, "STARTING": 1},
                ),
                Deployment(
                    application="agent", name="Host", status="UNHEALTHY", replicas={}, message="why"
                ),
            ]
        )
    )
    assert "agent/Agent  HEALTHY    2 running, 1 starting" in text
    assert "none" in text
    assert "why" in text


def test_unpublished_model_has_no_date() -> None:
    line = printed(model_table([pb.ModelStatus(model="ranker")])).splitlines()[1]
    assert line.split() == ["ranker", "0", "not", "ready", "-", "-"]


@pytest.mark.parametrize("address", ["", "auto", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:1"])
def test_cluster_that_is_not_there_is_a_connection_error(address: str) -> None:
    with pytest.raises(ConnectionError, match="Ray"):
        read_deployments(address)


def test_something_else_than_ray_is_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(ConnectionError, match=f"Ray at {address} did not answer within 0.2 s"):
            read_deployments(address, timeout_s=0.2)


# ---- run file -----------------------------------------------------------------------------------


def test_run_file_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "var/run/serve.json"
    run = RunFile(grpc_port=9000, ray_address="127.0.0.1:6379", admin_token="secret")
    assert write_run_file(run, path) == path
    assert json.loads(path.read_text()) == {
        "grpc_port": 9000,
        "ray_address": "127.0.0.1:6379",
        "metrics_port": 0,
        "edge_metrics_port": 0,
        "admin_token": "secret",
        "pid": os.getpid(),
    }
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_run_file(path) == run
    assert [file.name for file in path.parent.iterdir()] == ["serve.json"]
    remove_run_file(path)
    assert read_run_file(path) is None
    remove_run_file(path)


def test_run_file_of_a_dead_process_counts_as_none(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    path = tmp_path / "serve.json"
    write_run_file(RunFile(grpc_port=9000, ray_address="127.0.0.1:6379", pid=gone.pid), path)
    assert read_run_file(path) is None
    assert path.exists()


def test_run_file_of_another_process_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "serve.json"
    other = RunFile(grpc_port=9000, ray_address="127.0.0.1:6379", pid=os.getppid())
    write_run_file(other, path)
    remove_run_file(path)
    assert read_run_file(path) == other


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"grpc_port": "x", "ray_address": "", "pid": 1}', "\ufeff{", "null"],
)
def test_broken_run_file_is_named_with_the_reason(content: str, tmp_path: Path) -> None:
    path = tmp_path / "serve.json"
    path.write_text(content)
    with pytest.raises(StartupError, match=r"serve\.json: cannot be read .*delete it"):
        read_run_file(path)


def test_run_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.touch()
    with pytest.raises(StartupError, match="cannot be written"):
        write_run_file(RunFile(grpc_port=1, ray_address="a:1"), blocker / "serve.json")
