"""Unit tests are fast because they start nothing."""

import sys
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest

from serving.stores.sqlite_database import Database
from tests.store_kinds import Stores, memory_stores, sqlite_stores


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: Any, **_named: Any) -> NoReturn:
        raise AssertionError("a unit test must not start Ray")

    if "ray" in sys.modules:
        monkeypatch.setattr(sys.modules["ray"], "init", refuse)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    database = Database(tmp_path_factory.mktemp("shop") / "shop.sqlite", busy_timeout_ms=2000)
    yield database
    database.close()


@pytest.fixture(params=["sqlite", "memory"])
def stores(request: pytest.FixtureRequest, database: Database) -> Stores:
    """Each kind of them, empty."""
    return memory_stores() if request.param == "memory" else sqlite_stores(database)
