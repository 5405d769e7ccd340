"""What is killed comes back by itself, and until then replies are degraded and say so."""

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from serving.cli.local_stack import LocalStack, local_stack
from serving.client import CommerceClient
from serving.protos import commerce_pb2 as pb
from serving.types import Event, EventKind
from tests.integration.conftest import BuiltModels

pytestmark = pytest.mark.integration

DEADLINE_MS = 5_000.0


@pytest.fixture(scope="module")
def own(models: BuiltModels, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack that may be broken without disturbing other tests."""
    folder = tmp_path_factory.mktemp("faults")
    overrides = {
        **models.environment(),
        "CARTWRIGHT_STORES__FOLDER": str(folder / "state"),
        "CARTWRIGHT_TRITON__LOG_FOLDER": str(folder / "log"),
        "CARTWRIGHT_SERVER__RUN_FILE": "var/run/serve.json",
    }
    with local_stack(overrides, folder) as running:
        yield running


@pytest.fixture(scope="module")
def shop(own: LocalStack) -> Iterator[CommerceClient]:
    with CommerceClient(own.address) as connected:
        yield connected


def eventually(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Waits for a condition to hold."""
    give_up_at = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up_at, "the condition did not come true in time"
        time.sleep(0.05)


def status(own: LocalStack) -> tuple[int, dict[str, Any]]:
    """Exit code and document of `cartwright status --json`."""
    ended = subprocess.run(
        [sys.executable, "-m", "serving.cli.main", "--json", "status"],
        cwd=own.folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return ended.returncode, json.loads(ended.stdout)


def restarts(shop: CommerceClient) -> list[int]:
    return [host.restarts for host in shop.list_models(deadline_ms=DEADLINE_MS).hosts]


def kill_hosts(own: LocalStack) -> None:
    servers = own.tritonservers()
    assert servers
    for server in servers:
        server.send_signal(signal.SIGKILL)
    psutil.wait_procs(servers, timeout=10)


def degraded_steps(reply: pb.ConverseReply | pb.RecommendReply) -> set[str]:
    return {d.step for d in reply.meta.degraded}


def test_while_the_host_is_down_every_method_degrades_and_then_recovers(
    own: LocalStack, shop: CommerceClient
) -> None:
    assert status(own)[0] == 0
    kill_hosts(own)

    turn = shop.converse(
        "where is my order 12345?", session_id=uuid.uuid4().hex, deadline_ms=DEADLINE_MS
    )
    assert degraded_steps(turn) == {"understand"}
    assert turn.decision.action == pb.ACTION_CLARIFY
    assert all(d.reason and d.fallback for d in turn.meta.degraded)
    answer = shop.answer("how long does standard delivery take?", deadline_ms=DEADLINE_MS)
    items = shop.recommend(session_id="s", top_k=5, deadline_ms=DEADLINE_MS)
    assert {d.step for d in answer.meta.degraded} == {"retrieve"}
    assert answer.answer.sources, "words alone still find the article"
    assert "rank" in degraded_steps(items) or "generate_candidates" in degraded_steps(items)
    assert len(items.items) == 5

    eventually(lambda: status(own)[0] == 0, timeout_s=60)
    assert restarts(shop) == [1]
    again = shop.converse(
        "where is my order 12345?", session_id=uuid.uuid4().hex, deadline_ms=DEADLINE_MS
    )
    assert not again.meta.degraded
    assert again.understanding.intent == "track_order"


def test_status_is_right_while_a_host_is_down(own: LocalStack) -> None:
    enough = threading.Event()

    def keep_killing() -> None:
        while not enough.wait(0.02):
            for server in own.tritonservers():
                with contextlib.suppress(psutil.NoSuchProcess):
                    server.send_signal(signal.SIGKILL)

    killer = threading.Thread(target=keep_killing)
    killer.start()
    try:
        eventually(lambda: status(own)[0] == 1)
        code, document = status(own)
    finally:
        enough.set()
        killer.join()
    assert code == 1
    assert document["health"] == "NOT_SERVING"
    assert all(host["state"] != "HOST_STATE_READY" for host in document["hosts"])
    assert not any(model["ready"] for model in document["models"])
    eventually(lambda: status(own)[0] == 0, timeout_s=60)


def test_what_was_acknowledged_survives_the_death_of_the_ingress(
    own: LocalStack, shop: CommerceClient
) -> None:
    session = uuid.uuid4().hex
    product = shop.recommend(session_id=session, top_k=5, deadline_ms=DEADLINE_MS).items[-1]
    event = Event(
        event_id=uuid.uuid4().hex,
        kind=EventKind.ADD_TO_CART,
        product_id=product.product_id,
        session_id=session,
    )
    assert shop.record_events([event], deadline_ms=DEADLINE_MS).stored == 1
    shop.converse("where is my order?", session_id=session, deadline_ms=DEADLINE_MS)

    agents = [p for p in own.process.children(recursive=True) if ":Agent" in " ".join(p.cmdline())]
    assert agents
    for agent in agents:
        agent.send_signal(signal.SIGKILL)
    psutil.wait_procs(agents, timeout=10)

    def back() -> bool:
        try:
            return shop.record_events([event], deadline_ms=DEADLINE_MS).duplicates == 1
        except Exception:  # noqa: BLE001 - whatever a dying ingress answers, it has to end
            return False

    eventually(back, timeout_s=60)
    turn = shop.converse("it's 12345", session_id=session, deadline_ms=DEADLINE_MS)
    assert turn.turn == 2
    assert "12345" in turn.text


def test_a_host_supervisor_that_is_killed_takes_its_server_along_and_is_replaced(
    own: LocalStack, shop: CommerceClient
) -> None:
    before = own.tritonservers()
    hosts = [
        p for p in own.process.children(recursive=True) if ":ModelHost" in " ".join(p.cmdline())
    ]
    assert hosts
    for host in hosts:
        host.send_signal(signal.SIGKILL)
    gone, alive = psutil.wait_procs(before, timeout=20)
    assert gone and not alive, "no tritonserver is left without its supervisor"

    def served() -> bool:
        reply = shop.understand("hello", deadline_ms=DEADLINE_MS)
        return not reply.meta.degraded

    eventually(served, timeout_s=90)


def test_logs_of_the_server_are_kept(own: LocalStack) -> None:
    logs = list((own.folder / "log").glob("*.log"))
    assert logs
    # One file a host, kept over its restarts.
    assert any(Path(log).read_text().count("Started GRPCInferenceService") > 1 for log in logs)
