"""A new version goes live and back on a real stack under load, by the command line."""

import time

import pytest

from serving.client import CommerceClient
from serving.errors import PermissionDenied
from tests.promotable import DEADLINE_MS, MODEL, Load, Promotable, wait

pytestmark = pytest.mark.integration


def test_a_version_goes_live_and_back_while_customers_talk(promotable: Promotable) -> None:
    old = promotable.live()
    new = promotable.publish()
    with Load(promotable) as load:
        shown = promotable.take("promote", MODEL, new)
        switched_s = time.monotonic()
        assert f"promote {new}" in shown
        wait(lambda: load.versions_since(switched_s + 1.0) == {new})
        shown = promotable.take("rollback", MODEL)
        back_s = time.monotonic()
        assert "rollback" in shown
        wait(lambda: load.versions_since(back_s + 1.0) == {old})
        promotable.take("canary", MODEL, new, 50)
        canary_s = time.monotonic()
        wait(lambda: load.versions_since(canary_s + 1.0) == {old, new})
    assert load.errors == []
    assert not [told for told in load.answers if told.degraded]
    arms = {(told.customer, told.version, told.arm) for told in load.since(canary_s + 1.0)}
    # One arm for each customer.
    assert len(arms) == len({customer for customer, _, _ in arms})
    assert {(version, arm) for _, version, arm in arms} == {(old, "live"), (new, "canary")}
    assert f"canary {new} 50%" in promotable.take("history", MODEL)
    promotable.take("rollback", MODEL)


def test_what_is_no_longer_wanted_is_unloaded(promotable: Promotable) -> None:
    def loaded_is_wanted() -> bool:
        versions = promotable.shown().versions
        loaded = {status.version for status in versions if status.ready_host_ids}
        return loaded == {
            status.version
            for status in versions
            if status.stage in ("live", "previous", "shadow", "canary")
        }

    wait(loaded_is_wanted)


def test_customers_may_not(promotable: Promotable) -> None:
    with (
        CommerceClient(promotable.stack.address, token="a-customers-key") as client,
        pytest.raises(PermissionDenied, match="may not see or change"),
    ):
        client.show_model(MODEL, deadline_ms=DEADLINE_MS)
