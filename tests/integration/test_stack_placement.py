"""A step in a deployment of its own gives the same answers as one inside the replica."""

import asyncio
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing

import pytest

from serving.cli.local_stack import LocalStack, local_stack
from serving.client import CommerceClient
from serving.errors import InvalidRequest
from serving.protos import commerce_pb2 as pb
from serving.settings import PlacementSettings
from serving.stores.shop_files import shop_name
from tests.integration.conftest import BuiltModels
from tests.waiting import until

pytestmark = pytest.mark.integration

DEADLINE_MS = 10_000.0
TEXTS = (
    "where is my order 12345?",
    "how long does standard delivery take?",
    "can you recommend something for me?",
    "I am furious, this is the third broken parcel",
    "do you have blue mugs",
    "what is the capital of France?",
)


@pytest.fixture(scope="module")
def apart(
    models: BuiltModels,
    stack: LocalStack,
    client: CommerceClient,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[CommerceClient]:
    """A stack with every step in a deployment of its own, and what `stack` knows by now."""
    folder = tmp_path_factory.mktemp("placement")
    state = folder / "state"
    state.mkdir()
    # What other tests have bought makes products popular.
    name = f"{shop_name(models.shop)}.sqlite"
    with (
        closing(sqlite3.connect(stack.folder / "state" / name)) as known,
        closing(sqlite3.connect(state / name)) as copy,
    ):
        known.backup(copy)
    overrides = {
        **models.environment(),
        **{
            f"CARTWRIGHT_PLACEMENT__{name.upper()}": "deployment"
            for name in PlacementSettings.model_fields
        },
        "CARTWRIGHT_STORES__FOLDER": str(state),
        "CARTWRIGHT_TRITON__LOG_FOLDER": str(folder / "log"),
    }
    with local_stack(overrides, folder) as running, CommerceClient(running.address) as connected:
        # The catalogue is renewed behind the requests that come when it has grown old.
        asyncio.run(until(lambda: recommended(client) == recommended(connected), timeout_s=90.0))
        yield connected


def recommended(client: CommerceClient) -> list[pb.Item]:
    """To somebody of whom nothing is known: by the catalogue alone."""
    return list(client.recommend(session_id="anybody", top_k=5, deadline_ms=DEADLINE_MS).items)


def said(client: CommerceClient, text: str, session_id: str) -> pb.ConverseReply:
    """A turn without what differs from run to run."""
    reply = client.converse(text, session_id=session_id, deadline_ms=DEADLINE_MS)
    assert not reply.meta.degraded
    reply.ClearField("meta")
    return reply


def test_a_conversation_is_the_same_wherever_the_steps_run(
    client: CommerceClient, apart: CommerceClient, stack: LocalStack
) -> None:
    session_id = uuid.uuid4().hex
    for text in TEXTS:
        assert said(apart, text, session_id) == said(client, text, session_id)


def test_the_reply_tells_of_steps_in_other_processes_too(
    client: CommerceClient, apart: CommerceClient
) -> None:
    here = client.recommend(session_id="anybody", top_k=5, deadline_ms=DEADLINE_MS)
    there = apart.recommend(session_id="anybody", top_k=5, deadline_ms=DEADLINE_MS)
    assert list(there.items) == list(here.items)
    assert there.meta.model_versions == here.meta.model_versions
    assert {s.step for s in there.meta.steps} >= {s.step for s in here.meta.steps}
    assert there.meta.total_ms > 0


def test_a_bad_request_is_refused_the_same_way(apart: CommerceClient) -> None:
    with pytest.raises(InvalidRequest, match="category"):
        apart.recommend(
            session_id="s", top_k=5, category="no/such/category", deadline_ms=DEADLINE_MS
        )
