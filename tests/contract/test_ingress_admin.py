"""Models.* over real gRPC: who may, what is shown, what is refused; models in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from serving.cli.main import cartwright
from serving.client import AsyncCommerceClient
from serving.errors import (
    Conflict,
    FailedPrecondition,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    Unauthenticated,
)
from serving.ingress.agent import Ingress
from serving.ingress.health import Health
from serving.ingress.models import ModelsView
from serving.protos import commerce_pb2 as pb
from serving.settings import Settings
from serving.triton.records import HostRecord, HostState
from serving.versions.lineup import Lineup
from tests.fakes.world import World, build_world, manifest, small_assets
from tests.ingress_server import serving_ingress
from tests.model_admin import model_admin

pytestmark = pytest.mark.contract

MODEL = "understanding"
TOKEN = "let-me-in"
DEADLINE_MS = 10_000.0
Connect = Callable[..., AsyncCommerceClient]


@dataclass
class Served:
    """An ingress whose hosts have versions 1 and 2 of `understanding` ready; 1 is live."""

    world: World
    connect: Connect
    address: str
    hosts: list[HostRecord]


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    world = build_world(Settings.model_validate({"server": {"admin_token": TOKEN}}))
    for assets in small_assets(version=2):
        world.opened.open(assets)
    for version in (1, 2):
        folder = tmp_path / "models" / MODEL / str(version)
        folder.mkdir(parents=True)
        manifest(MODEL, version).write(folder)
    hosts = [HostRecord(host_id="h", state=HostState.READY, ready_models={MODEL: (1, 2)})]
    admin = model_admin(tmp_path, tmp_path / "models", (MODEL,), lambda: hosts, world.opened.opened)
    view = ModelsView(world.router.lineups, world.opened.opened, lambda: hosts, lambda _host: 0)
    health = Health((MODEL,), world.router.can_answer)
    ingress = Ingress(world.settings, world.pipelines, view, health, admin)
    async with serving_ingress(ingress) as address:
        clients: list[AsyncCommerceClient] = []

        def connect(token: str = TOKEN, **versions: int) -> AsyncCommerceClient:
            clients.append(AsyncCommerceClient(address, token=token, versions=versions))
            return clients[-1]

        yield Served(world, connect, address, hosts)
        for client in clients:
            await client.close()


async def take(client: AsyncCommerceClient, action: str, **more: object) -> object:
    values: dict[str, object] = {"author": "ada", "reason": "to see", "deadline_ms": DEADLINE_MS}
    return await client.change_model(MODEL, action, **{**values, **more})  # type: ignore[arg-type]


async def test_only_the_admins_token_opens(served: Served) -> None:
    for token, error in (("", Unauthenticated), ("a-customers-key", PermissionDenied)):
        client = served.connect(token)
        with pytest.raises(error):
            await client.show_model(MODEL, deadline_ms=DEADLINE_MS)
        with pytest.raises(error):
            await take(client, "stage", version=1)
        with pytest.raises(error):
            await client.list_model_steps(MODEL, deadline_ms=DEADLINE_MS)
        # What serves may be seen by everybody.
        assert (await client.list_models(deadline_ms=DEADLINE_MS)).models


async def test_without_a_token_in_the_settings_nobody_may(tmp_path: Path) -> None:
    world = build_world()
    view = ModelsView(world.router.lineups, world.opened.opened, list, lambda _host: 0)
    admin = model_admin(tmp_path, tmp_path, (MODEL,))
    health = Health((MODEL,), world.router.can_answer)
    ingress = Ingress(world.settings, world.pipelines, view, health, admin)
    async with (
        serving_ingress(ingress) as address,
        AsyncCommerceClient(address, token="anything") as client,
    ):
        with pytest.raises(PermissionDenied):
            await client.show_model(MODEL, deadline_ms=DEADLINE_MS)


async def test_steps_are_taken_shown_and_kept(served: Served) -> None:
    client = served.connect()
    await take(client, "stage", version=1)
    await take(client, "promote", version=1)
    await take(client, "stage", version=2)
    reply = await take(client, "canary", version=2, canary_percent=25.0)
    shown = await client.show_model(MODEL, deadline_ms=DEADLINE_MS)
    assert (shown.revision, shown.canary_percent) == (4, 25.0)
    assert {v.version: v.stage for v in shown.versions} == {1: "live", 2: "canary"}
    assert shown.versions[1].ready_host_ids == ["h"]
    assert shown.serving_host_ids == ["h"]
    assert reply.last_step.action == "canary 2 25%"  # type: ignore[attr-defined]
    steps = await client.list_model_steps(MODEL, limit=2, deadline_ms=DEADLINE_MS)
    assert [step.action for step in steps.steps] == ["canary 2 25%", "stage 2"]
    assert steps.steps[0].author == "ada"
    assert (steps.steps[0].live, steps.steps[0].candidate) == (1, 2)


async def test_what_cannot_be_done_is_refused_with_the_reason(served: Served) -> None:
    client = served.connect()
    with pytest.raises(NotFound, match="no model 'weather'"):
        await client.show_model("weather", deadline_ms=DEADLINE_MS)
    with pytest.raises(FailedPrecondition, match="nothing is live"):
        await take(client, "stage", version=1)
        await take(client, "shadow", version=1)
    with pytest.raises(Conflict, match="is at revision 1, not 7"):
        await take(client, "promote", version=1, expected_revision=7)
    with pytest.raises(InvalidRequest, match="action"):
        await take(client, "dance", version=1)
    with pytest.raises(InvalidRequest, match="limit"):
        await client.list_model_steps(MODEL, limit=5000, deadline_ms=DEADLINE_MS)


async def test_a_version_can_be_asked_for_with_the_right_to(served: Served) -> None:
    pinned = await served.connect(understanding=2).understand("hello", deadline_ms=DEADLINE_MS)
    (used,) = pinned.meta.model_versions
    assert (used.model, used.version, used.arm) == (MODEL, 2, "pinned")
    live = await served.connect("").understand("hello", deadline_ms=DEADLINE_MS)
    assert (live.meta.model_versions[0].version, live.meta.model_versions[0].arm) == (1, "live")
    with pytest.raises(Unauthenticated):
        await served.connect("", understanding=2).understand("hello", deadline_ms=DEADLINE_MS)
    with pytest.raises(PermissionDenied):
        await served.connect("key", understanding=2).understand("hello", deadline_ms=DEADLINE_MS)
    with pytest.raises(FailedPrecondition, match="version 7 is not ready"):
        await served.connect(understanding=7).understand("hello", deadline_ms=DEADLINE_MS)


async def test_a_customer_stays_in_an_arm_and_the_reply_names_it(served: Served) -> None:
    half = Lineup(model=MODEL, live=1, candidate=2, canary_percent=50, salt="s")
    served.world.router.follow({**served.world.router.lineups(), MODEL: half})
    client = served.connect("")
    arms: dict[str, set[tuple[int, str]]] = {}
    for _ in range(3):
        for number in range(12):
            reply = await client.converse("hello", session_id=f"s{number}", deadline_ms=DEADLINE_MS)
            (used,) = [v for v in reply.meta.model_versions if v.model == MODEL]
            arms.setdefault(f"s{number}", set()).add((used.version, used.arm))
    assert all(len(found) == 1 for found in arms.values())
    assert {next(iter(found)) for found in arms.values()} == {(1, "live"), (2, "canary")}


async def test_a_version_that_many_hosts_cannot_load_is_withdrawn_though_the_reason_is_long(
    served: Served,
) -> None:
    client = served.connect()
    await take(client, "stage", version=1)
    await take(client, "promote", version=1)
    why = "Triton cannot load it: " + "and so on " * 50
    served.hosts[:] = [
        HostRecord(
            host_id=f"h{number}",
            state=HostState.READY,
            ready_models={MODEL: (1,)},
            faults={f"{MODEL}/2": why},
        )
        for number in range(4)
    ]
    command = ["models", "promote", MODEL, "2", "--reason", "better", "--address", served.address]
    runner = CliRunner(env={"CARTWRIGHT_SERVER__ADMIN_TOKEN": TOKEN})
    result = await asyncio.to_thread(runner.invoke, cartwright, command)
    assert result.exit_code == 1
    # All of it; the history keeps what it has room for.
    assert result.stderr.count(why.strip()) == 4
    shown = await client.show_model(MODEL, deadline_ms=DEADLINE_MS)
    assert {v.version: v.stage for v in shown.versions} == {1: "live", 2: "staged"}
    assert shown.last_step.reason.startswith("better (withdrawn: h0: Triton cannot load it: and")
    assert shown.last_step.reason.endswith(" …")


async def test_a_rollout_is_begun_shown_and_taken_over(served: Served) -> None:
    client = served.connect()
    await take(client, "stage", version=1)
    await take(client, "promote", version=1)
    await take(client, "stage", version=2)
    begun = await take(client, "roll out", version=2)
    shown = await client.show_model(MODEL, deadline_ms=DEADLINE_MS)
    for reply in (begun, shown):
        assert isinstance(reply, pb.ShowModelReply)
        assert reply.HasField("rollout")
        assert (reply.rollout.version, reply.rollout.stage) == (2, "shadow")
        assert (reply.rollout.author, reply.rollout.reason) == ("ada", "to see")
        # It has not begun to count.
        assert (reply.rollout.counting, reply.rollout.verdict) == (False, "")
        assert [(v.version, v.stage) for v in reply.versions] == [(1, "live"), (2, "shadow")]
        assert reply.last_step.action == "roll out 2"
    taken_over = await take(client, "rollback")
    assert isinstance(taken_over, pb.ShowModelReply)
    assert not taken_over.HasField("rollout")
