"""Sessions as every implementation keeps them: of two who save at once, one wins."""

import asyncio

import pytest

from serving.errors import SessionConflict
from tests.store_kinds import Stores


async def test_a_new_session_is_none_and_a_saved_one_comes_back(stores: Stores) -> None:
    assert await stores.sessions.load("s") is None
    state = {"slots": [{"name": "colour", "value": "grün \x00 \U0001f600"}], "turn": 1, "x": None}
    assert await stores.sessions.save("s", state, 0) == 1
    stored = await stores.sessions.load("s")
    assert stored is not None
    assert (stored.state, stored.revision) == (state, 1)


@pytest.mark.parametrize("expected_revision", [0, 1, 3, 99])
async def test_a_save_against_another_revision_is_refused_and_changes_nothing(
    stores: Stores, expected_revision: int
) -> None:
    await stores.sessions.save("s", {"turn": 1}, 0)
    await stores.sessions.save("s", {"turn": 2}, 1)
    with pytest.raises(SessionConflict, match="session s"):
        await stores.sessions.save("s", {"turn": "wrong"}, expected_revision)
    stored = await stores.sessions.load("s")
    assert stored is not None
    assert (stored.state, stored.revision) == ({"turn": 2}, 2)


async def test_a_session_that_is_not_there_cannot_be_saved_as_a_later_one(stores: Stores) -> None:
    with pytest.raises(SessionConflict):
        await stores.sessions.save("s", {}, 5)
    assert await stores.sessions.load("s") is None


async def test_of_turns_saved_at_once_exactly_one_wins(stores: Stores) -> None:
    async def save(turn: int) -> bool:
        try:
            await stores.sessions.save("s", {"by": turn}, 0)
        except SessionConflict:
            return False
        return True

    won = await asyncio.gather(*(save(turn) for turn in range(20)))
    assert sum(won) == 1
    stored = await stores.sessions.load("s")
    assert stored is not None
    assert stored.state == {"by": won.index(True)}
