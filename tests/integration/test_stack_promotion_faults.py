"""Promotions that are killed, that race, and whose server dies, while customers talk."""

import signal
import time
from contextlib import ExitStack, suppress

import psutil
import pytest

from tests.admin_relay import AdminRelay, Moment
from tests.promotable import MODEL, Load, Promotable, wait

pytestmark = pytest.mark.integration

# A held step waits longer than calls of commands usually may.
PATIENT = ("--deadline-ms", 60_000)
# Until a server that was killed is back with two large versions, on two busy cores.
LONGEST_OUTAGE_S = 30.0


# ---- killed --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "action", "left", "last_step"),
    [
        pytest.param("before", "stage", "published", "", id="before it began"),
        pytest.param("after", "stage", "staged", "stage", id="staged"),
        pytest.param("after", "shadow", "shadow", "shadow", id="while it is loaded"),
        pytest.param("before", "promote", "shadow", "shadow", id="loaded"),
        pytest.param("after", "promote", "live", "promote", id="promoted"),
    ],
)
def test_a_killed_promotion_leaves_its_last_step_and_the_same_command_goes_on(
    promotable: Promotable,
    customers: Load,
    old: int,
    moment: Moment,
    action: str,
    left: str,
    last_step: str,
) -> None:
    new = promotable.publish()
    began_s = time.monotonic()
    with (
        AdminRelay(promotable.stack.address, moment, action) as relay,
        promotable.start("promote", MODEL, new, "--address", relay.address) as promotion,
    ):
        relay.wait()
        promotion.kill()
        status = promotable.status(new)
    assert promotion.process.returncode == -signal.SIGKILL
    assert status.stage == left
    assert bool(status.ready_host_ids) == (action == "promote")
    shown = promotable.take("show", MODEL)
    assert f" {new} {left} " in shown
    assert f" {new if left == 'live' else old} live " in shown
    if last_step:
        assert f" {last_step} {new} {new if left == 'live' else old} ada " in shown

    again = promotable.run("promote", MODEL, new, author="bob")
    switched_s = time.monotonic()
    if left == "live":
        assert (again.code, f"version {new} is live already" in again.errors) == (1, True)
    else:
        assert again.code == 0, again
    wait(lambda: new in customers.versions_since(switched_s))
    history = promotable.take("history", MODEL)
    # Nothing twice.
    assert [history.count(f" {a} {new} ") for a in ("stage", "shadow", "promote")] == [1, 1, 1]
    promotable.take("rollback", MODEL)
    back_s = time.monotonic()
    wait(lambda: old in customers.versions_since(back_s))
    customers.assert_uninterrupted(began_s)


def test_a_server_that_is_killed_while_it_loads_comes_back_with_both_versions(
    promotable: Promotable, customers: Load, old: int
) -> None:
    new = promotable.publish()
    (server,) = promotable.stack.tritonservers()
    (log,) = (promotable.stack.folder / "log").glob("*.log")
    with promotable.start("promote", MODEL, new) as promotion:
        wait(lambda: stopped_loading(server, new))
        assert f"successfully loaded '{MODEL}.{new}'" not in log.read_text()
        assert not promotable.status(new).ready_host_ids
        killed_s = time.monotonic()
        server.send_signal(signal.SIGKILL)
        ended = promotion.end()
    assert ended.code == 0, ended
    promoted_s = time.monotonic()
    wait(lambda: customers.versions_since(promoted_s + 1.0) == {new})

    # With one host, replies are degraded until it is back; none fails, and each says so.
    assert customers.errors == []
    degraded = [told for told in customers.since(killed_s) if told.degraded]
    assert degraded
    # Whoever asks then is not understood; later steps are missed only by who was under way.
    steps = {d.step for told in degraded for d in told.degraded}
    assert {"understand"} <= steps <= {"understand", "decide", "retrieve"}
    assert all(d.reason and d.fallback for told in degraded for d in told.degraded)
    assert max(told.at_s for told in degraded) < min(killed_s + LONGEST_OUTAGE_S, promoted_s)
    assert f"successfully loaded '{MODEL}.{new}'" in log.read_text()
    shown = promotable.take("show", MODEL)
    assert f" {new} live " in shown
    assert f" {old} previous " in shown
    promotable.take("rollback", MODEL)


def stopped_loading(server: psutil.Process, version: int) -> bool:
    """Whether the server has begun with a version: its process is there, and goes no further."""
    part = f"/{MODEL}.{version}/"
    for child in server.children():
        with suppress(psutil.NoSuchProcess):
            if any(part in argument for argument in child.cmdline()):
                child.suspend()
                return True
    return False


# ---- raced ---------------------------------------------------------------------------------------


def test_of_two_versions_the_first_to_be_tried_wins_and_the_other_is_not_even_staged(
    promotable: Promotable, customers: Load, old: int
) -> None:
    first, second = promotable.publish(), promotable.publish()
    began_s = time.monotonic()
    with (
        AdminRelay(promotable.stack.address, "before", "promote") as relay,
        promotable.start("promote", MODEL, first, "--address", relay.address, *PATIENT) as adas,
    ):
        relay.wait()
        bobs = promotable.run("promote", MODEL, second, author="bob")
        relay.go_on()
        won = adas.end()
    assert bobs.code == 1
    assert f"version {first} is being tried" in bobs.errors
    assert f"ada did 'shadow {first}'" in bobs.errors
    assert won.code == 0, won
    stages = {first: "live", old: "previous", second: "published"}
    assert {version: promotable.status(version).stage for version in stages} == stages
    promotable.take("rollback", MODEL)
    customers.assert_uninterrupted(began_s)


def test_who_is_overtaken_is_told_by_whom(
    promotable: Promotable, customers: Load, old: int
) -> None:
    first, second = promotable.publish(), promotable.publish()
    began_s = time.monotonic()
    with (
        AdminRelay(promotable.stack.address, "before", "shadow") as relay,
        promotable.start("promote", MODEL, first, "--address", relay.address, *PATIENT) as adas,
    ):
        relay.wait()
        promotable.take("promote", MODEL, second, author="bob")
        relay.go_on()
        lost = adas.end()
    assert (lost.code, f"bob did 'promote {second}'" in lost.errors) == (1, True), lost
    stages = {first: "staged", old: "previous", second: "live"}
    assert {version: promotable.status(version).stage for version in stages} == stages
    promotable.take("rollback", MODEL)
    customers.assert_uninterrupted(began_s)


def test_of_two_who_promote_the_same_version_one_does_it(
    promotable: Promotable, customers: Load, old: int
) -> None:
    new = promotable.publish()
    began_s = time.monotonic()
    with (
        AdminRelay(promotable.stack.address, "before", "promote") as relay,
        promotable.start("promote", MODEL, new, "--address", relay.address, *PATIENT) as adas,
    ):
        relay.wait()
        promotable.take("promote", MODEL, new, author="bob")
        relay.go_on()
        lost = adas.end()
    assert (lost.code, f"bob did 'promote {new}'" in lost.errors) == (1, True), lost
    assert promotable.status(new).stage == "live"
    promotable.take("rollback", MODEL)
    customers.assert_uninterrupted(began_s)


def test_whose_version_is_withdrawn_meanwhile_takes_nothing_else_back(
    promotable: Promotable, customers: Load, old: int
) -> None:
    # So that there is something to go back to by mistake.
    live = promotable.publish()
    promotable.take("promote", MODEL, live)
    new = promotable.publish()
    began_s = time.monotonic()
    with (
        AdminRelay(promotable.stack.address, "after", "shadow") as relay,
        promotable.start(
            *("promote", MODEL, new, "--address", relay.address, "--timeout-s", 5, *PATIENT)
        ) as adas,
    ):
        relay.wait()
        promotable.take("rollback", MODEL, author="bob")
        relay.go_on()
        lost = adas.end()
    assert (lost.code, "bob did 'rollback'" in lost.errors) == (1, True), lost
    stages = {live: "live", old: "previous", new: "staged"}
    assert {version: promotable.status(version).stage for version in stages} == stages
    promotable.take("rollback", MODEL)
    customers.assert_uninterrupted(began_s)


@pytest.mark.parametrize("same", [True, False], ids=["the same", "different ones"])
def test_two_promotions_at_once_end_in_what_a_successful_one_wanted(
    promotable: Promotable, customers: Load, old: int, same: bool
) -> None:
    wanted = {"ada": promotable.publish()}
    wanted["bob"] = wanted["ada"] if same else promotable.publish()
    began_s = time.monotonic()
    with ExitStack() as running:
        both = {
            author: running.enter_context(
                promotable.start("promote", MODEL, version, author=author)
            )
            for author, version in wanted.items()
        }
        ended = {author: command.end() for author, command in both.items()}
    # Both, if one was done before the other began to look.
    won = [author for author in ended if ended[author].code == 0]
    assert won, ended
    assert promotable.live() in {wanted[author] for author in won}
    for author in ended.keys() - won:
        done = (f"{won[0]} did '", f"version {wanted[won[0]]} is live already")
        assert any(text in ended[author].errors for text in done), ended
    promotable.take("rollback", MODEL)
    customers.assert_uninterrupted(began_s)
